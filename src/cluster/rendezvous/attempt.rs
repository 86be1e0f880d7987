//! [`Attempt`]: the coordinator's state of one attempt of a training, without I/O and without a clock. Events with their
//! times go in and messages come out, so that tests can run any schedule.
//!
//! ```text
//!            all ranks joined               all ended
//! Joining ───────────────────────▶ Running ───────────▶ Over(Done)
//!    │ refused, cancelled, late       │ a rank failed, vanished or stayed silent; cancelled
//!    └────────────────────────────────┴────────────────▶ Over(Failed | Lost | Cancelled), abort to all
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::ToRank;
use crate::error::SqlError;

/// A rank that is silent for longer is lost.
pub(super) const LEASE: Duration = Duration::from_secs(6);
/// The time that the other ranks have to join after the first rank.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The number of a connection. A rank that joins again has another connection.
pub(super) type Connection = u64;

/// An event on a connection.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Join {
        rank: usize,
        address: String,
    },
    Refuse {
        error: SqlError,
    },
    Beat,
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
enum Phase {
    Joining,
    Running,
    Over(Outcome),
}

#[derive(Debug)]
struct Member {
    connection: Connection,
    address: String,
    last_seen: Duration,
    is_done: bool,
}

/// Messages to send, and connections to close afterwards.
#[derive(Debug, Default)]
pub(super) struct Actions {
    pub(super) send: Vec<(Connection, ToRank)>,
    pub(super) close: Vec<Connection>,
}

#[derive(Debug)]
pub(super) struct Attempt {
    world_size: usize,
    phase: Phase,
    members: BTreeMap<usize, Member>,
    first_joined: Option<Duration>,
    /// The time since which ranks end because of others, while no rank has reported the cause.
    unexplained: Option<Duration>,
    /// The result of rank 0.
    result: Option<String>,
}

impl Attempt {
    pub(super) fn new(world_size: usize) -> Self {
        Self {
            world_size,
            phase: Phase::Joining,
            members: BTreeMap::new(),
            first_joined: None,
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

    /// Whether no rank that joined can still be at work.
    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn handle(&mut self, now: Duration, from: Connection, event: Event) -> Actions {
        let mut actions = Actions::default();
        match event {
            Event::Join { rank, address } => self.join(now, from, rank, address, &mut actions),
            Event::Refuse { error } => {
                if self.is_joining() {
                    self.end(Outcome::Failed(error), &mut actions);
                }
                actions.close.push(from);
            }
            Event::Beat => match self.member(from) {
                Some(member) => {
                    member.last_seen = now;
                    actions.send.push((from, ToRank::Beat));
                }
                None => abort(from, "this rank was given up", &mut actions),
            },
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
        actions
    }

    /// Finds ranks that are silent or late.
    pub(super) fn tick(&mut self, now: Duration) -> Actions {
        let mut actions = Actions::default();
        let is_silent =
            |member: &Member| !member.is_done && now.saturating_sub(member.last_seen) > LEASE;
        let silent: Vec<usize> = self
            .members
            .iter()
            .filter(|(_, member)| is_silent(member))
            .map(|(rank, _)| *rank)
            .collect();
        for rank in silent {
            let Some(member) = self.members.remove(&rank) else {
                continue;
            };
            abort(
                member.connection,
                "this rank was silent for too long",
                &mut actions,
            );
            if matches!(self.phase, Phase::Running) {
                let seconds = LEASE.as_secs();
                let lost = format!("worker {rank} was silent for {seconds} s");
                self.end(Outcome::Lost(lost), &mut actions);
            }
        }
        let is_late = |since: Option<Duration>, limit: Duration| {
            since.is_some_and(|since| now.saturating_sub(since) > limit)
        };
        match self.phase {
            Phase::Joining if is_late(self.first_joined, JOIN_TIMEOUT) => {
                let missing = (0..self.world_size).filter(|rank| !self.members.contains_key(rank));
                let missing: Vec<String> = missing.map(|rank| rank.to_string()).collect();
                let seconds = JOIN_TIMEOUT.as_secs();
                let lost = format!(
                    "worker {} did not join within {seconds} s",
                    missing.join(", ")
                );
                self.end(Outcome::Lost(lost), &mut actions);
            }
            Phase::Running if is_late(self.unexplained, LEASE) => {
                let lost = "workers lost their connections to each other".to_owned();
                self.end(Outcome::Lost(lost), &mut actions);
            }
            _ => {}
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

    fn join(
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
        let member = Member {
            connection: from,
            address,
            last_seen: now,
            is_done: false,
        };
        // Ballista counts the task that came last.
        if let Some(older) = self.members.insert(rank, member) {
            abort(older.connection, "another task has this rank", actions);
        }
        self.first_joined.get_or_insert(now);
        if self.members.len() < self.world_size {
            return;
        }
        self.phase = Phase::Running;
        let peers: Vec<String> = self
            .members
            .values()
            .map(|member| member.address.clone())
            .collect();
        for member in self.members.values_mut() {
            member.last_seen = now;
            let peers = peers.clone();
            actions
                .send
                .push((member.connection, ToRank::Start { peers }));
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
            // The rank may join again.
            Phase::Joining | Phase::Over(_) => {
                self.members.remove(&rank);
            }
            // The rank has reported its end; it stays a member until all ranks have.
            Phase::Running if is_done => {}
            Phase::Running => {
                self.members.remove(&rank);
                let lost = format!("worker {rank} was lost");
                self.end(Outcome::Lost(lost), actions);
            }
        }
    }

    fn end(&mut self, outcome: Outcome, actions: &mut Actions) {
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

fn abort(connection: Connection, reason: &str, actions: &mut Actions) {
    let reason = reason.to_owned();
    actions.send.push((connection, ToRank::Abort { reason }));
    actions.close.push(connection);
}
