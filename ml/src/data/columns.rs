//! The columns of a training, and the kind of feature of each type.

use arrow::datatypes::{DataType, Field, Schema};
use serde::{Deserialize, Serialize};

use crate::data::types::{canonical_type, is_image, is_number, item_type, type_name};
use crate::{Error, Result};

/// The most numbers of all features of a row: an image of 3 x 836 x 836. The description of a model has the mean and the deviation of
/// each as text, about 100 bytes, and is read whole.
pub(crate) const NUMBERS_MAX: usize = 1 << 21;

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
    /// The targets, whose values are labels, in the order of the statement: one or more.
    #[serde(rename = "target", with = "crate::data::one_or_more")]
    pub targets: Vec<Column>,
}

impl Columns {
    /// Features, then the targets.
    pub fn schema(&self) -> Schema {
        let columns = self.features.iter().chain(&self.targets);
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
    /// Files of images in bytes, or decoded images: pixels of one shape, standardised by channel.
    Image,
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
                "column \"{name}\" is an array of width {width}; an array needs at least one element"
            ))),
            FixedSizeList(_, width) if width as usize > NUMBERS_MAX => {
                Err(too_many_numbers(name, width as usize))
            }
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
            image if is_image(&image) => Ok(Self::Image),
            other => Err(no_feature(name, &other)),
        }
    }
}

/// The error for a type that cannot be a feature.
fn no_feature(name: &str, data_type: &DataType) -> Error {
    let remedy = match flattened(name, data_type) {
        Some(flattened) => format!("a feature array has one dimension; use {flattened}"),
        None => "leave it out or CAST it to a number, string, date or list of numbers".into(),
    };
    Error::Unsupported(format!(
        "column \"{name}\" is {}, which cannot be a feature; {remedy}",
        type_name(data_type)
    ))
}

/// The SQL that makes one list of nested lists of numbers.
fn flattened(name: &str, data_type: &DataType) -> Option<String> {
    let mut sql = name.to_owned();
    let mut item = item_type(data_type)?;
    while let Some(inner) = item_type(&item) {
        sql = format!("flatten({sql})");
        item = inner;
    }
    is_number(&item).then_some(sql)
}

/// The error for an array with more numbers than a row may have.
pub(crate) fn too_many_numbers(name: &str, count: usize) -> Error {
    Error::Invalid(format!(
        "column \"{name}\" is an array of {count} numbers; the features of a row have at most {NUMBERS_MAX} together, so \
         make the array shorter"
    ))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn error(data_type: DataType) -> String {
        FeatureKind::of("x", &data_type).unwrap_err().to_string()
    }

    fn item(data_type: DataType) -> Arc<Field> {
        Arc::new(Field::new_list_field(data_type, true))
    }

    #[test]
    fn nested_lists_of_numbers_are_flattened() {
        let rows = DataType::List(item(DataType::UInt8));
        let image = DataType::FixedSizeList(item(rows.clone()), 28);
        let expected = "column \"x\" is list(list(uint8), 28), which cannot be a feature; a feature array has one dimension; \
                        use flatten(x)";
        assert_eq!(error(image.clone()), expected);
        let channels = DataType::LargeList(item(image));
        assert!(error(channels).ends_with("use flatten(flatten(x))"));
        let texts = DataType::List(item(DataType::List(item(DataType::Utf8))));
        assert!(error(texts).contains("leave it out or CAST it"));
        assert_eq!(FeatureKind::of("x", &rows).unwrap(), FeatureKind::Array);
    }

    #[test]
    fn columns_of_one_target_are_stored_as_before_there_could_be_several() {
        let column = |name: &str| Column {
            name: name.into(),
            data_type: DataType::Int64,
        };
        let mut columns = Columns {
            features: vec![column("x")],
            targets: vec![column("y")],
        };
        let of_x = r#"{"name":"x","data_type":"Int64"}"#;
        let of_y = r#"{"name":"y","data_type":"Int64"}"#;
        let text = serde_json::to_string(&columns).unwrap();
        assert_eq!(text, format!(r#"{{"features":[{of_x}],"target":{of_y}}}"#));
        assert_eq!(serde_json::from_str::<Columns>(&text).unwrap(), columns);
        columns.targets.push(column("z"));
        let text = serde_json::to_string(&columns).unwrap();
        assert_eq!(serde_json::from_str::<Columns>(&text).unwrap(), columns);
        assert_eq!(columns.schema().fields().len(), 3);
    }

    #[test]
    fn an_array_has_no_more_numbers_than_a_row() {
        let array = |width| DataType::FixedSizeList(item(DataType::Float32), width);
        assert!(FeatureKind::of("x", &array(3 * 224 * 224)).is_ok());
        assert!(error(array(1 << 22)).contains("is an array of 4194304 numbers"));
        assert!(error(array(0)).contains("width 0"));
    }
}
