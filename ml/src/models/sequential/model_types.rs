//! `sequential`: the user writes the layers. `cnn_classifier` and `cnn_regressor`: layers for images, chosen by their size.

use super::input_shape::{array_of, dimensions_of};
use super::network::{Layers, Sequential};
use super::text::invalid;
use crate::Result;
use crate::data::columns::{Column, Columns, FeatureKind};
use crate::data::encode::tabular::InputShape;
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::{Optimizer, TrainOptions};

/// A network whose layers the user writes.
#[derive(Debug)]
pub(in super::super) struct SequentialModel;

/// A convolutional network that predicts a class.
#[derive(Debug)]
pub(in super::super) struct CnnClassifier;

/// A convolutional network that predicts a number.
#[derive(Debug)]
pub(in super::super) struct CnnRegressor;

/// The channels of the convolutions of a `cnn` model. Each but the first needs images of at least `POOLED_MIN` pixels.
const CHANNELS: [usize; 5] = [32, 64, 128, 256, 256];
const POOLED_MIN: usize = 8;
/// Smaller images are not made smaller.
const SIZE_MIN: usize = 4;
/// Images have at most so many channels, mostly.
const CHANNELS_OF_IMAGES: usize = 4;

/// Checks that the layers fit each other, as far as that is known before any row is read.
fn check(texts: &[String], input_shape: &[usize]) -> Result<()> {
    let layers = Layers::read(texts)?;
    match input_shape {
        [] => Ok(()),
        input => layers.check(input),
    }
}

/// Checks that the layers fit these columns, as far as the types of the columns tell.
fn check_columns(texts: &[String], input_shape: &[usize], columns: &Columns) -> Result<()> {
    let layers = Layers::read(texts)?;
    let of_input: Vec<&Column> = match layers.takes_columns() {
        true => vec![array_of(columns)?],
        false => columns.features.iter().collect(),
    };
    match dimensions_of(&of_input, input_shape)? {
        // `check` knows an `input_shape` already.
        Some(input) if input_shape.is_empty() => layers.check(&input),
        Some(_) | None => Ok(()),
    }
}

impl ModelType for SequentialModel {
    fn name(&self) -> &str {
        "sequential"
    }

    fn task(&self, options: &TrainOptions) -> Task {
        let layers = Layers::read(&options.layers);
        layers.map_or(Task::Regression, |layers| layers.task())
    }

    fn ids(&self, options: &TrainOptions, column: &Column) -> Option<usize> {
        let layers = Layers::read(&options.layers).ok()?;
        let kind = FeatureKind::of(&column.name, &column.data_type).ok()?;
        let is_input = kind == FeatureKind::Array || !layers.takes_columns();
        layers.ids().filter(|_| is_input)
    }

    fn check(&self, options: &TrainOptions) -> Result<()> {
        if options.layers.is_empty() {
            return Err(invalid(
                "model type sequential needs layers, such as layers = ['linear(32)', 'relu', 'linear(classes)']",
            ));
        }
        check(&options.layers, &options.input_shape)
    }

    fn check_columns(&self, columns: &Columns, options: &TrainOptions) -> Result<()> {
        check_columns(&options.layers, &options.input_shape, columns)
    }

    fn other_task(&self, options: &TrainOptions) -> &str {
        match self.task(options) {
            Task::Classification => {
                "end the layers with 'linear(1)': layers with classes make a classifier"
            }
            Task::Regression => {
                "end the layers with 'linear(classes)': layers without classes make a regressor"
            }
        }
    }

    fn takes_categories(&self, options: &TrainOptions) -> bool {
        let layers = Layers::read(&options.layers);
        layers.is_ok_and(|layers| layers.takes_columns())
    }

    fn network_options(&self) -> &[&str] {
        &["layers", "input_shape"]
    }

    fn default_optimizer(&self, _shape: &InputShape, _options: &TrainOptions) -> Optimizer {
        Optimizer::Adamw
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        let network = Sequential::new(&options.layers, &options.input_shape, shape, outputs)?;
        Ok(Box::new(network))
    }
}

