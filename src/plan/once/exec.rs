//! [`OnceExec`]: returns the rows of a shared query to one of its readers. The first reader starts a task that computes all
//! rows. The task does not wait for readers, so no reader can block another.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::Session;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_expr::{Distribution, EquivalenceProperties, Partitioning};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::spill::get_record_batch_memory_size;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties};
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use futures::future::{BoxFuture, Shared};
use futures::{FutureExt, StreamExt, TryFutureExt};
use tokio::sync::OnceCell;

use super::node::OnceNode;
use crate::error::{SqlState, sql_err};
use crate::plan::display::write_operator;
use crate::plan::one_input::one_input;

/// All rows of a query, and the reservation of their memory.
struct Rows {
    batches: Vec<RecordBatch>,
    _memory: MemoryReservation,
}

type Computing = Shared<BoxFuture<'static, Result<Arc<Rows>, Arc<DataFusionError>>>>;

/// The rows of one query, shared by its readers; `None` until the first reader asks for them.
#[derive(Clone, Default)]
struct SharedRows(Arc<Mutex<Option<Computing>>>);

impl fmt::Debug for SharedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedRows")
    }
}

type Planned = Arc<OnceCell<(Arc<dyn ExecutionPlan>, SharedRows)>>;

/// Plans each shared query of a plan once.
#[derive(Default)]
pub(super) struct OncePlanner {
    planned: Mutex<HashMap<String, Planned>>,
}

#[async_trait]
impl ExtensionPlanner for OncePlanner {
    async fn plan_extension(
        &self,
        planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        _physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let Some(node) = node.as_any().downcast_ref::<OnceNode>() else {
            return Ok(None);
        };
        let planned = {
            let mut all = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(all.entry(node.id.clone()).or_default())
        };
        let plan = async {
            let plan = session.optimize(&node.plan)?;
            let plan = planner.create_physical_plan(&plan, session).await?;
            Ok::<_, DataFusionError>((plan, SharedRows::default()))
        };
        let (input, rows) = planned.get_or_try_init(|| plan).await?;
        let exec = OnceExec::new(node.label.clone(), Arc::clone(input), rows.clone());
        Ok(Some(Arc::new(exec)))
    }
}

#[derive(Debug)]
pub(super) struct OnceExec {
    label: String,
    input: Arc<dyn ExecutionPlan>,
    rows: SharedRows,
    properties: Arc<PlanProperties>,
}

impl OnceExec {
    fn new(label: String, input: Arc<dyn ExecutionPlan>, rows: SharedRows) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(1),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            label,
            input,
            rows,
            properties: Arc::new(properties),
        }
    }

    /// The rows; the first call starts the task that computes them.
    fn computing(&self, context: Arc<TaskContext>) -> Computing {
        let mut rows = self.rows.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || {
            let input = Arc::clone(&self.input);
            let consumer = MemoryConsumer::new(format!("WITH query \"{}\"", self.label));
            let memory = consumer.register(context.memory_pool());
            let task = SpawnedTask::spawn(collect(input, context, memory));
            let joined = async move {
                let ended = |error| sql_err(SqlState::Internal, format!("a query ended: {error}"));
                let rows = task.join().await.map_err(ended).flatten();
                rows.map(Arc::new).map_err(Arc::new)
            };
            joined.boxed().shared()
        };
        rows.get_or_insert_with(start).clone()
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        let (label, rows) = (self.label.clone(), self.rows.clone());
        Ok(Arc::new(Self::new(label, input, rows)))
    }
}

async fn collect(
    input: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    memory: MemoryReservation,
) -> Result<Rows> {
    let mut stream = input.execute(0, context)?;
    let mut batches = Vec::new();
    while let Some(batch) = stream.next().await.transpose()? {
        memory.try_grow(get_record_batch_memory_size(&batch))?;
        batches.push(batch);
    }
    Ok(Rows {
        batches,
        _memory: memory,
    })
}

impl DisplayAs for OnceExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_operator(f, format, "OnceExec", format_args!("{}", self.label))
    }
}

impl ExecutionPlan for OnceExec {
    fn name(&self) -> &str {
        "OnceExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
    }

    one_input!();

    fn execute(
        &self,
        _partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let this = self.rows.clone();
        let exec = Self::new(self.label.clone(), Arc::clone(&self.input), this);
        let rows = async move {
            exec.computing(context)
                .await
                .map_err(DataFusionError::Shared)
        };
        let batches = rows.map_ok(|rows| {
            let batches: Vec<_> = rows.batches.clone();
            // The rows and their reservation live as long as a reader needs them.
            futures::stream::iter(batches.into_iter().map(move |batch| {
                let _held = &rows;
                Ok(batch)
            }))
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            self.schema(),
            batches.try_flatten_stream(),
        )))
    }
}
