//! [`BatchMemory`]: the memory of the batches of a stream that are in flight.
//!
//! The oldest batch of a stream must be computed. If it finds no memory, it waits while other batches of its statement are in
//! flight, whose memory comes back. All other batches are computed ahead: they begin only while no oldest batch waits, and
//! leave room for one batch of each stream of the statement that has none.
//!
//! So a batch fails for lack of memory only if no other is in flight, or if nothing moves for [`WAIT_MAX`]: no memory comes back,
//! and no worker computes a batch of the statement. The reader of the others may want this batch first, as an ordered merge does.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use tokio::sync::Notify;
use vatic_ml::model::Model;

use super::in_flight::Ahead;
use crate::error::Result;
use crate::memory::{batch_bytes, has_free, is_half_free};

/// How long a batch waits while no other batch of its statement is computed or gives memory back.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The memory of a batch and of its way through the model, in bytes; `features` holds the column of each feature.
pub(crate) fn batch_cost(model: &dyn Model, batch: &RecordBatch, features: &[usize]) -> usize {
    // A projection copies no values.
    let columns = batch.project(features);
    let encoding = columns.map_or(0, |columns| model.encoding_bytes(&columns));
    batch_bytes(batch) + model.working_bytes(batch.num_rows()) + encoding
}

/// The memory of the batches of one stream.
#[derive(Debug)]
pub(crate) struct BatchMemory {
    stream: Arc<StreamBatches>,
    /// Empty: each batch gets its own reservation of the same consumer.
    consumer: MemoryReservation,
    wait_max: Duration,
}

impl BatchMemory {
    /// The memory of a stream of an operator of this name, in the pool of its statement.
    pub(super) fn new(name: &str, pool: &Arc<dyn MemoryPool>, statements: &Statements) -> Self {
        Self {
            stream: StreamBatches::new(statements.of(pool)),
            consumer: MemoryConsumer::new(name).register(pool),
            wait_max: WAIT_MAX,
        }
    }

    /// Notes that a worker has a job for a batch of the stream, or will have it once it is free, until the worker drops the
    /// result. The task that reads the batches may not look at the job meanwhile, so it cannot tell.
    pub(super) fn at_work(&self) -> AtWork {
        let statement = Arc::clone(&self.stream.statement);
        let mut counts = statement.lock();
        counts.at_work += 1;
        drop(counts);
        AtWork(statement)
    }

    /// A reservation without memory.
    pub(crate) fn none(&self) -> MemoryReservation {
        self.consumer.new_empty()
    }

    /// Reserves memory for the oldest batch of the stream, and waits for the memory of other batches.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<BatchReservation> {
        let statement = &self.stream.statement;
        let mut waiting: Option<Waiting<'_>> = None;
        loop {
            // Before the request, so that no memory comes back unnoticed.
            let returned = statement.returned.notified();
            let (error, in_flight, jobs_done) = {
                let mut counts = statement.lock();
                counts.largest = counts.largest.max(bytes);
                let memory = self.none();
                match memory.try_grow(bytes) {
                    Ok(()) => return Ok(self.stream.begin(&mut counts, memory)),
                    Err(error) => (error, counts.in_flight, counts.jobs_done),
                }
            };
            if in_flight == 0 {
                return Err(error);
            }
            if waiting.is_none() {
                waiting = Some(Waiting::begin(statement));
            }
            let is_late = tokio::time::timeout(self.wait_max, returned).await.is_err();
            if is_late && statement.lock().is_still_since(jobs_done) {
                return Err(error);
            }
        }
    }

    /// Reserves memory for a batch that is computed ahead, if there is memory for it.
    pub(crate) fn reserve_ahead(&self, ahead: Ahead, bytes: usize) -> Option<BatchReservation> {
        let statement = &self.stream.statement;
        let mut counts = statement.lock();
        if counts.waiting > 0 {
            return None;
        }
        let memory = self.none();
        memory.try_grow(bytes).ok()?;
        let pool = statement.pool.as_ref();
        let largest = bytes.max(counts.largest);
        let room = largest.saturating_mul(counts.idle_streams);
        let may_begin = has_free(pool, room)
            && match ahead {
                Ahead::Second => true,
                // Other operators need memory too.
                Ahead::Further => is_half_free(pool),
            };
        may_begin.then(|| self.stream.begin(&mut counts, memory))
    }
}

/// The memory of a batch in flight.
#[derive(Debug)]
pub(crate) struct BatchReservation {
    memory: MemoryReservation,
    stream: Arc<StreamBatches>,
}

impl BatchReservation {
    /// Gives back what a batch does not need any more once it is computed.
    pub(crate) fn shrink_to(&self, bytes: usize) {
        let surplus = self.memory.size().saturating_sub(bytes);
        if surplus > 0 {
            self.memory.shrink(surplus);
            self.stream.statement.returned.notify_waiters();
        }
    }
}

