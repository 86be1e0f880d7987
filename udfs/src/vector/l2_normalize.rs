//! `l2_normalize(vector)`: the vector divided by its Euclidean length.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, ListArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type};
use datafusion_common::{Result, exec_err};
use datafusion_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

/// `l2_normalize(vector LIST of numbers) -> LIST of DOUBLE`
///
/// NULL gives NULL, as does a NULL element. A vector of zeros stays as it is.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct L2Normalize {
    signature: Signature,
}

impl L2Normalize {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

fn list_of_doubles() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Float64, true)))
}

impl ScalarUDFImpl for L2Normalize {
    fn name(&self) -> &str {
        "l2_normalize"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [
                DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _),
            ] if item.data_type().is_numeric() => Ok(list_of_doubles()),
            [DataType::Null] => Ok(list_of_doubles()),
            other => datafusion_common::plan_err!(
                "l2_normalize takes a list of numbers, found {other:?}"
            ),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let [vectors] = arrays.as_slice() else {
            return exec_err!("l2_normalize takes one argument");
        };
        Ok(ColumnarValue::Array(normalize(vectors)?))
    }
}

fn normalize(vectors: &ArrayRef) -> Result<ArrayRef> {
    let lists = cast(vectors, &list_of_doubles())?;
    let lists = lists.as_list::<i32>();
    let values = lists.values().as_primitive::<Float64Type>();
    let mut scaled = values.values().to_vec();
    let mut valid = vec![true; lists.len()];
    for (row, valid) in valid.iter_mut().enumerate() {
        let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
        *valid = lists.is_valid(row) && range.clone().all(|element| values.is_valid(element));
        let length = scaled[range.clone()]
            .iter()
            .map(|x| x * x)
            .sum::<f64>()
            .sqrt();
        if length > 0.0 {
            scaled[range].iter_mut().for_each(|x| *x /= length);
        }
    }
    let item = Arc::new(Field::new_list_field(DataType::Float64, true));
    let values = Arc::new(Float64Array::from(scaled));
    Ok(Arc::new(ListArray::try_new(
        item,
        lists.offsets().clone(),
        values,
        Some(valid.into()),
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_become_one_and_nulls_stay() {
        let vectors = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(3.0), Some(4.0)]),
            None,
            Some(vec![Some(1.0), None]),
            Some(vec![Some(0.0)]),
            Some(vec![]),
        ]);
        let normalized = normalize(&(Arc::new(vectors) as ArrayRef)).unwrap();
        let normalized = normalized.as_list::<i32>();
        assert_eq!(
            normalized.value(0).as_primitive::<Float64Type>().values(),
            &[0.6, 0.8]
        );
        assert!(normalized.is_null(1) && normalized.is_null(2));
        assert_eq!(
            normalized.value(3).as_primitive::<Float64Type>().values(),
            &[0.0]
        );
        assert!(normalized.value(4).is_empty());
    }
}
