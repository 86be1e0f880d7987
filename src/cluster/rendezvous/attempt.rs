//! [`Attempt`]: the coordinator's state of one attempt of a training, without I/O and without a clock. Events with their
//! times go in and messages come out, so that tests can run any schedule.
//!
//! ```text
//!         all ranks have their rows          all ended
//! Joining ───────────────────────▶ Running ───────────▶ Over(Done)
//!    │ refused, cancelled, missing    │ a rank failed, vanished or stayed silent; nothing moved; cancelled
//!    └────────────────────────────────┴────────────────▶ Over(Failed | Lost | Cancelled), abort to all
//! ```
//! A rank may read and compute for as long as it likes. Only silence, a missing rank and a lack of movement end an
//! attempt: if every rank waits for another one, only the network can move, so a path is dark if it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::message::ToRank;
use crate::cluster::pulse::{Activity, Vitals};
use crate::error::SqlError;

/// A rank that is silent for longer is lost.
pub(super) const LEASE: Duration = Duration::from_secs(6);
/// The time that a missing rank has to enter once all others have their rows. A rank that reads may be silent for as
/// long in addition to its lease.
pub(super) const JOIN_TIMEOUT: Duration = Duration::from_secs(30);
/// The least time without movement after which a path between ranks counts as lost.
pub(in crate::cluster) const LINK_TIMEOUT: Duration = Duration::from_secs(30);
/// The number of a connection. A rank that joins again has another connection.
pub(super) type Connection = u64;

/// An event on a connection.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// The task of a rank has begun; the rank reads its rows.
    Enter {
        rank: usize,
        address: String,
    },
    /// The rank has all its rows.
    Join {
        rows: u64,
    },
    Refuse {
        error: SqlError,
    },
    Beat(Vitals),
    End {
        result: Option<String>,
        error: Option<SqlError>,
        is_consequence: bool,
    },
    /// The connection ended.
    Closed,
}

/// The outcome of an attempt.
#[derive(Debug, Clone)]
pub(in crate::cluster) enum Outcome {
    /// All ranks are done; holds the result of rank 0.
    Done(String),
    /// A rank failed by itself: another attempt would fail too.
    Failed(SqlError),
    /// A machine was lost: another attempt may succeed.
    Lost(String),
    Cancelled,
}

#[derive(Debug)]
pub(super) enum Phase {
    Joining,
    Running,
    Over(Outcome),
}

#[derive(Debug)]
pub(super) struct Member {
    pub(super) connection: Connection,
    pub(super) address: String,
    pub(super) last_seen: Duration,
    pub(super) rows: u64,
    pub(super) is_ready: bool,
    pub(super) is_done: bool,
    pub(super) vitals: Vitals,
    /// The time at which the vitals changed last.
    pub(super) moved_at: Duration,
}

/// A time in which all ranks waited and nothing moved, until something did.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stall {
    pub(super) ended_at: Duration,
    pub(super) length: Duration,
}

/// Messages to send, and connections to close afterwards.
#[derive(Debug, Default)]
pub(super) struct Actions {
    pub(super) send: Vec<(Connection, ToRank)>,
    pub(super) close: Vec<Connection>,
    /// The rows that all ranks have read, if there are more than before.
    pub(super) rows_read: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) world_size: usize,
    /// The least time without movement after which a path counts as lost.
    pub(super) link_timeout: Duration,
    /// The time at which the attempt was opened.
    pub(super) opened_at: Duration,
    /// Whether another run of the query may give other rows, so that no rank may read its rows again.
    pub(super) reads_once: bool,
    pub(super) phase: Phase,
    pub(super) members: BTreeMap<usize, Member>,
    /// The ranks of which a task has begun.
    begun: BTreeSet<usize>,
    pub(super) rows_read: u64,
    /// The time since which ranks are missing, while all others have their rows.
    pub(super) missing_since: Option<Duration>,
    /// The longest recent stall.
    pub(super) stall: Option<Stall>,
    /// The time since which ranks end because of others, while no rank has reported the cause.
    pub(super) unexplained: Option<Duration>,
    /// The result of rank 0.
    pub(super) result: Option<String>,
}

