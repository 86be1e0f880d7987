//! The inputs and outputs of a model: ports, each with a name, a SQL type and a kind.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::data::columns::{Column, FeatureKind};
use crate::data::labels::{ClassValue, LabelForm};

/// The inputs and outputs of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// The input columns, in the order of [`crate::model::Model::encode`].
    pub inputs: Vec<Port>,
    /// The columns that the model can return.
    pub outputs: Vec<Port>,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// The name of the column, matched as a SQL identifier.
    pub name: String,
    /// The type of the column.
    pub data_type: DataType,
    /// The kind of the port.
    pub kind: PortKind,
}

/// The kind of a port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PortKind {
    /// A number.
    Number,
    /// One of many values.
    Category,
    /// A date.
    Date,
    /// A point in time.
    Timestamp,
    /// Numbers in this shape, row-major; an empty shape takes any length.
    Array {
        /// The dimensions, without the dimension of rows.
        shape: Vec<usize>,
    },
    /// Text in a language.
    Text,
    /// A picture: the bytes of its file, or its pixels in a struct of height, width, channels and pixels.
    Image,
    /// The prediction of a column: one or a set of `classes`, or numbers if `classes` is empty.
    Label {
        /// The predicted column, with its type in training.
        target: Column,
        /// The classes, ascending.
        classes: Vec<ClassValue>,
        /// How many of them a row has.
        #[serde(default, skip_serializing_if = "Values::is_one")]
        values: Values,
    },
    /// The probability of each class of a label.
    Probabilities {
        /// The name of the predicted column.
        target: String,
    },
    /// The parts of a text that a model names, in a list of structs.
    Entities,
    /// The tokens that fit into a gap of a text, in a list of structs, the most probable first.
    Tokens,
    /// An embedding.
    Vector {
        /// The length of the vector.
        width: usize,
    },
    /// A text that the model writes.
    Generated,
}

/// How many values a label has in a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Values {
    /// One.
    #[default]
    One,
    /// A list of so many numbers.
    Vector(usize),
    /// A set of classes.
    Set,
}

impl Values {
    fn is_one(&self) -> bool {
        *self == Self::One
    }
}

impl PortKind {
    /// The kind of the input port of a feature with `width` numbers per row.
    pub fn of_feature(kind: FeatureKind, width: usize) -> Self {
        match kind {
            FeatureKind::Number => Self::Number,
            FeatureKind::Category => Self::Category,
            FeatureKind::Date => Self::Date,
            FeatureKind::Timestamp => Self::Timestamp,
            FeatureKind::Array if width == 0 => Self::Array { shape: vec![] },
            FeatureKind::Array => Self::Array { shape: vec![width] },
            FeatureKind::Image => Self::Image,
        }
    }
}

/// The output of a model that predicts a column.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// The position of the port among the outputs.
    pub output: usize,
    /// The predicted column.
    pub target: &'a Column,
    /// The classes, ascending; empty for numbers.
    pub classes: &'a [ClassValue],
    /// How many values it has in a row.
    pub values: Values,
}

impl Label<'_> {
    /// The form of the label.
    pub fn form(&self) -> LabelForm {
        match (self.values, self.classes.len()) {
            (Values::One, 0) => LabelForm::Number,
            (Values::One, classes) => LabelForm::Class(classes),
            (Values::Vector(length), _) => LabelForm::Vector(length),
            (Values::Set, labels) => LabelForm::Set(labels),
        }
    }
}

impl Signature {
    /// The output that is a text which the model writes, as its position among the outputs.
    pub fn generated(&self) -> Option<usize> {
        let mut outputs = self.outputs.iter();
        outputs.position(|port| port.kind == PortKind::Generated)
    }

    /// The labels that the model predicts.
    pub fn labels(&self) -> impl Iterator<Item = Label<'_>> {
        let ports = self.outputs.iter().enumerate();
        ports.filter_map(|(output, port)| match &port.kind {
            PortKind::Label {
                target,
                classes,
                values,
            } => Some(Label {
                output,
                target,
                classes,
                values: *values,
            }),
            _ => None,
        })
    }
}
