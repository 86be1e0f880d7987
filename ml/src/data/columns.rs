//! The columns of a training, and the kind of feature of each type.

use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::data::types::{canonical_type, is_number, type_name};
use crate::{Error, Result};

/// A named, typed column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// The name, matched as a SQL identifier.
    pub name: String,
    /// The type of the column in training.
    pub data_type: DataType,
}

/// The columns that a training reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    /// The features, in the order of the training query.
    pub features: Vec<Column>,
    /// The label.
    pub target: Column,
}

impl Columns {
    /// Features, then the label.
    pub fn schema(&self) -> Schema {
        let columns = self.features.iter().chain([&self.target]);
        let fields = columns.map(|column| Field::new(&column.name, column.data_type.clone(), true));
        Schema::new(fields.collect::<Vec<_>>())
    }
}

/// The kind of feature that a column is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// A number, standardised.
    Number,
    /// A string or boolean, one weight for each value.
    Category,
    /// A date: days since 1970 and day of the month as numbers, month and day of the week as categories.
    Date,
    /// A timestamp: seconds since 1970 and the parts of a date, and the hour as a category.
    Timestamp,
    /// A list of numbers of one length: each element minus its own mean, all divided by one standard deviation.
    Array,
}

impl FeatureKind {
    /// The kind of a feature of this type.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a type that cannot be a feature.
    pub fn of(name: &str, data_type: &DataType) -> Result<Self> {
        use DataType::{
            Boolean, Date32, Date64, FixedSizeList, LargeList, LargeListView, LargeUtf8, List,
            ListView, Timestamp, Utf8, Utf8View,
        };
        match canonical_type(data_type) {
            Boolean | Utf8 | LargeUtf8 | Utf8View => Ok(Self::Category),
            Date32 | Date64 => Ok(Self::Date),
            Timestamp(..) => Ok(Self::Timestamp),
            FixedSizeList(_, width) if width < 1 => Err(Error::Unsupported(format!(
                "column \"{name}\" is an array of width {width}; a feature array needs at least one element"
            ))),
            List(item)
            | LargeList(item)
            | FixedSizeList(item, _)
            | ListView(item)
            | LargeListView(item)
                if is_number(item.data_type()) =>
            {
                Ok(Self::Array)
            }
            number if is_number(&number) => Ok(Self::Number),
            other => Err(Error::Unsupported(format!(
                "column \"{name}\" is {}, which cannot be a feature; leave it out or CAST it to a number, string, \
                 date or list of numbers",
                type_name(&other)
            ))),
        }
    }
}
