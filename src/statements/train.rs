//! TRAIN MODEL and EXPLAIN TRAIN MODEL: one training from statement to version.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::Utc;
use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::displayable;
use vatic_ml::artifact::TRAINED;
use vatic_ml::data::columns::Columns;
use vatic_ml::model::network::ModelType;
use vatic_ml::model::options::TrainOptions;
use vatic_ml::train::fit::training_device;

use super::cache::resolve;
use crate::config::VaticOptions;
use crate::error::{Result, SqlState, ml_err, report, sql_err};
use crate::model::{
    MANIFEST_FORMAT, Manifest, ModelRef, NewModel, Origin, Published, RunSummary, Selector,
    Trained, VersionFiles, publish,
};
use crate::session::Session;
use crate::sql::TrainModel;
use crate::storage::Place;
use crate::train::{
    Attempt, BaseModel, LocalRunner, Purpose, RankResult, TrainExec, TrainRunner, Training,
    TrainingFailure, base_reference, plan_ranks, result_row, run_ranks, train_options,
    training_columns, with_version, workers,
};

/// The maximum number of attempts of a training when machines are lost.
const ATTEMPTS_MAX: usize = 4;

/// Trains and publishes a model, and returns one row with the result.
pub(super) async fn train(session: &Session, statement: &TrainModel) -> Result<RecordBatch> {
    let began = Instant::now();
    let engine = session.engine();
    if base_reference(&statement.options)?.is_some()
        && let Some(kept) = kept(session, statement)?
    {
        // The base, which may be large, is not loaded.
        return Ok(kept);
    }
    let base = base_model(session, statement).await?;
    let statement = &pinned(statement, base.as_ref());
    let model_types = engine.runtime().model_types();
    let (options, model_type) = train_options(&statement.options, model_types, base.as_ref())?;
    if let Some(kept) = kept(session, statement)? {
        return Ok(kept);
    }
    let run_id = uuid::Uuid::new_v4().to_string();
    let (user, sql) = (
        session.access().name().map(str::to_owned),
        statement.to_string(),
    );
    let runs = engine.runs();
    let record = runs.begin(&run_id, user, &statement.name.short(), &sql)?;
    let wanted = Wanted {
        statement,
        options,
        model_type,
        base,
    };
    match train_until_done(session, wanted, &run_id, began).await {
        Ok((published, run, seed)) => {
            record.succeed(published.version, run.history.clone());
            result_row(statement, published.version, published.status(), &run, seed)
        }
        Err(error) => {
            record.fail(&report(&error));
            Err(error)
        }
    }
}

/// The result of a training whose model exists and is kept; an error if it must not be replaced.
fn kept(session: &Session, statement: &TrainModel) -> Result<Option<RecordBatch>> {
    let engine = session.engine();
    let registry = engine.registry();
    engine.data().check_schema(&statement.name.schema)?;
    let Some(state) = new_model(statement).existing(registry, session.access())? else {
        return Ok(None);
    };
    let reference = ModelRef {
        name: statement.name.clone(),
        selector: Selector::Default,
    };
    let model = registry.resolve(&reference, &state)?;
    let trained = model.manifest.trained().ok_or_else(|| {
        let message = format!(
            "model \"{}\" exists and was imported, so it has no training result; choose another name, or use OR REPLACE",
            statement.name.short()
        );
        sql_err(SqlState::ModelExists, message)
    })?;
    let seed = trained.options.seed;
    let row = result_row(statement, model.version, "EXISTS", &trained.run, seed)?;
    Ok(Some(row))
}

fn new_model(statement: &TrainModel) -> NewModel<'_> {
    NewModel {
        name: &statement.name,
        if_taken: statement.if_taken,
        comment: statement.comment.as_deref(),
    }
}

/// The model of the option `base_model`, if the statement has it.
async fn base_model(session: &Session, statement: &TrainModel) -> Result<Option<BaseModel>> {
    let Some(reference) = base_reference(&statement.options)? else {
        return Ok(None);
    };
    let version = resolve(session, &reference)?;
    let cache_bytes = session.settings::<VaticOptions>().cache_bytes;
    let runtime = session.engine().runtime();
    let loading = Box::pin(BaseModel::load(runtime, version, cache_bytes));
    Ok(Some(loading.await?))
}

