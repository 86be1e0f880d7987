//! Regrouping of `a IS DISTINCT FROM b OR c`: sqlparser reads everything after `FROM` as the right operand, so the condition
//! becomes `a IS DISTINCT FROM (b OR c)`. But `IS` binds stronger than `AND` and `OR`.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Value};

/// Turns `a op (b weaker c)` into `(a op b) weaker c`, if the last operand of `op` binds weaker than `op` and is not in
/// parentheses. Must be called for inner expressions first.
pub(super) fn regroup(expr: &mut Expr) {
    negate_outside(expr);
    let strength = strength(expr);
    let Some(operand) = last_operand(expr).filter(|operand| is_weaker(operand, strength)) else {
        return;
    };
    let mut whole = std::mem::replace(operand, Expr::value(Value::Null));
    let mut first = &mut whole;
    while is_weaker(first, strength) {
        let Expr::BinaryOp { left, .. } = first else {
            break;
        };
        first = left;
    }
    std::mem::swap(first, operand);
    std::mem::swap(first, expr);
    *expr = whole;
}

/// Moves NOT out of EXISTS in `NOT EXISTS (…) IS NULL`, where sqlparser keeps it inside.
fn negate_outside(expr: &mut Expr) {
    let negated = match expr {
        Expr::IsNull(inner) | Expr::IsNotNull(inner) => match inner.as_mut() {
            Expr::Exists { negated, .. } => std::mem::take(negated),
            _ => false,
        },
        _ => false,
    };
    if negated {
        let inner = std::mem::replace(expr, Expr::value(Value::Null));
        *expr = Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(inner),
        };
    }
}

fn last_operand(expr: &mut Expr) -> Option<&mut Expr> {
    match expr {
        Expr::IsDistinctFrom(_, operand) | Expr::IsNotDistinctFrom(_, operand) => Some(operand),
        Expr::BinaryOp { op, right, .. } if is_connection(op) => Some(right),
        Expr::UnaryOp { op, expr } if *op == UnaryOperator::Not => Some(expr),
        _ => None,
    }
}

fn is_weaker(expr: &Expr, than: u8) -> bool {
    matches!(expr, Expr::BinaryOp { op, .. } if is_connection(op)) && strength(expr) < than
}

fn is_connection(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::And | BinaryOperator::Or)
}

/// The binding strength of the operator of an expression.
fn strength(expr: &Expr) -> u8 {
    match expr {
        Expr::BinaryOp { op, .. } if *op == BinaryOperator::Or => 1,
        Expr::BinaryOp { op, .. } if *op == BinaryOperator::And => 2,
        Expr::UnaryOp { op, .. } if *op == UnaryOperator::Not => 3,
        _ => 4,
    }
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use datafusion::sql::sqlparser::ast::visit_expressions_mut;
    use datafusion::sql::sqlparser::dialect::GenericDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    /// The grouping of a parsed text: each operator in brackets.
    fn read(text: &str) -> String {
        let parser = Parser::new(&GenericDialect {}).try_with_sql(text);
        let mut expr = parser.unwrap().parse_expr().unwrap();
        let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |expr| {
            regroup(expr);
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
            Expr::UnaryOp { op, expr } => format!("[{op} {}]", shape(expr)),
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
                "[x OR [[a <> b] OR [[c <> d] AND e]]]",
            ),
            ("x AND a IS DISTINCT FROM b OR c", "[[x AND [a <> b]] OR c]"),
            (
                "x AND NOT a IS DISTINCT FROM b AND c OR d",
                "[[x AND [[NOT [a <> b]] AND c]] OR d]",
            ),
            (
                "NOT EXISTS (SELECT 1) IS NULL",
                "[NOT EXISTS (SELECT 1) IS NULL]",
            ),
            ("a IS DISTINCT FROM (b OR c)", "[a <> [b OR c]]"),
            ("a IS DISTINCT FROM b + 1", "[a <> [b + 1]]"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
