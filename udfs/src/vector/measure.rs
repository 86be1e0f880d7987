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

    /// What the number needs of each vector alone: its square, or nothing. That of a constant is computed once.
    fn square(_vector: &[impl Number]) -> f64 {
        0.0
    }

    /// The number for two vectors of one length, each with its square; `None` is NULL.
    fn of(left: (&[impl Number], f64), right: (&[impl Number], f64)) -> Option<f64>;
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
    let of_left = left.constant().map(M::square);
    let of_right = right.constant().map(M::square);
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
        let of_left = of_left.unwrap_or_else(|| M::square(left));
        let of_right = of_right.unwrap_or_else(|| M::square(right));
        numbers.append_option(M::of((left, of_left), (right, of_right)));
    }
    Ok(Arc::new(numbers.finish()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use arrow::array::AsArray;
    use datafusion_common::ScalarValue;

    use super::super::products::dot;
    use super::*;

    static SQUARES: AtomicUsize = AtomicUsize::new(0);

    /// Counts the squares that are computed.
    struct Counting;

    impl Measure for Counting {
        const DOC: &'static Doc = &Doc {
            name: "counting",
            syntax: "counting(a, b)",
            gives: "a sum of squares",
            example: "SELECT counting([1], [2])",
        };
        const ALIASES: &'static [&'static str] = &[];

        fn square(vector: &[impl Number]) -> f64 {
            SQUARES.fetch_add(1, Ordering::Relaxed);
            dot(vector, vector)
        }

        fn of((_, left): (&[impl Number], f64), (_, right): (&[impl Number], f64)) -> Option<f64> {
            Some(left + right)
        }
    }

    #[test]
    fn the_square_of_a_constant_is_computed_once() {
        let list = |values: &[f64]| {
            let values: Vec<ScalarValue> = values.iter().map(|x| ScalarValue::from(*x)).collect();
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &DataType::Float64))
        };
        let rows = [list(&[1.0]), list(&[2.0]), list(&[3.0])];
        let column = ColumnarValue::Array(ScalarValue::iter_to_array(rows).unwrap());
        let constant = ColumnarValue::Scalar(list(&[10.0]));
        let found = compute::<Counting>(&[column, constant], 3).unwrap();
        let found = found.as_primitive::<Float64Type>();
        assert_eq!(found.values(), &[101.0, 104.0, 109.0]);
        assert_eq!(SQUARES.load(Ordering::Relaxed), 4);
    }
}
