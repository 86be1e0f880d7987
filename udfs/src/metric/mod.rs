//! Aggregate functions that measure predictions: `SELECT accuracy(label, predicted_label) FROM predict(m, t)`.
//!
//! `vatic-metrics` defines each metric, for `evaluate` too. A row with a NULL argument is skipped; a metric over no
//! rows is NULL: `classes`, `log_loss`, `ranking`, `regression`; `udaf` makes functions of them. To add a metric, write its accumulator in a file here and add a line below.

mod classes;
mod log_loss;
mod ranking;
mod regression;
mod udaf;

use std::sync::Arc;

use datafusion_expr::AggregateUDF;

/// The functions of this group.
pub fn functions() -> Vec<Arc<AggregateUDF>> {
    let mut functions = classes::functions();
    functions.push(log_loss::function());
    functions.extend(ranking::functions());
    functions.extend(regression::functions());
    functions.into_iter().map(Arc::new).collect()
}