/// The statement that would train the same once the name of its base model means another version.
fn pinned(statement: &TrainModel, base: Option<&BaseModel>) -> TrainModel {
    let mut pinned = statement.clone();
    if let Some(base) = base {
        pinned.options = with_version(&statement.options, base);
    }
    pinned
}

/// What a statement trains.
struct Wanted<'a> {
    statement: &'a TrainModel,
    options: TrainOptions,
    model_type: &'a dyn ModelType,
    base: Option<BaseModel>,
}

/// Trains, and starts another attempt when a machine is lost. `max_runtime_s` counts from `began`.
async fn train_until_done(
    session: &Session,
    mut wanted: Wanted<'_>,
    run_id: &str,
    began: Instant,
) -> Result<(Published, RunSummary, u64)> {
    let query = plan_query(session, &wanted).await?;
    let engine = session.engine();
    let checkpoint = CheckpointGuard(engine.data().checkpoint(run_id)?);
    let local = LocalRunner(Arc::clone(engine.rendezvous()));
    let runner = engine.runner();
    wanted.options = with_device(wanted.options, runner.as_ref(), wanted.model_type)?;
    let (statement, options) = (wanted.statement, &wanted.options);
    let mut lost = String::new();
    for number in 1..=ATTEMPTS_MAX {
        let purpose = match number {
            1 => Purpose::Train,
            _ => Purpose::Retry,
        };
        let workers = planned_workers(session, runner.as_ref(), options, purpose).await?;
        let files = VersionFiles::create(engine.data())?;
        // The id of an attempt is its fencing token: ranks of an older attempt are refused by their id.
        let attempt = Attempt {
            run_id: &format!("{run_id}.{number}"),
            target: files.place().clone(),
            checkpoint: checkpoint.0.clone(),
            workers,
            port: runner.port(),
            spent: began.elapsed(),
        };
        let ranks = ranks(session, &wanted, &query, attempt).await?;
        let context = session.task_context();
        let run = run_ranks(runner.as_ref(), &local, &ranks, context, session.progress());
        let result = match run.await {
            Ok(result) => result,
            Err(TrainingFailure::Error(error)) => return Err(error),
            Err(TrainingFailure::Lost(what)) => {
                tracing::warn!(run = run_id, what, "restarting a training");
                lost = what;
                continue;
            }
        };
        let (run, seed) = (result.run.clone(), options.seed);
        let manifest = manifest(result, statement, options.clone(), run_id);
        let (registry, access) = (engine.registry(), session.access());
        let published = publish(registry, access, &new_model(statement), &manifest, &files)?;
        return Ok((published, run, seed));
    }
    let message = format!("the training was given up after {ATTEMPTS_MAX} attempts: {lost}");
    Err(sql_err(SqlState::NoResources, message))
}

/// The manifest of a version that a training created.
fn manifest(
    result: RankResult,
    statement: &TrainModel,
    options: TrainOptions,
    run_id: &str,
) -> Manifest {
    Manifest {
        format_version: MANIFEST_FORMAT,
        created_at: Utc::now(),
        engine: env!("CARGO_PKG_VERSION").into(),
        format: TRAINED.into(),
        signature: result.signature,
        batching: result.batching,
        layers: result.layers,
        prompts: vec![],
        facts: vec![],
        sides: result.sides,
        origin: Origin::Trained(Box::new(Trained {
            run_id: run_id.into(),
            statement: statement.to_string(),
            options,
            run: result.run,
        })),
        files: result.files,
    }
}

/// The planned query of a training.
struct PlannedQuery {
    plan: LogicalPlan,
    /// The features and the targets.
    columns: Columns,
    /// The position of each column in the query.
    indices: Vec<usize>,
}

async fn plan_query(session: &Session, wanted: &Wanted<'_>) -> Result<PlannedQuery> {
    let Wanted {
        statement,
        options,
        model_type,
        base,
    } = wanted;
    let plan = session.plan_training_query(&statement.query).await?;
    let (columns, indices) = training_columns(
        statement,
        options,
        *model_type,
        plan.schema(),
        base.as_ref(),
    )?;
    Ok(PlannedQuery {
        plan,
        columns,
        indices,
    })
}