/// The layers of a `cnn` model: convolutions that double their channels while they halve the image, then linear layers.
fn cnn_layers(options: &TrainOptions, last: &str) -> Result<Vec<String>> {
    let [_, height, width] = options.input_shape[..] else {
        return Err(invalid(format!(
            "model type {} needs input_shape = [channels, height, width] of its images; for columns without images use a dnn model",
            options.model_type
        )));
    };
    let activation = options.activation.name();
    let mut size = height.min(width);
    let mut layers = vec![];
    for (stage, channels) in CHANNELS.iter().enumerate() {
        if stage > 0 && size < POOLED_MIN {
            break;
        }
        layers.push(format!("conv2d({channels}, 3, padding=same)"));
        layers.push(activation.to_owned());
        if size >= SIZE_MIN {
            layers.push("max_pool2d(2)".to_owned());
            size /= 2;
        }
    }
    layers.push("flatten".to_owned());
    for units in &options.hidden_units {
        layers.push(format!("linear({units})"));
        layers.push(activation.to_owned());
        if options.dropout > 0.0 {
            layers.push(format!("dropout({})", options.dropout));
        }
    }
    layers.push(last.to_owned());
    Ok(layers)
}

/// The notice about an input shape that looks like height, width and channels.
fn channels_last(input_shape: &[usize]) -> Option<String> {
    let [first, second, last] = *input_shape else {
        return None;
    };
    if last > CHANNELS_OF_IMAGES || last >= first.min(second) {
        return None;
    }
    let remedy = match last {
        1 => format!("write [1, {first}, {second}]"),
        _ => format!(
            "use model type sequential and begin its layers with 'reshape({}, {last})', 'transpose', \
             'reshape({last}, {first}, {second})'",
            first * second
        ),
    };
    Some(format!(
        "input_shape = {input_shape:?} is {first} channels of {second} x {last} pixels; if the channels are the last size, \
         {remedy}"
    ))
}

macro_rules! cnn {
    ($type:ident, $name:literal, $task:expr, $last:literal) => {
        impl ModelType for $type {
            fn name(&self) -> &str {
                $name
            }

            fn task(&self, _options: &TrainOptions) -> Task {
                $task
            }

            fn check(&self, options: &TrainOptions) -> Result<()> {
                check(&cnn_layers(options, $last)?, &options.input_shape)
            }

            fn check_columns(&self, columns: &Columns, options: &TrainOptions) -> Result<()> {
                let layers = cnn_layers(options, $last)?;
                check_columns(&layers, &options.input_shape, columns)
            }

            fn takes_categories(&self, _options: &TrainOptions) -> bool {
                false
            }

            fn notices(&self, options: &TrainOptions) -> Vec<String> {
                Vec::from_iter(channels_last(&options.input_shape))
            }

            fn network_options(&self) -> &[&str] {
                &["hidden_units", "activation", "dropout", "input_shape"]
            }

            fn default_optimizer(&self, _shape: &InputShape, _options: &TrainOptions) -> Optimizer {
                Optimizer::Adamw
            }

            fn network(
                &self,
                shape: &InputShape,
                outputs: usize,
                options: &TrainOptions,
            ) -> Result<Box<dyn Network>> {
                let layers = cnn_layers(options, $last)?;
                let network = Sequential::new(&layers, &options.input_shape, shape, outputs)?;
                Ok(Box::new(network))
            }
        }
    };
}

cnn!(
    CnnClassifier,
    "cnn_classifier",
    Task::Classification,
    "linear(classes)"
);
cnn!(CnnRegressor, "cnn_regressor", Task::Regression, "linear(1)");

#[cfg(test)]
mod tests {
    use super::*;

    fn options(model_type: &str, layers: &[&str], input_shape: &[usize]) -> TrainOptions {
        TrainOptions {
            model_type: model_type.into(),
            layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            input_shape: input_shape.to_vec(),
            ..TrainOptions::default()
        }
    }

