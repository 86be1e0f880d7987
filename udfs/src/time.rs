//! Functions for timestamps that nanoseconds since 1970 cannot hold: timestamps before 1677 and after 2262.
//!
//! * `exact_time` returns nanoseconds as a decimal with enough digits for every unit. The engine compares by it where
//!   the two sides have different units, or one side is a text.
//! * `date_trunc` is DataFusion's, which computes in nanoseconds; far timestamps move by 400-year cycles of the calendar.
//! * `date_bin`, `range` and `generate_series` are DataFusion's as well; where they would return NULL for a timestamp
//!   that nanoseconds cannot hold, they fail.

use std::sync::Arc;

use arrow::array::timezone::Tz;
use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::compute::cast;
use arrow::compute::kernels::cast_utils::string_to_datetime;
use arrow::datatypes::{DataType, FieldRef, Int64Type, TimeUnit};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::call::Values;

/// The type of exact times: nanoseconds since 1970.
pub const EXACT: DataType = DataType::Decimal128(38, 0);

/// The nanoseconds in one unit.
pub fn nanoseconds(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// The function `exact_time`, of a timestamp or of a text; the time zone of a text may follow as a second argument.
pub fn exact_time() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(ExactTime {
        signature: Signature::variadic_any(Volatility::Immutable),
    }))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactTime {
    signature: Signature,
}

impl ScalarUDFImpl for ExactTime {
    fn name(&self) -> &str {
        "exact_time"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let is_exact = match types {
            [time] => matches!(values(time), DataType::Timestamp(..)) || values(time).is_string(),
            [text, zone] => values(text).is_string() && zone.is_string(),
            _ => false,
        };
        match is_exact {
            true => Ok(EXACT),
            false => exec_err!("exact_time takes a timestamp or a text, found {types:?}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let (argument, zone) = match args.args.as_slice() {
            [argument] => (argument, None),
            [argument, ColumnarValue::Scalar(zone)] => (argument, zone.try_as_str().flatten()),
            _ => return exec_err!("exact_time takes a value and an optional zone"),
        };
        match argument {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(exact(array, zone)?)),
            ColumnarValue::Scalar(scalar) => {
                let exact = exact(&scalar.to_array()?, zone)?;
                ScalarValue::try_from_array(&exact, 0).map(ColumnarValue::Scalar)
            }
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        Ok(match input {
            // Texts do not sort by time.
            [time] if matches!(time.range.data_type(), DataType::Timestamp(..)) => {
                time.sort_properties
            }
            _ => SortProperties::Unordered,
        })
    }
}

/// The type of the values of a dictionary; any other type unchanged.
fn values(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values.as_ref(),
        other => other,
    }
}

fn exact(array: &ArrayRef, zone: Option<&str>) -> Result<ArrayRef> {
    let array = cast(array, values(array.data_type()))?;
    let exact: Decimal128Array = match array.data_type() {
        DataType::Timestamp(unit, _) => {
            let factor = i128::from(nanoseconds(*unit));
            let values = cast(&array, &DataType::Int64)?;
            let values = values.as_primitive::<Int64Type>();
            values.unary(|value| i128::from(value) * factor)
        }
        _ => exact_texts(&array, zone)?,
    };
    Ok(Arc::new(exact.with_data_type(EXACT)))
}

fn exact_texts(array: &ArrayRef, zone: Option<&str>) -> Result<Decimal128Array> {
    let zone: Tz = zone.unwrap_or("+00:00").parse()?;
    let moment = |text: &str| -> Result<i128> {
        let time = string_to_datetime(&zone, text)?;
        let seconds = i128::from(time.timestamp()) * i128::from(nanoseconds(TimeUnit::Second));
        Ok(seconds + i128::from(time.timestamp_subsec_nanos()))
    };
    let texts = cast(array, &DataType::Utf8View)?;
    let texts = texts.as_string_view().iter();
    texts.map(|text| text.map(moment).transpose()).collect()
}

/// The calendar, with the days of the week, repeats after this many seconds (400 years).
const CYCLE_SECONDS: i64 = 146_097 * 86_400;
/// Nanoseconds hold timestamps this far from 1970, which is more than half a cycle.
const SECONDS_MAX: i64 = 8_000_000_000;

/// Whether a zone is a fixed offset from UTC.
fn is_fixed(zone: &str) -> bool {
    zone == "UTC" || zone.starts_with(['+', '-'])
}