/// The operators of the ranks of an attempt.
async fn ranks(
    session: &Session,
    wanted: &Wanted<'_>,
    query: &PlannedQuery,
    attempt: Attempt<'_>,
) -> Result<Arc<TrainExec>> {
    let base = wanted.base.as_ref();
    let training = Training {
        model: wanted.statement.name.short(),
        options: &wanted.options,
        base: base.map(|base| base.version.address()),
        columns: &query.columns,
        column_indices: query.indices.clone(),
        schema: query.plan.schema(),
    };
    let rows = session.physical_plan(&query.plan).await?;
    plan_ranks(&training, rows, attempt)
}

/// The options with the device on which ranks of this process train. On a cluster, the ranks agree on a device later
/// (`fit::agreed_device`).
fn with_device(
    mut options: TrainOptions,
    runner: &dyn TrainRunner,
    model_type: &dyn ModelType,
) -> Result<TrainOptions> {
    let is_local = runner.port().is_none();
    if is_local {
        options.device = training_device(options.device, model_type);
        // A GPU that is missing fails the statement before its query runs.
        options.device.open().map_err(ml_err)?;
    }
    Ok(options)
}

async fn planned_workers(
    session: &Session,
    runner: &dyn TrainRunner,
    options: &TrainOptions,
    purpose: Purpose,
) -> Result<usize> {
    let settings = session.settings::<VaticOptions>();
    let listener = session.progress();
    workers(runner, &settings, options, listener.as_ref(), purpose).await
}

/// The checkpoint of a training, deleted on drop.
struct CheckpointGuard(Place);

impl Drop for CheckpointGuard {
    fn drop(&mut self) {
        // The error is ignored, because most trainings have no checkpoint.
        let _ = self.0.remove_file();
    }
}

/// The plan of a training, without running it.
pub(super) async fn explain(session: &Session, statement: &TrainModel) -> Result<RecordBatch> {
    let base = base_model(session, statement).await?;
    let model_types = session.engine().runtime().model_types();
    let (options, model_type) = train_options(&statement.options, model_types, base.as_ref())?;
    let runner = session.engine().runner();
    let wanted = Wanted {
        statement,
        options: with_device(options, runner.as_ref(), model_type)?,
        model_type,
        base,
    };
    let options = &wanted.options;
    let query = plan_query(session, &wanted).await?;
    let optimized = session.optimize(&query.plan)?;
    let logical = optimized.display_indent().to_string().replace('\n', "\n  ");
    let nowhere = Place::Local(PathBuf::new());
    let attempt = Attempt {
        run_id: "",
        target: nowhere.clone(),
        checkpoint: nowhere.clone(),
        workers: planned_workers(session, runner.as_ref(), options, Purpose::Explain).await?,
        port: runner.port(),
        spent: Duration::ZERO,
    };
    let ranks = ranks(session, &wanted, &query, attempt).await?;
    let features: Vec<&str> = query
        .columns
        .features
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let targets = query.columns.targets.iter();
    let targets: Vec<&str> = targets.map(|column| column.name.as_str()).collect();
    let label = match targets[..] {
        [only] => format!("label={only}"),
        _ => format!("labels=[{}]", targets.join(", ")),
    };
    let base = wanted.base.as_ref().map_or(String::new(), |base| {
        let hash = &base.version.sha256[..12];
        format!(", base_model={} ({hash})", base.label())
    });
    let logical = format!(
        "Train: model={}, type={}, features=[{}], {label}{base}\n  {logical}",
        statement.name.short(),
        options.model_type,
        features.join(", "),
    );
    let physical = displayable(ranks.as_ref()).indent(false).to_string();
    let kinds: ArrayRef = Arc::new(StringArray::from(vec!["logical_plan", "physical_plan"]));
    let plans: ArrayRef = Arc::new(StringArray::from(vec![logical, physical]));
    Ok(RecordBatch::try_from_iter([
        ("plan_type", kinds),
        ("plan", plans),
    ])?)
}
