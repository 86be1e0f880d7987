//! Conditions that DataFusion 55 plans wrongly, so that a statement has other rows than SQL says and nobody is told. Each
//! is written in a form that is planned well, or refused. Decision 0029 says when each rule can go.
//!
//! All are analyzer rules: they run when types are known, and before any optimizer rule moves a condition.
//!
//! * `empty_scalars` scalar sub-queries without a row are NULL
//! * `join_queries` sub-queries in conditions of joins
//! * `membership` `x IN (query)` where a NULL makes it unknown
//! * `outer_keys` what a sub-query compares with a column of the query around it, if it has groups
//! * `outer_columns` columns of the query around a sub-query, below what has other rows for each of its values
//! * `totals` conditions about constants, above what has rows even if its input has none
//!
//! `computed` is a filter over columns that are computed for it.

mod computed;
mod empty_scalars;
mod join_queries;
mod membership;
mod outer_columns;
mod outer_keys;
mod totals;

use std::sync::Arc;

use datafusion::logical_expr::UserDefinedLogicalNode;
use datafusion::optimizer::AnalyzerRule;

/// Whether a node of ours has a row even if its input has none.
pub(crate) type HasOwnRow = fn(&dyn UserDefinedLogicalNode) -> bool;

pub(crate) fn analyzer_rules(has_own_row: HasOwnRow) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(empty_scalars::EmptyScalars),
        Arc::new(join_queries::JoinQueries),
        Arc::new(membership::Membership),
        Arc::new(outer_keys::OuterKeys),
        Arc::new(outer_columns::OuterColumns),
        Arc::new(totals::Totals { has_own_row }),
    ]
}
