//! [`Gather`]: a batch that is divided into several calls of the model: equal rows are computed once, texts sorted by their tokens.
//!
//! ```text
//! rows ─ digests ─▶ different rows ─ tokens ─▶ passes ─ those not known yet ─▶ the model, several calls side by side
//!                                                                                └─▶ outputs, back to their rows
//! ```
//! Tokens are counted on the workers of the host, in slices side by side. A call is encoded there while another one is computed.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, UInt32Array};
use datafusion::arrow::compute::{cast, take_record_batch};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryPool;
use futures::future::try_join_all;
use futures::{Stream, StreamExt};
use vatic_ml::data::inputs::RowReport;
use vatic_ml::device::{DeviceName, cores};
use vatic_ml::model::{Model, Outputs};
use vatic_ml::stop;

use super::assemble::{Place, assembled};
use super::coalesce::{estimated_tokens, text_input};
use super::known::{Digest, KnownRows, Part, digests};
use super::metrics::{Metrics, without_output};
use super::passes::{Pass, PassSize, passes};
use super::spec::PredictSpec;
use crate::model::batch_memory::{BatchMemory, BatchReservation};
use crate::model::in_flight::{Ahead, side_by_side};
use crate::model::runtime::{LoadedModel, ModelRuntime};

/// The texts whose tokens one job counts.
const SLICE_ROWS: usize = 256;

/// Whether the model of an operator counts tokens.
pub(super) fn has_texts(spec: &PredictSpec) -> bool {
    text_input(&spec.model).is_some()
}

/// What the calls for one batch share.
pub(super) struct Gather {
    pub(super) spec: Arc<PredictSpec>,
    pub(super) runtime: Arc<ModelRuntime>,
    pub(super) model: Arc<LoadedModel>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) memory: Arc<BatchMemory>,
    pub(super) known: Arc<KnownRows>,
    pub(super) pool: Arc<dyn MemoryPool>,
}

/// The tokens of a row.
#[derive(Debug, Clone, Copy, Default)]
struct Length {
    tokens: usize,
    is_cut: bool,
}

/// The rows of a batch that differ.
struct Distinct {
    /// The features of each, once.
    rows: RecordBatch,
    /// The hash of each; none if equal rows are computed again.
    digests: Vec<Digest>,
    /// For each row of the batch, which of them it is.
    of_row: Vec<u32>,
}

impl Gather {
    /// The outputs of a batch.
    pub(super) async fn outputs(self: &Arc<Self>, features: RecordBatch) -> Result<Outputs> {
        let distinct = self.distinct(features).await?;
        let lengths = match text_input(&self.spec.model) {
            Some(input) => Some(self.lengths(distinct.rows.column(input)).await?),
            None => None,
        };
        let count = distinct.rows.num_rows();
        let is_refused = |row: &u32| {
            let length = lengths.as_ref().map(|lengths| lengths[*row as usize]);
            !self.spec.options.truncate && length.is_some_and(|length| length.is_cut)
        };
        let rows: Vec<u32> = (0..count as u32).filter(|row| !is_refused(row)).collect();
        let mut places: Vec<Option<Place>> = vec![None; count];
        let mut fresh = 0;
        let passes = self.passes(rows, lengths.as_deref());
        let distinct = Arc::new(distinct);
        let lengths: Option<Arc<[Length]>> = lengths.map(Arc::from);
        let mut done = Box::pin(self.run(passes, &distinct, lengths.as_ref()));
        while let Some(pass) = done.next().await {
            let pass = pass?;
            fresh += pass.fresh;
            for (row, place) in pass.places {
                places[row as usize] = Some(place);
            }
        }
        drop(done);
        let of_row = &distinct.of_row;
        if let Some(lengths) = &lengths
            && self.spec.options.truncate
        {
            let is_cut = |row: &&u32| lengths[**row as usize].is_cut;
            let cut = of_row.iter().filter(is_cut).count();
            self.metrics.truncated_rows.add(cut);
        }
        let tokens_max = self.model.tokens().map_or(0, |tokens| tokens.tokens_max());
        let outputs = assembled(&self.spec, of_row, &places, tokens_max)?;
        let with_outputs = of_row.len() - without_output(&outputs.report);
        self.metrics
            .dedupe_hits
            .add(with_outputs.saturating_sub(fresh));
        Ok(outputs)
    }

