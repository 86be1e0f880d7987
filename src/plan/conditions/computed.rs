//! [`filter_computed`]: a filter whose condition may use computed columns.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

/// The rows of `input` for which `condition` holds. The condition may name the `computed` columns, which end at the filter.
pub(super) fn filter_computed(
    input: Arc<LogicalPlan>,
    computed: Vec<Expr>,
    condition: Expr,
) -> Result<LogicalPlan> {
    let columns = input.schema().columns();
    let columns: Vec<Expr> = columns.into_iter().map(Expr::Column).collect();
    let rows = LogicalPlanBuilder::from(input);
    if computed.is_empty() {
        return rows.filter(condition)?.build();
    }
    rows.project(columns.iter().cloned().chain(computed))?
        .filter(condition)?
        .project(columns)?
        .build()
}
