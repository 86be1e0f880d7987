//! [`Sequential`]: one layer after the other.

use arrow::datatypes::DataType;
use candle_core::{DType, Tensor};

use super::classes;
use super::input_shape::{array_of, array_row, check_image, count, dimensions_of, whole_row};
use super::layer::{Input, Pass, Placed, Row, Written, draw_all, forward_all, place_all};
use super::list::layers;
use super::text::{invalid, short};
use crate::data::columns::{Column, Columns};
use crate::data::encode::tabular::{InputShape, NUMBERS};
use crate::data::image::ImageEncoder;
use crate::data::inputs::Inputs;
use crate::data::labels::Task;
use crate::data::types::is_number;
use crate::graph::{Drawing, Graph, Value};
use crate::model::network::{LayerSummary, Mode, Network, Parameter};
use crate::model::options::TrainOptions;
use crate::{Error, Result};

/// The most weights of a network.
const WEIGHTS_MAX: usize = 1 << 32;

/// A network that is a list of layers, written by the user or by a model type.
#[derive(Debug)]
pub struct Sequential {
    texts: Vec<String>,
    layers: Vec<Placed>,
    parameters: Vec<Parameter>,
    row: Row,
}

/// The layers of a model, read but without the shape of their input.
#[derive(Debug)]
pub(super) struct Layers(Vec<Written>);

impl Layers {
    pub(super) fn read(texts: &[String]) -> Result<Self> {
        let layers = layers(texts)?;
        let taking = layers
            .iter()
            .filter(|written| written.layer.takes_columns());
        if taking.count() > 1 {
            return Err(invalid(
                "there is more than one layer inputs; one takes all columns beside the array",
            ));
        }
        match layers.last() {
            Some(last) if last.layer.can_end() => Ok(Self(layers)),
            Some(last) => Err(invalid(format!(
                "the last layer is {}; end with 'linear(classes)' for a classifier, or 'linear(1)' for a regressor",
                short(&last.text)
            ))),
            None => Err(invalid("there are no layers")),
        }
    }

    /// Layers with the number of classes make a classifier.
    pub(super) fn task(&self) -> Task {
        match self.0.iter().any(|written| written.layer.has_classes()) {
            true => Task::Classification,
            false => Task::Regression,
        }
    }

    /// Whether one of them takes the columns beside the array.
    pub(super) fn takes_columns(&self) -> bool {
        self.0.iter().any(|written| written.layer.takes_columns())
    }

    /// How many ids there are, if the first layer takes ids.
    pub(super) fn ids(&self) -> Option<usize> {
        self.0.first().and_then(|written| written.layer.ids())
    }

    /// Refuses layers that fit an input of this shape with no target. An empty shape is one that is not known.
    pub(super) fn check(&self, input: &[usize]) -> Result<()> {
        self.check_outputs(input, None)
    }

    /// Like [`Layers::check`], for targets that need so many outputs, as far as that is known.
    fn check_outputs(&self, input: &[usize], outputs: Option<usize>) -> Result<()> {
        if input.is_empty() {
            return Ok(());
        }
        let row = Row::of_shape(input);
        let error = |outputs: usize| self.network(&row, outputs).err();
        match self.task() {
            Task::Classification => classes::check(error),
            Task::Regression => {
                let outputs = match outputs {
                    Some(outputs) => outputs,
                    None => self.outputs(&row)?,
                };
                error(outputs).map_or(Ok(()), Err)
            }
        }
    }

    /// The outputs of layers without classes; 1 if they are not a vector.
    fn outputs(&self, row: &Row) -> Result<usize> {
        let layers = self.place(row, 1)?;
        Ok(match layers.last().map(|last| last.output.as_slice()) {
            Some(&[outputs]) => outputs,
            Some(_) | None => 1,
        })
    }

    /// Refuses columns that the layers fit with no label, as far as the types of the columns tell. The layers have passed
    /// [`Layers::check`].
    pub(super) fn check_columns(&self, options: &TrainOptions, columns: &Columns) -> Result<()> {
        let of_input: Vec<&Column> = match self.takes_columns() {
            true => vec![array_of(columns)?],
            false => columns.features.iter().collect(),
        };
        let is_image = check_image(&of_input, options)?;
        if is_image && self.ids().is_some() {
            return Err(invalid(
                "the layer embedding takes whole numbers, and the input is an image; begin with another layer",
            ));
        }
        let input_shape = options.input_shape.as_slice();
        let known = match is_image {
            // An image has an `input_shape`.
            true => None,
            false => dimensions_of(&of_input, input_shape)?,
        };
        let input = match input_shape {
            [] => known.unwrap_or_default(),
            shape => shape.to_vec(),
        };
        match (self.task(), input_shape) {
            (Task::Regression, _) | (Task::Classification, []) => {
                self.check_outputs(&input, outputs_of(&columns.targets))
            }
            // `check` knows an `input_shape` already, and the number of classes is not known yet.
            (Task::Classification, _) => Ok(()),
        }
    }

