//! The rows of a job, whole although executors are lost while they are read.
//!
//! A small partition is read before a row of it leaves. Of a larger one rows have left when its executor is lost; then it is
//! computed again, and what has left already is left out. That is right if those rows come as they did before, which they
//! do unless the last stage reads what others give it in any order; a digest tells. And rows of one partition go beside those
//! of another that was computed before, unless the plan may choose other rows each time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ballista_core::JobId;
use ballista_core::client::BallistaClient;
use ballista_core::error::BallistaError;
use ballista_core::extension::{BallistaConfigGrpcEndpoint, EndpointOverrideFn};
use ballista_core::serde::protobuf::SuccessfulJob;
use ballista_core::serde::scheduler::PartitionLocation;
use ballista_core::utils::GrpcClientConfig;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, TryStreamExt};
use tokio_util::sync::DropGuard;

use super::Cluster;
use super::backend::Jobs;
use crate::error::{Result, SqlState, sql_err};

/// Rows that may be on their way while nobody takes them.
const WINDOW_BYTES: u32 = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A machine that is not there any more is found by these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_WAIT_MS: u64 = 200;
/// Partitions are read as a whole before a row of them leaves as long as they have less than this together.
const WHOLE_BYTES_MAX: u64 = 64 << 20;
/// How often a query is computed again because rows were lost before they were read.
const ATTEMPTS_MAX: usize = 3;

/// Rows of a partition on their way.
struct Rows {
    stream: SendableRecordBatchStream,
    /// Whether all are in this process already.
    are_safe: bool,
}

/// A partition that is being read.
struct Reading {
    jobs: Jobs,
    partition: usize,
    /// The number of the last attempt that lost rows.
    lost: usize,
    /// What comes now, and the number of its attempt.
    current: Option<(usize, Rows)>,
    /// What has left.
    left: Digest,
    /// What came again of it, until all of it has.
    again: Option<Digest>,
    /// Whether some has left, or that there is nothing is known to who reads it.
    has_begun: bool,
}

/// The rows of a partition, each once.
pub(super) fn rows_of(jobs: Jobs, partition: usize) -> impl Stream<Item = Result<RecordBatch>> {
    let reading = Reading {
        jobs,
        partition,
        lost: 0,
        current: None,
        left: Digest::default(),
        again: None,
        has_begun: false,
    };
    futures::stream::try_unfold(reading, |mut reading| async move {
        let batch = reading.next().await?;
        Ok(batch.map(|batch| (batch, reading)))
    })
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            let (attempt, rows) = self.current().await?;
            let (attempt, are_safe) = (*attempt, rows.are_safe);
            let next = rows.stream.next().await;
            if matches!(next, None | Some(Ok(_))) && !self.may_leave(attempt)? {
                continue;
            }
            match next {
                Some(Ok(batch)) => {
                    let Some(batch) = self.without_left(batch)? else {
                        continue;
                    };
                    if !are_safe {
                        self.left.add(&batch);
                    }
                    return Ok(Some(batch));
                }
                Some(Err(error)) => self.lose(attempt, &error)?,
                None if self.again.is_some() => return Err(differs()),
                None => return Ok(None),
            }
        }
    }

    /// The rows of the first attempt that is not known to have lost any.
    async fn current(&mut self) -> Result<&mut (usize, Rows)> {
        while self.current.is_none() {
            let (attempt, running) = self.jobs.running(self.lost);
            let job = running.await.map_err(DataFusionError::Shared)?;
            match job.read(self.partition).await {
                Ok(rows) => {
                    self.again = (self.left.rows > 0).then(Digest::default);
                    self.current = Some((attempt, rows));
                }
                Err(error) => self.lose(attempt, &error)?,
            }
        }
        let none = || sql_err(SqlState::Internal, "no attempt to read rows from");
        self.current.as_mut().ok_or_else(none)
    }

    /// Whether rows of this attempt may leave, beside those of other partitions; if not, they come from another one.
    fn may_leave(&mut self, attempt: usize) -> Result<bool> {
        if self.has_begun {
            return Ok(true);
        }
        let given = self.jobs.given(attempt);
        if given != attempt && !self.jobs.is_stable() {
            if given < attempt {
                return Err(differs());
            }
            self.lost = given - 1;
            self.current = None;
            return Ok(false);
        }
        self.has_begun = true;
        Ok(true)
    }

    /// What is not among the rows that have left, if there is any.
    fn without_left(&mut self, batch: RecordBatch) -> Result<Option<RecordBatch>> {
        let Some(again) = &mut self.again else {
            return Ok(Some(batch));
        };
        let count = batch.num_rows().min(self.left.rows - again.rows);
        again.add(&batch.slice(0, count));
        if again.rows == self.left.rows {
            if !again.is_of_the_same_rows(&self.left) {
                return Err(differs());
            }
            self.again = None;
        }
        let rest = batch.num_rows() - count;
        Ok((rest > 0).then(|| batch.slice(count, rest)))
    }

    /// Gives an attempt up, and lets there be another one.
    fn lose(&mut self, attempt: usize, error: &DataFusionError) -> Result<()> {
        if attempt >= ATTEMPTS_MAX {
            let message = format!("an executor was lost before its rows were read: {error}");
            return Err(sql_err(SqlState::NoResources, message));
        }
        if self.jobs.has_given(attempt) && !self.jobs.is_stable() {
            return Err(differs());
        }
        tracing::warn!(
            partition = self.partition,
            %error,
            "rows of a query were lost; it is computed again"
        );
        self.lost = attempt;
        self.current = None;
        Ok(())
    }
}

