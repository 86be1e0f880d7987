//! [`may_fail`]: whether the computation of a value may be an error of the statement.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::TreeNode;
use datafusion::logical_expr::{Expr, ExprSchemable, Operator};
use vatic_ml::data::types::is_lossless;

/// Functions that have a value for each argument.
const SOUND: [&str; 11] = [
    "btrim",
    "coalesce",
    "concat",
    "concat_ws",
    "lower",
    "ltrim",
    "make_array",
    "nullif",
    "replace",
    "rtrim",
    "upper",
];

/// Whether an expression may fail for some row, such as `10 / x` for 0. Such a row must not reach the expression if the user's query
/// leaves it out before. What is not known to be sound may fail.
pub(in crate::predict) fn may_fail(expr: &Expr, schema: &DFSchema) -> bool {
    let fails = expr.exists(|expr| Ok(!is_sound(expr, schema)));
    // The closure never fails.
    fails.unwrap_or(true)
}

/// Whether an expression has a value for all values of those below it.
fn is_sound(expr: &Expr, schema: &DFSchema) -> bool {
    match expr {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Alias(_)
        | Expr::Case(_)
        | Expr::Not(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::TryCast(_) => true,
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema);
            from.is_ok_and(|from| is_sound_cast(&from, cast.field.data_type()))
        }
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Plus
            | Operator::Minus
            | Operator::Multiply
            | Operator::Divide
            | Operator::Modulo => [&binary.left, &binary.right].into_iter().all(|side| {
                let found = side.get_type(schema);
                found.is_ok_and(|found| found.is_floating())
            }),
            Operator::Eq
            | Operator::NotEq
            | Operator::Lt
            | Operator::LtEq
            | Operator::Gt
            | Operator::GtEq
            | Operator::And
            | Operator::Or
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom
            | Operator::StringConcat => true,
            _ => false,
        },
        Expr::ScalarFunction(call) => SOUND.contains(&call.name()),
        _ => false,
    }
}

fn is_sound_cast(from: &DataType, to: &DataType) -> bool {
    let has_text = from.is_numeric() || from.is_string() || *from == DataType::Boolean;
    (to.is_string() && has_text) || (to.is_floating() && from.is_numeric()) || is_lossless(from, to)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{Field, Schema};
    use datafusion::logical_expr::{cast, col, lit, when};

    use super::*;

    #[test]
    fn what_has_a_value_for_each_row_is_told_from_what_may_fail() {
        let fields = vec![
            Field::new("n", DataType::Int64, true),
            Field::new("x", DataType::Float64, true),
            Field::new("s", DataType::Utf8, true),
        ];
        let schema = DFSchema::try_from(Schema::new(fields)).unwrap();
        let fails = |expr: Expr| may_fail(&expr, &schema);
        assert!(!fails(col("s")));
        assert!(!fails(col("x") / lit(0.0)));
        assert!(!fails(cast(col("n"), DataType::Float64)));
        assert!(!fails(cast(col("n"), DataType::Utf8)));
        assert!(fails(lit(10_i64) / col("n")));
        assert!(fails(cast(lit(10_i64) / col("n"), DataType::Float64)));
        assert!(fails(cast(col("n"), DataType::Int8)));
        assert!(fails(cast(col("s"), DataType::Int64)));
        let guarded = when(col("n").not_eq(lit(0_i64)), lit(10_i64) / col("n"));
        assert!(fails(guarded.end().unwrap()));
    }
}
