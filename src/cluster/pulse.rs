//! [`Pulse`]: what a rank does, readable by the task that sends its beats while the rank computes or waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// What a rank does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Activity {
    /// It reads its rows, or waits for the start.
    Reading,
    Computing,
    /// It waits for another rank in an exchange.
    Waiting {
        peer: usize,
    },
    /// It writes a checkpoint or the files of the model, or reads a checkpoint.
    Writing {
        bytes: u64,
    },
}

/// The state of a rank in a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Vitals {
    pub(super) activity: Activity,
    /// The number of exchanges that the rank has begun.
    pub(super) round: u64,
    /// The rows that the rank has read, plus the bytes that it has sent to other ranks and received from them.
    pub(super) moved: u64,
}

impl Vitals {
    /// The state of a rank that begins to read.
    pub(super) const BEGIN: Self = Self {
        activity: Activity::Reading,
        round: 0,
        moved: 0,
    };
}

/// The current state of a rank.
#[derive(Debug)]
pub(super) struct Pulse {
    activity: Mutex<Activity>,
    round: AtomicU64,
    moved: AtomicU64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            activity: Mutex::new(Vitals::BEGIN.activity),
            round: AtomicU64::new(Vitals::BEGIN.round),
            moved: AtomicU64::new(Vitals::BEGIN.moved),
        }
    }
}

impl Pulse {
    pub(super) fn vitals(&self) -> Vitals {
        Vitals {
            activity: *self.lock(),
            round: self.round.load(Ordering::Relaxed),
            moved: self.moved.load(Ordering::Relaxed),
        }
    }

    pub(super) fn set(&self, activity: Activity) {
        *self.lock() = activity;
    }

    pub(super) fn begin_round(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts rows or bytes.
    pub(super) fn count(&self, moved: u64) {
        self.moved.fetch_add(moved, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