    async fn distinct(&self, features: RecordBatch) -> Result<Distinct> {
        let count = features.num_rows() as u32;
        let all = |rows: RecordBatch| Distinct {
            rows,
            digests: Vec::new(),
            of_row: (0..count).collect(),
        };
        if !self.spec.computes_once {
            return Ok(all(features));
        }
        let hashed = features.clone();
        let job = move || digests(&hashed).map_err(vatic_ml::Error::from);
        let digests = self.runtime.run_batch(DeviceName::Cpu, &self.memory, job);
        let Some(digests) = digests.await? else {
            return Ok(all(features));
        };
        let mut numbers: HashMap<Digest, u32> = HashMap::with_capacity(digests.len());
        let (mut first, mut of_row) = (Vec::new(), Vec::with_capacity(digests.len()));
        for (row, digest) in digests.iter().enumerate() {
            let next = first.len() as u32;
            let number = *numbers.entry(*digest).or_insert(next);
            if number == next {
                first.push(row as u32);
            }
            of_row.push(number);
        }
        let digests = first.iter().map(|row| digests[*row as usize]).collect();
        let rows = match first.len() == of_row.len() {
            true => features,
            false => take_record_batch(&features, &UInt32Array::from(first))?,
        };
        Ok(Distinct {
            rows,
            digests,
            of_row,
        })
    }

    /// The tokens of each text.
    async fn lengths(&self, texts: &ArrayRef) -> Result<Vec<Length>> {
        let slices = (0..texts.len()).step_by(SLICE_ROWS).map(|start| {
            let slice = texts.slice(start, SLICE_ROWS.min(texts.len() - start));
            let model = Arc::clone(&self.model);
            let job = move || lengths(&**model, &slice);
            self.runtime.run_batch(DeviceName::Cpu, &self.memory, job)
        });
        Ok(try_join_all(slices).await?.concat())
    }

    fn passes(&self, rows: Vec<u32>, lengths: Option<&[Length]>) -> Vec<Pass> {
        let size = self.spec.size;
        let is_gpu = self.spec.options.device.resolved().is_gpu();
        let pass_size = PassSize {
            rows_max: size.rows_max,
            tokens_max: size.tokens_max().unwrap_or(usize::MAX),
            places: if is_gpu { 1 } else { cores() },
        };
        // With a number of rows that the user chose, rows are not divided further.
        let lengths = lengths.filter(|_| size.tokens_max().is_some());
        let tokens = lengths.map(|lengths| {
            let tokens = lengths.iter().map(|length| length.tokens);
            tokens.collect::<Vec<usize>>()
        });
        let mut passes = passes(rows, tokens.as_deref(), pass_size);
        if self.spec.computes_once && !passes.is_empty() {
            let turn = self.known.next_turn(passes.len());
            passes.rotate_left(turn);
        }
        passes
    }

    /// Runs the passes side by side.
    fn run(
        self: &Arc<Self>,
        passes: Vec<Pass>,
        distinct: &Arc<Distinct>,
        lengths: Option<&Arc<[Length]>>,
    ) -> impl Stream<Item = Result<PassDone>> + Send + use<> {
        let permits = self.runtime.batch_permits(self.spec.options.device);
        let reserving = Arc::clone(self);
        let reserve = move |pass: &Pass, ahead: Ahead| {
            let bytes = reserving.model.working_bytes(pass.rows.len());
            reserving.memory.reserve_ahead(ahead, bytes)
        };
        let gather = Arc::clone(self);
        let (distinct, lengths) = (Arc::clone(distinct), lengths.map(Arc::clone));
        let compute = move |pass: Pass, held: Option<BatchReservation>| {
            let gather = Arc::clone(&gather);
            let (distinct, lengths) = (Arc::clone(&distinct), lengths.clone());
            async move {
                let done = gather.pass(pass, &distinct, lengths.as_deref()).await;
                drop(held);
                done
            }
        };
        side_by_side(futures::stream::iter(passes), permits, reserve, compute)
    }

    /// Computes the rows of a pass that are not known.
    async fn pass(
        &self,
        pass: Pass,
        distinct: &Distinct,
        lengths: Option<&[Length]>,
    ) -> Result<PassDone> {
        let mut places = Vec::with_capacity(pass.rows.len());
        let mut missing = Vec::with_capacity(pass.rows.len());
        for row in pass.rows {
            let digest = distinct.digests.get(row as usize);
            match digest.and_then(|digest| self.known.find(digest)) {
                Some(place) => places.push((row, place)),
                None => missing.push(row),
            }
        }
        if missing.is_empty() {
            return Ok(PassDone { places, fresh: 0 });
        }
        let rows = take_record_batch(&distinct.rows, &UInt32Array::from(missing.clone()))?;
        let (model, device) = (Arc::clone(&self.model), self.spec.options.device);
        let outputs = self
            .runtime
            .infer(&self.memory, model, device, rows, self.spec.wanted())
            .await?;
        self.count(&missing, lengths, &outputs.report);
        let fresh = missing
            .len()
            .saturating_sub(without_output(&outputs.report));
        let part = Arc::new(Part::new(outputs.columns, outputs.report));
        if !distinct.digests.is_empty() {
            let digests = missing.iter().map(|row| distinct.digests[*row as usize]);
            self.known.add(digests.collect(), &part, &self.pool);
        }
        let found = missing.into_iter().enumerate();
        places.extend(found.map(|(at, row)| (row, (Arc::clone(&part), at))));
        Ok(PassDone { places, fresh })
    }

