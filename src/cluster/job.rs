//! [`Job`]: a finished query, and its rows, which wait on the executors until they are read.

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
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::DropGuard;

use super::secure::Security;
use super::services::Cluster;
use crate::error::{Result, SqlState, sql_err};
use crate::memory::{batch_bytes, is_half_free};

/// The most bytes of rows in transit that nobody reads.
const WINDOW_BYTES: u32 = 4 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings find a machine that is gone.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_WAIT_MS: u64 = 200;
/// Partitions are read completely before a row of them is returned, as long as together they have less than this.
const WHOLE_BYTES_MAX: u64 = 64 << 20;

/// A finished job, whose rows wait on the executors.
pub(super) struct Job {
    cluster: Arc<Cluster>,
    pub(super) id: JobId,
    schema: SchemaRef,
    /// The locations of the rows of each partition.
    locations: Vec<Vec<PartitionLocation>>,
    /// Bytes of completely read partitions that are not returned yet.
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
                .map_err(|error| sql_err(SqlState::Internal, format!("row locations: {error}")))?;
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

    /// The rows of a partition. Unless there are many, all are read at once, so that none can be lost any more. Rows that are
    /// read at once take memory of the pool.
    pub(super) async fn read(
        self: Arc<Self>,
        partition: usize,
        pool: &Arc<dyn MemoryPool>,
    ) -> Result<Rows> {
        let locations = self.locations.get(partition).into_iter().flatten();
        let file_bytes: u64 = locations
            .filter_map(|location| location.partition_stats.num_bytes())
            .sum();
        let stream = self.partition(partition);
        let share = Share::new(&self.whole, pool);
        let rows = match share.has(file_bytes) {
            true => read_ahead(stream, share).await?,
            false => Rows {
                stream,
                are_safe: false,
            },
        };
        if rows.are_safe {
            return Ok(rows);
        }
        let schema = Arc::clone(&self.schema);
        // The stream keeps the job: the job's files are removed when nobody reads them any more.
        let stream = rows.stream.inspect(move |_| {
            let _ = &self;
        });
        Ok(Rows {
            stream: Box::pin(RecordBatchStreamAdapter::new(schema, stream)),
            are_safe: false,
        })
    }

    /// The rows as a stream. Ballista's own reader would load all rows into memory before it returned the first.
    fn partition(&self, partition: usize) -> SendableRecordBatchStream {
        let locations = self.locations.get(partition).cloned().unwrap_or_default();
        let security = self.cluster.security.clone();
        let rows = futures::stream::iter(locations)
            .then(move |location| fetch(location, security.clone()))
            .try_flatten();
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            rows,
        ))
    }
}

/// A part of [`WHOLE_BYTES_MAX`], and as much memory, held until it is dropped.
struct Share {
    of: Arc<AtomicU64>,
    bytes: u64,
    memory: MemoryReservation,
    pool: Arc<dyn MemoryPool>,
}

impl Share {
    fn new(of: &Arc<AtomicU64>, pool: &Arc<dyn MemoryPool>) -> Self {
        Self {
            of: Arc::clone(of),
            bytes: 0,
            memory: MemoryConsumer::new("DistributedExec").register(pool),
            pool: Arc::clone(pool),
        }
    }

    /// Whether there may be so many bytes more.
    fn has(&self, bytes: u64) -> bool {
        self.of.load(Ordering::Relaxed).saturating_add(bytes) <= WHOLE_BYTES_MAX
    }

    /// Takes so many bytes more; `false` if there are not as many, or if other operators need them.
    fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes as u64;
        let fits =
            |taken: u64| Some(taken.saturating_add(more)).filter(|sum| *sum <= WHOLE_BYTES_MAX);
        let taken = self
            .of
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        if taken.is_err() {
            return false;
        }
        self.bytes += more;
        self.memory.try_grow(bytes).is_ok() && is_half_free(self.pool.as_ref())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.of.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Reads rows while the share has room for them. They are safe if it has room for all: their files are compressed, so what they
/// take is known only now.
async fn read_ahead(mut rows: SendableRecordBatchStream, mut share: Share) -> Result<Rows> {
    let schema = rows.schema();
    let mut read: Vec<Result<RecordBatch>> = Vec::new();
    let are_safe = loop {
        let Some(batch) = rows.next().await.transpose()? else {
            break true;
        };
        let fits = share.grow(batch_bytes(&batch));
        read.push(Ok(batch));
        if !fits {
            break false;
        }
    };
    let read = futures::stream::iter(read).inspect(move |_| {
        let _ = &share;
    });
    let stream: SendableRecordBatchStream = match are_safe {
        true => Box::pin(RecordBatchStreamAdapter::new(schema, read)),
        false => Box::pin(RecordBatchStreamAdapter::new(schema, read.chain(rows))),
    };
    Ok(Rows { stream, are_safe })
}

/// Streams rows from their location, as fast as they are read.
async fn fetch(
    location: PartitionLocation,
    security: Security,
) -> Result<SendableRecordBatchStream> {
    let endpoint: EndpointOverrideFn = Arc::new(move |endpoint| {
        let endpoint = security
            .endpoint(endpoint)?
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .initial_connection_window_size(WINDOW_BYTES)
            .initial_stream_window_size(WINDOW_BYTES);
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
            handle.spawn(async move { cluster.forget(id).await });
        }
    }
}

/// A stream of the rows of a partition.
pub(super) struct Rows {
    pub(super) stream: SendableRecordBatchStream,
    /// Whether all rows are in this process already.
    pub(super) are_safe: bool,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use datafusion::arrow::array::{ArrayRef, Int64Array};
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    const BATCH_BYTES: usize = 8 << 20;

    /// The rows of so many batches with a pool of so many bytes, and how many batches were read at once.
    async fn read(batches: usize, pool: &Arc<dyn MemoryPool>) -> (Rows, usize) {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![7; BATCH_BYTES / 8]));
        let batch = RecordBatch::try_from_iter([("a", column)]).unwrap();
        let schema = batch.schema();
        let polled = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&polled);
        let stream = futures::stream::iter((0..batches).map(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(batch.clone())
        }));
        let stream = Box::pin(RecordBatchStreamAdapter::new(schema, stream));
        let share = Share::new(&Arc::default(), pool);
        let rows = read_ahead(stream, share).await.unwrap();
        (rows, polled.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn rows_are_read_at_once_as_long_as_there_is_memory_for_them() {
        for (batches, pool_bytes, are_safe, at_once) in [
            (3, 1 << 30, true, 3),
            // Over 64 MiB, whatever the bytes of their files.
            (20, 1 << 30, false, 9),
            // Over half of the pool.
            (3, 20 << 20, false, 2),
        ] {
            let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(pool_bytes));
            let (rows, polled) = read(batches, &pool).await;
            assert_eq!((rows.are_safe, polled), (are_safe, at_once), "{batches}");
            assert!(pool.reserved() >= 2 * BATCH_BYTES);
            let all: Vec<RecordBatch> = rows.stream.try_collect().await.unwrap();
            assert_eq!(all.len(), batches);
            assert_eq!(pool.reserved(), 0);
        }
    }
}