    /// The network for these rows and targets of so many outputs.
    fn network_of_targets(&self, row: &Row, outputs: usize) -> Result<Sequential> {
        let network = self.network(row, outputs);
        network.map_err(|error| match self.task() {
            Task::Classification => {
                classes::explained(error, outputs, |outputs| self.network(row, outputs).err())
            }
            Task::Regression => error,
        })
    }

    /// The layers for these rows in a model of so many outputs.
    fn place(&self, row: &Row, outputs: usize) -> Result<Vec<Placed>> {
        let input = row.dimensions.as_slice();
        count(input)?;
        let first = Input {
            name: "",
            shape: input,
            outputs,
            row,
            next: None,
            squares_next: false,
        };
        place_all(&self.0, &first)
    }

    /// The network for these rows and a model of so many outputs.
    fn network(&self, row: &Row, outputs: usize) -> Result<Sequential> {
        let layers = self.place(row, outputs)?;
        let input = row.dimensions.as_slice();
        let output = layers.last().map_or(input, |last| last.output.as_slice());
        if output != [outputs] {
            let (kind, remedy) = match (self.task(), outputs) {
                (Task::Classification, _) => {
                    ("classifier", "end with 'linear(classes)'".to_owned())
                }
                (Task::Regression, 1) => (
                    "regressor",
                    "end with 'linear(1)', or with 'linear(classes)' for a classifier".to_owned(),
                ),
                (Task::Regression, _) => (
                    "model of these targets",
                    format!("end with 'linear({outputs})'"),
                ),
            };
            return Err(invalid(format!(
                "the layers have an output of {output:?}, a {kind} needs [{outputs}]; {remedy}"
            )));
        }
        let of_layers = layers.iter().flat_map(|layer| &layer.parameters);
        let parameters: Vec<Parameter> = of_layers.cloned().collect();
        check_weights(&parameters)?;
        Ok(Sequential {
            texts: self.0.iter().map(|written| written.text.clone()).collect(),
            layers,
            parameters,
            row: row.clone(),
        })
    }
}

/// The outputs that these targets need, if their types tell.
pub(super) fn outputs_of(targets: &[Column]) -> Option<usize> {
    let outputs = targets.iter().map(|target| match &target.data_type {
        DataType::FixedSizeList(item, length) if is_number(item.data_type()) => {
            usize::try_from(*length).ok()
        }
        other => is_number(other).then_some(1),
    });
    outputs.sum()
}