fn differs() -> DataFusionError {
    let message = "an executor was lost while its rows were read, and others may come when they are computed again; run the \
                   statement again";
    sql_err(SqlState::NoResources, message)
}

/// Tells rows in their order from others.
#[derive(Debug, Default)]
struct Digest {
    rows: usize,
    hash: u64,
    /// Of a type that cannot be hashed nothing is known.
    is_unknown: bool,
}

impl Digest {
    fn add(&mut self, batch: &RecordBatch) {
        let mut hashes = vec![0; batch.num_rows()];
        let state = RandomState::with_seed(0);
        if batch.num_columns() > 0 {
            self.is_unknown |= create_hashes(batch.columns(), &state, &mut hashes).is_err();
        }
        for hash in hashes {
            // Odd, so that nothing is lost; the multiplier of Knuth's linear congruential generator MMIX.
            self.hash = (self.hash ^ hash).wrapping_mul(6_364_136_223_846_793_005);
            self.hash = self.hash.rotate_left(29);
        }
        self.rows += batch.num_rows();
    }

    fn is_of_the_same_rows(&self, other: &Self) -> bool {
        !self.is_unknown && !other.is_unknown && self.hash == other.hash
    }
}

/// A job that is done, and whose rows wait on the executors.
pub(super) struct Job {
    cluster: Arc<Cluster>,
    pub(super) id: JobId,
    schema: SchemaRef,
    /// For each partition where its rows are.
    locations: Vec<Vec<PartitionLocation>>,
    /// Bytes of partitions that are read as a whole and have not left.
    whole: Arc<AtomicU64>,
    _guard: DropGuard,
}

impl Job {
    pub(super) fn try_new(
        cluster: Arc<Cluster>,
        id: JobId,
        done: SuccessfulJob,
        schema: SchemaRef,
        partitions: usize,
        guard: DropGuard,
    ) -> Result<Self> {
        let mut found: BTreeMap<usize, Vec<PartitionLocation>> = BTreeMap::new();
        for location in done.partition_location {
            let location: PartitionLocation = location
                .try_into()
                .map_err(|error| sql_err(SqlState::Internal, format!("where rows are: {error}")))?;
            let partition = location.partition_id.partition_id;
            found.entry(partition).or_default().push(location);
        }
        let locations = (0..partitions)
            .map(|partition| found.remove(&partition).unwrap_or_default())
            .collect();
        if let Some(partition) = found.keys().next() {
            let message = format!("rows of a partition {partition} that the plan does not have");
            return Err(sql_err(SqlState::Internal, message));
        }
        Ok(Self {
            cluster,
            id,
            schema,
            locations,
            whole: Arc::default(),
            _guard: guard,
        })
    }

