//! The physical plan of a training: the operators above those of its query.

use std::sync::Arc;
use std::time::Duration;

use datafusion::common::DFSchema;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::expressions::Column as ColumnExpr;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, Partitioning};
use vatic_ml::data::columns::Columns;
use vatic_ml::model::options::{NullHandling, TrainOptions};
use vatic_ml::train::fit::TrainSpec;
use vatic_ml::train::shard::shards;

use super::columns::route_columns;
use super::exec::TrainExec;
use super::route::{KEY_COLUMN, Reading, Route, RouteExec, is_pixels};
use super::task::TrainTask;
use crate::error::{Result, ml_err};
use crate::model::ModelAddress;
use crate::storage::Place;

/// A training: its model, options, and columns of the query.
pub(crate) struct Training<'a> {
    pub(crate) model: String,
    pub(crate) options: &'a TrainOptions,
    pub(crate) columns: &'a Columns,
    /// The index of each column in the query, in the order features, targets, split column.
    pub(crate) column_indices: Vec<usize>,
    /// The columns of the query.
    pub(crate) schema: &'a DFSchema,
    /// The model whose weights the training starts from.
    pub(crate) base: Option<ModelAddress>,
}

/// One attempt to run a training, with the places of its files.
pub(crate) struct Attempt<'a> {
    pub(crate) run_id: &'a str,
    pub(crate) target: Place,
    pub(crate) checkpoint: Place,
    pub(crate) workers: usize,
    /// The port on the engine's host at which remote ranks join the training; `None` without a cluster.
    pub(crate) port: Option<u16>,
    /// The time since the statement began.
    pub(crate) spent: Duration,
}

/// Builds `TrainExec ← RepartitionExec(Hash) ← RouteExec ← query`.
pub(crate) fn plan_ranks(
    training: &Training<'_>,
    query: Arc<dyn ExecutionPlan>,
    attempt: Attempt<'_>,
) -> Result<Arc<TrainExec>> {
    let options = training.options;
    let workers = attempt.workers;
    let shards = shards(options);
    let indices = &training.column_indices;
    let columns = route_columns(training.columns, options, indices, training.schema);
    let has_pixels = columns.iter().any(|(_, field)| is_pixels(field));
    let reader = has_pixels.then(|| options.image_reader());
    let images = reader.transpose().map_err(ml_err)?.map(|reader| Reading {
        reader,
        skips_unreadable: options.null_handling == NullHandling::Skip,
    });
    let route = Route::try_new(columns, options.seed, shards, workers)?.reading(images);
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
        model: training.model.clone(),
        spec: TrainSpec {
            columns: training.columns.clone(),
            options: options.clone(),
            shards,
            base: None,
        },
        base: training.base.clone(),
        workers,
        target: attempt.target,
        checkpoint: attempt.checkpoint,
        port: attempt.port,
        spent: attempt.spent,
    };
    Ok(Arc::new(TrainExec::new(plan, Arc::new(task))))
}
