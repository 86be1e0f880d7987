//! [`Memory`]: the memory of all statements or tasks of a process.
//!
//! Operators reserve memory in a pool: a [`StatementPool`] gives each statement its own pool within the process's pool. On an
//! executor, each task has such a pool.
//! Unreserved memory shows only in the size of the process, so [`Memory::relieve`] checks that size too.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use datafusion::common::human_readable_size;
use datafusion::execution::memory_pool::{
    FairSpillPool, GreedyMemoryPool, MemoryPool, UnboundedMemoryPool,
};

use super::machine::process_bytes;
use super::process_pool::{Cache, ProcessPool};
use super::statement_pool::{StatementPool, Trace};
use crate::error::{Result, SqlState, sql_err};

/// Shares of the process's limit at which new statements are refused, and at which the largest statement is stopped.
const REFUSED_FROM: f64 = 0.8;
const STOPPED_FROM: f64 = 0.9;
/// Running statements count as the cause if the process is larger than its idle bytes by more than this share of the
/// limit; idle bytes count up to `IDLE_MAX` of the limit.
const GROWTH: f64 = 0.01;
const IDLE_MAX: f64 = 0.95;
/// How long a stopped statement may take to end before another one is stopped.
const END_TIME: Duration = Duration::from_secs(2);

/// The memory of an engine or of an executor.
#[derive(Debug)]
pub(crate) struct Memory {
    pool: Arc<ProcessPool>,
    statements: Mutex<Statements>,
}

#[derive(Debug, Default)]
struct Statements {
    running: Vec<(Weak<StatementPool>, Arc<Trace>)>,
    /// The statement that was stopped last, until it has ended.
    stopped: Option<(Weak<StatementPool>, Instant)>,
    /// Process memory that no running statement caused: caches, and memory that the allocator kept of ended statements.
    idle_bytes: u64,
}

impl Statements {
    /// Forgets ended statements, and estimates how much memory they left in a process of this size.
    fn sweep(&mut self, size: u64) {
        let (running, ended): (Vec<_>, Vec<_>) = std::mem::take(&mut self.running)
            .into_iter()
            .partition(|(pool, _)| pool.strong_count() > 0);
        self.running = running;
        for (_, trace) in ended {
            let grown = size.saturating_sub(trace.size);
            let left = grown.min(trace.peak.load(Ordering::Relaxed) as u64);
            self.idle_bytes = self.idle_bytes.max(trace.idle_bytes + left);
        }
        let stopped = self.stopped.as_ref();
        let is_over = stopped.is_some_and(|(pool, _)| pool.strong_count() == 0);
        if is_over {
            self.stopped = None;
        }
        self.idle_bytes = match is_over || self.running.is_empty() {
            true => size,
            false => self.idle_bytes.min(size),
        };
    }

    /// Whether the process has reached this share of its limit, and the running statements are the cause.
    fn are_too_large(&self, size: u64, bytes: u64, share: f64) -> bool {
        let idle = self.idle_bytes.min((bytes as f64 * IDLE_MAX) as u64);
        size as f64 >= bytes as f64 * share && has_grown(idle, size, bytes)
    }
}

/// Whether a process with the limit `bytes` has grown by more than normal fluctuation.
fn has_grown(before: u64, size: u64, bytes: u64) -> bool {
    size as f64 > before as f64 + bytes as f64 * GROWTH
}

impl Memory {
    /// A pool of this many bytes for all operators, or an unbounded pool.
    pub(crate) fn new(bytes: Option<usize>) -> Self {
        Self::of(match bytes {
            // Each operator gets a share, so that none can starve the others.
            Some(bytes) => Arc::new(FairSpillPool::new(bytes)),
            None => Arc::new(UnboundedMemoryPool::default()),
        })
    }

    /// A pool of this many bytes for the tasks of an executor and for its models, or an unbounded pool. The limits of the
    /// tasks keep an operator from starving the others.
    pub(crate) fn of_tasks(bytes: Option<usize>) -> Self {
        Self::of(match bytes {
            Some(bytes) => Arc::new(GreedyMemoryPool::new(bytes)),
            None => Arc::new(UnboundedMemoryPool::default()),
        })
    }

