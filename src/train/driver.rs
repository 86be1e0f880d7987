//! One training from statement to version. Only the driver publishes; ranks only write files.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::Utc;
use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::expressions::Column as ColumnExpr;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, Partitioning, displayable,
};
use futures::TryStreamExt;
use vatic_ml::artifact::sha256;
use vatic_ml::data::labels::check_label_type;
use vatic_ml::data::signature::{Column, FeatureKind, Signature, canonical_type};
use vatic_ml::model::Task;
use vatic_ml::train::fit::TrainSpec;
use vatic_ml::train::options::{DataSplit, TrainOptions};
use vatic_ml::train::shard::SHARDS_DEFAULT;

use super::exec::{BlobGuard, RankResult, TrainExec, TrainTask};
use super::options::train_options;
use super::route::{KEY_COLUMN, Route, RouteExec};
use crate::access::grants::Privilege;
use crate::access::ownership::Ownership;
use crate::cluster::TrainingFailure;
use crate::config::VaticOptions;
use crate::error::{Result, SqlError, SqlState, ml_err, report, sql_err, with_cause};
use crate::model::{
    MANIFEST_FILE, MANIFEST_FORMAT, Manifest, ModelRef, NewVersion, Publish, RunSummary, Selector,
    exists_err,
};
use crate::progress::{ProgressEvent, ProgressListener};
use crate::session::Session;
use crate::sql::TrainModel;
use crate::statements::model;
use crate::storage::Place;

/// How often a training is begun when machines are lost.
const ATTEMPTS_MAX: usize = 4;
/// How long an attempt after the first waits for an executor, in seconds: who lost all wants to hear of it.
const WAIT_AGAIN_S: usize = 20;
/// The label if the statement names none.
const DEFAULT_TARGET: &str = "label";

/// Trains, publishes, and says how it went in one row.
pub(crate) async fn train(session: &Session, statement: &TrainModel) -> Result<RecordBatch> {
    let registry = session.engine().registry();
    let options = train_options(
        &statement.options,
        &session.engine().runtime().model_type_names(),
    )?;
    session
        .engine()
        .data()
        .check_schema(&statement.name.schema)?;
    let (engine, access) = (session.engine(), session.access());
    let state = registry.state(&statement.name)?.1;
    let exists = !state.is_dropped;
    if exists && (statement.or_replace || statement.if_not_exists) {
        let wanted = match statement.or_replace {
            true => Privilege::Own,
            false => Privilege::Execute,
        };
        let is_open = access.check_model(engine, wanted, &statement.name, &state);
        is_open.map_err(|_| exists_err(&statement.name))?;
    }
    if exists && !statement.or_replace {
        if !statement.if_not_exists {
            return Err(exists_err(&statement.name));
        }
        let reference = ModelRef {
            name: statement.name.clone(),
            selector: Selector::Default,
        };
        let model = registry.resolve(&reference, &state)?;
        return result_row(
            statement,
            model.version,
            "EXISTS",
            &model.manifest.run,
            model.manifest.options.seed,
        );
    }
    let run_id = uuid::Uuid::new_v4().to_string();
    let (user, sql) = (access.name().map(str::to_owned), statement.to_string());
    let runs = engine.runs();
    let record = runs.begin(&run_id, user, &statement.name.short(), &sql)?;
    match attempt(session, statement, options, &run_id).await {
        Ok((version, run, seed)) => {
            record.succeed(version, run.history.clone());
            let status = if version > 1 { "REPLACED" } else { "CREATED" };
            result_row(statement, version, status, &run, seed)
        }
        Err(error) => {
            record.fail(&report(&error));
            Err(error)
        }
    }
}

