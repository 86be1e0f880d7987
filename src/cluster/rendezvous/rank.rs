//! A rank as it sees itself. No I/O and no clock, like [`super::attempt`].

use std::time::Duration;

use super::attempt::LEASE;
use super::message::ToRank;

/// What a rank does next.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// Goes on.
    Nothing,
    /// Says that it is alive.
    Beat,
    /// Trains with these.
    Start(Vec<String>),
    /// Stops at once, for this reason.
    Stop(String),
}

#[derive(Debug)]
pub(super) struct RankState {
    /// When the coordinator last said something.
    last_heard: Duration,
    is_started: bool,
}

impl RankState {
    /// A rank that has just asked to join.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            last_heard: now,
            is_started: false,
        }
    }

    pub(super) fn heard(&mut self, now: Duration, message: ToRank) -> Next {
        self.last_heard = now;
        match message {
            ToRank::Start { peers } if !self.is_started => {
                self.is_started = true;
                Next::Start(peers)
            }
            ToRank::Start { .. } | ToRank::Beat => Next::Nothing,
            ToRank::Abort { reason } => Next::Stop(reason),
        }
    }

    /// Time to beat. A process that was stopped for a while finds here that it was given up.
    pub(super) fn tick(&self, now: Duration) -> Next {
        match now.saturating_sub(self.last_heard) > LEASE {
            true => Next::Stop("the engine is silent".into()),
            false => Next::Beat,
        }
    }

    /// The connection ended.
    pub(super) fn closed(&self) -> Next {
        Next::Stop("the engine is gone".into())
    }
}
