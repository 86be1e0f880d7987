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
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::DropGuard;

use super::secure::Security;
use super::services::Cluster;
use crate::error::{Result, SqlState, sql_err};

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

    /// The rows of a partition. Unless there are many, all are read at once, so that none can be lost any more.
    pub(super) async fn read(self: Arc<Self>, partition: usize) -> Result<Rows> {
        let locations = self.locations.get(partition).into_iter().flatten();
        let bytes: u64 = locations
            .filter_map(|location| location.partition_stats.num_bytes())
            .sum();
        let rows = self.partition(partition);
        let Some(share) = Share::take(&self.whole, bytes) else {
            let schema = rows.schema();
            // The stream keeps the job: the job's files are removed when nobody reads them any more.
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

/// A part of [`WHOLE_BYTES_MAX`], taken until it is dropped.
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
