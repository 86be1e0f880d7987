//! The row that a training returns.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use vatic_ml::model::metrics::Metric;

use crate::error::Result;
use crate::model::RunSummary;
use crate::sql::TrainModel;

/// The columns of the row that a training returns.
pub(crate) fn result_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, name == "metric");
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    Arc::new(Schema::new(vec![
        text("model"),
        count("version"),
        text("status"),
        count("train_rows"),
        count("eval_rows"),
        count("skipped_rows"),
        count("epochs"),
        number("train_loss"),
        number("eval_loss"),
        text("metric"),
        number("metric_value"),
        count("duration_ms"),
        count("seed"),
        text("device"),
        count("workers"),
        count("shards"),
        Field::new("refit_epochs", DataType::Int64, true),
    ]))
}

pub(crate) fn result_row(
    statement: &TrainModel,
    version: u64,
    status: &str,
    run: &RunSummary,
    seed: u64,
) -> Result<RecordBatch> {
    let text = |text: &str| Arc::new(StringArray::from(vec![text.to_owned()])) as ArrayRef;
    let count = |count: u64| Arc::new(Int64Array::from(vec![count as i64])) as ArrayRef;
    let number = |number: Option<f64>| Arc::new(Float64Array::from(vec![number])) as ArrayRef;
    let metric = run.main_metric();
    let metric_name = metric.map(Metric::full_name);
    let columns = vec![
        text(&statement.name.short()),
        count(version),
        text(status),
        count(run.train_rows),
        count(run.eval_rows),
        count(run.skipped_rows),
        count(run.history.len() as u64),
        number(Some(run.train_loss)),
        number(run.eval_loss),
        Arc::new(StringArray::from(vec![metric_name])),
        number(metric.and_then(|metric| metric.value)),
        count(run.duration_ms),
        count(seed),
        text(&run.device),
        count(run.workers as u64),
        count(run.shards as u64),
        Arc::new(Int64Array::from(vec![
            run.refit.map(|refit| refit.epochs as i64),
        ])),
    ];
    Ok(RecordBatch::try_new(result_schema(), columns)?)
}
