//! SQL types of features: their names, and which types hold the same values.

use std::sync::Arc;

use arrow::datatypes::DataType;

/// The whole numbers of a struct that is an image.
pub(crate) const IMAGE_SIZES: [&str; 3] = ["height", "width", "channels"];
/// The list of its levels.
pub(crate) const IMAGE_PIXELS: &str = "pixels";

/// Integers, floats and decimals.
pub fn is_number(data_type: &DataType) -> bool {
    data_type.is_integer() || data_type.is_floating() || data_type.is_decimal()
}

/// Files of images in bytes, or images as structs of the fields height, width, channels and pixels.
pub fn is_image(data_type: &DataType) -> bool {
    canonical_type(data_type) == DataType::Binary || is_image_struct(data_type)
}

/// Structs that hold decoded images; the numbers may have any type of integers.
fn is_image_struct(data_type: &DataType) -> bool {
    let DataType::Struct(fields) = data_type else {
        return false;
    };
    let has = |name: &str, is: fn(&DataType) -> bool| {
        let mut fields = fields.iter();
        fields.any(|field| field.name() == name && is(field.data_type()))
    };
    let is_list = |data_type: &DataType| item_type(data_type).is_some_and(|item| item.is_integer());
    IMAGE_SIZES
        .iter()
        .all(|size| has(size, DataType::is_integer))
        && has(IMAGE_PIXELS, is_list)
}

/// The type without its encoding: every string type becomes utf8, every type of bytes of varying length binary, a dictionary
/// its value type, a list view a list.
pub fn canonical_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        DataType::ListView(item) => DataType::List(Arc::clone(item)),
        DataType::LargeListView(item) => DataType::LargeList(Arc::clone(item)),
        DataType::Dictionary(_, value) => canonical_type(value),
        DataType::RunEndEncoded(_, values) => canonical_type(values.data_type()),
        other => other.clone(),
    }
}

/// A type as errors and DESCRIBE show it: lower case, arrays as `list(float64)`, decoded images as `image`.
pub fn type_name(data_type: &DataType) -> String {
    match canonical_type(data_type) {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            format!("list({})", type_name(item.data_type()))
        }
        DataType::FixedSizeList(item, width) => {
            format!("list({}, {width})", type_name(item.data_type()))
        }
        image if is_image_struct(&image) => "image".to_owned(),
        other => other.to_string().to_lowercase(),
    }
}

/// How a column is accepted whose type differs from the type in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coercion {
    /// Every value of the column's type is a value of the type in training.
    ByType,
    /// Row by row: a value that does not fit the type in training is a failure of its row.
    ByValue,
}

/// How a feature of type `to` accepts a column of type `from`; `None` if it does not.
pub fn coercion(from: &DataType, to: &DataType) -> Option<Coercion> {
    let (from, to) = (canonical_type(from), canonical_type(to));
    if is_lossless(&from, &to) || (is_image(&from) && is_image(&to)) {
        return Some(Coercion::ByType);
    }
    if let (Some(from_item), Some(to_item)) = (item_type(&from), item_type(&to)) {
        return coercion(&from_item, &to_item).filter(|_| widths_agree(&from, &to));
    }
    match (&from, &to) {
        // An instant is the same in every unit and zone, and its parts are computed in UTC.
        (DataType::Timestamp(..), DataType::Timestamp(..))
        | (DataType::Date64, DataType::Date32) => Some(Coercion::ByType),
        (from, to) if is_number(from) && is_number(to) => Some(Coercion::ByValue),
        _ => None,
    }
}

/// Whether every value of `from` is a value of `to`, so that a coercion needs no check of values.
pub fn is_lossless(from: &DataType, to: &DataType) -> bool {
    let (from, to) = (canonical_type(from), canonical_type(to));
    if from == to || from == DataType::Null {
        return true;
    }
    if let (Some(from_item), Some(to_item)) = (item_type(&from), item_type(&to)) {
        return is_lossless(&from_item, &to_item) && widths_agree(&from, &to);
    }
    match (integer_range(&from), integer_range(&to)) {
        (Some((from_min, from_max)), Some((to_min, to_max))) => {
            return to_min <= from_min && from_max <= to_max;
        }
        (Some((from_min, from_max)), None) => {
            return mantissa_bits(&to).is_some_and(|bits| {
                let exact = 1i128 << bits;
                -exact <= from_min && from_max <= exact
            });
        }
        _ => {}
    }
    match (&from, &to) {
        (DataType::Timestamp(from_unit, from_zone), DataType::Timestamp(to_unit, to_zone)) => {
            from_unit <= to_unit && from_zone == to_zone
        }
        (DataType::Date32, DataType::Date64) => true,
        _ => match (decimal_digits(&from), decimal_digits(&to)) {
            (Some((from_whole, from_scale)), Some((to_whole, to_scale))) => {
                from_whole <= to_whole && from_scale <= to_scale
            }
            _ => {
                matches!((mantissa_bits(&from), mantissa_bits(&to)), (Some(from), Some(to)) if from <= to)
            }
        },
    }
}