async fn attempt(
    session: &Session,
    statement: &TrainModel,
    options: TrainOptions,
    run_id: &str,
) -> Result<(u64, RunSummary, u64)> {
    let input = session.plan_training_query(&statement.query).await?;
    let checkpoint = CheckpointGuard(session.engine().data().checkpoint(run_id)?);
    let mut lost = String::new();
    for attempt in 1..=ATTEMPTS_MAX {
        let workers = workers(session, &options, attempt > 1).await?;
        let (name, place) = session.engine().data().create_blob()?;
        let target = BlobGuard {
            name,
            place,
            is_kept: false.into(),
        };
        // An attempt's id is its fencing token: what is left of an older one is sent away with it.
        let attempt = Attempt {
            run_id: &format!("{run_id}.{attempt}"),
            target: target.place.clone(),
            checkpoint: checkpoint.0.clone(),
            workers,
        };
        let plan = physical_plan(session, statement, &options, &input, attempt).await?;
        let result = match run_ranks(session, &plan).await {
            Ok(result) => result,
            Err(TrainingFailure::Error(error)) => return Err(error),
            Err(TrainingFailure::Lost(what)) => {
                tracing::warn!(run = run_id, what, "a training begins again");
                lost = what;
                continue;
            }
        };
        let manifest = Manifest {
            format_version: MANIFEST_FORMAT,
            run_id: run_id.into(),
            created_at: Utc::now(),
            engine: env!("CARGO_PKG_VERSION").into(),
            signature: plan.signature,
            labels: result.labels,
            training_sql: statement.to_string(),
            run: result.run,
            files: result.files,
            options,
        };
        let version = publish(session, statement, &manifest, &target)?;
        return Ok((version, manifest.run, manifest.options.seed));
    }
    let message = format!("the training was given up after {ATTEMPTS_MAX} attempts: {lost}");
    Err(sql_err(SqlState::NoResources, message))
}

/// Makes the files and the manifest last, then lets the registry name them.
fn publish(
    session: &Session,
    statement: &TrainModel,
    manifest: &Manifest,
    target: &BlobGuard,
) -> Result<u64> {
    let failed = |error: std::io::Error| crate::error::io_err(&target.place, &error);
    let content = serde_json::to_vec_pretty(manifest).map_err(|error| failed(error.into()))?;
    let place = target.place.join(MANIFEST_FILE);
    place.create(&content).map_err(failed)?;
    let how = if statement.or_replace {
        Publish::Replace
    } else {
        Publish::New
    };
    // From here on the files must stay: a failure to answer does not mean that nothing was published.
    target.is_kept.store(true, Ordering::Relaxed);
    let new = NewVersion {
        directory: target.name.clone(),
        sha256: sha256(&content),
        comment: statement.comment.clone(),
        how,
        ownership: Ownership::new(session.access()),
    };
    let published = model::publish(session, &statement.name, &new);
    if let Err(error) = &published
        && report(error).state == SqlState::ModelExists
    {
        target.is_kept.store(false, Ordering::Relaxed);
    }
    published
}

/// Runs all ranks, here or on the cluster, and returns what rank 0 said.
async fn run_ranks(session: &Session, plan: &Planned) -> Result<RankResult, TrainingFailure> {
    let task = plan.ranks.task();
    let ranks = Arc::clone(&plan.ranks) as Arc<dyn ExecutionPlan>;
    let text = match session.engine().cluster() {
        // Rows that exist in this process only are trained on here; the result is the same.
        Some(cluster) if cluster.takes(&ranks, &session.context().copied_config()) => {
            let config = session.context().copied_config();
            let listener = session.progress();
            let _done = listener.clone().map(Done);
            cluster.train(ranks, task, &config, listener).await?
        }
        _ => run_here(session, &ranks, task).await?,
    };
    serde_json::from_str(&text).map_err(|error| lost_result(&error.to_string()).into())
}

/// Tells a listener that nothing more will come.
struct Done(ProgressListener);

impl Drop for Done {
    fn drop(&mut self) {
        (self.0)(ProgressEvent::Done);
    }
}

/// Runs all ranks side by side in this process.
async fn run_here(
    session: &Session,
    plan: &Arc<dyn ExecutionPlan>,
    task: &TrainTask,
) -> Result<String> {
    let _membership =
        session
            .engine()
            .gang()
            .open(&task.run_id, &task.model, task.workers, session.progress());
    let context = session.task_context();
    let ranks = (0..plan.output_partitioning().partition_count()).map(|rank| {
        let stream = plan.execute(rank, Arc::clone(&context));
        async move {
            match stream {
                Ok(stream) => stream.try_collect::<Vec<RecordBatch>>().await,
                Err(error) => Err(error),
            }
        }
    });
    let results = futures::future::join_all(ranks).await;
    let is_peer = |error: &SqlError| error.message == vatic_ml::Error::Peer.to_string();
    let failures = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .map(report);
    // Of many errors the one that began it all is shown, not those of the ranks that it took along.
    if let Some(error) = failures
        .clone()
        .find(|error| !is_peer(error))
        .or(failures.into_iter().next())
    {
        return Err(error.into());
    }
    let mut texts = results.into_iter().flatten().flatten().filter_map(|batch| {
        let column = batch.column(1).as_string::<i32>().clone();
        column.iter().flatten().next().map(str::to_owned)
    });
    texts
        .next()
        .ok_or_else(|| lost_result("no worker gave one"))
}

fn lost_result(problem: &str) -> DataFusionError {
    sql_err(
        SqlState::Internal,
        format!("result of a training: {problem}"),
    )
}

