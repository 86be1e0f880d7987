//! [`Measure`]: a number from two vectors, computed from the numbers as columns store them. A constant vector is converted once.
//!
//! ```text
//! FLOAT column, constant  → f32 and f64 → sums in f64
//! INTEGER column, column  → f64 and f64 → sums in f64
//! ```

use std::sync::Arc;

use arrow::array::{ArrayRef, ArrowPrimitiveType, Float64Builder};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarUDF};

use super::products::Number;
use super::udf::with_aliases;
use super::vectors::VectorsOf;
use crate::doc::Doc;

/// A function that makes a number from two vectors.
pub(super) trait Measure: 'static {
    const DOC: &'static Doc;
    /// Further names of the function: those that other databases have for it.
    const ALIASES: &'static [&'static str];

    /// The number for two vectors of one length; `None` is NULL.
    fn of(left: &[impl Number], right: &[impl Number]) -> Option<f64>;
}

pub(super) fn measure_function<M: Measure>() -> ScalarUDF {
    with_aliases(M::DOC, M::ALIASES, DataType::Float64, compute::<M>)
}

fn compute<M: Measure>([left, right]: &[ColumnarValue; 2], rows: usize) -> Result<ArrayRef> {
    match (is_single(left), is_single(right)) {
        (true, true) => measured::<M, Float32Type, Float32Type>(left, right, rows),
        (true, false) => measured::<M, Float32Type, Float64Type>(left, right, rows),
        (false, true) => measured::<M, Float64Type, Float32Type>(left, right, rows),
        (false, false) => measured::<M, Float64Type, Float64Type>(left, right, rows),
    }
}

/// Whether an argument is a list of numbers in single precision.
fn is_single(argument: &ColumnarValue) -> bool {
    match argument.data_type() {
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            item.data_type() == &DataType::Float32
        }
        _ => false,
    }
}

fn measured<M, L, R>(left: &ColumnarValue, right: &ColumnarValue, rows: usize) -> Result<ArrayRef>
where
    M: Measure,
    L: ArrowPrimitiveType<Native: Number>,
    R: ArrowPrimitiveType<Native: Number>,
{
    let left = VectorsOf::<L>::of_argument(left)?;
    let right = VectorsOf::<R>::of_argument(right)?;
    let mut numbers = Float64Builder::with_capacity(rows);
    for row in 0..rows {
        let (Some(left), Some(right)) = (left.row(row), right.row(row)) else {
            numbers.append_null();
            continue;
        };
        if left.len() != right.len() {
            return exec_err!(
                "{} takes vectors of one length, found {} and {}",
                M::DOC.name,
                left.len(),
                right.len()
            );
        }
        numbers.append_option(M::of(left, right));
    }
    Ok(Arc::new(numbers.finish()))
}
