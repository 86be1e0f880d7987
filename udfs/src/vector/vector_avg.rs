//! `vector_avg(vector)`: the mean of the vectors of a group, element by element.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, FieldRef, UInt64Type};
use datafusion_common::{Result, ScalarValue, exec_err, not_impl_err, plan_err};
use datafusion_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, Signature, Volatility,
};

use super::vectors::{Vectors, VectorsBuilder, is_vector, type_name, vector_type};
use crate::doc::Doc;

const DOC: Doc = Doc {
    name: "vector_avg",
    syntax: "vector_avg(vector)",
    gives: "aggregate: the mean of the vectors, element by element; NULL vectors are left out",
    example: "SELECT vector_avg(v) FROM (VALUES ([1, 2]), ([3, 6])) AS t(v)",
};

pub(super) fn function() -> AggregateUDF {
    AggregateUDF::from(VectorAvg {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct VectorAvg {
    signature: Signature,
}

impl AggregateUDFImpl for VectorAvg {
    fn name(&self) -> &str {
        DOC.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [vector] if is_vector(vector) => Ok(vector_type()),
            types => {
                let found: Vec<String> = types.iter().map(type_name).collect();
                plan_err!(
                    "vector_avg takes a list of numbers, found {}",
                    found.join(", ")
                )
            }
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return not_impl_err!("vector_avg does not take DISTINCT");
        }
        Ok(Box::new(Mean::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(vec![
            Arc::new(Field::new(
                format!("{}[sum]", args.name),
                vector_type(),
                true,
            )),
            Arc::new(Field::new(
                format!("{}[count]", args.name),
                DataType::UInt64,
                false,
            )),
        ])
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: std::sync::OnceLock<Documentation> = std::sync::OnceLock::new();
        Some(DOCUMENTATION.get_or_init(|| DOC.documentation("Vector functions")))
    }
}

/// The sum and the number of the vectors so far.
#[derive(Debug, Default)]
struct Mean {
    sum: Vec<f64>,
    count: u64,
}

impl Mean {
    fn add(&mut self, vector: &[f64], count: u64) -> Result<()> {
        if self.count == 0 {
            self.sum = vec![0.0; vector.len()];
        }
        if self.sum.len() != vector.len() {
            return exec_err!(
                "vector_avg takes vectors of one length, found {} and {}",
                self.sum.len(),
                vector.len()
            );
        }
        let pairs = self.sum.iter_mut().zip(vector);
        pairs.for_each(|(sum, value)| *sum += value);
        self.count += count;
        Ok(())
    }

    fn vector(&self, divisor: f64) -> Result<ScalarValue> {
        let mut builder = VectorsBuilder::default();
        builder.push((self.count > 0).then(|| self.sum.iter().map(|sum| sum / divisor)));
        ScalarValue::try_from_array(&builder.finish()?, 0)
    }
}

impl Accumulator for Mean {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let vectors = Vectors::new(&values[0])?;
        for vector in (0..values[0].len()).filter_map(|row| vectors.row(row)) {
            self.add(vector, 1)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.vector(self.count as f64)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sum.capacity() * size_of::<f64>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.vector(1.0)?, self.count.into()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let sums = Vectors::new(&states[0])?;
        let counts = states[1].as_primitive::<UInt64Type>();
        for row in 0..counts.len() {
            if let Some(sum) = sums.row(row) {
                self.add(sum, counts.value(row))?;
            }
        }
        Ok(())
    }
}
