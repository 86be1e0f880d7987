//! [`Counters`]: the counters of jobs and trainings.

use std::sync::atomic::AtomicU64;

/// The numbers of events since the engine started.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) jobs_succeeded: AtomicU64,
    pub(super) jobs_failed: AtomicU64,
    pub(super) jobs_cancelled: AtomicU64,
    pub(super) attempts_lost: AtomicU64,
}
