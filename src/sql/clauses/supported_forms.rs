//! Rewrites clauses in the form in which the planner supports them.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, GroupByExpr, GroupByWithModifier, Select, SelectFlavor, SelectItem, Statement, Value,
    VisitorMut, WildcardAdditionalOptions,
};

use super::refusal::{flow, refuse};
use super::{changes, precedence};

/// Rewrites `GROUP BY a, b WITH ROLLUP` as `GROUP BY ROLLUP (a, b)`, and `FROM t` alone as `SELECT * FROM t`; names the columns of UPDATE as
/// their table does, and regroups expressions.
pub(super) struct Rewritten {
    /// Whether names without quotes are read in lower case.
    pub(super) folds: bool,
}

impl VisitorMut for Rewritten {
    type Break = DataFusionError;

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<DataFusionError> {
        let Statement::Update(update) = statement else {
            return ControlFlow::Continue(());
        };
        match changes::name_columns(update, self.folds) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        if select.flavor == SelectFlavor::FromFirstNoSelect && select.projection.is_empty() {
            let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
            select.projection.push(all);
            select.flavor = SelectFlavor::Standard;
        }
        let GroupByExpr::Expressions(exprs, modifiers) = &mut select.group_by else {
            return ControlFlow::Continue(());
        };
        let form: fn(Vec<Vec<Expr>>) -> Expr = match modifiers.as_slice() {
            [] => return ControlFlow::Continue(()),
            [GroupByWithModifier::Rollup] => Expr::Rollup,
            [GroupByWithModifier::Cube] => Expr::Cube,
            [GroupByWithModifier::Totals] => return flow(refuse(true, "WITH TOTALS")),
            _ => {
                let several = "several modifiers of GROUP BY, and GROUPING SETS as one";
                return flow(refuse(true, several));
            }
        };
        let is_set = |expr: &Expr| {
            matches!(
                expr,
                Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) | Expr::Tuple(_)
            )
        };
        if exprs.iter().any(is_set) {
            let what = "WITH ROLLUP or WITH CUBE beside ROLLUP, CUBE, GROUPING SETS or rows";
            return flow(refuse(true, what));
        }
        let selected = |expr: Expr| vec![in_place(expr, &select.projection)];
        let sets = std::mem::take(exprs).into_iter().map(selected).collect();
        exprs.push(form(sets));
        modifiers.clear();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        precedence::regroup(expr);
        precedence::bind_arrows(expr);
        ControlFlow::Continue(())
    }
}

/// The expression that a number in GROUP BY refers to; the planner does not replace numbers in ROLLUP.
fn in_place(expr: Expr, projection: &[SelectItem]) -> Expr {
    let Expr::Value(value) = &expr else {
        return expr;
    };
    let Value::Number(number, _) = &value.value else {
        return expr;
    };
    let place = number.to_string().parse::<usize>().ok();
    let item = place.and_then(|place| projection.get(place.checked_sub(1)?));
    match item {
        Some(SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }) => {
            item.clone()
        }
        _ => expr,
    }
}