/// The element type of a list of any flavour.
pub fn item_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _) => Some(item.data_type().clone()),
        _ => None,
    }
}

fn widths_agree(from: &DataType, to: &DataType) -> bool {
    match (from, to) {
        (DataType::FixedSizeList(_, from), DataType::FixedSizeList(_, to)) => from == to,
        // A list of varying length is checked row by row.
        _ => true,
    }
}

fn integer_range(data_type: &DataType) -> Option<(i128, i128)> {
    Some(match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    })
}

/// Integers of up to this many bits are exact in the type.
fn mantissa_bits(data_type: &DataType) -> Option<u32> {
    match data_type {
        DataType::Float16 => Some(11),
        DataType::Float32 => Some(24),
        DataType::Float64 => Some(53),
        _ => None,
    }
}

fn decimal_digits(data_type: &DataType) -> Option<(i32, i32)> {
    match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale) => {
            Some((i32::from(*precision) - i32::from(*scale), (*scale).into()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use DataType::*;
    use arrow::datatypes::{Field, TimeUnit};

    use super::*;

    #[test]
    fn numbers_are_taken_by_value_and_instants_in_every_unit_and_zone() {
        let list = |item: DataType| List(Arc::new(Field::new_list_field(item, true)));
        let utc = Some("+00:00".into());
        let image = |sizes: DataType| {
            let fields = IMAGE_SIZES.map(|name| Field::new(name, sizes.clone(), false));
            let pixels = Field::new(IMAGE_PIXELS, list(UInt8), false);
            Struct(fields.into_iter().chain([pixels]).collect())
        };
        for (from, to, expected) in [
            (Int32, Int64, Some(Coercion::ByType)),
            (Float64, Int64, Some(Coercion::ByValue)),
            (Decimal128(10, 2), Int64, Some(Coercion::ByValue)),
            (Int64, Float64, Some(Coercion::ByValue)),
            (list(Float64), list(Float32), Some(Coercion::ByValue)),
            (
                Timestamp(TimeUnit::Nanosecond, utc),
                Timestamp(TimeUnit::Second, None),
                Some(Coercion::ByType),
            ),
            (Utf8, Int64, None),
            (Int64, Utf8, None),
            (Boolean, Int64, None),
            (Int64, list(Int64), None),
            (BinaryView, Binary, Some(Coercion::ByType)),
            (image(Int32), LargeBinary, Some(Coercion::ByType)),
            (Binary, image(Int32), Some(Coercion::ByType)),
            (Binary, image(Utf8), None),
            (Utf8, Binary, None),
            (FixedSizeBinary(4), Binary, None),
            (Date32, Timestamp(TimeUnit::Second, None), None),
        ] {
            assert_eq!(coercion(&from, &to), expected, "{from} to {to}");
        }
    }

    #[test]
    fn only_lossless_coercions_are_taken() {
        let dictionary = Dictionary(Box::new(Int32), Box::new(Utf8View));
        for (from, to) in [
            (Int8, Int64),
            (UInt32, Int64),
            (Int32, Float64),
            (Float32, Float64),
            (Utf8View, Utf8),
            (dictionary, LargeUtf8),
            (Decimal128(5, 2), Decimal128(10, 2)),
        ] {
            assert!(is_lossless(&from, &to), "{from} to {to}");
        }
        for (from, to) in [
            (Int64, Int32),
            (Int64, Float64),
            (Float64, Float32),
            (Int32, Float32),
            (Utf8, Int64),
            (Boolean, Int64),
            (UInt64, Int64),
            (Decimal128(10, 2), Decimal128(5, 2)),
        ] {
            assert!(!is_lossless(&from, &to), "{from} to {to}");
        }
    }
}
