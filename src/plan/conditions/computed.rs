//! [`filter_computed`]: a filter over rows with columns that are computed for it.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};

/// The rows of `input` of which `condition` holds. The condition may name `computed`, which are gone above it.
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