    #[test]
    fn classes_in_a_layer_make_a_classifier() {
        let task = |layers: &[&str]| SequentialModel.task(&options("sequential", layers, &[]));
        assert_eq!(task(&["linear(classes)"]), Task::Classification);
        let image = ["conv2d(classes, 3)", "global_avg_pool"];
        assert_eq!(task(&image), Task::Classification);
        assert_eq!(task(&["linear(8)", "relu", "linear(1)"]), Task::Regression);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_any_row_is_read() {
        let error = |layers: &[&str], shape: &[usize]| {
            let options = options("sequential", layers, shape);
            SequentialModel.check(&options).unwrap_err().to_string()
        };
        assert!(error(&[], &[]).contains("needs layers"));
        assert!(error(&["linear(x)"], &[]).contains("outputs is x"));
        assert!(error(&["linear(1)"], &[2, 2]).contains("needs an input of [numbers]"));
        assert_eq!(
            error(&["conv2d(classes, 8)"], &[1, 8, 8]),
            "the layers have an output of [classes, 1, 1], a classifier needs [classes]; end with 'linear(classes)'"
        );
        assert_eq!(
            error(
                &[
                    "conv1d(classes, 1)",
                    "flatten",
                    "relu",
                    "conv1d(2, 1)",
                    "linear(classes)"
                ],
                &[1, 5]
            ),
            "layer 4 (conv1d(2, 1)): needs an input of [channels, length], found [5 * classes]"
        );
        let cnn = options("cnn_classifier", &[], &[64]);
        let error = CnnClassifier.check(&cnn).unwrap_err().to_string();
        assert!(error.contains("[channels, height, width]"), "{error}");
    }

    #[test]
    fn layers_that_some_number_of_classes_fits_wait_for_the_rows() {
        for (layers, input_shape, classes, other) in [
            (
                vec!["linear(classes)", "group_norm(5)", "linear(classes)"],
                vec![64],
                10,
                "layer 2 (group_norm(5)): 5 groups do not divide the channels of its input [3]; the label has 3 classes",
            ),
            (
                vec!["linear(10)", "residual(linear(classes))"],
                vec![64],
                10,
                "its layers make [3] of its input of [10]; both must be the same; the label has 3 classes",
            ),
            (
                vec!["linear(classes)", "relu", "linear(10)"],
                vec![64],
                10,
                "an output of [10], a classifier needs [3]; end with 'linear(classes)'; the label has 3 classes",
            ),
            (
                vec!["conv2d(classes, 1, groups=4)", "global_avg_pool"],
                vec![4, 8, 8],
                8,
                "groups=4 does not divide the channels of its input [4, 8, 8] and its own 3; the label has 3 classes",
            ),
        ] {
            let options = options("sequential", &layers, &input_shape);
            SequentialModel.check(&options).unwrap();
            let shape = InputShape {
                numbers: input_shape.iter().product(),
                ..InputShape::default()
            };
            let network = |outputs| SequentialModel.network(&shape, outputs, &options);
            network(classes).unwrap();
            let error = network(3).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(other), "{layers:?}: {error}");
        }
    }

    #[test]
    fn channels_that_seem_to_be_last_are_a_notice() {
        let notices = |input_shape: &[usize]| {
            CnnRegressor.notices(&options("cnn_regressor", &[], input_shape))
        };
        assert_eq!(
            notices(&[8, 9, 1]),
            [
                "input_shape = [8, 9, 1] is 8 channels of 9 x 1 pixels; if the channels are the last size, write [1, 8, 9]"
            ]
        );
        let photo = notices(&[224, 200, 3]);
        let remedy = "'reshape(44800, 3)', 'transpose', 'reshape(3, 224, 200)'";
        assert!(photo[0].ends_with(remedy), "{photo:?}");
        for shape in [[1, 8, 8], [3, 224, 224], [64, 8, 8], [3, 1, 1], [1, 1, 1]] {
            assert_eq!(notices(&shape), [""; 0], "{shape:?}");
        }
    }

    #[test]
    fn the_layers_of_a_cnn_fit_images_of_every_size() {
        for size in [1, 2, 3, 4, 7, 8, 28, 32, 224] {
            let mut options = options("cnn_classifier", &[], &[3, size, size + 1]);
            options.dropout = 0.25;
            CnnClassifier.check(&options).unwrap();
            CnnRegressor.check(&options).unwrap();
            let convolutions = |layers: Vec<String>| {
                let is_one = |layer: &&String| layer.starts_with("conv2d");
                layers.iter().filter(is_one).count()
            };
            let layers = cnn_layers(&options, "linear(1)").unwrap();
            let expected = match size {
                0..16 => 1,
                16..32 => 2,
                32..64 => 3,
                _ => 5,
            };
            assert_eq!(convolutions(layers), expected, "{size}");
        }
    }
}
