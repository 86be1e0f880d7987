//! `sigmoid(x)`: 1 / (1 + exp(-x)), of a number or of each element of a vector.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::vectors::{Vectors, VectorsBuilder, is_vector, type_name, vector_type};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "sigmoid",
    syntax: "sigmoid(x)",
    gives: "1 / (1 + exp(-x)) of a number, or of each element of a vector",
    example: "SELECT sigmoid(0), sigmoid([-1, 1])",
};

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(Sigmoid {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Sigmoid {
    signature: Signature,
}

impl ScalarUDFImpl for Sigmoid {
    fn name(&self) -> &str {
        DOC.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [number] if number.is_numeric() || number.is_null() => Ok(DataType::Float64),
            [vector] if is_vector(vector) => Ok(vector_type()),
            types => {
                let found: Vec<String> = types.iter().map(type_name).collect();
                plan_err!(
                    "sigmoid takes a number or a list of numbers, found {}",
                    found.join(", ")
                )
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [argument] = args.args.as_slice() else {
            return exec_err!("sigmoid takes one argument");
        };
        let is_number = args.return_field.data_type() == &DataType::Float64;
        let result: ArrayRef = if is_number {
            let numbers = cast(&argument.to_array(args.number_rows)?, &DataType::Float64)?;
            let numbers = numbers.as_primitive::<Float64Type>();
            Arc::new(numbers.unary::<_, Float64Type>(sigmoid)) as Arc<Float64Array>
        } else {
            let vectors = Vectors::of_argument(argument)?;
            let mut results = VectorsBuilder::default();
            for row in 0..args.number_rows {
                let vector = vectors.row(row);
                results.push(vector.map(|vector| vector.iter().map(|x| sigmoid(*x))));
            }
            results.finish()?
        };
        Ok(ColumnarValue::Array(result))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: std::sync::OnceLock<Documentation> = std::sync::OnceLock::new();
        Some(DOCUMENTATION.get_or_init(|| DOC.documentation("Vector functions")))
    }
}

/// Takes the form whose exponential cannot overflow.
fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        x.exp() / (1.0 + x.exp())
    }
}