fn check_weights(parameters: &[Parameter]) -> Result<()> {
    let mut total = 0usize;
    for parameter in parameters {
        let mut sizes = parameter.shape.iter();
        let length = sizes.try_fold(1usize, |product, &size| product.checked_mul(size));
        let sum = length.and_then(|length| total.checked_add(length));
        total = sum
            .filter(|sum| *sum <= WEIGHTS_MAX)
            .ok_or_else(|| invalid(format!("the layers have more than {WEIGHTS_MAX} weights")))?;
    }
    Ok(())
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
        layers.network_of_targets(&row, outputs)
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
    use std::sync::Arc;

    use arrow::datatypes::Field;

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
    fn a_layer_that_does_not_fit_is_named_with_both_shapes() {
        for (texts, expected) in [
            (
                vec!["flatten", "max_pool2d(2)", "linear(1)"],
                "layer 2 (max_pool2d(2)): needs an input of [channels, height, width], found [64]",
            ),
            (
                vec!["linear(1)"],
                "layer 1 (linear(1)): needs an input of [numbers]; write 'flatten' before it, found [1, 8, 8]",
            ),
            (
                vec!["conv2d(4, 9)"],
                "layer 1 (conv2d(4, 9)): a kernel of 9 is larger than its input of [1, 8, 8]",
            ),
            (
                vec!["conv2d(4, 3, groups=2)"],
                "groups=2 does not divide the channels of its input [1, 8, 8] and its own 4",
            ),
            (
                vec!["reshape(3, 3)"],
                "layer 1 (reshape(3, 3)): an output of [3, 3] has not as many numbers as its input of [1, 8, 8]",
            ),
            (
                vec!["conv2d(6, 3)", "group_norm(4)", "flatten", "linear(1)"],
                "layer 2 (group_norm(4)): 4 groups do not divide the channels of its input [6, 6, 6]",
            ),
            (
                vec!["flatten", "linear(1)", "layer_norm", "linear(1)"],
                "layer 3 (layer_norm): normalises 1 number, which leaves only its bias; leave it out",
            ),
            (
                vec!["flatten", "group_norm(64)", "linear(1)"],
                "layer 2 (group_norm(64)): normalises 1 number, which leaves only its bias; use fewer groups",
            ),
            (
                vec![
                    "flatten",
                    "linear(classes)",
                    "layer_norm",
                    "linear(classes)",
                ],
                "which leaves only its bias; leave it out; the label has two classes, so classes is 1",
            ),
            (
                vec!["flatten", "linear(classes)", "group_norm(1)"],
                "the last layer is group_norm(1); end with 'linear(classes)'",
            ),
            (
                vec!["residual(conv2d(2, 3), relu)"],
                "its layers make [2, 6, 6] of its input of [1, 8, 8]; both must be the same",
            ),
            (
                vec!["residual(conv1d(2, 3))"],
                "layer 1 (residual(conv1d(2, 3))): layer 1 (conv1d(2, 3)): needs an input of [channels, length], found",
            ),
            (
                vec!["flatten", "linear(5)"],
                "the layers have an output of [5], a regressor needs [1]; end with 'linear(1)', or with \
                 'linear(classes)' for a classifier",
            ),
            (
                vec!["flatten", "linear(classes)", "linear(4)"],
                "the layers have an output of [4], a classifier needs [1]; end with 'linear(classes)'; the label has two \
                 classes, so classes is 1",
            ),
            (
                vec!["flatten", "linear(classes)", "relu"],
                "the last layer is relu; end with 'linear(classes)'",
            ),
            (
                vec![
                    "flatten",
                    "linear(65536)",
                    "reshape(1, 256, 256)",
                    "conv2d(65536, 1, padding=512)",
                ],
                "is too large",
            ),
            (
                vec!["flatten", "linear(65536)", "linear(65536)", "linear(1)"],
                "the layers have more than 4294967296 weights",
            ),
        ] {
            let error = network(&texts, &[1, 8, 8], 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{texts:?}: {error}");
        }
        let error = network(&["linear(1)"], &[1 << 14, 1 << 15], 1).unwrap_err();
        assert!(error.to_string().contains("is too large"), "{error}");
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
    fn layers_without_classes_end_with_the_outputs_of_the_targets() {
        let texts = ["linear(8)", "relu", "linear(3)"];
        assert_eq!(network(&texts, &[4], 3).unwrap().layers()[2].output, [3]);
        let error = network(&texts, &[4], 7).unwrap_err().to_string();
        let expected = "the layers have an output of [3], a model of these targets needs [7]; end with 'linear(7)'";
        assert_eq!(error, expected);
        let layers = Layers::read(&texts.map(str::to_owned)).unwrap();
        layers.check(&[4]).unwrap();
        let column = |data_type| Column {
            name: "c".into(),
            data_type,
        };
        let item = || Arc::new(Field::new_list_field(DataType::Float32, true));
        let check = |targets: Vec<DataType>| {
            let columns = Columns {
                features: vec![column(DataType::Int8); 4],
                targets: targets.into_iter().map(column).collect(),
            };
            let checked = layers.check_columns(&TrainOptions::default(), &columns);
            checked.map_err(|error| error.to_string())
        };
        for fitting in [
            vec![DataType::Float64; 3],
            vec![DataType::FixedSizeList(item(), 3)],
            vec![DataType::Int8, DataType::FixedSizeList(item(), 2)],
            // Their outputs are known with the rows.
            vec![DataType::List(item())],
            vec![DataType::Float64, DataType::Utf8],
        ] {
            assert_eq!(check(fitting), Ok(()));
        }
        let expected = "the layers have an output of [3], a regressor needs [1]; end with 'linear(1)', or with \
                        'linear(classes)' for a classifier";
        assert_eq!(check(vec![DataType::Float64]), Err(expected.to_owned()));
        let error = check(vec![DataType::FixedSizeList(item(), 9)]).unwrap_err();
        assert!(error.ends_with("end with 'linear(9)'"), "{error}");
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
            image: None,
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
