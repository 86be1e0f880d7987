//! Regrouping of `a IS DISTINCT FROM b OR c`: sqlparser reads everything after `FROM` as the right operand, so the condition
//! becomes `a IS DISTINCT FROM (b OR c)`. But `IS` binds stronger than `AND` and `OR`. The same for `->` and `->>` beside comparisons.

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

/// Lets `->` and `->>` bind stronger than comparisons and tests: sqlparser reads `a ->> 'k' = 'x'` as `a ->> ('k' = 'x')`, and
/// `'x' = a ->> 'k'` as `('x' = a) ->> 'k'`. Must be called for inner expressions first.
pub(super) fn bind_arrows(expr: &mut Expr) {
    let Expr::BinaryOp { left, op, right } = expr else {
        return;
    };
    if !is_arrow(op) {
        return;
    }
    if is_test(right) {
        let whole = take(right);
        let mut arrow = take(expr);
        *expr = whole;
        at_first(expr, &mut |first| {
            let operand = take(first);
            if let Expr::BinaryOp { right, .. } = &mut arrow {
                **right = operand;
            }
            *first = take(&mut arrow);
        });
        // The arrow may have another test on its left.
        at_first_arrow(expr);
    } else if is_comparison(left) {
        let whole = take(left);
        let mut arrow = take(expr);
        *expr = whole;
        at_last(expr, &mut |last| {
            let operand = take(last);
            if let Expr::BinaryOp { left, .. } = &mut arrow {
                **left = operand;
            }
            *last = take(&mut arrow);
        });
    }
}

fn take(expr: &mut Expr) -> Expr {
    std::mem::replace(expr, Expr::value(Value::Null))
}

fn is_arrow(op: &BinaryOperator) -> bool {
    matches!(op, BinaryOperator::Arrow | BinaryOperator::LongArrow)
}

/// Whether an expression is a comparison that is not in parentheses.
fn is_comparison(expr: &Expr) -> bool {
    let Expr::BinaryOp { op, .. } = expr else {
        return false;
    };
    matches!(
        op,
        BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::StringConcat
    )
}

/// Whether an expression is a comparison or a test such as IS NULL, LIKE or IN.
fn is_test(expr: &Expr) -> bool {
    is_comparison(expr)
        || matches!(
            expr,
            Expr::IsNull(_)
                | Expr::IsNotNull(_)
                | Expr::Like { .. }
                | Expr::ILike { .. }
                | Expr::InList { .. }
                | Expr::InSubquery { .. }
                | Expr::Between { .. }
        )
}

/// Calls `change` with the first operand of nested tests.
fn at_first(expr: &mut Expr, change: &mut dyn FnMut(&mut Expr)) {
    if !is_test(expr) {
        return change(expr);
    }
    match expr {
        Expr::BinaryOp { left: first, .. }
        | Expr::IsNull(first)
        | Expr::IsNotNull(first)
        | Expr::Like { expr: first, .. }
        | Expr::ILike { expr: first, .. }
        | Expr::InList { expr: first, .. }
        | Expr::InSubquery { expr: first, .. }
        | Expr::Between { expr: first, .. } => at_first(first, change),
        other => change(other),
    }
}

/// Binds the arrow that is the first operand of nested tests.
fn at_first_arrow(expr: &mut Expr) {
    at_first(expr, &mut bind_arrows);
}

/// Calls `change` with the last operand of nested comparisons.
fn at_last(expr: &mut Expr, change: &mut dyn FnMut(&mut Expr)) {
    if !is_comparison(expr) {
        return change(expr);
    }
    match expr {
        Expr::BinaryOp { right: last, .. } => at_last(last, change),
        other => change(other),
    }
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
            bind_arrows(expr);
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
    fn arrows_bind_stronger_than_comparisons() {
        for (text, expected) in [
            ("a -> 'k' -> 'l'", "[[a -> 'k'] -> 'l']"),
            ("a ->> 'k' = 'x'", "[[a ->> 'k'] = 'x']"),
            ("a -> 'k' ->> 'l' <> 'x'", "[[[a -> 'k'] ->> 'l'] <> 'x']"),
            ("'x' = a ->> 'k'", "['x' = [a ->> 'k']]"),
            (
                "a ->> 'k' = b ->> 'k' AND c",
                "[[[a ->> 'k'] = [b ->> 'k']] AND c]",
            ),
            ("a ->> ('k' = 'x')", "[a ->> ['k' = 'x']]"),
            ("a ->> 'k' LIKE 'x%'", "a ->> 'k' LIKE 'x%'"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
        let parser = Parser::new(&GenericDialect {}).try_with_sql("a ->> 'k' IS NULL");
        let mut expr = parser.unwrap().parse_expr().unwrap();
        let _: ControlFlow<()> = visit_expressions_mut(&mut expr, |expr| {
            bind_arrows(expr);
            ControlFlow::Continue(())
        });
        assert!(matches!(expr, Expr::IsNull(_)), "{expr}");
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