/// `TrainExec ← RepartitionExec(Hash) ← RouteExec ← query`
async fn physical_plan(
    session: &Session,
    statement: &TrainModel,
    options: &TrainOptions,
    input: &LogicalPlan,
    attempt: Attempt<'_>,
) -> Result<Planned> {
    let unknown = || {
        sql_err(
            SqlState::Internal,
            format!("model type \"{}\" is not known", options.model_type),
        )
    };
    let task = session
        .engine()
        .runtime()
        .model_type(&options.model_type)
        .ok_or_else(unknown)?
        .task();
    let (signature, indices) = signature(statement, options, task, input.schema())?;
    let workers = attempt.workers;
    let shards = options.shards.unwrap_or(SHARDS_DEFAULT);
    let columns = route_columns(&signature, &indices, input.schema());
    let route = Route::try_new(columns, options.seed, shards, workers)?;
    let query = session.physical_plan(input).await?;
    let mut plan: Arc<dyn ExecutionPlan> = Arc::new(RouteExec::new(query, route));
    if workers > 1 {
        let key = ColumnExpr::new_with_schema(KEY_COLUMN, &plan.schema())?;
        plan = Arc::new(RepartitionExec::try_new(
            plan,
            Partitioning::Hash(vec![Arc::new(key)], workers),
        )?);
    } else if plan.output_partitioning().partition_count() > 1 {
        plan = Arc::new(CoalescePartitionsExec::new(plan));
    }
    let task = TrainTask {
        run_id: attempt.run_id.into(),
        model: statement.name.short(),
        spec: TrainSpec {
            signature: signature.clone(),
            options: options.clone(),
            shards,
        },
        workers,
        target: attempt.target,
        checkpoint: attempt.checkpoint,
        port: session
            .engine()
            .cluster()
            .map(|cluster| cluster.meeting_port()),
    };
    Ok(Planned {
        ranks: Arc::new(TrainExec::new(plan, Arc::new(task))),
        signature,
    })
}

/// A training that is ready to run.
struct Planned {
    ranks: Arc<TrainExec>,
    signature: Signature,
}

/// One run of a training, and where its files go.
struct Attempt<'a> {
    run_id: &'a str,
    target: Place,
    checkpoint: Place,
    workers: usize,
}

/// A checkpoint that goes with its training.
struct CheckpointGuard(Place);

impl Drop for CheckpointGuard {
    fn drop(&mut self) {
        // Mostly there is none.
        let _ = self.0.remove_file();
    }
}

/// How many ranks there will be. More than there are slots could never meet; when machines were lost, fewer do: the
/// result is the same.
async fn workers(session: &Session, options: &TrainOptions, is_again: bool) -> Result<usize> {
    let setting = Some(session.settings::<VaticOptions>().workers).filter(|workers| *workers > 0);
    let wanted = options.workers.or(setting);
    // More ranks than shards would have nothing to do.
    let shards = options.shards.unwrap_or(SHARDS_DEFAULT);
    let Some(cluster) = session.engine().cluster() else {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok(wanted.unwrap_or(cores).min(shards));
    };
    let wait = match is_again {
        true => WAIT_AGAIN_S,
        false => session.settings::<VaticOptions>().executor_wait_s,
    };
    let slots = cluster.slots(wait, session.progress().as_ref()).await?;
    let workers = wanted.unwrap_or(slots).min(shards);
    if is_again {
        return Ok(workers.min(slots));
    }
    if workers > slots {
        let message = format!(
            "the training needs {workers} slots, one for each worker, and the cluster has {slots}; lower workers, or \
             start more executors"
        );
        return Err(sql_err(SqlState::NoResources, message));
    }
    Ok(workers)
}