    fn of(inner: Arc<dyn MemoryPool>) -> Self {
        Self {
            pool: Arc::new(ProcessPool::new(inner)),
            statements: Mutex::default(),
        }
    }

    pub(crate) fn pool(&self) -> Arc<dyn MemoryPool> {
        Arc::clone(&self.pool) as _
    }

    /// From now on, this cache gives memory back when operators need it.
    pub(crate) fn take_from(&self, cache: Weak<dyn Cache>) {
        self.pool.take_from(cache);
    }

    /// Creates the pool of a new statement with this limit; `size` is the size of the process, if that is limited.
    pub(crate) fn statement(&self, bytes: usize, size: Option<u64>) -> Arc<StatementPool> {
        let mut statements = self.lock();
        let trace = Arc::new(Trace {
            size: size.unwrap_or_default(),
            idle_bytes: statements.idle_bytes,
            peak: AtomicUsize::new(0),
        });
        let trace_of_pool = Arc::clone(&trace);
        let pool = StatementPool::new(self.pool(), bytes, "statement", trace_of_pool);
        if size.is_some() {
            let running = Arc::downgrade(&pool);
            statements.running.push((running, trace));
        }
        pool
    }

    /// Creates the pool of a task with this limit.
    pub(crate) fn task(&self, bytes: usize) -> Arc<StatementPool> {
        StatementPool::new(self.pool(), bytes, "task", Arc::default())
    }

    /// Refuses a new statement if other statements have made the process almost as large as its limit `bytes`. Returns
    /// the size of the process.
    pub(crate) fn check(&self, bytes: Option<u64>) -> Result<Option<u64>> {
        let (Some(bytes), Some(size)) = (bytes, process_bytes()) else {
            return Ok(None);
        };
        self.check_size(size, bytes)?;
        Ok(Some(size))
    }

    fn check_size(&self, size: u64, bytes: u64) -> Result<()> {
        let mut statements = self.lock();
        statements.sweep(size);
        if statements.running.is_empty() || !statements.are_too_large(size, bytes, REFUSED_FROM) {
            return Ok(());
        }
        let message = format!(
            "the server is short of memory: it has {} of {}; try again when other statements have ended",
            human_readable_size(usize::try_from(size).unwrap_or(usize::MAX)),
            human_readable_size(usize::try_from(bytes).unwrap_or(usize::MAX)),
        );
        Err(sql_err(SqlState::OutOfMemory, message))
    }

    /// Stops the statement with the largest reservation, if statements have brought the process near its limit `bytes`.
    /// If none has a reservation, stops the latest statement. Must be called often.
    pub(crate) fn relieve(&self, bytes: u64) {
        if let Some(size) = process_bytes() {
            self.relieve_size(size, bytes);
        }
    }

