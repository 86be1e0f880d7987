//! [`Task`]: the batches of one partition: their memory, their outputs, and the rows that cannot be predicted.

use std::sync::Arc;
use std::time::Instant;

use datafusion::arrow::array::StringArray;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryPool;
use tokio::sync::OnceCell;
use vatic_ml::data::inputs::RowReport;
use vatic_ml::model::Outputs;

use super::gather::{Gather, has_texts};
use super::known::KnownRows;
use super::load::load;
use super::metrics::Metrics;
use super::spec::PredictSpec;
use crate::error::{SqlState, sql_err};
use crate::memory::batch_bytes;
use crate::model::batch_memory::{BatchMemory, BatchReservation, batch_cost};
use crate::model::in_flight::Ahead;
use crate::model::runtime::{LoadedModel, ModelRuntime};
use crate::plan::features::feature_batch;

/// The state of one partition of a query.
pub(super) struct Task {
    pub(super) spec: Arc<PredictSpec>,
    pub(super) runtime: Arc<ModelRuntime>,
    pub(super) cache_bytes: usize,
    /// Loaded with the first batch: an input without rows needs no model.
    pub(super) model: OnceCell<Arc<LoadedModel>>,
    pub(super) schema: SchemaRef,
    pub(super) metrics: Arc<Metrics>,
    pub(super) memory: Arc<BatchMemory>,
    /// Of all partitions.
    pub(super) known: Arc<KnownRows>,
    pub(super) pool: Arc<dyn MemoryPool>,
}

impl Task {
    /// The batch with its predictions, and its memory, which is held until the batch is returned.
    pub(super) async fn predict(
        &self,
        batch: RecordBatch,
        held: Option<BatchReservation>,
    ) -> Result<(RecordBatch, Option<BatchReservation>)> {
        if batch.num_rows() == 0 {
            let empty = RecordBatch::new_empty(Arc::clone(&self.schema));
            return Ok((empty, None));
        }
        let model = Arc::clone(self.model.get_or_try_init(|| self.load()).await?);
        let held = match held {
            Some(held) => held,
            None => {
                let bytes = batch_cost(&**model, &batch, &self.spec.features);
                match self.memory.reserve(bytes).await {
                    Err(_) if self.known.forget_all() => self.memory.reserve(bytes).await?,
                    held => held?,
                }
            }
        };
        let features = feature_batch(&self.spec.model, &self.spec.features, &batch)?;
        let started = Instant::now();
        let outputs = self.outputs(model, features).await?;
        self.metrics.compute_time.add_elapsed(started);
        self.metrics.add_rows(batch.num_rows(), &outputs.report);
        self.check(&outputs.report)?;
        let predicted = self.append(batch, outputs)?;
        held.shrink_to(batch_bytes(&predicted));
        Ok((predicted, Some(held)))
    }

    async fn outputs(&self, model: Arc<LoadedModel>, features: RecordBatch) -> Result<Outputs> {
        if self.spec.computes_once || has_texts(&self.spec) {
            let gather = Gather {
                spec: Arc::clone(&self.spec),
                runtime: Arc::clone(&self.runtime),
                model,
                metrics: Arc::clone(&self.metrics),
                memory: Arc::clone(&self.memory),
                known: Arc::clone(&self.known),
                pool: Arc::clone(&self.pool),
            };
            return Arc::new(gather).outputs(features).await;
        }
        let rows = features.num_rows();
        let device = self.spec.options.device;
        let wanted = self.spec.wanted();
        let computing = self
            .runtime
            .infer(&self.memory, model, device, features, wanted);
        let outputs = computing.await?;
        self.metrics.add_call(rows, &outputs.report);
        self.metrics.add_fill(rows, self.spec.size.rows_max);
        Ok(outputs)
    }

    /// The memory of a batch that is computed ahead, once the model is loaded.
    pub(super) fn reserve(
        &self,
        batch: &Result<RecordBatch>,
        ahead: Ahead,
    ) -> Option<BatchReservation> {
        let (model, batch) = (self.model.get()?, batch.as_ref().ok()?);
        let bytes = batch_cost(&***model, batch, &self.spec.features);
        self.memory.reserve_ahead(ahead, bytes)
    }

    async fn load(&self) -> Result<Arc<LoadedModel>> {
        let started = Instant::now();
        let (spec, wanted) = (&self.spec, self.spec.wanted());
        let cache_bytes = self.cache_bytes;
        let loading = load(
            &self.runtime,
            &spec.model,
            &spec.options,
            &wanted,
            cache_bytes,
        );
        let (model, is_hit) = loading.await?;
        self.metrics.load_time.add_elapsed(started);
        if is_hit {
            &self.metrics.cache_hits
        } else {
            &self.metrics.cache_misses
        }
        .add(1);
        Ok(model)
    }

    fn check(&self, report: &RowReport) -> Result<()> {
        let label = self.spec.model.label();
        if let (Some((_, cause)), false) =
            (report.failures.first(), self.spec.options.null_on_error)
        {
            let message = format!(
                "model \"{label}\" cannot predict a row: {cause}; on_error => 'null' predicts NULL for such rows"
            );
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        if let (Some(column), true) = (&report.null_column, self.spec.options.error_on_null) {
            let message = format!("column \"{column}\" is NULL in a row for model \"{label}\"");
            return Err(sql_err(SqlState::Null, message));
        }
        Ok(())
    }

    fn append(&self, batch: RecordBatch, outputs: Outputs) -> Result<RecordBatch> {
        let rows = batch.num_rows();
        let mut columns = batch.columns().to_vec();
        columns.extend(outputs.columns);
        if self.spec.appended.has_error {
            columns.push(Arc::new(causes(rows, &outputs.report.failures)));
        }
        Ok(RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }
}

fn causes(rows: usize, failures: &[(usize, String)]) -> StringArray {
    let mut causes: Vec<Option<&str>> = vec![None; rows];
    failures
        .iter()
        .for_each(|(row, cause)| causes[*row] = Some(cause));
    StringArray::from(causes)
}