/// The features and the label among the columns of the query, and the place of each: features, label, split column.
fn signature(
    statement: &TrainModel,
    options: &TrainOptions,
    task: Task,
    schema: &DFSchema,
) -> Result<(Signature, Vec<usize>)> {
    check_names(schema)?;
    let target = statement.target.as_deref().unwrap_or(DEFAULT_TARGET);
    let label = position(schema, target).ok_or_else(|| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let hint = if statement.target.is_none() {
            "; name the label with TARGET"
        } else {
            ""
        };
        let what = format!("the training query has no column \"{target}\" for the label{hint}");
        sql_err(SqlState::MissingColumn, with_cause(what, target, names))
    })?;
    let split = match &options.data_split {
        DataSplit::Column { name } => Some(split_position(schema, name)?),
        DataSplit::Hash { .. } | DataSplit::None => None,
    };
    let features: Vec<usize> = (0..schema.fields().len())
        .filter(|&index| index != label && Some(index) != split)
        .collect();
    if features.is_empty() {
        let message = format!("the training query has no columns beside the label \"{target}\"");
        return Err(sql_err(SqlState::MissingColumn, message));
    }
    let column = |index: usize| {
        let field = schema.field(index);
        Column {
            name: field.name().clone(),
            data_type: canonical_type(field.data_type()),
        }
    };
    for &index in &features {
        let Column { name, data_type } = column(index);
        FeatureKind::of(&name, &data_type).map_err(ml_err)?;
    }
    let signature = Signature {
        features: features.iter().map(|&index| column(index)).collect(),
        target: column(label),
    };
    check_label_type(&signature.target.name, &signature.target.data_type, task).map_err(ml_err)?;
    Ok((
        signature,
        features.into_iter().chain([label]).chain(split).collect(),
    ))
}

/// Features are matched by name, so names must tell columns apart, whatever their case.
fn check_names(schema: &DFSchema) -> Result<()> {
    let mut seen = std::collections::HashMap::new();
    for field in schema.fields() {
        if let Some(other) = seen.insert(field.name().to_lowercase(), field.name()) {
            let message = format!(
                "the training query has columns \"{other}\" and \"{}\", which features cannot tell apart; rename one",
                field.name()
            );
            return Err(sql_err(SqlState::DuplicateName, message));
        }
    }
    Ok(())
}

fn position(schema: &DFSchema, name: &str) -> Option<usize> {
    let fields = schema.fields();
    let exact = fields.iter().position(|field| field.name() == name);
    exact.or_else(|| {
        fields
            .iter()
            .position(|field| field.name().eq_ignore_ascii_case(name))
    })
}

fn split_position(schema: &DFSchema, name: &str) -> Result<usize> {
    let index = position(schema, name).ok_or_else(|| {
        let names = schema.fields().iter().map(|field| field.name().as_str());
        let what = format!("the training query has no column \"{name}\" for data_split_col");
        sql_err(SqlState::MissingColumn, with_cause(what, name, names))
    })?;
    match schema.field(index).data_type() {
        DataType::Boolean => Ok(index),
        other => {
            let message = format!("data_split_col \"{name}\" is {other}, it must be a boolean");
            Err(sql_err(SqlState::TypeMismatch, message))
        }
    }
}

fn route_columns(
    signature: &Signature,
    indices: &[usize],
    schema: &DFSchema,
) -> Vec<(usize, Field)> {
    let known = signature.features.iter().chain([&signature.target]);
    let known = known.map(|column| (column.name.clone(), column.data_type.clone()));
    let split = indices.get(signature.features.len() + 1).map(|&index| {
        let field = schema.field(index);
        (field.name().clone(), field.data_type().clone())
    });
    let columns = known.chain(split).zip(indices);
    columns
        .map(|((name, data_type), &index)| (index, Field::new(name, data_type, true)))
        .collect()
}

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
    ]))
}

fn result_row(
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
    let metric_name = metric.map(|metric| metric.name.clone());
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
    ];
    Ok(RecordBatch::try_new(result_schema(), columns)?)
}

/// The plan of a training, which is not run.
pub(crate) async fn explain(session: &Session, statement: &TrainModel) -> Result<RecordBatch> {
    let options = train_options(
        &statement.options,
        &session.engine().runtime().model_type_names(),
    )?;
    let input = session.plan_training_query(&statement.query).await?;
    let optimized = session.optimize(&input)?;
    let logical = optimized.display_indent().to_string().replace('\n', "\n  ");
    let nowhere = Place::Local(PathBuf::new());
    let attempt = Attempt {
        run_id: "",
        target: nowhere.clone(),
        checkpoint: nowhere.clone(),
        workers: workers(session, &options, false).await?,
    };
    let plan = physical_plan(session, statement, &options, &input, attempt).await?;
    let features: Vec<&str> = plan
        .signature
        .features
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let logical = format!(
        "Train: model={}, type={}, features=[{}], label={}\n  {logical}",
        statement.name.short(),
        options.model_type,
        features.join(", "),
        plan.signature.target.name
    );
    let physical = displayable(plan.ranks.as_ref()).indent(false).to_string();
    let kinds: ArrayRef = Arc::new(StringArray::from(vec!["logical_plan", "physical_plan"]));
    let plans: ArrayRef = Arc::new(StringArray::from(vec![logical, physical]));
    Ok(RecordBatch::try_from_iter([
        ("plan_type", kinds),
        ("plan", plans),
    ])?)
}
