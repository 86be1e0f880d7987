//! `ml.training_runs`, `.training_metrics` and `.metrics`: trainings, their epochs, and the metrics of the versions that they made.

use datafusion::arrow::record_batch::RecordBatch;

use super::columns::{integers, numbers, strings, times};
use super::sources::SystemTables;
use crate::error::Result;
use crate::model::{ModelName, VersionEntry};

pub(super) fn training_runs(of: &SystemTables) -> Result<RecordBatch> {
    let runs = of.runs.list()?;
    let each = || runs.iter();
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "run_id",
            strings(each().map(|run| run.run_id.clone())),
            false,
        ),
        (
            "model_name",
            strings(each().map(|run| run.model.clone())),
            false,
        ),
        ("version", integers(each().map(|run| run.version)), true),
        (
            "status",
            strings(each().map(|run| run.status.clone())),
            false,
        ),
        ("error", strings(each().map(|run| run.error.clone())), true),
        ("started_at", times(each().map(|run| run.started_at)), false),
        ("ended_at", times(each().map(|run| run.ended_at)), true),
        (
            "training_sql",
            strings(each().map(|run| run.training_sql.clone())),
            false,
        ),
    ])?)
}

pub(super) fn training_metrics(of: &SystemTables) -> Result<RecordBatch> {
    let runs = of.runs.list()?;
    let epochs: Vec<_> = runs
        .iter()
        .flat_map(|run| run.history.iter().map(move |epoch| (run, epoch)))
        .collect();
    let each = || epochs.iter();
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "run_id",
            strings(each().map(|(run, _)| run.run_id.clone())),
            false,
        ),
        (
            "model_name",
            strings(each().map(|(run, _)| run.model.clone())),
            false,
        ),
        (
            "version",
            integers(each().map(|(run, _)| run.version)),
            true,
        ),
        (
            "epoch",
            integers(each().map(|(_, epoch)| epoch.epoch as u64)),
            false,
        ),
        (
            "train_loss",
            numbers(each().map(|(_, epoch)| Some(epoch.train_loss))),
            true,
        ),
        (
            "eval_loss",
            numbers(each().map(|(_, epoch)| epoch.eval_loss)),
            true,
        ),
        (
            "learn_rate",
            numbers(each().map(|(_, epoch)| epoch.learn_rate)),
            true,
        ),
        (
            "duration_ms",
            integers(each().map(|(_, epoch)| epoch.duration_ms)),
            false,
        ),
    ])?)
}

/// A figure of a version: losses, and the metrics of the rows that training computed them on.
struct Figure {
    model: String,
    version: u64,
    split: &'static str,
    metric: String,
    value: Option<f64>,
}

fn figures(of: &SystemTables, name: &ModelName, entry: &VersionEntry) -> Vec<Figure> {
    let model = of.registry.open(name, entry).ok();
    let Some(trained) = model.as_ref().and_then(|model| model.manifest.trained()) else {
        return vec![];
    };
    let figure = |split, metric: String, value| Figure {
        model: name.short(),
        version: entry.version,
        split,
        metric,
        value,
    };
    let run = &trained.run;
    let mut figures = vec![figure("train", "loss".into(), Some(run.train_loss))];
    figures.extend(
        run.eval_loss
            .map(|loss| figure("eval", "loss".into(), Some(loss))),
    );
    let metrics = run.metrics.iter();
    figures.extend(metrics.map(|metric| figure(run.split(), metric.full_name(), metric.value)));
    figures
}

pub(super) fn metrics(of: &SystemTables) -> Result<RecordBatch> {
    let models = of.registry.list()?;
    let versions = models
        .iter()
        .flat_map(|(name, state)| state.versions.iter().map(move |entry| (name, entry)));
    let figures: Vec<Figure> = versions
        .flat_map(|(name, entry)| figures(of, name, entry))
        .collect();
    let each = || figures.iter();
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "model_name",
            strings(each().map(|figure| figure.model.clone())),
            false,
        ),
        (
            "version",
            integers(each().map(|figure| figure.version)),
            false,
        ),
        (
            "split",
            strings(each().map(|figure| figure.split.to_owned())),
            false,
        ),
        (
            "metric",
            strings(each().map(|figure| figure.metric.clone())),
            false,
        ),
        ("value", numbers(each().map(|figure| figure.value)), true),
    ])?)
}
