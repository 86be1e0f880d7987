//! [`Chain`]: the renamed and computed columns between two operators, as expressions of the columns of the lower one.
//!
//! ```text
//! SubqueryAlias: p                       p.id  =  a.id
//!   Projection: a.id, a.x + 1 AS y  ─▶   p.y   =  a.x + 1
//!     Inner Join: …
//! ```

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, DFSchema, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection};

/// The columns of a plan, as expressions of the columns of an operator below it.
pub(super) struct Chain<'a> {
    pub(super) end: &'a LogicalPlan,
    /// In the order of the columns.
    pub(super) exprs: Vec<Expr>,
}

impl<'a> Chain<'a> {
    /// From the top of a plan, through aliases and projections, to an operator that is an end; `None` if another operator stands
    /// between, or a projection that computes what must not be computed elsewhere.
    pub(super) fn of(
        plan: &'a LogicalPlan,
        is_end: fn(&LogicalPlan) -> bool,
    ) -> Result<Option<Self>> {
        if is_end(plan) {
            let exprs = plan.schema().columns().into_iter().map(Expr::Column);
            return Ok(Some(Self {
                end: plan,
                exprs: exprs.collect(),
            }));
        }
        match plan {
            LogicalPlan::SubqueryAlias(alias) => Self::of(&alias.input, is_end),
            LogicalPlan::Projection(projection) if projection.expr.iter().all(is_movable) => {
                let Some(below) = Self::of(&projection.input, is_end)? else {
                    return Ok(None);
                };
                let schema = projection.input.schema();
                let exprs = projection.expr.iter().map(|expr| {
                    let expr = expr.clone().unalias();
                    in_terms_of(expr, schema, &below.exprs)
                });
                let exprs = exprs.collect::<Result<Vec<_>>>()?;
                Ok(Some(Self { exprs, ..below }))
            }
            _ => Ok(None),
        }
    }
}

/// Whether an expression has the same value in another projection, and nothing beside its value.
fn is_movable(expr: &Expr) -> bool {
    let has_metadata = matches!(expr, Expr::Alias(alias) if alias.metadata.is_some());
    // The closure never fails.
    let has_query = expr.exists(|expr| Ok(is_query(expr))).unwrap_or(true);
    !has_metadata && !has_query && !expr.is_volatile()
}

/// Whether an expression is a sub-query.
pub(in crate::predict) fn is_query(expr: &Expr) -> bool {
    matches!(
        expr,
        Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
    )
}

/// The expression with the expressions of these columns in their places.
pub(super) fn in_terms_of(expr: Expr, schema: &DFSchema, exprs: &[Expr]) -> Result<Expr> {
    let replaced = expr.transform_up(|expr| match &expr {
        Expr::Column(column) => {
            let at = schema.index_of_column(column)?;
            Ok(Transformed::yes(exprs[at].clone()))
        }
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(replaced.data)
}

/// The expression under the name of a column.
pub(super) fn under_name(expr: Expr, column: &Column) -> Expr {
    let has_name = matches!(&expr, Expr::Column(own) if own == column);
    match has_name {
        true => expr,
        false => expr.alias_qualified(column.relation.clone(), &column.name),
    }
}

/// A projection of these expressions under the names of a schema.
pub(super) fn projected(
    exprs: impl IntoIterator<Item = Expr>,
    schema: &DFSchema,
    input: LogicalPlan,
) -> Result<LogicalPlan> {
    let columns = schema.columns();
    let exprs = exprs.into_iter().zip(&columns);
    let exprs = exprs.map(|(expr, column)| under_name(expr, column));
    let projection = Projection::try_new(exprs.collect(), Arc::new(input))?;
    Ok(LogicalPlan::Projection(projection))
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};

    use super::*;

    fn values() -> LogicalPlanBuilder {
        let rows = vec![vec![lit(1_i64), lit(2_i64)]];
        LogicalPlanBuilder::values(rows).unwrap()
    }

    fn is_values(plan: &LogicalPlan) -> bool {
        matches!(plan, LogicalPlan::Values(_))
    }

    fn texts(plan: &LogicalPlan) -> Option<Vec<String>> {
        let chain = Chain::of(plan, is_values).unwrap()?;
        Some(chain.exprs.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn columns_are_followed_through_aliases_and_projections() {
        let plan = values()
            .project(vec![
                col("column2"),
                (col("column1") + lit(1_i64)).alias("y"),
            ])
            .unwrap()
            .alias("p")
            .unwrap()
            .project(vec![col("p.y"), col("p.column2").alias("z")])
            .unwrap()
            .build()
            .unwrap();
        let expected = ["column1 + Int64(1)", "column2"].map(str::to_owned);
        assert_eq!(texts(&plan), Some(expected.to_vec()));
    }

    #[test]
    fn an_operator_that_changes_the_rows_ends_the_search() {
        let plan = values().limit(0, Some(1)).unwrap().build().unwrap();
        assert_eq!(texts(&plan), None);
    }
}
