//! [`Layers`]: the layers of a model as they are written, checked against its columns, and placed for the rows of a network.

use arrow::datatypes::DataType;

use super::classes;
use super::input_shape::{array_of, check_image, count, dimensions_of};
use super::layer::{Input, Placed, Row, Written, place_all};
use super::list::layers;
use super::text::{invalid, short};
use crate::Result;
use crate::data::columns::{Column, Columns};
use crate::data::labels::Task;
use crate::data::types::is_number;
use crate::model::options::TrainOptions;

/// The most weights of a network.
const WEIGHTS_MAX: usize = 1 << 32;

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
        self.check_targets(input, None)
    }

    /// Like [`Layers::check`], for these targets, if they are known.
    fn check_targets(&self, input: &[usize], targets: Option<&[Column]>) -> Result<()> {
        if input.is_empty() {
            return Ok(());
        }
        let row = Row::of_shape(input);
        let error = |outputs: usize| self.of_network(&row, outputs).err();
        match self.task() {
            Task::Classification => classes::check(targets.map(<[Column]>::len), error),
            Task::Regression => {
                let outputs = match targets.and_then(outputs_of) {
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
                self.check_targets(&input, Some(&columns.targets))
            }
            // `check` knows an `input_shape` already, and the number of classes is not known yet.
            (Task::Classification, _) => Ok(()),
        }
    }

    /// The texts of the layers.
    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|written| written.text.as_str())
    }

    /// The layers of a network for these rows, and targets of so many outputs.
    pub(super) fn of_targets(&self, row: &Row, outputs: usize) -> Result<Vec<Placed>> {
        let placed = self.of_network(row, outputs);
        placed.map_err(|error| match self.task() {
            Task::Classification => classes::explained(error, outputs, |outputs| {
                self.of_network(row, outputs).err()
            }),
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

    /// The same, which are a network of so many outputs.
    fn of_network(&self, row: &Row, outputs: usize) -> Result<Vec<Placed>> {
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
        check_weights(&layers)?;
        Ok(layers)
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

fn check_weights(layers: &[Placed]) -> Result<()> {
    let mut total = 0usize;
    for parameter in layers.iter().flat_map(|layer| &layer.parameters) {
        let mut sizes = parameter.shape.iter();
        let length = sizes.try_fold(1usize, |product, &size| product.checked_mul(size));
        let sum = length.and_then(|length| total.checked_add(length));
        total = sum
            .filter(|sum| *sum <= WEIGHTS_MAX)
            .ok_or_else(|| invalid(format!("the layers have more than {WEIGHTS_MAX} weights")))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;

    fn placed(texts: &[&str], input: &[usize], outputs: usize) -> Result<Vec<Placed>> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Layers::read(&texts)?.of_targets(&Row::of_shape(input), outputs)
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
            let error = placed(&texts, &[1, 8, 8], 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{texts:?}: {error}");
        }
        let error = placed(&["linear(1)"], &[1 << 14, 1 << 15], 1).unwrap_err();
        assert!(error.to_string().contains("is too large"), "{error}");
    }

    #[test]
    fn layers_without_classes_end_with_the_outputs_of_the_targets() {
        let texts = ["linear(8)", "relu", "linear(3)"];
        assert_eq!(placed(&texts, &[4], 3).unwrap()[2].output, [3]);
        let error = placed(&texts, &[4], 7).unwrap_err().to_string();
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
}
