//! `top_k(vector, k)`: the largest elements and their positions.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, StructArray, as_primitive_array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Int64Type};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::argmax::order;
use super::vectors::{Vectors, is_vector, type_name};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "top_k",
    syntax: "top_k(vector, k)",
    gives: "the k largest elements as a list of {position, value}, the largest first; positions count from 1",
    example: "SELECT top_k([0.1, 0.7, 0.2], 2)",
};

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(TopK {
        signature: Signature::any(2, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TopK {
    signature: Signature,
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("position", DataType::Int64, false),
        Field::new("value", DataType::Float64, false),
    ])
}

impl ScalarUDFImpl for TopK {
    fn name(&self) -> &str {
        DOC.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [vector, count] if is_vector(vector) && (count.is_integer() || count.is_null()) => {
                let item = Field::new_list_field(DataType::Struct(fields()), false);
                Ok(DataType::List(Arc::new(item)))
            }
            types => {
                let found: Vec<String> = types.iter().map(type_name).collect();
                plan_err!(
                    "top_k takes a list of numbers and a whole number, found {}",
                    found.join(" and ")
                )
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [vectors, counts] = args.args.as_slice() else {
            return exec_err!("top_k takes two arguments");
        };
        let counts = cast(&counts.to_array(args.number_rows)?, &DataType::Int64)?;
        let counts = as_primitive_array::<Int64Type>(&counts);
        let vectors = Vectors::of_argument(vectors)?;
        top_k(&vectors, counts, args.number_rows).map(ColumnarValue::Array)
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: std::sync::OnceLock<Documentation> = std::sync::OnceLock::new();
        Some(DOCUMENTATION.get_or_init(|| DOC.documentation("Vector functions")))
    }
}

fn top_k(vectors: &Vectors, counts: &Int64Array, rows: usize) -> Result<ArrayRef> {
    let (mut positions, mut values) = (Vec::new(), Vec::new());
    let (mut lengths, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for (row, count) in counts.iter().enumerate() {
        let found = match (vectors.row(row), count) {
            (Some(_), Some(count)) if count < 0 => {
                return exec_err!("top_k takes a number of at least 0, found {count}");
            }
            (Some(vector), Some(count)) => Some(largest(vector, count as usize)),
            _ => None,
        };
        valid.push(found.is_some());
        let found = found.unwrap_or_default();
        lengths.push(found.len());
        for (position, value) in found {
            positions.push(position as i64 + 1);
            values.push(value);
        }
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(positions)),
        Arc::new(Float64Array::from(values)),
    ];
    let entries = StructArray::try_new(fields(), columns, None)?;
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields()), false));
    Ok(Arc::new(ListArray::try_new(
        item,
        OffsetBuffer::from_lengths(lengths),
        Arc::new(entries),
        Some(NullBuffer::from(valid)),
    )?))
}

fn largest(vector: &[f64], count: usize) -> Vec<(usize, f64)> {
    let mut elements: Vec<(usize, f64)> = vector.iter().copied().enumerate().collect();
    let descending = |left: &(usize, f64), right: &(usize, f64)| {
        order(right.1, left.1).then(left.0.cmp(&right.0))
    };
    if count < elements.len() {
        elements.select_nth_unstable_by(count, descending);
        elements.truncate(count);
    }
    elements.sort_unstable_by(descending);
    elements
}