impl Drop for BatchReservation {
    fn drop(&mut self) {
        let statement = &self.stream.statement;
        self.memory.free();
        let mut counts = statement.lock();
        counts.in_flight -= 1;
        if self.stream.in_flight.fetch_sub(1, Ordering::Relaxed) == 1 {
            counts.idle_streams += 1;
        }
        drop(counts);
        statement.returned.notify_waiters();
    }
}

/// A stream of batches.
#[derive(Debug)]
struct StreamBatches {
    statement: Arc<StatementBatches>,
    /// Its batches in flight. Changes only while the counts of the statement are locked.
    in_flight: AtomicUsize,
}

impl StreamBatches {
    fn new(statement: Arc<StatementBatches>) -> Arc<Self> {
        statement.lock().idle_streams += 1;
        let in_flight = AtomicUsize::new(0);
        Arc::new(Self {
            statement,
            in_flight,
        })
    }

    fn begin(self: &Arc<Self>, counts: &mut Counts, memory: MemoryReservation) -> BatchReservation {
        counts.in_flight += 1;
        if self.in_flight.fetch_add(1, Ordering::Relaxed) == 0 {
            counts.idle_streams -= 1;
        }
        let stream = Arc::clone(self);
        BatchReservation { memory, stream }
    }
}

impl Drop for StreamBatches {
    fn drop(&mut self) {
        // Each batch in flight keeps its stream, so there is none.
        self.statement.lock().idle_streams -= 1;
    }
}

/// The batches of one statement.
#[derive(Debug)]
struct StatementBatches {
    pool: Arc<dyn MemoryPool>,
    counts: Mutex<Counts>,
    /// Notified when a batch gives memory back.
    returned: Notify,
}

#[derive(Debug, Default)]
struct Counts {
    /// Batches that hold memory.
    in_flight: usize,
    /// Streams none of whose batches holds memory.
    idle_streams: usize,
    /// Oldest batches that wait for memory.
    waiting: usize,
    /// The most memory that an oldest batch asked for, in bytes.
    largest: usize,
    /// Jobs for batches that workers have, or will have.
    at_work: usize,
    /// Jobs for batches that workers have ended.
    jobs_done: u64,
}

impl Counts {
    /// Whether workers have no job, and have ended none since there were so many.
    fn is_still_since(&self, jobs_done: u64) -> bool {
        self.at_work == 0 && self.jobs_done == jobs_done
    }
}

impl StatementBatches {
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A job for a batch that a worker has.
#[derive(Debug)]
pub(super) struct AtWork(Arc<StatementBatches>);

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut counts = self.0.lock();
        counts.at_work -= 1;
        counts.jobs_done += 1;
    }
}

/// An oldest batch that waits for memory.
struct Waiting<'a>(&'a StatementBatches);

impl<'a> Waiting<'a> {
    fn begin(statement: &'a StatementBatches) -> Self {
        statement.lock().waiting += 1;
        Self(statement)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.lock().waiting -= 1;
    }
}

/// The statements of a process whose batches are in flight, by the address of their memory pool.
#[derive(Debug, Default)]
pub(super) struct Statements(Mutex<HashMap<usize, Weak<StatementBatches>>>);

