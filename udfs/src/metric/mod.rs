//! Aggregates that say how good predictions are: `SELECT accuracy(label, predicted_label) FROM predict(m, t)`.
//!
//! What each metric is, `vatic-metrics` says; `evaluate` shares it. A row in which an argument is NULL is left out; of no
//! rows a metric is NULL. To add one: its accumulator in a file here, and a line below.

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
