//! The inputs of a graph: the type of each, and the shape of a row. Their first dimension is the rows, fixed or not; every other
//! dimension has a fixed size, but that of a list.

use std::collections::BTreeSet;

use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::Value;
use tract_onnx::pb::{ValueInfoProto, tensor_proto};

use super::element::Element;
use crate::{Error, Result};

/// The name of the dimension of rows.
pub(super) const ROWS: &str = "N";
/// The most rows that a model may want at once.
const ROWS_MAX: usize = 1 << 16;
/// The most elements of an input in a row, as of all features of a trained model.
const ELEMENTS_MAX: usize = 1 << 21;

/// An input of the graph.
#[derive(Debug, Clone)]
pub(super) struct Input {
    pub(super) name: String,
    pub(super) element: Element,
    pub(super) row: Row,
}

/// The shape of an input, without the dimension of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    /// One value: `[rows]` or `[rows, 1]`, which is the rank.
    One { rank: usize },
    /// An array of this shape.
    Array(Vec<usize>),
    /// A list of any length; the position of its dimension among the lengths of the graph.
    List { length: usize },
}

/// How many rows the graph takes at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batch {
    Any,
    /// Exactly so many.
    Of(usize),
}

/// The inputs that were read so far.
pub(super) struct Reading<'a> {
    file: &'a str,
    pub(super) inputs: Vec<Input>,
    /// The sizes of the dimension of rows.
    batches: BTreeSet<Option<usize>>,
    pub(super) lengths: Vec<String>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(file: &'a str) -> Self {
        Self {
            file,
            inputs: vec![],
            batches: BTreeSet::new(),
            lengths: vec![],
        }
    }

    /// Reads an input, and names its dimension of rows and of a length, however the exporter called them.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for an input that no column can be.
    pub(super) fn input(&mut self, input: &mut ValueInfoProto) -> Result<()> {
        let (file, name) = (self.file, input.name.clone());
        let wrong =
            |problem: String| Error::Unsupported(format!("{file}: input \"{name}\" {problem}"));
        let value = input.r#type.as_mut().and_then(|of| of.value.as_mut());
        let Some(Value::TensorType(tensor)) = value else {
            return Err(wrong("is not a tensor".into()));
        };
        let element = Element::of_file(tensor.elem_type).ok_or_else(|| {
            let of = tensor_proto::DataType::try_from(tensor.elem_type);
            let of = of.map_or("an unknown type", |of| of.as_str_name());
            wrong(format!("is a tensor of {of}, which no column can be"))
        })?;
        let shape = tensor.shape.as_mut();
        let shape = shape.ok_or_else(|| wrong("has no shape; export the model with one".into()))?;
        let dims = shape.dim.iter().map(size).collect::<Vec<_>>();
        let Some((rows, row)) = dims.split_first() else {
            return Err(wrong(
                "is a single value; its first dimension must be the rows".into(),
            ));
        };
        if rows.is_some_and(|rows| rows == 0 || rows > ROWS_MAX) {
            return Err(wrong(format!("takes {} rows at once", rows.unwrap_or(0))));
        }
        self.batches.insert(*rows);
        if rows.is_none() {
            shape.dim[0] = named(ROWS);
        }
        let row = match row {
            [] | [Some(1)] => Row::One { rank: dims.len() },
            [None] if element == Element::Text => {
                return Err(wrong(
                    "is a list of strings of any length; export the model with a fixed length"
                        .into(),
                ));
            }
            [None] => {
                let length = self.length(&shape.dim[1]);
                shape.dim[1] = named(&length_name(length));
                Row::List { length }
            }
            _ => {
                let sizes: Option<Vec<usize>> = row.iter().copied().collect();
                let sizes = sizes.ok_or_else(|| {
                    let at = row.iter().position(Option::is_none).unwrap_or(0) + 1;
                    wrong(format!(
                        "has no fixed size in dimension {at}; export the model with one"
                    ))
                })?;
                let elements = sizes.iter().try_fold(1usize, |product, size| {
                    product
                        .checked_mul(*size)
                        .filter(|product| *product <= ELEMENTS_MAX)
                });
                match elements {
                    Some(1..) => Row::Array(sizes),
                    Some(0) => return Err(wrong("has a dimension of size 0".into())),
                    None => {
                        return Err(wrong(format!(
                            "has more than {ELEMENTS_MAX} elements in a row"
                        )));
                    }
                }
            }
        };
        self.inputs.push(Input { name, element, row });
        Ok(())
    }

    /// The position of the dimension among the lengths. Dimensions of one name, and all without a name, are one length.
    fn length(&mut self, dim: &Dimension) -> usize {
        let name = match &dim.value {
            Some(dimension::Value::DimParam(name)) => name.as_str(),
            _ => "",
        };
        let known = self.lengths.iter().position(|known| known == name);
        known.unwrap_or_else(|| {
            self.lengths.push(name.to_owned());
            self.lengths.len() - 1
        })
    }

    pub(super) fn batch(&self) -> Result<Batch> {
        let mut batches = self.batches.iter();
        match (batches.next(), batches.next()) {
            (None | Some(None), None) => Ok(Batch::Any),
            (Some(Some(rows)), None) => Ok(Batch::Of(*rows)),
            _ => Err(Error::Unsupported(format!(
                "{}: the inputs take different numbers of rows; export the model with one dimension of rows",
                self.file
            ))),
        }
    }
}

/// The size of a dimension, if it is fixed.
fn size(dim: &Dimension) -> Option<usize> {
    match &dim.value {
        Some(dimension::Value::DimValue(size)) => usize::try_from(*size).ok(),
        Some(dimension::Value::DimParam(_)) | None => None,
    }
}

/// The name of the dimension of a length of the graph.
pub(super) fn length_name(length: usize) -> String {
    format!("L{length}")
}

fn named(name: &str) -> Dimension {
    Dimension {
        value: Some(dimension::Value::DimParam(name.into())),
        ..Dimension::default()
    }
}
