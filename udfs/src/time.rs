//! Timestamps that nanoseconds since 1970 cannot hold: those before 1677 and after 2262.
//!
//! * `exact_time` gives nanoseconds as a decimal, which has the digits for every unit; the engine compares by it where the
//!   units of two sides differ.
//! * `date_trunc` is DataFusion's, which computes in nanoseconds, over a calendar that is the same every 400 years.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type, TimeUnit};
use datafusion_common::{DataFusionError, Result, ScalarValue, exec_datafusion_err, exec_err};
use datafusion_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

/// The type of exact times: nanoseconds since 1970.
pub const EXACT: DataType = DataType::Decimal128(38, 0);

/// Nanoseconds in one of these.
pub fn nanoseconds(unit: TimeUnit) -> i64 {
    match unit {
        TimeUnit::Second => 1_000_000_000,
        TimeUnit::Millisecond => 1_000_000,
        TimeUnit::Microsecond => 1_000,
        TimeUnit::Nanosecond => 1,
    }
}

/// The function that gives exact times.
pub fn exact_time() -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(ExactTime {
        signature: Signature::any(1, Volatility::Immutable),
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
        match types {
            [DataType::Timestamp(..)] => Ok(EXACT),
            other => exec_err!("exact_time takes a timestamp, found {other:?}"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [argument] = args.args.as_slice() else {
            return exec_err!("exact_time takes one argument");
        };
        match argument {
            ColumnarValue::Array(array) => Ok(ColumnarValue::Array(exact(array)?)),
            ColumnarValue::Scalar(scalar) => {
                let exact = exact(&scalar.to_array()?)?;
                ScalarValue::try_from_array(&exact, 0).map(ColumnarValue::Scalar)
            }
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        Ok(input
            .first()
            .map_or(SortProperties::Unordered, |input| input.sort_properties))
    }
}

fn exact(array: &ArrayRef) -> Result<ArrayRef> {
    let DataType::Timestamp(unit, _) = array.data_type() else {
        return exec_err!("exact_time takes a timestamp, found {}", array.data_type());
    };
    let factor = i128::from(nanoseconds(*unit));
    let values = cast(array, &DataType::Int64)?;
    let exact: Decimal128Array = values
        .as_primitive::<Int64Type>()
        .unary(|value| i128::from(value) * factor);
    Ok(Arc::new(exact.with_data_type(EXACT)))
}

/// After so many seconds the calendar begins again, days of the week too.
const CYCLE_SECONDS: i64 = 146_097 * 86_400;
/// A cycle before and after 1970 is within what nanoseconds hold.
const SECONDS_MAX: i64 = 8_000_000_000;

/// Whether a zone is a distance from UTC, the same for ever.
fn is_fixed(zone: &str) -> bool {
    zone == "UTC" || zone.starts_with(['+', '-'])
}

/// `function` for all timestamps, if it is one that computes in nanoseconds.
pub fn wide(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    (function.name() == "date_trunc" && !function.inner().is::<Wide>()).then(|| {
        Arc::new(ScalarUDF::from(Wide {
            inner: Arc::clone(function),
        }))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Wide {
    inner: Arc<ScalarUDF>,
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
        let Some(value) = args.args.get(1) else {
            return self.inner.invoke_with_args(args);
        };
        let per_second = match value.data_type() {
            DataType::Timestamp(TimeUnit::Nanosecond, _) => None,
            // A place has other rules in another cycle; there the function says that it cannot.
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
    /// Moves each timestamp by whole cycles to where nanoseconds hold it, truncates, and moves it back.
    fn truncate(&self, mut args: ScalarFunctionArgs, per_second: i64) -> Result<ColumnarValue> {
        let (values, is_scalar) = match &args.args[1] {
            ColumnarValue::Array(array) => (Arc::clone(array), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        let data_type = values.data_type().clone();
        let numbers = cast(&values, &DataType::Int64)?;
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
        match is_scalar {
            true => ScalarValue::try_from_array(&back, 0).map(ColumnarValue::Scalar),
            false => Ok(ColumnarValue::Array(back)),
        }
    }
}
