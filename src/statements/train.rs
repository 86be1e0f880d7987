//! TRAIN MODEL and EXPLAIN TRAIN MODEL: one training from statement to version.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::Utc;
use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::displayable;
use vatic_ml::artifact::TRAINED;
use vatic_ml::data::columns::Columns;
use vatic_ml::model::options::TrainOptions;

use crate::config::VaticOptions;
use crate::error::{Result, SqlState, report, sql_err};
use crate::model::{
    MANIFEST_FORMAT, Manifest, ModelRef, Origin, Published, RunSummary, Selector, Trained,
};
use crate::session::Session;
use crate::sql::TrainModel;
use crate::storage::Place;
use crate::train::{
    Attempt, BlobGuard, LocalRunner, NewModel, TrainExec, TrainRunner, Training, TrainingFailure,
    plan_ranks, publish, result_row, run_ranks, train_options, training_columns, workers,
};

/// How often a training is begun when machines are lost.
const ATTEMPTS_MAX: usize = 4;

/// Trains, publishes, and says how it went in one row.
pub(super) async fn train(session: &Session, statement: &TrainModel) -> Result<RecordBatch> {
    let (engine, access) = (session.engine(), session.access());
    let registry = engine.registry();
    let options = train_options(&statement.options, engine.runtime().model_types())?;
    engine.data().check_schema(&statement.name.schema)?;
    if let Some(state) = new_model(statement).existing(registry, access)? {
        let reference = ModelRef {
            name: statement.name.clone(),
            selector: Selector::Default,
        };
        let model = registry.resolve(&reference, &state)?;
        let trained = model.manifest.trained().ok_or_else(|| {
            let message = format!(
                "model \"{}\" exists and was imported, so there is no training to tell of; choose another name, or use OR REPLACE",
                statement.name.short()
            );
            sql_err(SqlState::ModelExists, message)
        })?;
        let seed = trained.options.seed;
        return result_row(statement, model.version, "EXISTS", &trained.run, seed);
    }
    let run_id = uuid::Uuid::new_v4().to_string();
    let (user, sql) = (access.name().map(str::to_owned), statement.to_string());
    let runs = engine.runs();
    let record = runs.begin(&run_id, user, &statement.name.short(), &sql)?;
    match train_until_done(session, statement, options, &run_id).await {
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

fn new_model(statement: &TrainModel) -> NewModel<'_> {
    NewModel {
        name: &statement.name,
        or_replace: statement.or_replace,
        if_not_exists: statement.if_not_exists,
        comment: statement.comment.as_deref(),
    }
}

/// Begins again when a machine is lost.
async fn train_until_done(
    session: &Session,
    statement: &TrainModel,
    options: TrainOptions,
    run_id: &str,
) -> Result<(Published, RunSummary, u64)> {
    let input = session.plan_training_query(&statement.query).await?;
    let engine = session.engine();
    let checkpoint = CheckpointGuard(engine.data().checkpoint(run_id)?);
    let local = LocalRunner(Arc::clone(engine.rendezvous()));
    let runner = engine.runner();
    let mut lost = String::new();
    for number in 1..=ATTEMPTS_MAX {
        let workers = planned_workers(session, runner.as_ref(), &options, number > 1).await?;
        let (name, place) = engine.data().create_blob()?;
        let target = BlobGuard {
            name,
            place,
            is_kept: false.into(),
        };
        // An attempt's id is its fencing token: what is left of an older one is sent away with it.
        let attempt = Attempt {
            run_id: &format!("{run_id}.{number}"),
            target: target.place.clone(),
            checkpoint: checkpoint.0.clone(),
            workers,
            port: runner.port(),
        };
        let (_, ranks) = planned(session, statement, &options, &input, attempt).await?;
        let context = session.task_context();
        let run = run_ranks(runner.as_ref(), &local, &ranks, context, session.progress());
        let result = match run.await {
            Ok(result) => result,
            Err(TrainingFailure::Error(error)) => return Err(error),
            Err(TrainingFailure::Lost(what)) => {
                tracing::warn!(run = run_id, what, "a training begins again");
                lost = what;
                continue;
            }
        };
        let (run, seed) = (result.run.clone(), options.seed);
        let manifest = Manifest {
            format_version: MANIFEST_FORMAT,
            created_at: Utc::now(),
            engine: env!("CARGO_PKG_VERSION").into(),
            format: TRAINED.into(),
            signature: result.signature,
            batching: result.batching,
            origin: Origin::Trained(Box::new(Trained {
                run_id: run_id.into(),
                statement: statement.to_string(),
                options,
                run: result.run,
            })),
            files: result.files,
        };
        let (registry, access) = (engine.registry(), session.access());
        let published = publish(registry, access, &new_model(statement), &manifest, &target)?;
        return Ok((published, run, seed));
    }
    let message = format!("the training was given up after {ATTEMPTS_MAX} attempts: {lost}");
    Err(sql_err(SqlState::NoResources, message))
}

/// The columns of a training, and the operators of its ranks.
async fn planned(
    session: &Session,
    statement: &TrainModel,
    options: &TrainOptions,
    input: &LogicalPlan,
    attempt: Attempt<'_>,
) -> Result<(Columns, Arc<TrainExec>)> {
    let model_types = session.engine().runtime().model_types();
    let model_type = model_types.get(&options.model_type).ok_or_else(|| {
        let message = format!("model type \"{}\" is not known", options.model_type);
        sql_err(SqlState::Internal, message)
    })?;
    let schema = input.schema();
    let (columns, places) = training_columns(statement, options, model_type.task(), schema)?;
    let training = Training {
        model: statement.name.short(),
        options,
        columns: &columns,
        places,
        schema,
    };
    let query = session.physical_plan(input).await?;
    let ranks = plan_ranks(&training, query, attempt)?;
    Ok((columns, ranks))
}

async fn planned_workers(
    session: &Session,
    runner: &dyn TrainRunner,
    options: &TrainOptions,
    is_again: bool,
) -> Result<usize> {
    let settings = session.settings::<VaticOptions>();
    let listener = session.progress();
    workers(runner, &settings, options, listener.as_ref(), is_again).await
}

/// A checkpoint that goes with its training.
struct CheckpointGuard(Place);

impl Drop for CheckpointGuard {
    fn drop(&mut self) {
        // Mostly there is none.
        let _ = self.0.remove_file();
    }
}

/// The plan of a training, which is not run.
pub(super) async fn explain(session: &Session, statement: &TrainModel) -> Result<RecordBatch> {
    let model_types = session.engine().runtime().model_types();
    let options = train_options(&statement.options, model_types)?;
    let input = session.plan_training_query(&statement.query).await?;
    let optimized = session.optimize(&input)?;
    let logical = optimized.display_indent().to_string().replace('\n', "\n  ");
    let nowhere = Place::Local(PathBuf::new());
    let runner = session.engine().runner();
    let attempt = Attempt {
        run_id: "",
        target: nowhere.clone(),
        checkpoint: nowhere.clone(),
        workers: planned_workers(session, runner.as_ref(), &options, false).await?,
        port: runner.port(),
    };
    let (columns, ranks) = planned(session, statement, &options, &input, attempt).await?;
    let features: Vec<&str> = columns
        .features
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let logical = format!(
        "Train: model={}, type={}, features=[{}], label={}\n  {logical}",
        statement.name.short(),
        options.model_type,
        features.join(", "),
        columns.target.name
    );
    let physical = displayable(ranks.as_ref()).indent(false).to_string();
    let kinds: ArrayRef = Arc::new(StringArray::from(vec!["logical_plan", "physical_plan"]));
    let plans: ArrayRef = Arc::new(StringArray::from(vec![logical, physical]));
    Ok(RecordBatch::try_from_iter([
        ("plan_type", kinds),
        ("plan", plans),
    ])?)
}
