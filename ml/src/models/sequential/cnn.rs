//! `cnn_classifier` and `cnn_regressor`: layers for images, chosen by their size.

use super::input_shape::check_augment;
use super::layers::{Layers, outputs_of};
use super::network::Sequential;
use super::text::invalid;
use crate::Result;
use crate::data::columns::Columns;
use crate::data::encode::shape::InputShape;
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::TrainOptions;

/// The channels of the convolutions. The second and later ones need images of at least [`SIZE_MIN`] rows and columns.
const CHANNELS: [usize; 5] = [32, 64, 128, 256, 256];
const SIZE_MIN: usize = 8;
/// Images with fewer rows or columns are not halved.
const POOLED_SIZE_MIN: usize = 4;
/// Most images have at most so many channels.
const CHANNELS_OF_IMAGES: usize = 4;

/// A convolutional network that predicts a class or a number.
#[derive(Debug)]
pub(in crate::models) struct Cnn(pub(in crate::models) Task);

impl ModelType for Cnn {
    fn name(&self) -> &str {
        match self.0 {
            Task::Classification => "cnn_classifier",
            Task::Regression => "cnn_regressor",
        }
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        self.0
    }

    fn check(&self, options: &TrainOptions) -> Result<()> {
        Layers::read(&self.layers(options, 1)?)?.check(&options.input_shape)?;
        check_augment(options)
    }

    fn check_columns(&self, columns: &Columns, options: &TrainOptions) -> Result<()> {
        let outputs = outputs_of(&columns.targets).unwrap_or(1);
        let layers = Layers::read(&self.layers(options, outputs)?)?;
        layers.check_columns(options, columns)
    }

    fn takes_images(&self) -> bool {
        true
    }

    fn takes_categories(&self, _options: &TrainOptions) -> bool {
        false
    }

    fn notices(&self, options: &TrainOptions) -> Vec<String> {
        Vec::from_iter(channels_last(&options.input_shape))
    }

    fn network_options(&self) -> &[&str] {
        &[
            "hidden_units",
            "activation",
            "dropout",
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
        let layers = self.layers(options, outputs)?;
        let network = Sequential::new(&layers, &options.input_shape, shape, outputs)?;
        Ok(Box::new(network))
    }
}

impl Cnn {
    /// Convolutions with more and more channels over smaller and smaller images, then linear layers, the last of a regressor with
    /// so many outputs.
    fn layers(&self, options: &TrainOptions, outputs: usize) -> Result<Vec<String>> {
        let [_, height, width] = options.input_shape[..] else {
            return Err(invalid(format!(
                "model type {} needs input_shape = [channels, height, width] of its images; for columns without images use a dnn model",
                self.name()
            )));
        };
        let activation = options.activation.name();
        let mut size = height.min(width);
        let mut layers = vec![];
        for (stage, channels) in CHANNELS.iter().enumerate() {
            if stage > 0 && size < SIZE_MIN {
                break;
            }
            layers.push(format!("conv2d({channels}, 3, padding=same)"));
            layers.push(activation.to_owned());
            if size >= POOLED_SIZE_MIN {
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
        layers.push(match self.0 {
            Task::Classification => "linear(classes)".to_owned(),
            Task::Regression => format!("linear({outputs})"),
        });
        Ok(layers)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn options(input_shape: &[usize]) -> TrainOptions {
        TrainOptions {
            input_shape: input_shape.to_vec(),
            dropout: 0.25,
            ..TrainOptions::default()
        }
    }

    #[test]
    fn layers_fit_images_of_every_size() {
        for size in [1, 2, 3, 4, 7, 8, 28, 32, 224] {
            let options = options(&[3, size, size + 1]);
            Cnn(Task::Classification).check(&options).unwrap();
            Cnn(Task::Regression).check(&options).unwrap();
            let layers = Cnn(Task::Regression).layers(&options, 1).unwrap();
            let convolutions = layers.iter().filter(|layer| layer.starts_with("conv2d"));
            let expected = match size {
                0..16 => 1,
                16..32 => 2,
                32..64 => 3,
                _ => 5,
            };
            assert_eq!(convolutions.count(), expected, "{size}");
        }
    }

    #[test]
    fn layers_of_digits() {
        let options = TrainOptions {
            hidden_units: vec![64],
            ..options(&[1, 8, 8])
        };
        let layers = Cnn(Task::Classification).layers(&options, 10).unwrap();
        let expected = "conv2d(32, 3, padding=same) relu max_pool2d(2) flatten linear(64) relu dropout(0.25) linear(classes)";
        assert_eq!(layers.join(" "), expected);
    }

    #[test]
    fn images_need_channels_height_and_width() {
        let error = Cnn(Task::Regression).check(&options(&[64])).unwrap_err();
        let expected = "model type cnn_regressor needs input_shape = [channels, height, width]";
        assert!(error.to_string().contains(expected), "{error}");
    }

    #[test]
    fn channels_that_seem_to_be_last_are_a_notice() {
        let notices = |shape: &[usize]| Cnn(Task::Regression).notices(&options(shape));
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
}
