//! Analyzer rules for conditions that DataFusion 55 plans wrongly, so that a statement silently returns wrong rows. Each
//! condition is rewritten into a form that DataFusion plans correctly, or refused. Decision 0029 says when each rule can go.
//!
//! The rules run when types are known, and before any optimizer rule moves a condition.
//!
//! * `empty_scalars` scalar sub-queries without a row are NULL
//! * `join_queries` sub-queries in conditions of joins
//! * `membership` `x IN (query)` where a NULL makes the result unknown
//! * `outer_keys` expressions that a correlated sub-query with groups compares with an outer column
//! * `outer_columns` refuses outer columns of a sub-query below an operator where DataFusion would filter by them too late
//! * `constant_conditions` conditions on constants above a node that returns a row even if its input is empty
//!
//! `computed` builds a filter over computed columns.

mod computed;
mod constant_conditions;
mod empty_scalars;
mod join_queries;
mod membership;
mod outer_columns;
mod outer_keys;

use std::sync::Arc;

use datafusion::logical_expr::UserDefinedLogicalNode;
use datafusion::optimizer::AnalyzerRule;

/// Whether one of our nodes returns a row even if its input has none.
pub(crate) type HasOwnRow = fn(&dyn UserDefinedLogicalNode) -> bool;

pub(crate) fn analyzer_rules(has_own_row: HasOwnRow) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    vec![
        Arc::new(empty_scalars::EmptyScalars),
        Arc::new(join_queries::JoinQueries),
        Arc::new(membership::Membership),
        Arc::new(outer_keys::OuterKeys),
        Arc::new(outer_columns::OuterColumns),
        Arc::new(constant_conditions::ConstantConditions { has_own_row }),
    ]
}
