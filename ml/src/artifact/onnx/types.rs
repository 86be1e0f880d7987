//! The types of inputs and outputs: that of the SQL column where ONNX has it, else one that holds the same values.

use arrow::datatypes::DataType;

use crate::data::types::canonical_type;
use crate::graph::ElementType;

/// The days of a date.
pub(super) const DAYS: &str = "days since 1970-01-01";
/// A timestamp of any unit and zone.
pub(super) const MICROSECONDS: &str = "microseconds since 1970-01-01 00:00:00 UTC";

/// A decoded image.
pub(super) const PIXELS: &str =
    "levels of the pixels of a decoded and resized image, from 0 to 255";

/// The type of the elements of a column.
pub(super) fn element_type(data_type: &DataType) -> ElementType {
    match canonical_type(data_type) {
        DataType::Boolean => ElementType::Boolean,
        DataType::Utf8 => ElementType::Text,
        DataType::Int8 => ElementType::Int8,
        DataType::Int16 => ElementType::Int16,
        DataType::Int32 => ElementType::Int32,
        DataType::UInt8 => ElementType::UInt8,
        DataType::UInt16 => ElementType::UInt16,
        DataType::UInt32 => ElementType::UInt32,
        DataType::UInt64 => ElementType::UInt64,
        DataType::Float16 => ElementType::Float16,
        DataType::Float32 => ElementType::Float32,
        DataType::Int64 | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            ElementType::Int64
        }
        // Decimals have no type of their own.
        _ => ElementType::Float64,
    }
}
