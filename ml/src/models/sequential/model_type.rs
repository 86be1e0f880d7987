//! `sequential`: the user writes the layers.

use super::input_shape::check_augment;
use super::layers::Layers;
use super::network::Sequential;
use super::text::invalid;
use crate::Result;
use crate::data::columns::{Column, Columns, FeatureKind};
use crate::data::encode::shape::InputShape;
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::TrainOptions;

/// A network whose layers the user writes.
#[derive(Debug)]
pub(in crate::models) struct SequentialModel;

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
        Layers::read(&options.layers)?.check(&options.input_shape)?;
        check_augment(options)
    }

    fn check_columns(&self, columns: &Columns, options: &TrainOptions) -> Result<()> {
        Layers::read(&options.layers)?.check_columns(options, columns)
    }

    fn takes_images(&self) -> bool {
        true
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
        &[
            "layers",
            "input_shape",
            "image_resize",
            "image_filter",
            "image_mean",
            "image_std",
            "augment",
        ]
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    fn options(layers: &[&str], input_shape: &[usize]) -> TrainOptions {
        TrainOptions {
            model_type: "sequential".into(),
            layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
            input_shape: input_shape.to_vec(),
            ..TrainOptions::default()
        }
    }

    #[test]
    fn classes_in_a_layer_make_a_classifier() {
        let task = |layers: &[&str]| SequentialModel.task(&options(layers, &[]));
        assert_eq!(task(&["linear(classes)"]), Task::Classification);
        let image = ["conv2d(classes, 3)", "global_avg_pool"];
        assert_eq!(task(&image), Task::Classification);
        assert_eq!(task(&["linear(8)", "relu", "linear(1)"]), Task::Regression);
    }

    #[test]
    fn what_does_not_fit_is_refused_before_any_row_is_read() {
        let error = |layers: &[&str], shape: &[usize]| {
            let options = options(layers, shape);
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
    }

    #[test]
    fn an_image_needs_its_shape_and_is_all_the_input() {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            data_type,
        };
        let error = |features: Vec<Column>, layers: &[&str], shape: &[usize], mean: &[f64]| {
            let mut options = options(layers, shape);
            options.image.mean = mean.to_vec();
            let columns = Columns {
                features,
                targets: vec![column("y", DataType::Float64)],
            };
            let found = SequentialModel.check_columns(&columns, &options);
            found
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        let photo = || column("photo", DataType::Binary);
        let number = || column("x", DataType::Float64);
        let alone = ["flatten", "linear(1)"];
        let beside = ["flatten", "inputs(4)", "linear(1)"];
        let shape = [3, 8, 8];
        assert_eq!(error(vec![photo()], &alone, &shape, &[0.5; 3]), "");
        assert_eq!(error(vec![number(), photo()], &beside, &shape, &[]), "");
        for (found, expected) in [
            (
                error(vec![photo()], &alone, &[], &[]),
                "column \"photo\": images need input_shape = [channels, height, width]",
            ),
            (
                error(vec![photo()], &alone, &[2, 8, 8], &[]),
                "images have 1 (grey) or 3 (RGB)",
            ),
            (
                error(vec![photo()], &alone, &shape, &[0.5; 2]),
                "image_mean has 2 numbers",
            ),
            (
                error(vec![photo(), number()], &alone, &shape, &[]),
                "the image is all the input of the layers; leave out the other columns",
            ),
            (
                error(vec![photo(), photo()], &beside, &shape, &[]),
                "needs one array column, found 2",
            ),
            (
                error(vec![photo()], &["flatten", "linear(3)"], &shape, &[]),
                "the layers have an output of [3], a regressor needs [1]; end with 'linear(1)'",
            ),
            (
                error(vec![photo()], &["embedding(4, 2)"], &shape, &[]),
                "the layer embedding takes whole numbers",
            ),
        ] {
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn layers_that_some_number_of_classes_fits_wait_for_the_rows() {
        for (layers, input_shape, classes, other) in [
            (
                vec!["linear(classes)", "group_norm(5)", "linear(classes)"],
                vec![64],
                10,
                "layer 2 (group_norm(5)): 5 groups do not divide the channels of its input [3]; classes is 3",
            ),
            (
                vec!["linear(10)", "residual(linear(classes))"],
                vec![64],
                10,
                "its layers make [3] of its input of [10]; both must be the same; classes is 3",
            ),
            (
                vec!["linear(classes)", "relu", "linear(10)"],
                vec![64],
                10,
                "an output of [10], a classifier needs [3]; end with 'linear(classes)'; classes is 3",
            ),
            (
                vec!["conv2d(classes, 1, groups=4)", "global_avg_pool"],
                vec![4, 8, 8],
                8,
                "groups=4 does not divide the channels of its input [4, 8, 8] and its own 3; classes is 3",
            ),
        ] {
            let options = options(&layers, &input_shape);
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
}
