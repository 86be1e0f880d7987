//! [`TrainExec`]: physical operator whose partitions are ranks. Each reads its rows, trains, and returns one row.

use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::human_readable_size;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning,
    PlanProperties,
};
use tokio::sync::oneshot;
use vatic_ml::artifact::{self, BASE_FOLDER, ModelFile};
use vatic_ml::collective::Collective;
use vatic_ml::train::control::{Control, Memory, ReservedMemory};
use vatic_ml::train::fit::{TrainSpec, fit};
use vatic_ml::train::raw::RankRows;
use vatic_ml::worker;

use super::base::BaseModel;
use super::rendezvous::{Entered, Joined, OnWrite, Rendezvous, RendezvousExtension};
use super::rows::read_rows;
use super::task::{RankResult, TrainTask};
use crate::config::VaticOptions;
use crate::error::{Result, SqlState, ml_err, report, sql_err};
use crate::model::runtime::ModelRuntime;
use crate::model::{ResolvedModel, RunSummary};
use crate::plan::display::write_operator;
use crate::plan::one_input::one_input;
use crate::storage::Place;
use crate::testing::crash;

#[derive(Debug)]
pub(crate) struct TrainExec {
    input: Arc<dyn ExecutionPlan>,
    task: Arc<TrainTask>,
    /// The rank of each partition, if this process runs only some of the ranks.
    ranks: Option<Arc<Vec<usize>>>,
    properties: Arc<PlanProperties>,
}

impl TrainExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>, task: Arc<TrainTask>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema()),
            // A task on a cluster runs only some of the ranks.
            Partitioning::UnknownPartitioning(input.output_partitioning().partition_count()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            input,
            task,
            ranks: None,
            properties: Arc::new(properties),
        }
    }

    /// The same operator for a process that runs these ranks, one per partition.
    pub(crate) fn with_ranks(&self, ranks: Vec<usize>) -> Self {
        Self {
            ranks: Some(Arc::new(ranks)),
            ..Self::new(Arc::clone(&self.input), Arc::clone(&self.task))
        }
    }

    pub(crate) fn task(&self) -> &TrainTask {
        &self.task
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            ranks: self.ranks.clone(),
            ..Self::new(input, Arc::clone(&self.task))
        }))
    }
}

/// The columns (rank, result as JSON). Only rank 0 returns a result.
fn schema() -> SchemaRef {
    let rank = Field::new("rank", DataType::Int64, false);
    Arc::new(Schema::new(vec![
        rank,
        Field::new("result", DataType::Utf8, true),
    ]))
}

impl DisplayAs for TrainExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options = &self.task.spec.options;
        write_operator(
            f,
            format,
            "TrainExec",
            format_args!(
                "model={}, type={}, workers={} (barrier), shards={}, seed={}, device={}",
                self.task.model,
                options.model_type,
                self.task.workers,
                self.task.spec.shards,
                options.seed,
                options.device
            ),
        )?;
        match &self.task.base {
            Some(base) => write!(f, ", base_model={}", base.label()),
            None => Ok(()),
        }
    }
}

impl ExecutionPlan for TrainExec {
    fn name(&self) -> &str {
        "TrainExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    one_input!();

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let config = context.session_config();
        let missing = || sql_err(SqlState::Internal, "this process cannot train models");
        let rendezvous = config
            .get_extension::<RendezvousExtension>()
            .ok_or_else(missing)?;
        let runtime = config.get_extension::<ModelRuntime>().ok_or_else(missing)?;
        let rank = match &self.ranks {
            Some(ranks) => *ranks.get(partition).ok_or_else(missing)?,
            None => partition,
        };
        let reservation = MemoryConsumer::new("TrainExec").register(context.memory_pool());
        let cache_bytes = VaticOptions::of(config.options()).cache_bytes;
        let input = self.input.execute(partition, context)?;
        let rank = Rank {
            task: Arc::clone(&self.task),
            rank,
            rendezvous: Arc::clone(&rendezvous.0),
            runtime,
            cache_bytes,
            reservation,
        };
        let work = futures::stream::once(rank.work(input));
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema(), work)))
    }
}

/// The state of one running rank.
struct Rank {
    task: Arc<TrainTask>,
    rank: usize,
    rendezvous: Arc<dyn Rendezvous>,
    runtime: Arc<ModelRuntime>,
    cache_bytes: usize,
    reservation: MemoryReservation,
}