impl Attempt {
    pub(super) fn new(world_size: usize, link_timeout: Duration) -> Self {
        Self {
            world_size,
            link_timeout,
            opened_at: Duration::ZERO,
            reads_once: false,
            phase: Phase::Joining,
            members: BTreeMap::new(),
            begun: BTreeSet::new(),
            rows_read: 0,
            missing_since: None,
            stall: None,
            unexplained: None,
            result: None,
        }
    }

    pub(super) fn is_joining(&self) -> bool {
        matches!(self.phase, Phase::Joining)
    }

    pub(super) fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Over(outcome) => Some(outcome),
            Phase::Joining | Phase::Running => None,
        }
    }

    /// Whether no rank that entered can still be at work.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn handle(&mut self, now: Duration, from: Connection, event: Event) -> Actions {
        let mut actions = Actions::default();
        match event {
            Event::Enter { rank, address } => self.enter(now, from, rank, address, &mut actions),
            Event::Join { rows } => self.join(now, from, rows, &mut actions),
            Event::Refuse { error } => {
                if self.is_joining() && self.member(from).is_some() {
                    self.end(Outcome::Failed(error), &mut actions);
                }
                actions.close.push(from);
            }
            Event::Beat(vitals) => self.beat(now, from, vitals, &mut actions),
            Event::End {
                result,
                error,
                is_consequence,
            } => {
                if self.member(from).is_some() {
                    self.result = self.result.take().or(result);
                }
                self.ended(now, from, error, is_consequence, &mut actions);
            }
            Event::Closed => self.closed(from, &mut actions),
        }
        let rows: u64 = self.members.values().map(|member| member.rows).sum();
        if rows > self.rows_read && self.outcome().is_none() {
            self.rows_read = rows;
            actions.rows_read = Some(rows);
        }
        actions
    }

    /// Finds ranks that are silent or missing, and paths that are dark.
    pub(super) fn tick(&mut self, now: Duration) -> Actions {
        let mut actions = Actions::default();
        let lost = match self.phase {
            Phase::Joining => self.silent(now).or_else(|| self.missing(now)),
            Phase::Running => {
                self.give_up_silent(now, &mut actions);
                let lost = self.unexplained(now).or_else(|| self.unwritten(now));
                lost.or_else(|| self.unreachable(now))
            }
            Phase::Over(_) => {
                self.give_up_silent(now, &mut actions);
                None
            }
        };
        if let Some(lost) = lost
            && self.outcome().is_none()
        {
            self.end(Outcome::Lost(lost), &mut actions);
        }
        actions
    }

    /// Cancels the attempt, unless it is over.
    pub(super) fn cancel(&mut self) -> Actions {
        let mut actions = Actions::default();
        if self.outcome().is_none() {
            self.end(Outcome::Cancelled, &mut actions);
        }
        actions
    }

    fn member(&mut self, connection: Connection) -> Option<&mut Member> {
        self.members
            .values_mut()
            .find(|member| member.connection == connection)
    }

    fn enter(
        &mut self,
        now: Duration,
        from: Connection,
        rank: usize,
        address: String,
        actions: &mut Actions,
    ) {
        if rank >= self.world_size {
            return abort(from, "there is no such rank", actions);
        }
        if !self.is_joining() {
            return abort(from, "this attempt has started without it", actions);
        }
        if !self.begun.insert(rank) && self.reads_once {
            abort(from, "its rows may be others now", actions);
            let lost = format!(
                "rows of worker {rank} were lost, and may be others if they are computed again"
            );
            return self.end(Outcome::Lost(lost), actions);
        }
        let member = Member {
            connection: from,
            address,
            last_seen: now,
            rows: 0,
            is_ready: false,
            is_done: false,
            vitals: Vitals::BEGIN,
            moved_at: now,
        };
        // Ballista counts the task that came last.
        if let Some(older) = self.members.insert(rank, member) {
            abort(older.connection, "another task has this rank", actions);
        }
    }

    fn join(&mut self, now: Duration, from: Connection, rows: u64, actions: &mut Actions) {
        let is_joining = self.is_joining();
        match self.member(from) {
            Some(member) if is_joining => {
                member.is_ready = true;
                member.rows = rows;
                member.last_seen = now;
            }
            _ => return abort(from, "this rank was given up", actions),
        }
        self.start(now, actions);
    }

    fn beat(&mut self, now: Duration, from: Connection, vitals: Vitals, actions: &mut Actions) {
        let quiet_since = self.quiet_since();
        let Some(member) = self.member(from) else {
            return abort(from, "this rank was given up", actions);
        };
        member.last_seen = now;
        if vitals.activity == Activity::Reading {
            member.rows = vitals.moved;
        }
        let has_moved = member.vitals != vitals;
        if has_moved {
            member.vitals = vitals;
            member.moved_at = now;
        }
        actions.send.push((from, ToRank::Beat));
        if let Some(since) = quiet_since.filter(|_| has_moved) {
            self.stalled(now, now.saturating_sub(since));
        }
        // The last rank may have been silent when it joined.
        self.start(now, actions);
    }

    /// Starts the ranks if all of them have their rows, and none is silent.
    fn start(&mut self, now: Duration, actions: &mut Actions) {
        let is_here =
            |member: &Member| member.is_ready && now.saturating_sub(member.last_seen) <= LEASE;
        let are_here = self.members.len() == self.world_size && self.members.values().all(is_here);
        if !self.is_joining() || !are_here {
            return;
        }
        self.phase = Phase::Running;
        let peers: Vec<String> = self
            .members
            .values()
            .map(|member| member.address.clone())
            .collect();
        // The attempt waited for slots, and others computed rows, before its ranks began.
        let spent = now.saturating_sub(self.opened_at);
        for member in self.members.values_mut() {
            member.last_seen = now;
            member.moved_at = now;
            let peers = peers.clone();
            actions
                .send
                .push((member.connection, ToRank::Start { peers, spent }));
        }
    }

    fn ended(
        &mut self,
        now: Duration,
        from: Connection,
        error: Option<SqlError>,
        is_consequence: bool,
        actions: &mut Actions,
    ) {
        let Some(member) = self.member(from) else {
            return;
        };
        member.is_done = true;
        member.moved_at = now;
        match error {
            None => {
                let are_done = self.members.values().all(|member| member.is_done);
                if are_done && self.unexplained.is_none() && matches!(self.phase, Phase::Running) {
                    self.phase = Phase::Over(Outcome::Done(self.result.take().unwrap_or_default()));
                }
            }
            // The rank that caused the error is about to report it, or is dead, which is noticed too.
            Some(_) if is_consequence => {
                self.unexplained.get_or_insert(now);
            }
            Some(error) if self.outcome().is_none() => {
                self.end(Outcome::Failed(error), actions);
            }
            Some(_) => {}
        }
    }

    fn closed(&mut self, from: Connection, actions: &mut Actions) {
        let gone = self
            .members
            .iter()
            .find(|(_, member)| member.connection == from)
            .map(|(rank, member)| (*rank, member.is_done));
        let Some((rank, is_done)) = gone else {
            return;
        };
        match self.phase {
            // The rank may enter again.
            Phase::Joining | Phase::Over(_) => {
                self.members.remove(&rank);
            }
            // The rank has reported its end; it stays a member until all ranks have.
            Phase::Running if is_done => {}
            Phase::Running => {
                if let Some(member) = self.members.remove(&rank) {
                    let lost = format!("{} was lost", named(rank, &member));
                    self.end(Outcome::Lost(lost), actions);
                }
            }
        }
    }

    pub(super) fn end(&mut self, outcome: Outcome, actions: &mut Actions) {
        let reason = match &outcome {
            Outcome::Done(_) => "the training is done",
            Outcome::Failed(error) => &error.message,
            Outcome::Lost(what) => what,
            Outcome::Cancelled => "the statement was cancelled",
        };
        for member in self.members.values().filter(|member| !member.is_done) {
            let reason = reason.to_owned();
            actions
                .send
                .push((member.connection, ToRank::Abort { reason }));
        }
        // Nobody waits for ranks that have ended.
        self.members.retain(|_, member| !member.is_done);
        self.phase = Phase::Over(outcome);
    }
}

pub(super) fn abort(connection: Connection, reason: &str, actions: &mut Actions) {
    let reason = reason.to_owned();
    actions.send.push((connection, ToRank::Abort { reason }));
    actions.close.push(connection);
}

/// A rank and its machine.
pub(super) fn named(rank: usize, member: &Member) -> String {
    let host = member.address.rsplit_once(':').map_or("", |(host, _)| host);
    format!("worker {rank} at {host}")
}

#[cfg(test)]
#[path = "attempt_tests.rs"]
mod tests;