/// `function` extended to all timestamps, if it is one that computes in nanoseconds.
pub fn wide(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let far = match function.name() {
        "date_trunc" => OutOfRange::Moved,
        "date_bin" | "range" | "generate_series" => OutOfRange::Refused,
        _ => return None,
    };
    (!function.inner().is::<Wide>()).then(|| {
        Arc::new(ScalarUDF::from(Wide {
            inner: Arc::clone(function),
            far,
        }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Wide {
    inner: Arc<ScalarUDF>,
    far: OutOfRange,
}

/// The treatment of a timestamp that nanoseconds cannot hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum OutOfRange {
    /// The timestamp is moved by whole cycles of the calendar.
    Moved,
    /// The call fails.
    Refused,
}

impl ScalarUDFImpl for Wide {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if self.far == OutOfRange::Refused {
            return self.refuse(args);
        }
        let Some(value) = args.args.get(1) else {
            return self.inner.invoke_with_args(args);
        };
        let per_second = match value.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => None,
            // A named zone has other offsets in another cycle; DataFusion's function fails there.
            DataType::Timestamp(_, Some(zone)) if !is_fixed(&zone) => None,
            DataType::Timestamp(unit, _) => Some(nanoseconds(TimeUnit::Second) / nanoseconds(unit)),
            _ => None,
        };
        match per_second {
            Some(per_second) => self.truncate(args, per_second),
            None => self.inner.invoke_with_args(args),
        }
    }
}

impl Wide {
    /// Fails where the function returns NULL although no argument is NULL.
    fn refuse(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let given = args.args.clone();
        let result = self.inner.invoke_with_args(args)?;
        let is_lost = match &result {
            ColumnarValue::Scalar(scalar) => {
                let mut given = given.iter();
                let is_known = given
                    .all(|value| matches!(value, ColumnarValue::Scalar(one) if !one.is_null()));
                scalar.is_null() && is_known
            }
            ColumnarValue::Array(array) => (0..array.len())
                .filter(|&row| array.is_null(row))
                .any(|row| given.iter().all(|value| is_valid(value, row))),
        };
        if is_lost {
            return exec_err!(
                "{} computes in nanoseconds, and one of its arguments is out of range: before 1677 or after 2262",
                self.name()
            );
        }
        Ok(result)
    }

    /// Moves each timestamp by whole cycles into the range of nanoseconds, truncates it, and moves it back.
    fn truncate(&self, mut args: ScalarFunctionArgs, per_second: i64) -> Result<ColumnarValue> {
        let Values { array, is_constant } = Values::try_new(&args.args[1])?;
        let data_type = array.data_type().clone();
        let numbers = cast(&array, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        let is_near =
            |value: i64| (-SECONDS_MAX..SECONDS_MAX).contains(&value.div_euclid(per_second));
        if numbers.iter().flatten().all(is_near) {
            return self.inner.invoke_with_args(args);
        }
        let cycle = CYCLE_SECONDS * per_second;
        let out_of_range = |value: i64| exec_datafusion_err!("timestamp {value} is out of range");
        let moved = |value: i64| match is_near(value) {
            true => Some(0),
            false => value
                .checked_add(cycle / 2)?
                .div_euclid(cycle)
                .checked_mul(cycle),
        };
        let near: Int64Array = numbers.try_unary(|value| {
            let moved = moved(value).ok_or_else(|| out_of_range(value))?;
            Ok::<_, DataFusionError>(value - moved)
        })?;
        args.args[1] = ColumnarValue::Array(cast(&near, &data_type)?);
        args.number_rows = near.len();
        let truncated = self.inner.invoke_with_args(args)?.into_array(near.len())?;
        let truncated = cast(&truncated, &DataType::Int64)?;
        let back = truncated.as_primitive::<Int64Type>().iter().zip(numbers);
        let back = back
            .map(|(near, original)| match (near, original) {
                (Some(near), Some(original)) => moved(original)
                    .and_then(|moved| near.checked_add(moved))
                    .map(Some)
                    .ok_or_else(|| out_of_range(original)),
                _ => Ok(None),
            })
            .collect::<Result<Int64Array>>()?;
        let back = cast(&back, &data_type)?;
        match is_constant {
            true => ScalarValue::try_from_array(&back, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(back)),
        }
    }
}

fn is_valid(value: &ColumnarValue, row: usize) -> bool {
    match value {
        ColumnarValue::Array(array) => array.is_valid(row),
        ColumnarValue::Scalar(scalar) => !scalar.is_null(),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::Decimal128Type;

    use super::*;

    #[test]
    fn a_text_is_an_exact_time_in_its_zone() {
        let texts = vec![
            Some("1970-01-01 00:00:00.000000001"),
            None,
            Some("9999-12-31"),
        ];
        let texts: ArrayRef = Arc::new(StringArray::from(texts));
        let utc = exact(&texts, None).unwrap();
        let days: i128 = 253_402_214_400_000_000_000;
        let expected = Decimal128Array::from(vec![Some(1), None, Some(days)]);
        let utc = utc.as_primitive::<Decimal128Type>();
        assert_eq!(utc, &expected.with_data_type(EXACT));
        let hour: i128 = 3_600_000_000_000;
        let shifted = exact(&texts, Some("+01:00")).unwrap();
        let expected = Decimal128Array::from(vec![Some(1 - hour), None, Some(days - hour)]);
        let shifted = shifted.as_primitive::<Decimal128Type>();
        assert_eq!(shifted, &expected.with_data_type(EXACT));
        let wrong: ArrayRef = Arc::new(StringArray::from(vec!["soon"]));
        assert!(exact(&wrong, None).is_err());
    }
}
