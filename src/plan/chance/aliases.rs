//! Check for aliases of random values in HAVING, QUALIFY and DISTINCT ON: DataFusion replaces the alias by its expression
//! there, which would draw the value again.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Volatility;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, Ident, Select, SelectItem, Visit, Visitor,
};

use crate::error::{Result, SqlState, sql_err};

/// Refuses a statement that would draw the value of an alias more than once.
pub(crate) fn check_aliases(statement: &impl Visit, state: &SessionState) -> Result<()> {
    match statement.visit(&mut Aliases { state }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

struct Aliases<'a> {
    state: &'a SessionState,
}

impl Visitor for Aliases<'_> {
    type Break = DataFusionError;

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<DataFusionError> {
        let on = match &select.distinct {
            Some(Distinct::On(exprs)) => exprs.as_slice(),
            _ => &[],
        };
        let readers = [
            ("HAVING", select.having.as_slice()),
            ("QUALIFY", select.qualify.as_slice()),
            ("DISTINCT ON", on),
        ];
        if readers.iter().all(|(_, exprs)| exprs.is_empty()) {
            return ControlFlow::Continue(());
        }
        let drawn = select.projection.iter().filter_map(|item| match item {
            SelectItem::ExprWithAlias { expr, alias } if self.draws(expr) => Some((expr, alias)),
            _ => None,
        });
        for (expr, alias) in drawn {
            // A group key has one value, and every reference to the alias reads that value.
            if is_grouped(&select.group_by, expr, alias) {
                continue;
            }
            let reads = |exprs: &[Expr]| exprs.iter().any(|expr| names(expr, alias));
            if let Some((clause, _)) = readers.iter().find(|(_, exprs)| reads(exprs)) {
                let message = format!(
                    "{clause} would draw \"{}\" again; draw it in a sub-query and filter its column with WHERE",
                    alias.value
                );
                return ControlFlow::Break(sql_err(SqlState::Unsupported, message));
            }
        }
        ControlFlow::Continue(())
    }
}

impl Aliases<'_> {
    fn draws(&self, expr: &Expr) -> bool {
        let is_volatile = |expr: &Expr| {
            let Expr::Function(function) = expr else {
                return false;
            };
            let name = function.name.to_string().to_lowercase();
            let known = self.state.scalar_functions().get(name.as_str());
            known.is_some_and(|known| known.signature().volatility == Volatility::Volatile)
        };
        any(expr, &is_volatile)
    }
}

fn is_grouped(group_by: &GroupByExpr, drawn: &Expr, alias: &Ident) -> bool {
    match group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, _) => exprs
            .iter()
            .any(|expr| expr == drawn || names(expr, alias) || matches!(expr, Expr::Value(_))),
    }
}

fn names(expr: &Expr, alias: &Ident) -> bool {
    any(expr, &|expr| match expr {
        Expr::Identifier(name) => name.value.eq_ignore_ascii_case(&alias.value),
        _ => false,
    })
}

fn any(expr: &Expr, is_wanted: &dyn Fn(&Expr) -> bool) -> bool {
    struct Any<'a>(&'a dyn Fn(&Expr) -> bool);
    impl Visitor for Any<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match (self.0)(expr) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
    }
    expr.visit(&mut Any(is_wanted)).is_break()
}
