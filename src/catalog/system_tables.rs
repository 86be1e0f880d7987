//! The system tables `information_schema.models` and `.model_versions`, `ml.training_runs`, `.training_metrics`,
//! `.metrics`, `.model_cache`, `.devices`, `.indexes`, `.executors` and `.jobs`, computed at each read.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListBuilder, StringArray,
    StringBuilder, TimestampMillisecondArray,
};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};

use super::indexes::ListedIndex;
use super::name::CATALOG;
use super::tables::Catalog;
use crate::access::Access;
use crate::access::grants::Privilege;
use crate::cluster::{Cluster, ExecutorView, JobView};
use crate::error::Result;
use crate::model::runtime::ModelRuntime;
use crate::model::{Manifest, ModelName, ModelRegistry, ModelState, VersionEntry};
use crate::train::{RunLog, RunRecord};

/// The sources of the tables.
#[derive(Debug)]
pub(crate) struct SystemTables {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) registry: Arc<ModelRegistry>,
    pub(crate) runs: Arc<RunLog>,
    pub(crate) cache: Arc<ModelRuntime>,
    pub(crate) cluster: Option<Arc<Cluster>>,
}

/// The function that computes a table; `Indexes` takes those of tables that the session may read, `Executors` and `Jobs` the cluster's answer.
enum Make {
    Models(fn(&SystemTables) -> Result<RecordBatch>),
    Indexes(fn(&[ListedIndex]) -> Result<RecordBatch>),
    Executors(fn(&[ExecutorView]) -> Result<RecordBatch>),
    Jobs(fn(&[JobView]) -> Result<RecordBatch>),
}

/// All system tables: schema, name, and function.
const TABLES: &[(&str, &str, Make)] = &[
    ("information_schema", "models", Make::Models(models)),
    (
        "information_schema",
        "model_versions",
        Make::Models(model_versions),
    ),
    ("ml", "training_runs", Make::Models(training_runs)),
    ("ml", "training_metrics", Make::Models(training_metrics)),
    ("ml", "metrics", Make::Models(metrics)),
    ("ml", "model_cache", Make::Models(model_cache)),
    ("ml", "devices", Make::Models(devices)),
    ("ml", "indexes", Make::Indexes(indexes)),
    ("ml", "executors", Make::Executors(executors)),
    ("ml", "jobs", Make::Jobs(jobs)),
];

/// The names of a schema's tables.
pub(crate) fn names(schema: &str) -> impl Iterator<Item = &'static str> {
    TABLES
        .iter()
        .filter(move |(of, ..)| *of == schema)
        .map(|(_, name, _)| *name)
}

impl SystemTables {
    /// Computes a table.
    pub(crate) async fn open(
        &self,
        access: &Access,
        schema: &str,
        name: &str,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some((.., make)) = TABLES
            .iter()
            .find(|(of, known, _)| *of == schema && *known == name)
        else {
            return Ok(None);
        };
        let batch = match (make, &self.cluster) {
            (Make::Models(make), _) => self.open_rows(access, make(self)?)?,
            (Make::Indexes(make), _) => make(&self.catalog.listed_indexes(access)?)?,
            (Make::Executors(make), Some(cluster)) => {
                self.open_rows(access, make(&cluster.executors().await)?)?
            }
            (Make::Jobs(make), Some(cluster)) => {
                self.open_rows(access, make(&cluster.jobs().await)?)?
            }
            (Make::Executors(make), None) => make(&[])?,
            (Make::Jobs(make), None) => make(&[])?,
        };
        Ok(Some(Arc::new(MemTable::try_new(
            batch.schema(),
            vec![vec![batch]],
        )?)))
    }

