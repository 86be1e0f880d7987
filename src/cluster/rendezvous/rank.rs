//! [`RankState`]: the state of a rank, without I/O and without a clock, like [`super::attempt`].

use std::time::Duration;

use super::attempt::{JOIN_TIMEOUT, LEASE};
use super::message::ToRank;

/// The next action of a rank.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Next {
    /// The rank continues.
    Nothing,
    /// The rank reports that it is alive.
    Beat,
    /// The rank trains with the ranks at these addresses, in an attempt that has taken this long so far.
    Start { peers: Vec<String>, spent: Duration },
    /// The rank stops at once, as the coordinator says, for this reason.
    Stop(String),
    /// The rank stops at once, because it has lost the coordinator.
    LostEngine(String),
}

#[derive(Debug)]
pub(super) struct RankState {
    /// The time of the last message from the coordinator.
    last_heard: Duration,
    is_started: bool,
}

impl RankState {
    /// A rank that has just entered.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            last_heard: now,
            is_started: false,
        }
    }

    pub(super) fn heard(&mut self, now: Duration, message: ToRank) -> Next {
        self.last_heard = now;
        match message {
            ToRank::Start { peers, spent } if !self.is_started => {
                self.is_started = true;
                Next::Start { peers, spent }
            }
            ToRank::Start { .. } | ToRank::Beat => Next::Nothing,
            ToRank::Abort { reason } => Next::Stop(reason),
        }
    }

    /// Called once a beat. A process that was paused for a while finds here that it was given up. Before the start, the
    /// coordinator waits longer, because a rank that reads may keep its process busy.
    pub(super) fn tick(&self, now: Duration) -> Next {
        let silence_max = match self.is_started {
            true => LEASE,
            false => LEASE + JOIN_TIMEOUT,
        };
        match now.saturating_sub(self.last_heard) > silence_max {
            true => Next::LostEngine("the engine is silent".into()),
            false => Next::Beat,
        }
    }

    /// The connection ended.
    pub(super) fn closed(&self) -> Next {
        Next::LostEngine("the engine is gone".into())
    }
}
