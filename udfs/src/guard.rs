//! A limit on the result size of DataFusion's functions that make large results from small arguments.
//!
//! `repeat('a', 2000000000)` allocates gigabytes outside every memory pool. A guarded function first estimates its
//! result from its arguments, fails above the limit, and otherwise calls the function.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion_common::{Result, resources_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature,
};

use crate::call::Values;

/// The largest result of one call on one batch, in bytes.
pub const RESULT_BYTES_MAX: u128 = 1 << 30;

/// Refuses a result of a batch that takes more bytes; `hint` ends the message.
///
/// # Errors
/// If the bytes are above [`RESULT_BYTES_MAX`].
pub(crate) fn check_bytes(function: &str, bytes: u128, hint: &str) -> Result<()> {
    match bytes <= RESULT_BYTES_MAX {
        true => Ok(()),
        false => resources_err!(
            "{function} would make {bytes} bytes, at most {RESULT_BYTES_MAX} are allowed at once{hint}"
        ),
    }
}

/// Estimates the bytes that a call makes for one row.
type Bytes = fn(&[Argument], usize) -> u128;

/// The guarded functions with the estimates of their results.
const GUARDED: &[(&str, Bytes)] = &[
    ("repeat", |arguments, row| {
        arguments[0].bytes(row) * arguments[1].count(row)
    }),
    ("lpad", padded),
    ("rpad", padded),
    ("array_repeat", |arguments, row| {
        arguments[0].bytes(row).max(8) * arguments[1].count(row)
    }),
    ("array_resize", |arguments, row| {
        let fill = arguments.get(2).map_or(8, |fill| fill.bytes(row).max(8));
        match arguments[0].is_null(row) {
            true => 0,
            false => fill * arguments[1].count(row),
        }
    }),
    ("range", series),
    ("generate_series", series),
];

/// Up to 4 bytes for each character; the result of a NULL text or a NULL fill is NULL.
fn padded(arguments: &[Argument], row: usize) -> u128 {
    match arguments[0].is_null(row) || arguments.get(2).is_some_and(|fill| fill.is_null(row)) {
        true => 0,
        false => 4 * arguments[1].count(row),
    }
}

/// 8 bytes for each number from the first argument to the second, or from 0 to the only argument.
fn series(arguments: &[Argument], row: usize) -> u128 {
    let number = |index: usize| {
        arguments
            .get(index)
            .and_then(|argument| argument.number(row))
    };
    let (start, stop) = match arguments.len() {
        1 => (Some(0), number(0)),
        _ => (number(0), number(1)),
    };
    let step = match arguments.get(2) {
        // The result is NULL.
        Some(step) if step.is_null(row) => return 0,
        Some(step) => step.number(row).unwrap_or(1),
        None => 1,
    };
    match (start, stop) {
        // The step leads away from the end, or is 0: the result is empty, or the function itself fails.
        (Some(start), Some(stop)) if (stop < start) != (step < 0) || step == 0 => 0,
        (Some(start), Some(stop)) => {
            let distance = (i128::from(stop) - i128::from(start)).unsigned_abs();
            8 * (distance / u128::from(step.unsigned_abs().max(1)))
        }
        _ => 0,
    }
}

/// An argument of a call.
struct Argument {
    array: ArrayRef,
    numbers: Option<ArrayRef>,
    is_constant: bool,
}

impl Argument {
    fn try_new(value: &ColumnarValue) -> Result<Self> {
        let Values { array, is_constant } = Values::try_new(value)?;
        let numbers = match array.data_type().is_integer() {
            true => Some(cast(&array, &DataType::Int64)?),
            false => None,
        };
        Ok(Self {
            array,
            numbers,
            is_constant,
        })
    }

    fn row(&self, row: usize) -> usize {
        if self.is_constant { 0 } else { row }
    }

    /// Whether the value is NULL, typed or not.
    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(self.row(row)) || self.array.data_type().is_null()
    }

    fn number(&self, row: usize) -> Option<i64> {
        let row = self.row(row);
        let numbers = self.numbers.as_ref()?.as_primitive::<Int64Type>();
        numbers.is_valid(row).then(|| numbers.value(row))
    }

    /// A number of repetitions; NULL and a negative number count as 0.
    fn count(&self, row: usize) -> u128 {
        self.number(row).unwrap_or(0).max(0).unsigned_abs().into()
    }

    /// The size of a value in bytes.
    fn bytes(&self, row: usize) -> u128 {
        let row = self.row(row);
        let length = match self.array.data_type() {
            _ if self.array.is_null(row) => 0,
            DataType::Utf8 => self.array.as_string::<i32>().value(row).len(),
            DataType::LargeUtf8 => self.array.as_string::<i64>().value(row).len(),
            DataType::Utf8View => self.array.as_string_view().value(row).len(),
            DataType::Binary => self.array.as_binary::<i32>().value(row).len(),
            DataType::LargeBinary => self.array.as_binary::<i64>().value(row).len(),
            DataType::BinaryView => self.array.as_binary_view().value(row).len(),
            DataType::FixedSizeBinary(length) => *length as usize,
            other if other.is_nested() => {
                let value = self.array.slice(row, 1).to_data();
                value.get_slice_memory_size().unwrap_or(0)
            }
            _ => 8,
        };
        length as u128
    }
}

/// `function` with a limit, if its name is in `GUARDED`.
pub fn guarded(function: &Arc<ScalarUDF>) -> Option<Arc<ScalarUDF>> {
    let (_, bytes) = GUARDED.iter().find(|(name, _)| *name == function.name())?;
    Some(Arc::new(ScalarUDF::from(Guarded {
        inner: Arc::clone(function),
        bytes: *bytes,
    })))
}

#[derive(Debug)]
struct Guarded {
    inner: Arc<ScalarUDF>,
    bytes: Bytes,
}

impl PartialEq for Guarded {
    fn eq(&self, other: &Self) -> bool {
        self.inner == other.inner
    }
}

impl Eq for Guarded {}

impl std::hash::Hash for Guarded {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.inner.hash(state);
    }
}

impl ScalarUDFImpl for Guarded {
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

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arguments = args.args.iter().map(Argument::try_new);
        let arguments = arguments.collect::<Result<Vec<_>>>()?;
        let is_constant = arguments.iter().all(|argument| argument.is_constant);
        let rows = if is_constant { 1 } else { args.number_rows };
        let bytes: u128 = match arguments.len() {
            0 => 0,
            1 if !matches!(self.name(), "range" | "generate_series") => 0,
            _ => (0..rows).map(|row| (self.bytes)(&arguments, row)).sum(),
        };
        check_bytes(self.name(), bytes, "")?;
        self.inner.invoke_with_args(args)
    }
}