impl Statements {
    /// The batches of the statement with this memory pool.
    fn of(&self, pool: &Arc<dyn MemoryPool>) -> Arc<StatementBatches> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, statement| statement.strong_count() > 0);
        // The batches keep their pool, so no other pool has its address.
        let address = Arc::as_ptr(pool).cast::<()>().addr();
        if let Some(statement) = known.get(&address).and_then(Weak::upgrade) {
            return statement;
        }
        let statement = Arc::new(StatementBatches {
            pool: Arc::clone(pool),
            counts: Mutex::default(),
            returned: Notify::new(),
        });
        known.insert(address, Arc::downgrade(&statement));
        statement
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use vatic_ml::device::DeviceName;

    use super::super::runtime::ModelRuntime;
    use super::*;
    use crate::error::{SqlState, report};
    use crate::memory::Memory;

    /// This many streams of a statement with 100 bytes.
    fn streams(count: usize) -> Vec<BatchMemory> {
        let pool: Arc<dyn MemoryPool> = Memory::new(None).statement(100, None);
        let statements = Statements::default();
        let stream = |_| BatchMemory::new("predict", &pool, &statements);
        (0..count).map(stream).collect()
    }

    #[tokio::test]
    async fn the_oldest_batch_waits_for_memory_of_batches_that_are_computed_ahead() {
        let streams = streams(2);
        let oldest = streams[0].reserve(20).await.unwrap();
        let ahead = streams[0].reserve_ahead(Ahead::Second, 40).unwrap();
        // Larger than the other batches, so that the room that they left is too small.
        let mut waiting = Box::pin(streams[1].reserve(70));
        assert!(waiting.as_mut().now_or_never().is_none());
        assert!(streams[0].reserve_ahead(Ahead::Second, 1).is_none());
        drop(oldest);
        assert!(waiting.as_mut().now_or_never().is_none(), "40 are held");
        ahead.shrink_to(50);
        assert!(waiting.as_mut().now_or_never().is_none());
        ahead.shrink_to(39);
        assert!(waiting.as_mut().now_or_never().is_none());
        ahead.shrink_to(10);
        let held = waiting.now_or_never().unwrap().unwrap();
        assert!(streams[0].reserve_ahead(Ahead::Second, 1).is_some());
        drop((ahead, held));
        assert_eq!(streams[0].stream.statement.pool.reserved(), 0);
    }

    #[tokio::test]
    async fn a_batch_waits_as_long_as_a_worker_computes_another() {
        let mut streams = streams(2);
        streams[1].wait_max = Duration::from_millis(20);
        let held = streams[0].reserve(60).await.unwrap();
        let job = streams[0].at_work();
        let mut waiting = Box::pin(streams[1].reserve(60));
        let many_waits = Duration::from_millis(200);
        let waited = tokio::time::timeout(many_waits, &mut waiting).await;
        assert!(waited.is_err(), "it fails while a worker computes");
        // The worker has ended, but nobody takes the result, so no memory comes back.
        std::thread::spawn(move || drop(job)).join().unwrap();
        let error = waiting.await.unwrap_err();
        assert_eq!(report(&error).state, SqlState::OutOfMemory);
        drop(held);
        assert!(streams[1].reserve(60).await.is_ok());
    }

    #[tokio::test]
    async fn a_job_is_at_work_once_its_result_is_asked_for() {
        let runtime = ModelRuntime::new(vec![], vec![], None, &Memory::new(None));
        let streams = streams(1);
        let at_work = || streams[0].stream.statement.lock().at_work;
        let mut job = Box::pin(runtime.run_batch(DeviceName::Cpu, &streams[0], || Ok(())));
        assert_eq!(at_work(), 0);
        assert!((&mut job).now_or_never().is_none());
        assert_eq!(at_work(), 1);
        job.await.unwrap();
    }

    #[test]
    fn a_job_that_ended_meanwhile_is_a_movement() {
        let streams = streams(1);
        let statement = &streams[0].stream.statement;
        let before = statement.lock().jobs_done;
        assert!(statement.lock().is_still_since(before));
        drop(streams[0].at_work());
        assert!(!statement.lock().is_still_since(before));
        let now = statement.lock().jobs_done;
        assert!(statement.lock().is_still_since(now));
    }

    #[tokio::test]
    async fn a_batch_that_does_not_fit_alone_fails_at_once() {
        let streams = streams(2);
        let error = streams[0].reserve(101).await.unwrap_err();
        assert_eq!(report(&error).state, SqlState::OutOfMemory);
        let held = streams[1].reserve(1).await.unwrap();
        let mut waiting = Box::pin(streams[0].reserve(101));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held);
        assert!(waiting.now_or_never().unwrap().is_err());
    }

    #[tokio::test]
    async fn batches_ahead_leave_room_for_each_stream_without_a_batch() {
        let mut streams = streams(3);
        let first = streams[0].reserve(20).await.unwrap();
        assert!(streams[0].reserve_ahead(Ahead::Second, 30).is_none());
        assert!(streams[0].reserve_ahead(Ahead::Second, 25).is_some());
        let second = streams[1].reserve(30).await.unwrap();
        assert!(streams[0].reserve_ahead(Ahead::Second, 30).is_none());
        // The last stream ends.
        streams.pop();
        assert!(streams[0].reserve_ahead(Ahead::Second, 30).is_some());
        drop((first, second));
    }

    #[tokio::test]
    async fn batches_ahead_leave_room_for_a_batch_as_large_as_the_largest_before() {
        let streams = streams(2);
        drop(streams[1].reserve(60).await.unwrap());
        let _oldest = streams[0].reserve(20).await.unwrap();
        assert!(streams[0].reserve_ahead(Ahead::Second, 30).is_none());
        assert!(streams[0].reserve_ahead(Ahead::Second, 20).is_some());
    }

    #[tokio::test]
    async fn batches_beyond_the_second_leave_half_of_the_memory_to_others() {
        let streams = streams(1);
        let _first = streams[0].reserve(30).await.unwrap();
        let _more = streams[0].reserve_ahead(Ahead::Further, 20).unwrap();
        assert!(streams[0].reserve_ahead(Ahead::Further, 1).is_none());
        assert!(streams[0].reserve_ahead(Ahead::Second, 50).is_some());
    }

    #[tokio::test]
    async fn statements_do_not_wait_for_each_other() {
        let (one, other) = (streams(1), streams(1));
        let _held = one[0].reserve(100).await.unwrap();
        assert!(other[0].reserve(101).await.is_err());
        let _held = other[0].reserve(100).await.unwrap();
    }
}
