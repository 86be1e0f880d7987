//! What a model takes and gives: ports, each with a name, a SQL type, and what kind of thing it is.

use arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::data::columns::{Column, FeatureKind};
use crate::data::labels::ClassValue;

/// The inputs and outputs of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// The columns it takes, in the order in which [`crate::model::Model::encode`] takes them.
    pub inputs: Vec<Port>,
    /// The columns it can give.
    pub outputs: Vec<Port>,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Port {
    /// The name of the column, matched as a SQL identifier.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
    /// What it is.
    pub kind: PortKind,
}

/// What a port is.
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
    /// Numbers in this shape, row-major; empty if any length is taken.
    Array {
        /// The dimensions, without that of rows.
        shape: Vec<usize>,
    },
    /// Text in a language.
    Text,
    /// A picture, as the bytes of its file.
    Image,
    /// What the model says of a column: one of `classes`, or a number if there are none.
    Label {
        /// The column, with the type of training.
        target: Column,
        /// The classes, ascending.
        classes: Vec<ClassValue>,
    },
    /// For each class of a label how probable it is.
    Probabilities {
        /// The name of the column that the label is of.
        target: String,
    },
    /// An embedding.
    Vector {
        /// Its length.
        width: usize,
    },
}

impl PortKind {
    /// The kind of the port that takes such a feature, which gives so many numbers a row.
    pub fn of_feature(kind: FeatureKind, width: usize) -> Self {
        match kind {
            FeatureKind::Number => Self::Number,
            FeatureKind::Category => Self::Category,
            FeatureKind::Date => Self::Date,
            FeatureKind::Timestamp => Self::Timestamp,
            FeatureKind::Array if width == 0 => Self::Array { shape: vec![] },
            FeatureKind::Array => Self::Array { shape: vec![width] },
        }
    }
}

/// What a model says of a column.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// The position of its port among the outputs.
    pub output: usize,
    /// The column that it is of.
    pub target: &'a Column,
    /// The classes, ascending; none if it is a number.
    pub classes: &'a [ClassValue],
}

impl Signature {
    /// What the model says of columns.
    pub fn labels(&self) -> impl Iterator<Item = Label<'_>> {
        let ports = self.outputs.iter().enumerate();
        ports.filter_map(|(output, port)| match &port.kind {
            PortKind::Label { target, classes } => Some(Label {
                output,
                target,
                classes,
            }),
            _ => None,
        })
    }

    /// What the model says, if that is of one column.
    pub fn label(&self) -> Option<Label<'_>> {
        let mut labels = self.labels();
        labels.next().filter(|_| labels.next().is_none())
    }

    /// The classes of [`Signature::label`].
    pub fn classes(&self) -> &[ClassValue] {
        self.label().map_or(&[], |label| label.classes)
    }
}