    /// The rows about models that the session may read; rows about the cluster are for administrators only.
    fn open_rows(&self, access: &Access, batch: RecordBatch) -> Result<RecordBatch> {
        let Access::User(user) = access else {
            return Ok(batch);
        };
        let rights = access.rights()?;
        let models = self.registry.list()?.into_iter();
        let open: HashMap<ModelName, ModelState> = models
            .filter(|(name, state)| {
                rights.may(Privilege::Execute, &name.object(), &state.ownership)
            })
            .collect();
        let runs = match batch.column_by_name("run_id") {
            Some(_) => self.runs.list()?,
            None => vec![],
        };
        let runs: HashMap<&str, &RunRecord> =
            runs.iter().map(|run| (run.run_id.as_str(), run)).collect();
        let text = |column: &str, row: usize| {
            let column = batch.column_by_name(column)?.as_string_opt::<i32>()?;
            Some(column.value(row).to_owned())
        };
        let is_open = |row: usize| {
            let name = text("model_name", row)?;
            let name = match text("model_schema", row) {
                Some(schema) => ModelName { schema, name },
                None => ModelName::parse(&name).ok()?,
            };
            let model = open.get(&name);
            match text("run_id", row) {
                Some(id) => Some(is_run_open(runs.get(id.as_str())?, model, &user.name)),
                None => Some(model.is_some()),
            }
        };
        let mask: BooleanArray = (0..batch.num_rows())
            .map(|row| Some(is_open(row).unwrap_or(false)))
            .collect();
        Ok(filter_record_batch(&batch, &mask)?)
    }
}

/// Whether a user may see a training: the training is the user's own, or made a version of a model that the user sees.
/// The model that now has the name may be a different one, so owner and version are compared.
fn is_run_open(run: &RunRecord, model: Option<&ModelState>, user: &str) -> bool {
    let is_of = |model: &ModelState| {
        let is_owners = run.user.is_none() || run.user == model.ownership.owner;
        let mut versions = model.versions.iter();
        is_owners && versions.any(|entry| Some(entry.version) == run.version)
    };
    run.user.as_deref() == Some(user) || model.is_some_and(is_of)
}

fn strings<T: Into<Option<String>>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(StringArray::from_iter(values.map(Into::into)))
}

fn integers<T: Into<Option<u64>>>(values: impl Iterator<Item = T>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(
        values.map(|value| value.into().map(|value: u64| value as i64)),
    ))
}

fn numbers(values: impl Iterator<Item = Option<f64>>) -> ArrayRef {
    Arc::new(Float64Array::from_iter(values))
}

fn times<T: Into<Option<chrono::DateTime<chrono::Utc>>>>(
    values: impl Iterator<Item = T>,
) -> ArrayRef {
    let milliseconds = values.map(|time| time.into().map(|time| time.timestamp_millis()));
    Arc::new(TimestampMillisecondArray::from_iter(milliseconds).with_timezone("UTC"))
}

fn lists(values: impl Iterator<Item = Vec<String>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    values.for_each(|list| builder.append_value(list.into_iter().map(Some)));
    Arc::new(builder.finish())
}

fn models(of: &SystemTables) -> Result<RecordBatch> {
    let models = of.registry.list()?;
    let default = |(name, state): &(ModelName, ModelState)| {
        let entry = state
            .versions
            .iter()
            .find(|entry| entry.version == state.default_version)?;
        of.registry.open(name, entry).ok()
    };
    let each = || models.iter();
    let types =
        each().map(|model| default(model).map(|model| model.manifest.model_type().to_owned()));
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "model_catalog",
            strings(each().map(|_| CATALOG.to_owned())),
            false,
        ),
        (
            "model_schema",
            strings(each().map(|(name, _)| name.schema.clone())),
            false,
        ),
        (
            "model_name",
            strings(each().map(|(name, _)| name.name.clone())),
            false,
        ),
        ("model_type", strings(types), true),
        (
            "default_version",
            integers(each().map(|(_, state)| state.default_version)),
            false,
        ),
        (
            "version_count",
            integers(each().map(|(_, state)| state.versions.len() as u64)),
            false,
        ),
        (
            "comment",
            strings(each().map(|(_, state)| state.comment.clone())),
            true,
        ),
        (
            "created_at",
            times(each().map(|(_, state)| state.created_at)),
            false,
        ),
    ])?)
}

