//! `frame_values(x) OVER (…)`: the values of the window frame as an array, NULLs included.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::internal_err;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::logical_expr::function::{PartitionEvaluatorArgs, WindowUDFFieldArgs};
use datafusion::logical_expr::{
    PartitionEvaluator, Signature, Volatility, WindowUDF, WindowUDFImpl,
};
use datafusion::scalar::ScalarValue;

use crate::error::Result;

/// The function.
pub(crate) fn frame_values() -> WindowUDF {
    WindowUDF::from(FrameValues {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct FrameValues {
    signature: Signature,
}

impl WindowUDFImpl for FrameValues {
    fn name(&self) -> &str {
        "frame_values"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn partition_evaluator(
        &self,
        _args: PartitionEvaluatorArgs,
    ) -> Result<Box<dyn PartitionEvaluator>> {
        Ok(Box::new(Slices))
    }

    fn field(&self, args: WindowUDFFieldArgs) -> Result<FieldRef> {
        let [values] = args.input_fields() else {
            return internal_err!("frame_values takes one argument");
        };
        let item = Field::new_list_field(values.data_type().clone(), true);
        let data_type = DataType::List(Arc::new(item));
        Ok(Arc::new(Field::new(args.name(), data_type, false)))
    }
}

/// Slices of the values, which are not copied before the array of a batch is built.
#[derive(Debug)]
struct Slices;

impl PartitionEvaluator for Slices {
    fn evaluate(&mut self, values: &[ArrayRef], range: &Range<usize>) -> Result<ScalarValue> {
        let values = values[0].slice(range.start, range.len());
        Ok(SingleRowListArrayBuilder::new(values).build_list_scalar())
    }

    fn supports_bounded_execution(&self) -> bool {
        true
    }

    fn uses_window_frame(&self) -> bool {
        true
    }
}
