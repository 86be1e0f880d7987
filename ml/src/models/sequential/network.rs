//! [`Sequential`]: one layer after the other.

use candle_core::{DType, Tensor};

use super::input_shape::{array_row, whole_row};
use super::layer::{Pass, Placed, Row, draw_all, forward_all};
use super::layers::Layers;
use crate::data::encode::shape::InputShape;
use crate::data::encode::tabular::NUMBERS;
use crate::data::image::ImageEncoder;
use crate::data::inputs::Inputs;
use crate::graph::{Drawing, Graph, Value};
use crate::model::network::{LayerSummary, Mode, Network, Parameter};
use crate::{Error, Result};

/// A network that is a list of layers, written by the user or by a model type.
#[derive(Debug)]
pub struct Sequential {
    texts: Vec<String>,
    layers: Vec<Placed>,
    parameters: Vec<Parameter>,
    row: Row,
}

impl Sequential {
    /// The network of these layers over rows of numbers, which have the dimensions `input_shape`, or are a vector if it is
    /// empty. With a layer `inputs`, the array has these dimensions, and the layer takes the other columns.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the layer that does not fit, or for rows that do not have the dimensions.
    pub fn new(
        texts: &[String],
        input_shape: &[usize],
        shape: &InputShape,
        outputs: usize,
    ) -> Result<Self> {
        let layers = Layers::read(texts)?;
        let row = match layers.takes_columns() {
            true => array_row(input_shape, shape)?,
            false => whole_row(input_shape, shape)?,
        };
        let placed = layers.of_targets(&row, outputs)?;
        let of_layers = placed.iter().flat_map(|layer| &layer.parameters);
        Ok(Self {
            texts: layers.texts().map(str::to_owned).collect(),
            parameters: of_layers.cloned().collect(),
            layers: placed,
            row,
        })
    }
}

impl Network for Sequential {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(
        &self,
        parameters: &[Tensor],
        inputs: &Inputs,
        mode: Mode<'_>,
    ) -> Result<Vec<Tensor>> {
        let Row {
            dimensions,
            place,
            image,
            ..
        } = &self.row;
        let input = match image {
            Some(image) => {
                let dtype = parameters.first().map_or(DType::F32, Tensor::dtype);
                image.standardised(inputs, dtype)?
            }
            None => {
                let numbers = inputs
                    .get(NUMBERS)
                    .ok_or_else(|| Error::Internal("a network without numbers".into()))?;
                numbers.narrow(1, place.start, place.len())?
            }
        };
        let mut shape = vec![inputs.rows()];
        shape.extend(dimensions);
        let mut pass = Pass::new(parameters, inputs, mode);
        let y = forward_all(&self.layers, &input.reshape(shape)?, &mut pass)?;
        Ok(vec![y])
    }

    fn draw(&self, drawing: &mut Drawing<'_>) -> Result<Vec<Value>> {
        let Row {
            dimensions,
            place,
            beside,
            image,
        } = &self.row;
        let (input, drawn) = match image {
            Some(image) => {
                let pixels = drawing.pixels()?;
                let shape = image.reader.shape().to_vec();
                (draw_image(image, drawing.graph, &pixels), shape)
            }
            None => {
                let numbers = drawing.numbers()?;
                let input = match beside.numbers {
                    0 => numbers,
                    _ => drawing.graph.columns(&numbers, place.clone()),
                };
                (input, vec![place.len()])
            }
        };
        let input = match drawn == *dimensions {
            true => input,
            false => drawing.graph.reshape(&input, dimensions),
        };
        Ok(vec![draw_all(&self.layers, input, drawing)?])
    }

    fn numbers_per_row(&self) -> usize {
        let image = self.row.image.as_ref();
        // Pixels become floats in a pass.
        let standardised = image.map_or(0, |image| image.reader.numbers());
        standardised + self.layers.iter().map(Placed::numbers).sum::<usize>()
    }

    fn scratch_bytes(&self) -> usize {
        let of_layers = self.layers.iter().map(|layer| layer.scratch_bytes);
        of_layers.max().unwrap_or(0)
    }

    fn normalised_numbers(&self) -> Option<usize> {
        let of_layers = self.layers.iter().filter_map(|layer| layer.normalised);
        of_layers.min()
    }

    fn layers(&self) -> Vec<LayerSummary> {
        let pairs = self.texts.iter().zip(&self.layers);
        pairs.map(|(text, layer)| layer.summary(text)).collect()
    }
}