    /// The rows of a partition: all of them at once, so that none is lost any more, unless there are many.
    async fn read(self: Arc<Self>, partition: usize) -> Result<Rows> {
        let locations = self.locations.get(partition).into_iter().flatten();
        let bytes: u64 = locations
            .filter_map(|location| location.partition_stats.num_bytes())
            .sum();
        let rows = self.partition(partition);
        let Some(share) = Share::take(&self.whole, bytes) else {
            let schema = rows.schema();
            // The job's files go when nobody reads them any more.
            let rows = rows.inspect(move |_| {
                let _ = &self;
            });
            return Ok(Rows {
                stream: Box::pin(RecordBatchStreamAdapter::new(schema, rows)),
                are_safe: false,
            });
        };
        let rows: Vec<RecordBatch> = rows.try_collect().await?;
        let rows = futures::stream::iter(rows.into_iter().map(Ok)).inspect(move |_| {
            let _ = &share;
        });
        let schema = Arc::clone(&self.schema);
        Ok(Rows {
            stream: Box::pin(RecordBatchStreamAdapter::new(schema, rows)),
            are_safe: true,
        })
    }

    /// The rows as they come. Ballista's own reader would have all of them in memory before it gave one.
    fn partition(&self, partition: usize) -> SendableRecordBatchStream {
        let locations = self.locations.get(partition).cloned().unwrap_or_default();
        let rows = futures::stream::iter(locations).then(fetch).try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows,
        ))
    }
}

/// A part of what may be read as a whole, until it is dropped.
struct Share {
    of: Arc<AtomicU64>,
    bytes: u64,
}

impl Share {
    fn take(of: &Arc<AtomicU64>, bytes: u64) -> Option<Self> {
        let fits = |taken: u64| Some(taken + bytes).filter(|sum| *sum <= WHOLE_BYTES_MAX);
        let taken = of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        let of = Arc::clone(of);
        taken.ok().map(|_| Self { of, bytes })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Rows from where they are, as fast as they are taken.
async fn fetch(location: PartitionLocation) -> Result<SendableRecordBatchStream> {
    let endpoint: EndpointOverrideFn = Arc::new(|endpoint| {
        let endpoint = endpoint
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Ok(endpoint)
    });
    let GrpcClientConfig {
        max_message_size,
        use_tls,
        io_retries_times,
        ..
    } = GrpcClientConfig::default();
    let executor = &location.executor_meta;
    let connecting = BallistaClient::try_new(
        &executor.host,
        executor.port,
        max_message_size,
        use_tls,
        Some(Arc::new(BallistaConfigGrpcEndpoint::new(endpoint))),
        io_retries_times,
        RETRY_WAIT_MS,
        WINDOW_BYTES,
        WINDOW_BYTES,
    );
    let mut client = connecting.await.map_err(fetch_err)?;
    let file = location.file_id;
    let fetching = client.fetch_partition(
        &executor.id,
        &location.partition_id,
        file,
        location.layout(),
        false,
    );
    fetching.await.map_err(fetch_err)
}

fn fetch_err(error: BallistaError) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

impl Drop for Job {
    fn drop(&mut self) {
        let (cluster, id) = (Arc::clone(&self.cluster), self.id.clone());
        if let Some(handle) = self.cluster.handle() {
            handle.spawn(async move {
                cluster
                    .scheduler
                    .state
                    .executor_manager
                    .clean_up_job_data(id);
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn batch(numbers: &[i64]) -> RecordBatch {
        let texts = numbers
            .iter()
            .map(|number| (number % 3 > 0).then(|| number.to_string()));
        let columns: [(&str, ArrayRef); 2] = [
            ("number", Arc::new(Int64Array::from(numbers.to_vec()))),
            ("text", Arc::new(texts.collect::<StringArray>())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn digest(batches: &[&[i64]]) -> Digest {
        let mut digest = Digest::default();
        for numbers in batches {
            digest.add(&batch(numbers));
        }
        digest
    }

    #[test]
    fn a_digest_knows_rows_and_their_order_and_not_their_batches() {
        let all = digest(&[&[1, 2, 3, 4, 5]]);
        assert!(all.is_of_the_same_rows(&digest(&[&[1, 2], &[], &[3, 4, 5]])));
        for other in [[2, 1, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2, 3, 5, 4]] {
            assert!(!all.is_of_the_same_rows(&digest(&[&other])));
        }
    }
}