    fn count(&self, rows: &[u32], lengths: Option<&[Length]>, report: &RowReport) {
        let metrics = &self.metrics;
        metrics.add_call(rows.len(), report);
        let tokens = lengths.map(|lengths| {
            let tokens = rows.iter().map(|row| lengths[*row as usize].tokens);
            tokens.collect::<Vec<usize>>()
        });
        if let Some(tokens) = &tokens {
            metrics.add_tokens(tokens);
        }
        match (&tokens, self.spec.size.tokens_max()) {
            (Some(tokens), Some(tokens_max)) => metrics.add_fill(tokens.iter().sum(), tokens_max),
            _ => metrics.add_fill(rows.len(), self.spec.size.rows_max),
        }
    }
}

/// A pass that is computed.
struct PassDone {
    /// The places of its rows.
    places: Vec<(u32, Place)>,
    /// The rows that were not known and got an output.
    fresh: usize,
}

/// The tokens of texts, on a worker.
fn lengths(model: &dyn Model, texts: &ArrayRef) -> vatic_ml::Result<Vec<Length>> {
    let texts = cast(texts, &DataType::LargeUtf8)?;
    let texts = texts.as_string::<i64>();
    let length = |row: usize| {
        stop::check()?;
        if texts.is_null(row) {
            return Ok(Length::default());
        }
        let text = texts.value(row);
        let counted = model.tokens().map(|tokens| tokens.count(text));
        Ok(match counted {
            Some(Ok(count)) => Length {
                tokens: count.tokens,
                is_cut: count.is_cut,
            },
            // Encoding says why it fails.
            Some(Err(_)) | None => Length {
                tokens: estimated_tokens(text.len()),
                is_cut: false,
            },
        })
    };
    (0..texts.len()).map(length).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::physical_plan::{ExecutionPlan, collect};
    use futures::TryStreamExt;

    use super::super::exec::PredictExec;
    use super::*;
    use crate::engine::Engine;

    /// The metrics of the only PredictExec of a plan.
    fn metric(plan: &Arc<dyn ExecutionPlan>, name: &str) -> Option<usize> {
        if plan.downcast_ref::<PredictExec>().is_some() {
            let metrics = plan.metrics().unwrap();
            return Some(metrics.sum_by_name(name).unwrap().as_usize());
        }
        let mut inputs = plan.children().into_iter();
        inputs.find_map(|input| metric(input, name))
    }

    #[tokio::test]
    async fn each_text_is_computed_once() {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        for sql in [
            "SET datafusion.execution.target_partitions = 1",
            "CREATE MODEL m FROM 'sql-tests/data/models/clip' OPTIONS (format = 'huggingface_text')",
            "CREATE TABLE texts AS SELECT concat('text ', value % 20) AS text FROM generate_series(1, 200)",
        ] {
            let rows = session.sql(sql).await.unwrap();
            rows.try_collect::<Vec<RecordBatch>>().await.unwrap();
        }
        for (arguments, computed) in [("", 20), (", dedupe => 'off'", 200)] {
            let sql = format!("SELECT embedding FROM predict(m, texts{arguments})");
            let plan = session.plan_query(&sql).await.unwrap();
            let plan = session.physical_plan(&plan).await.unwrap();
            let rows = collect(Arc::clone(&plan), session.task_context()).await;
            let rows = rows
                .unwrap()
                .iter()
                .map(RecordBatch::num_rows)
                .sum::<usize>();
            let found = ["input_rows", "computed_rows", "dedupe_hits"];
            let found = found.map(|name| metric(&plan, name).unwrap());
            assert_eq!(
                (rows, found),
                (200, [200, computed, 200 - computed]),
                "{sql}"
            );
            // Of the 20 texts, as the library tokenizers for Python counts them.
            assert_eq!(metric(&plan, "tokens"), Some(150 * computed / 20));
        }
    }

    #[tokio::test]
    async fn a_row_without_output_is_no_hit() {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        for sql in [
            "SET datafusion.execution.target_partitions = 1",
            "CREATE MODEL m FROM 'sql-tests/data/models/clip' OPTIONS (format = 'huggingface_text')",
            // A third is short, a third too long, a third NULL.
            "CREATE TABLE texts AS SELECT CASE value % 3 WHEN 0 THEN 'short' WHEN 1 THEN repeat('long ', 200) END AS text \
             FROM generate_series(1, 30)",
        ] {
            let rows = session.sql(sql).await.unwrap();
            rows.try_collect::<Vec<RecordBatch>>().await.unwrap();
        }
        let sql = "SELECT embedding FROM predict(m, texts, truncate => false, on_error => 'null')";
        let plan = session.plan_query(sql).await.unwrap();
        let plan = session.physical_plan(&plan).await.unwrap();
        let rows = collect(Arc::clone(&plan), session.task_context()).await;
        rows.unwrap();
        let found = ["computed_rows", "dedupe_hits", "failed_rows", "null_rows"];
        let found = found.map(|name| metric(&plan, name).unwrap());
        assert_eq!(found, [1, 9, 10, 10]);
    }
}