/// Pixels `[rows, channels, height, width]` (u8) as standardised numbers.
fn draw_image(image: &ImageEncoder, graph: &mut Graph, pixels: &Value) -> Value {
    let sizes = [image.channels.len(), 1, 1];
    let levels = graph.cast(pixels, graph.float());
    let scales = graph.numbers("scales", &sizes, &image.scales());
    let shifts = graph.numbers("shifts", &sizes, &image.shifts());
    let scaled = graph.node("Mul", &[&levels, &scales], vec![]);
    graph.node("Add", &[&scaled, &shifts], vec![])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(texts: &[&str], input: &[usize], outputs: usize) -> Result<Sequential> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let shape = InputShape {
            numbers: input.iter().product(),
            ..InputShape::default()
        };
        Sequential::new(&texts, input, &shape, outputs)
    }

    #[test]
    fn shapes_weights_and_operations_of_each_layer() {
        let texts = [
            "conv2d(32, 3)",
            "relu",
            "conv2d(64, 3)",
            "relu",
            "max_pool2d(2)",
            "dropout(0.25)",
            "flatten",
            "linear(128)",
            "relu",
            "linear(classes)",
        ];
        let network = network(&texts, &[1, 28, 28], 10).unwrap();
        let layers = network.layers();
        let found = layers
            .iter()
            .map(|layer| (layer.output.as_slice(), layer.parameters));
        let expected: [(&[usize], usize); 10] = [
            (&[32, 26, 26], 320),
            (&[32, 26, 26], 0),
            (&[64, 24, 24], 18_496),
            (&[64, 24, 24], 0),
            (&[64, 12, 12], 0),
            (&[64, 12, 12], 0),
            (&[9_216], 0),
            (&[128], 1_179_776),
            (&[128], 0),
            (&[10], 1_290),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(layers[2].flops, 2 * 288 * 64 * 576);
        let names = network.parameters().iter().map(|spec| spec.name.as_str());
        let names: Vec<&str> = names.collect();
        assert_eq!(
            names[..3],
            ["layer1.weight", "layer1.bias", "layer3.weight"]
        );
    }

    #[test]
    fn layers_within_a_layer_have_weights_of_their_own() {
        let residual = "residual(conv1d(2, 3, padding=same), tanh, conv1d(2, 3, padding=same))";
        let network = network(&[residual, "flatten", "linear(1)"], &[2, 5], 1).unwrap();
        let names = network.parameters().iter().map(|spec| spec.name.as_str());
        let expected = [
            "layer1.1.weight",
            "layer1.1.bias",
            "layer1.3.weight",
            "layer1.3.bias",
            "layer3.weight",
            "layer3.bias",
        ];
        assert_eq!(names.collect::<Vec<_>>(), expected);
        assert_eq!(network.numbers_per_row(), 3 * 10 + 10 + 10 + 1);
    }

    #[test]
    fn a_layer_counts_what_it_keeps_and_what_it_works_with() {
        let numbers = |texts: &[&str], input: &[usize]| {
            network(texts, input, 1)
                .map(|network| network.numbers_per_row())
                .unwrap()
        };
        assert_eq!(
            numbers(&["linear(8)", "gelu", "linear(1)"], &[4]),
            8 + 8 + 1
        );
        let with_mask = 8 + (8 + 2) + 1;
        assert_eq!(
            numbers(&["linear(8)", "dropout(0.5)", "linear(1)"], &[4]),
            with_mask
        );
        assert_eq!(numbers(&["layer_norm", "linear(1)"], &[4]), 2 * 4 + 1);
        let scratch = |layer: &str| {
            let texts = [layer, "global_avg_pool", "linear(1)"];
            network(&texts, &[1, 8, 8], 1).unwrap().scratch_bytes()
        };
        assert_eq!(scratch("conv2d(1, 512, padding=512)"), 1 << 20);
        let inner = scratch("conv2d(1, 3, padding=same)");
        assert!(inner >= 9 * 64 * 8);
        assert_eq!(scratch("residual(conv2d(1, 3, padding=same))"), inner);
        assert_eq!(scratch("max_pool2d(2)"), 0);
    }

    #[test]
    fn a_convolution_applies_what_is_behind_it() {
        let image: &[usize] = &[1, 8, 8];
        for (texts, input, expected) in [
            (vec!["conv2d(2, 3)", "relu", "max_pool2d(2)"], image, 2),
            (vec!["conv2d(2, 3)", "max_pool2d(2)"], image, 1),
            (vec!["conv2d(2, 3)", "relu", "max_pool2d(3)"], image, 1),
            (vec!["conv2d(2, 3)", "relu", "avg_pool2d(2)"], image, 1),
            (
                vec!["conv2d(2, 3)", "dropout(0.5)", "max_pool2d(2)"],
                image,
                0,
            ),
            (
                vec!["conv1d(2, 3)", "relu", "max_pool1d(2)"],
                &[1, 8][..],
                1,
            ),
        ] {
            let texts = [texts, vec!["flatten", "linear(1)"]].concat();
            let network = network(&texts, input, 1).unwrap();
            assert_eq!(network.layers[0].applied, expected, "{texts:?}");
        }
    }

    #[test]
    fn running_statistics_are_weights_that_no_optimiser_learns() {
        let texts = ["conv1d(3, 1)", "batch_norm", "flatten", "linear(1)"];
        let network = network(&texts, &[2, 4], 1).unwrap();
        let names = network.parameters().iter().map(|spec| spec.name.as_str());
        let expected = [
            "layer2.weight",
            "layer2.bias",
            "layer2.running_mean",
            "layer2.running_var",
        ];
        assert_eq!(names.collect::<Vec<_>>()[2..6], expected);
        assert_eq!(network.layers()[1].parameters, 6);
    }

    #[test]
    fn the_fewest_numbers_of_a_channel_in_a_row_are_those_of_the_last_batch_norm() {
        let numbers = |texts: &[&str]| network(texts, &[2, 4], 1).unwrap().normalised_numbers();
        assert_eq!(numbers(&["conv1d(3, 1)", "flatten", "linear(1)"]), None);
        let mut texts = vec!["residual(batch_norm, relu)", "conv1d(3, 2)", "flatten"];
        texts.push("linear(1)");
        assert_eq!(numbers(&texts), Some(4));
        texts[2] = "batch_norm";
        texts.insert(3, "flatten");
        assert_eq!(numbers(&texts), Some(3));
        texts.insert(4, "batch_norm");
        assert_eq!(numbers(&texts), Some(1));
    }

    #[test]
    fn the_columns_beside_an_array_are_behind_its_numbers() {
        let texts = ["conv1d(2, 1)", "flatten", "inputs(4)", "relu", "linear(1)"];
        let texts = texts.map(str::to_owned);
        let array = |start: usize, end: usize| start..end;
        let shape = InputShape {
            numbers: 7,
            categories: 2,
            category_ids: 9,
            unseen_ids: vec![0, 4],
            arrays: vec![array(1, 6)],
            ..InputShape::default()
        };
        let network = Sequential::new(&texts, &[1, 5], &shape, 1).unwrap();
        let of_layer = |name: &str| {
            let found = network.parameters().iter().find(|spec| spec.name == name);
            found.unwrap().shape.clone()
        };
        assert_eq!(of_layer("layer3.weight"), [2, 4]);
        assert_eq!(of_layer("layer3.categories"), [9, 4]);
        assert_eq!(of_layer("layer3.bias"), [4]);
        let layer = &network.layers()[2];
        assert_eq!((layer.output.as_slice(), layer.flops), (&[14][..], 32));
        let one = ["inputs(4)", "linear(1)"].map(str::to_owned);
        for (arrays, expected) in [
            (vec![], "needs one array column, found 0"),
            (
                vec![array(0, 2), array(3, 7)],
                "needs one array column, found 2",
            ),
            (vec![array(0, 7)], "and there are none"),
        ] {
            let shape = InputShape {
                numbers: 7,
                arrays,
                ..InputShape::default()
            };
            let error = Sequential::new(&one, &[], &shape, 1).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let two = ["inputs(4)", "inputs(4)", "linear(1)"].map(str::to_owned);
        let error = Sequential::new(&two, &[], &shape, 1).unwrap_err();
        assert!(error.to_string().contains("more than one layer inputs"));
    }

    #[test]
    fn categories_and_other_dimensions_are_refused() {
        let texts = ["linear(1)".to_owned()];
        let mut shape = InputShape {
            numbers: 6,
            ..InputShape::default()
        };
        let error = Sequential::new(&texts, &[2, 4], &shape, 1).unwrap_err();
        let expected = "input_shape = [2, 4] has 8 numbers, a row has 6";
        assert_eq!(error.to_string(), expected);
        shape.categories = 1;
        let error = Sequential::new(&texts, &[], &shape, 1).unwrap_err();
        assert!(error.to_string().contains("leave out strings"), "{error}");
    }
}