impl Rank {
    async fn work(self, input: SendableRecordBatchStream) -> Result<RecordBatch> {
        let started = Instant::now();
        let rank = self.rank;
        let mut entered = self.rendezvous.enter(&self.task, rank).await?;
        let (rows, base) = match self.read(input, entered.as_mut()).await {
            Ok(read) => read,
            Err(error) => {
                // If another machine lost the rows, the cluster repeats them and this rank: the others keep waiting.
                if !self.rendezvous.is_lost_input(&error) {
                    entered.refuse(&report(&error)).await;
                }
                return Err(error);
            }
        };
        let duration_ms = started.elapsed().as_millis() as u64;
        tracing::info!(rank, duration_ms, "read the rows of a training");
        let Joined {
            collective,
            control,
            on_write,
            exit,
        } = entered.join().await?;
        let control = Control {
            // On a cluster, the attempt has waited for slots, and other tasks have computed rows, before this rank began.
            spent: self.task.spent + started.elapsed().max(control.spent),
            memory: Some(Arc::new(Account(self.reservation.new_empty()))),
            ..control
        };
        let (sender, receiver) = oneshot::channel();
        worker::spawn(&format!("vatic-train-{rank}"), move || {
            // Sending fails only after a cancel, which drops the receiver.
            let spec = TrainSpec {
                base: base.as_ref().map(BaseModel::model),
                ..self.task.spec.clone()
            };
            let collective = collective.as_ref();
            let version = base.as_ref().map(|base| &base.version);
            let inputs = (rows, version);
            let train = || self.train(&spec, inputs, collective, &control, &on_write, started);
            let _ = sender.send(worker::catch(train));
        })
        .map_err(ml_err)?;
        let ended = || {
            let message = "a worker of a training ended without a result";
            sql_err(SqlState::Internal, message)
        };
        let result = receiver.await.map_err(|_| ended());
        let result = result.and_then(|result| result.map_err(ml_err));
        let told = result.as_ref().map(Option::as_deref).map_err(report);
        exit.end(told.as_ref().map(|text| *text)).await;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![rank as i64])),
            Arc::new(StringArray::from(vec![result?])),
        ];
        Ok(RecordBatch::try_new(schema(), columns)?)
    }

    /// Reads the rows of this rank's shards, and loads the base model.
    async fn read(
        &self,
        input: SendableRecordBatchStream,
        entered: &mut dyn Entered,
    ) -> Result<(RankRows, Option<BaseModel>)> {
        let rows = read_rows(input, entered, self.reservation.new_empty()).await?;
        let Some(base) = &self.task.base else {
            return Ok((rows, None));
        };
        let version = base.clone().open()?;
        let loading = BaseModel::load(&self.runtime, version, self.cache_bytes);
        Ok((rows, Some(loading.await?)))
    }

    /// Trains and, on rank 0, writes the model files. Runs on its own thread.
    fn train(
        self,
        spec: &TrainSpec,
        (rows, base): (RankRows, Option<&ResolvedModel>),
        collective: &dyn Collective,
        control: &Control,
        on_write: &OnWrite,
        started: Instant,
    ) -> vatic_ml::Result<Option<String>> {
        let options = &spec.options;
        let unknown = || {
            vatic_ml::Error::Unsupported(format!(
                "model type \"{}\" is not known",
                options.model_type
            ))
        };
        let model_type = self
            .runtime
            .model_types()
            .get(&options.model_type)
            .ok_or_else(unknown)?;
        let trained = fit(spec, model_type, rows, collective, control)?;
        if self.rank != 0 {
            // All ranks wait until rank 0 has written the files: a rank that leaves early looks like a failed one.
            collective.barrier()?;
            return Ok(None);
        }
        let base = base.filter(|_| trained.text_base.is_some());
        let weights = (trained.weights.len() * size_of::<f64>()) as u64;
        on_write(Some(weights + base.map_or(0, bytes_of)));
        crash::point("before-files");
        let staged = self.task.target.stage()?;
        let mut files = artifact::write(&trained, model_type, staged.path())?;
        if let Some(base) = base {
            files.extend(copy_base(base, staged.path())?);
        }
        let device = trained.config.options.device;
        // Only the description is needed, which takes no memory of a GPU.
        let model = trained.whole(model_type)?;
        self.task.target.take_in(&staged)?;
        on_write(None);
        crash::point("files-written");
        collective.barrier()?;
        let run = RunSummary {
            train_rows: trained.train_rows,
            eval_rows: trained.eval_rows,
            refit: trained.refit,
            skipped_rows: trained.skipped_rows,
            train_loss: trained.train_loss,
            eval_loss: trained.eval_loss,
            metrics: trained.metrics,
            history: trained.history,
            duration_ms: started.elapsed().as_millis() as u64,
            device: device.to_string(),
            workers: self.task.workers,
            shards: self.task.spec.shards,
            batch_size: trained.batch_size,
            optimizer: trained.optimizer.name().into(),
            rows_hash: format!("{:032x}", trained.rows_hash),
            notices: trained.notices,
            layers: vec![],
        };
        let result = RankResult {
            run,
            signature: model.signature().clone(),
            batching: model.batching(),
            layers: model.layers(),
            sides: model.recommender().map(|of| of.sides().clone()),
            files,
        };
        let text = serde_json::to_string(&result)
            .map_err(|error| vatic_ml::Error::Internal(error.to_string()))?;
        Ok(Some(text))
    }
}

/// The bytes of all files of a version.
fn bytes_of(version: &ResolvedModel) -> u64 {
    let files = version.manifest.files.iter();
    files.map(|file| file.bytes).sum()
}

/// Copies the files of the encoder that a model of texts started from into a folder of its version, so that it needs no other.
fn copy_base(base: &ResolvedModel, into: &Path) -> std::io::Result<Vec<ModelFile>> {
    let known = &base.manifest.files;
    let names = known.iter().map(|file| file.name.as_str());
    let local = base.directory.fetch(names)?;
    let mut copied = Vec::with_capacity(known.len());
    for file in known {
        let name = format!("{BASE_FOLDER}/{}", file.name);
        let to = into.join(&name);
        let folder = to.parent().unwrap_or(into);
        Place::Local(folder.to_owned()).create_directory()?;
        fs::copy(local.path().join(&file.name), &to)?;
        fs::File::open(&to)?.sync_all()?;
        fs::File::open(folder)?.sync_all()?;
        copied.push(ModelFile {
            name,
            ..file.clone()
        });
    }
    Ok(copied)
}

/// The memory that a rank reserves in the pool of its statement.
struct Account(MemoryReservation);

impl Memory for Account {
    fn reserve(&self, bytes: usize, what: &str) -> vatic_ml::Result<ReservedMemory> {
        let held = self.0.new_empty();
        let refused = |error| {
            vatic_ml::Error::Memory(format!(
                "a worker of the training needs {} for {what}; raise the memory limit, or train on fewer rows or columns: {}",
                human_readable_size(bytes),
                report(&error).message
            ))
        };
        held.try_grow(bytes).map_err(refused)?;
        Ok(ReservedMemory(Box::new(held)))
    }
}