    fn relieve_size(&self, size: u64, bytes: u64) {
        let mut statements = self.lock();
        statements.sweep(size);
        let waits = |(_, at): &(_, Instant)| at.elapsed() < END_TIME;
        if statements.stopped.as_ref().is_some_and(waits)
            || !statements.are_too_large(size, bytes, STOPPED_FROM)
        {
            return;
        }
        let running = statements.running.iter();
        let running = running.filter(|(_, trace)| has_grown(trace.size, size, bytes));
        let running = running.filter_map(|(pool, _)| pool.upgrade());
        let running = running.filter(|pool| !pool.stop.is_cancelled());
        let Some(largest) = running.max_by_key(|pool| (pool.reserved(), pool.began_at)) else {
            return;
        };
        tracing::warn!(
            process = size,
            statement = largest.reserved(),
            "memory is short; a statement is stopped"
        );
        largest.stop.cancel();
        statements.stopped = Some((Arc::downgrade(&largest), Instant::now()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Statements> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};

    use super::super::process_pool::is_half_free;
    use super::*;

    fn consumer(memory: &Arc<StatementPool>, can_spill: bool) -> MemoryReservation {
        let pool = Arc::clone(memory) as Arc<dyn MemoryPool>;
        MemoryConsumer::new("sort")
            .with_can_spill(can_spill)
            .register(&pool)
    }

    /// Memory that nobody uses.
    #[derive(Debug)]
    struct Unused(Mutex<Vec<MemoryReservation>>);

    impl Cache for Unused {
        fn shrink(&self) -> bool {
            self.0.lock().unwrap().pop().is_some()
        }
    }

    #[test]
    fn a_cache_gives_back_as_much_memory_as_an_operator_needs() {
        let memory = Memory::new(Some(100));
        let pool = memory.pool();
        let cached = (0..4).map(|_| {
            let held = MemoryConsumer::new("cache").register(&pool);
            held.try_grow(20).unwrap();
            held
        });
        let unused = Arc::new(Unused(Mutex::new(cached.collect())));
        let cache: Arc<dyn Cache> = Arc::clone(&unused) as _;
        memory.take_from(Arc::downgrade(&cache));
        let operator = MemoryConsumer::new("join").register(&pool);
        operator.try_grow(50).unwrap();
        assert_eq!(unused.0.lock().unwrap().len(), 2);
        assert!(operator.try_grow(60).is_err());
        assert_eq!((operator.size(), pool.reserved()), (50, 50));
    }

    #[test]
    fn half_of_a_statement_s_memory_is_free_up_to_half() {
        let statement = Memory::new(None).statement(1_000, None);
        let held = consumer(&statement, false);
        held.try_grow(500).unwrap();
        assert!(is_half_free(statement.as_ref()));
        held.try_grow(1).unwrap();
        assert!(!is_half_free(statement.as_ref()));
        assert!(is_half_free(Memory::new(None).pool().as_ref()));
    }

    #[test]
    fn a_statement_has_its_own_limit_within_that_of_all() {
        let memory = Memory::new(Some(1_000));
        let (one, other) = (memory.statement(600, None), memory.statement(600, None));
        let (held, second) = (consumer(&one, false), consumer(&other, false));
        held.try_grow(600).unwrap();
        let error = held.try_grow(1).unwrap_err().to_string();
        assert!(error.contains("may have 600.0 B in all"), "{error}");
        // A refused request is not counted.
        assert_eq!((one.reserved(), memory.pool.reserved()), (600, 600));
        second.try_grow(400).unwrap();
        assert!(second.try_grow(1).is_err());
        drop((held, second));
        assert_eq!((one.reserved(), memory.pool.reserved()), (0, 0));
    }

    #[test]
    fn a_model_in_use_leaves_less_to_tasks_and_an_unused_one_goes() {
        let memory = Memory::of_tasks(Some(1_000));
        let pool = memory.pool();
        let model = || {
            let held = MemoryConsumer::new("models").register(&pool);
            held.try_grow(300).unwrap();
            held
        };
        let in_use = model();
        let unused = Arc::new(Unused(Mutex::new(vec![model()])));
        let cache: Arc<dyn Cache> = Arc::clone(&unused) as _;
        memory.take_from(Arc::downgrade(&cache));
        let task = memory.task(800);
        // The limit of the task is for a single operator, too.
        let operator = consumer(&task, true);
        operator.try_grow(700).unwrap();
        assert_eq!(unused.0.lock().unwrap().len(), 0);
        assert!(operator.try_grow(1).is_err());
        drop(in_use);
        operator.try_grow(100).unwrap();
        let error = operator.try_grow(1).unwrap_err().to_string();
        assert!(
            error.contains("the task may have 800.0 B in all"),
            "{error}"
        );
    }

    #[test]
    fn operators_that_spill_share_what_their_statement_has() {
        let memory = Memory::new(None);
        let statement = memory.statement(1_000, None);
        let (one, other) = (consumer(&statement, true), consumer(&statement, true));
        assert!(one.try_grow(501).is_err());
        one.try_grow(500).unwrap();
        other.try_grow(500).unwrap();
    }

    #[tokio::test]
    async fn the_statement_that_holds_most_is_stopped_and_one_at_a_time() {
        let memory = Memory::new(None);
        let begin = || memory.statement(1_000, Some(100));
        let (small, large, latest) = (begin(), begin(), begin());
        let held = (consumer(&small, false), consumer(&large, false));
        held.0.try_grow(1).unwrap();
        held.1.try_grow(2).unwrap();
        let stopped = || [&small, &large, &latest].map(|pool| pool.stop.is_cancelled());
        memory.relieve_size(799, 1_000);
        assert!(memory.check_size(799, 1_000).is_ok());
        assert!(memory.check_size(800, 1_000).is_err());
        memory.relieve_size(899, 1_000);
        assert_eq!(stopped(), [false, false, false]);
        memory.relieve_size(900, 1_000);
        memory.relieve_size(1_000, 1_000);
        assert_eq!(stopped(), [false, true, false]);
        let error = large.stopped().await.to_string();
        assert!(error.contains("short of memory"), "{error}");
    }

    #[test]
    fn what_ended_statements_leave_is_nobodys_fault() {
        let memory = Memory::new(None);
        let begin = |size| memory.statement(1_000, Some(size));
        let is_stopped = |pool: &StatementPool| pool.stop.is_cancelled();
        let (first, second) = (begin(100), begin(100));
        memory.relieve_size(920, 1_000);
        assert!(is_stopped(&second) && !is_stopped(&first));
        assert!(memory.check_size(920, 1_000).is_err());
        drop(second);
        // The allocator keeps all of it: the other statement continues and new ones start, until memory grows again.
        memory.relieve_size(930, 1_000);
        memory.relieve_size(940, 1_000);
        assert!(!is_stopped(&first) && memory.check_size(940, 1_000).is_ok());
        memory.relieve_size(941, 1_000);
        assert!(is_stopped(&first));
        drop(first);
        memory.relieve_size(990, 1_000);
        assert!(memory.check_size(990, 1_000).is_ok(), "nothing runs");
        // Near the limit, only statements that were running before count as the cause, but no new statement starts.
        let third = begin(990);
        memory.relieve_size(1_000, 1_000);
        assert!(!is_stopped(&third));
        assert!(memory.check_size(990, 1_000).is_err());
        memory.relieve_size(1_001, 1_000);
        assert!(is_stopped(&third));
    }

    #[test]
    fn what_a_statement_left_that_ended_by_itself_is_nobodys_fault_as_far_as_it_told() {
        let memory = Memory::new(None);
        let begin = || memory.statement(1_000, Some(100));
        memory.relieve_size(100, 1_000);
        let (long, big) = (begin(), begin());
        let told = consumer(&big, false);
        told.try_grow(700).unwrap();
        memory.relieve_size(850, 1_000);
        assert!(memory.check_size(850, 1_000).is_err());
        drop((told, big));
        memory.relieve_size(850, 1_000);
        // The statement left 700; the other statement may hold 150.
        assert!(memory.check_size(810, 1_000).is_ok());
        assert!(memory.check_size(811, 1_000).is_err());
        // A statement without reservations leaves nothing, so that many small statements do not hide a large one.
        drop(begin());
        memory.relieve_size(900, 1_000);
        assert!(long.stop.is_cancelled());
    }

    #[test]
    fn a_stopped_statement_that_goes_on_keeps_the_blame() {
        let memory = Memory::new(None);
        let (first, second) = (
            memory.statement(1_000, Some(0)),
            memory.statement(1_000, Some(0)),
        );
        memory.relieve_size(930, 1_000);
        assert!(second.stop.is_cancelled());
        memory.lock().stopped.as_mut().unwrap().1 -= END_TIME;
        memory.relieve_size(930, 1_000);
        assert!(first.stop.is_cancelled());
    }
}
