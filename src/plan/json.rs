//! Functions of JSON in texts, from the crate `datafusion-functions-json`, and the operators `->` and `->>`.
//!
//! The crate's own `->` returns a union of all kinds of values, which neither tables nor clients take; here it returns the JSON as text.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::ScalarUDF;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::sql::sqlparser::ast::BinaryOperator;
use datafusion_functions_json::udfs;

use crate::error::Result;

/// Adds the functions and the operators.
pub(crate) fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in functions() {
        registry.register_udf(function)?;
    }
    registry.register_expr_planner(Arc::new(JsonOperators))
}

/// The functions whose results are plain values.
fn functions() -> [Arc<ScalarUDF>; 9] {
    [
        udfs::json_as_text_udf(),
        udfs::json_contains_udf(),
        udfs::json_get_bool_udf(),
        udfs::json_get_float_udf(),
        udfs::json_get_int_udf(),
        udfs::json_get_json_udf(),
        udfs::json_get_str_udf(),
        udfs::json_length_udf(),
        udfs::json_object_keys_udf(),
    ]
}

#[derive(Debug)]
struct JsonOperators;

impl ExprPlanner for JsonOperators {
    fn plan_binary_op(
        &self,
        expr: RawBinaryExpr,
        _schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        let function = match expr.op {
            BinaryOperator::Arrow => udfs::json_get_json_udf(),
            BinaryOperator::LongArrow => udfs::json_as_text_udf(),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let call = function.call(vec![expr.left, expr.right]);
        Ok(PlannerResult::Planned(call))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn no_function_returns_a_union() {
        for function in functions() {
            let returned = function.return_type(&[DataType::Utf8, DataType::Utf8]);
            let is_union = matches!(returned, Ok(DataType::Union(..)));
            assert!(!is_union, "{}", function.name());
        }
    }
}