fn model_versions(of: &SystemTables) -> Result<RecordBatch> {
    let models = of.registry.list()?;
    let versions: Vec<(&ModelName, &ModelState, &VersionEntry)> = models
        .iter()
        .flat_map(|(name, state)| state.versions.iter().map(move |entry| (name, state, entry)))
        .collect();
    // A version with a damaged manifest is listed too, so that it can be dropped.
    let manifests: Vec<_> = versions
        .iter()
        .map(|(name, _, entry)| {
            of.registry
                .open(name, entry)
                .ok()
                .map(|model| model.manifest)
        })
        .collect();
    let each = || versions.iter();
    let known = || manifests.iter().map(|manifest| manifest.as_deref());
    let trained = || known().map(|manifest| manifest.and_then(Manifest::trained));
    let target = |manifest: Option<&Manifest>| {
        let labels = manifest?.signature.labels();
        let names: Vec<&str> = labels.map(|label| label.target.name.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    let features = known().map(|manifest| {
        let columns = manifest.map(|manifest| {
            manifest
                .signature
                .inputs
                .iter()
                .map(|c| c.name.clone())
                .collect()
        });
        columns.unwrap_or_default()
    });
    let metrics = known().map(|manifest| {
        manifest.and_then(Manifest::trained).map(|trained| {
            let present = trained
                .run
                .metrics
                .iter()
                .filter_map(|m| m.value.map(|value| (m.full_name(), value.into())));
            serde_json::Value::Object(present.collect()).to_string()
        })
    });
    let is_default = each().map(|(_, state, entry)| Some(entry.version == state.default_version));
    Ok(RecordBatch::try_from_iter_with_nullable([
        (
            "model_catalog",
            strings(each().map(|_| CATALOG.to_owned())),
            false,
        ),
        (
            "model_schema",
            strings(each().map(|(name, ..)| name.schema.clone())),
            false,
        ),
        (
            "model_name",
            strings(each().map(|(name, ..)| name.name.clone())),
            false,
        ),
        (
            "version",
            integers(each().map(|(.., entry)| entry.version)),
            false,
        ),
        (
            "aliases",
            lists(each().map(|(.., entry)| entry.aliases.clone())),
            false,
        ),
        (
            "is_default",
            Arc::new(BooleanArray::from_iter(is_default)),
            false,
        ),
        (
            "model_type",
            strings(known().map(|m| m.map(|m| m.model_type().to_owned()))),
            true,
        ),
        ("features", lists(features), false),
        ("target", strings(known().map(target)), true),
        (
            "train_rows",
            integers(trained().map(|t| t.map(|t| t.run.train_rows))),
            true,
        ),
        (
            "eval_rows",
            integers(trained().map(|t| t.map(|t| t.run.eval_rows))),
            true,
        ),
        ("metrics", strings(metrics), true),
        (
            "seed",
            integers(trained().map(|t| t.map(|t| t.options.seed))),
            true,
        ),
        (
            "bytes",
            integers(
                known().map(|m| m.map(|m| m.files.iter().map(|file| file.bytes).sum::<u64>())),
            ),
            true,
        ),
        (
            "sha256",
            strings(known().map(|m| m.and_then(weights_sha256))),
            true,
        ),
        (
            "training_sql",
            strings(known().map(|m| m.map(|m| m.statement().to_owned()))),
            true,
        ),
        (
            "created_at",
            times(known().map(|m| m.map(|m| m.created_at))),
            true,
        ),
    ])?)
}

/// The hash of the weights; it is equal for trainings with the same weights.
fn weights_sha256(manifest: &Manifest) -> Option<String> {
    let file = manifest
        .files
        .iter()
        .find(|file| file.name == vatic_ml::artifact::WEIGHTS_FILE)?;
    Some(file.sha256.clone())
}

fn training_runs(of: &SystemTables) -> Result<RecordBatch> {
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

fn training_metrics(of: &SystemTables) -> Result<RecordBatch> {
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

fn metrics(of: &SystemTables) -> Result<RecordBatch> {
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

fn model_cache(of: &SystemTables) -> Result<RecordBatch> {
    let cached = of.cache.cached();
    let each = || cached.iter();
    Ok(RecordBatch::try_from_iter([
        ("model", strings(each().map(|model| model.name.clone()))),
        ("sha256", strings(each().map(|model| model.sha256.clone()))),
        (
            "device",
            strings(each().map(|model| model.device.to_string())),
        ),
        (
            "dtype",
            strings(each().map(|model| model.compute.to_string())),
        ),
        ("bytes", integers(each().map(|model| model.bytes as u64))),
        ("hits", integers(each().map(|model| model.hits))),
        (
            "in_use",
            Arc::new(BooleanArray::from_iter(
                each().map(|model| Some(model.is_in_use)),
            )) as ArrayRef,
        ),
        (
            "pinned",
            Arc::new(BooleanArray::from_iter(
                each().map(|model| Some(model.is_pinned)),
            )) as ArrayRef,
        ),
    ])?)
}

/// The processor and the GPUs of this process, with the models that are loaded on each.
fn devices(of: &SystemTables) -> Result<RecordBatch> {
    let cores = vatic_ml::device::cores();
    // An error says that there is no GPU, which the absence of rows says too.
    let gpus = vatic_ml::device::gpus().unwrap_or_default();
    let cached = of.cache.cached();
    let (mut device, mut name) = (vec!["cpu".to_owned()], vec![format!("{cores} cores")]);
    let (mut memory, mut free, mut failure) = (vec![None], vec![None], vec![None]);
    for gpu in &gpus {
        device.push(gpu.device.to_string());
        name.push(gpu.name.clone());
        memory.push(Some(gpu.memory_bytes as i64));
        free.push(Some(gpu.free_bytes as i64).filter(|_| gpu.failure.is_none()));
        failure.push(gpu.failure.clone());
    }
    let mut models = ListBuilder::new(StringBuilder::new());
    for device in &device {
        let on = cached
            .iter()
            .filter(|model| model.device.to_string() == *device);
        let mut names: Vec<&str> = on.map(|model| model.name.as_str()).collect();
        // A model may be there in several types.
        names.dedup();
        models.append_value(names.into_iter().map(Some));
    }
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("device", strings(device.into_iter()), false),
        ("name", strings(name.into_iter()), false),
        (
            "memory_bytes",
            Arc::new(Int64Array::from(memory)) as ArrayRef,
            true,
        ),
        ("free_bytes", Arc::new(Int64Array::from(free)), true),
        ("failure", Arc::new(StringArray::from(failure)), true),
        ("models", Arc::new(models.finish()), false),
    ])?)
}

fn indexes(indexes: &[ListedIndex]) -> Result<RecordBatch> {
    let each = || indexes.iter();
    let parameter =
        |of: fn(&ListedIndex) -> usize| integers(each().map(|listed| of(listed) as u64));
    Ok(RecordBatch::try_from_iter([
        (
            "table_schema",
            strings(each().map(|listed| listed.schema.clone())),
        ),
        (
            "table_name",
            strings(each().map(|listed| listed.table.clone())),
        ),
        (
            "index_name",
            strings(each().map(|listed| listed.index.name.clone())),
        ),
        (
            "column_name",
            strings(each().map(|listed| listed.index.column.clone())),
        ),
        (
            "metric",
            strings(each().map(|listed| listed.index.metric.name().to_owned())),
        ),
        ("m", parameter(|listed| listed.index.m)),
        (
            "ef_construction",
            parameter(|listed| listed.index.ef_construction),
        ),
        ("rows", integers(each().map(|listed| listed.rows))),
        (
            "indexed_rows",
            integers(each().map(|listed| listed.indexed_rows)),
        ),
        ("bytes", integers(each().map(|listed| listed.bytes))),
    ])?)
}

fn executors(executors: &[ExecutorView]) -> Result<RecordBatch> {
    let each = || executors.iter();
    let id = strings(each().map(|executor| executor.id.clone()));
    let address = strings(each().map(|executor| executor.address.clone()));
    let slots = integers(each().map(|executor| executor.slots));
    let free = integers(each().map(|executor| executor.free_slots));
    let device = Arc::new(StringArray::from_iter(
        each().map(|executor| executor.device.clone()),
    ));
    let last_seen = times(each().map(|executor| executor.last_seen));
    let mut models = ListBuilder::new(StringBuilder::new());
    for executor in each() {
        let names = executor.models.as_deref();
        models.append_option(names.map(|names| names.iter().map(Some)));
    }
    let models: ArrayRef = Arc::new(models.finish());
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("executor_id", id, false),
        ("address", address, false),
        ("slots", slots, false),
        ("free_slots", free, false),
        ("device", device, true),
        ("last_seen", last_seen, true),
        ("models", models, true),
    ])?)
}

fn jobs(jobs: &[JobView]) -> Result<RecordBatch> {
    let each = || jobs.iter();
    let id = strings(each().map(|job| job.id.clone()));
    let name = strings(each().map(|job| job.name.clone()));
    let started_at = times(each().map(|job| job.started_at));
    let stages = integers(each().map(|job| job.stages));
    let done = integers(each().map(|job| job.stages_done));
    let tasks = integers(each().map(|job| job.tasks_running));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("job_id", id, false),
        ("job_name", name, false),
        ("started_at", started_at, true),
        ("stages", stages, false),
        ("stages_done", done, false),
        ("tasks_running", tasks, false),
    ])?)
}
