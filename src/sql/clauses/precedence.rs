//! `a IS DISTINCT FROM b OR c`: sqlparser takes all that follows for what `a` is compared with, so the condition is read as
//! `a IS DISTINCT FROM (b OR c)`. `IS` binds stronger than `AND` and `OR`.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};

/// Gives `IS [NOT] DISTINCT FROM` its place in what it swallowed. Parentheses are left as they are.
pub(super) fn bind_is(expr: &mut Expr) {
    let other = match expr {
        Expr::IsDistinctFrom(_, other) | Expr::IsNotDistinctFrom(_, other) => other,
        _ => return,
    };
    if !is_connection(other) {
        return;
    }
    let placeholder = Box::new(Expr::value(Value::Null));
    let mut whole = std::mem::replace(other, placeholder);
    let mut first = whole.as_mut();
    while let Expr::BinaryOp { left, .. } = first {
        let is_last = !is_connection(left);
        first = left.as_mut();
        if is_last {
            break;
        }
    }
    std::mem::swap(first, other.as_mut());
    std::mem::swap(first, expr);
    *expr = *whole;
}

fn is_connection(expr: &Expr) -> bool {
    let connects = |op: &BinaryOperator| {
        matches!(
            op,
            BinaryOperator::And | BinaryOperator::Or | BinaryOperator::Xor
        )
    };
    matches!(expr, Expr::BinaryOp { op, .. } if connects(op))
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use datafusion::sql::sqlparser::ast::visit_expressions_mut;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    /// How a text is read: each operator in brackets.
    fn read(text: &str) -> String {
        let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
        let mut expr = parser.unwrap().parse_expr().unwrap();
        let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |expr| {
            bind_is(expr);
            ControlFlow::Continue(())
        });
        shape(&expr)
    }

    fn shape(expr: &Expr) -> String {
        match expr {
            Expr::BinaryOp { left, op, right } => {
                format!("[{} {op} {}]", shape(left), shape(right))
            }
            Expr::IsDistinctFrom(left, right) => format!("[{} <> {}]", shape(left), shape(right)),
            Expr::IsNotDistinctFrom(left, right) => {
                format!("[{} == {}]", shape(left), shape(right))
            }
            Expr::Nested(inner) => shape(inner),
            other => other.to_string(),
        }
    }

    #[test]
    fn is_binds_stronger_than_and_and_or() {
        for (text, expected) in [
            ("a IS DISTINCT FROM b OR c", "[[a <> b] OR c]"),
            (
                "a IS NOT DISTINCT FROM b AND c OR d",
                "[[[a == b] AND c] OR d]",
            ),
            (
                "x OR a IS DISTINCT FROM b OR c IS DISTINCT FROM d AND e",
                "[[x OR [a <> b]] OR [[c <> d] AND e]]",
            ),
            ("a IS DISTINCT FROM (b OR c)", "[a <> [b OR c]]"),
            ("a IS DISTINCT FROM b + 1", "[a <> [b + 1]]"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
