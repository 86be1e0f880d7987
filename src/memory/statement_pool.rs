//! [`StatementPool`]: the memory that one statement or task may reserve, within what the process has.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use datafusion::common::{DataFusionError, human_readable_size};
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use tokio_util::sync::CancellationToken;

use crate::error::{Result, SqlState, sql_err};

/// The memory statistics of a statement.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The size of the process at the start of the statement, and the idle bytes at that time.
    pub(super) size: u64,
    pub(super) idle_bytes: u64,
    /// The maximum of the operators' reservations.
    pub(super) peak: AtomicUsize,
}

/// The memory pool of one statement or task, within the pool of the process.
#[derive(Debug)]
pub(crate) struct StatementPool {
    shared: Arc<dyn MemoryPool>,
    own: FairSpillPool,
    bytes: usize,
    /// What the pool belongs to, for messages.
    owner: &'static str,
    trace: Arc<Trace>,
    pub(super) began_at: Instant,
    pub(super) stop: CancellationToken,
}

impl StatementPool {
    /// The pool of this `owner`, which messages name, with a limit of `bytes`.
    pub(super) fn new(
        shared: Arc<dyn MemoryPool>,
        bytes: usize,
        owner: &'static str,
        trace: Arc<Trace>,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            own: FairSpillPool::new(bytes),
            bytes,
            owner,
            trace,
            began_at: Instant::now(),
            stop: CancellationToken::new(),
        })
    }

    fn mark_peak(&self) {
        let reserved = self.own.reserved();
        self.trace.peak.fetch_max(reserved, Ordering::Relaxed);
    }

    /// Returns when the statement must end because the process is short of memory.
    pub(crate) async fn stopped(&self) -> DataFusionError {
        self.stop.cancelled().await;
        let message =
            "the statement was stopped because the server is short of memory; try again later";
        sql_err(SqlState::OutOfMemory, message)
    }
}

impl fmt::Display for StatementPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}(bytes: {})", self.name(), self.bytes)
    }
}

impl MemoryPool for StatementPool {
    fn name(&self) -> &str {
        self.owner
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.shared.register(consumer);
        self.own.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.shared.unregister(consumer);
        self.own.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.shared.grow(reservation, additional);
        self.own.grow(reservation, additional);
        self.mark_peak();
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.shared.shrink(reservation, shrink);
        self.own.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        // The own pool first: a refused request takes nothing from other statements, not even for a moment.
        self.own.try_grow(reservation, additional).map_err(|_| {
            // The operator spills only on an error of this kind.
            DataFusionError::ResourcesExhausted(format!(
                "{} needs {} more and has {}; the {} may have {} in all",
                reservation.consumer().name(),
                human_readable_size(additional),
                human_readable_size(reservation.size()),
                self.owner,
                human_readable_size(self.bytes),
            ))
        })?;
        let shared = self.shared.try_grow(reservation, additional);
        match &shared {
            Ok(()) => self.mark_peak(),
            Err(_) => self.own.shrink(reservation, additional),
        }
        shared
    }

    fn reserved(&self) -> usize {
        self.own.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        match self.bytes {
            usize::MAX => self.shared.memory_limit(),
            bytes => MemoryLimit::Finite(bytes),
        }
    }
}
