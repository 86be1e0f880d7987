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

use std::collections::BTreeMap;
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
/// A path that came back after a stall may stall for this many times as long again.
const STALLS: u32 = 10;
/// A stall counts for this long.
const STALL_MEMORY: Duration = Duration::from_secs(600);
/// The time to write a checkpoint, in addition to the time that its bytes take at the slowest rate.
const WRITE_TIMEOUT: Duration = Duration::from_secs(120);
const WRITE_BYTES_PER_S: u64 = 1 << 20;

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
    rows: u64,
    is_ready: bool,
    is_done: bool,
    vitals: Vitals,
    /// The time at which the vitals changed last.
    moved_at: Duration,
}

/// A time in which all ranks waited and nothing moved, until something did.
#[derive(Debug, Clone, Copy)]
struct Stall {
    ended_at: Duration,
    length: Duration,
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
    world_size: usize,
    /// The least time without movement after which a path counts as lost.
    link_timeout: Duration,
    phase: Phase,
    members: BTreeMap<usize, Member>,
    rows_read: u64,
    /// The time since which ranks are missing, while all others have their rows.
    missing_since: Option<Duration>,
    /// The longest recent stall.
    stall: Option<Stall>,
    /// The time since which ranks end because of others, while no rank has reported the cause.
    unexplained: Option<Duration>,
    /// The result of rank 0.
    result: Option<String>,
}

impl Attempt {
    pub(super) fn new(world_size: usize, link_timeout: Duration) -> Self {
        Self {
            world_size,
            link_timeout,
            phase: Phase::Joining,
            members: BTreeMap::new(),
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

    /// Before the start: a rank that does not come back. Its process may be busy with its rows, so it has longer.
    fn silent(&self, now: Duration) -> Option<String> {
        let silence_max = LEASE + JOIN_TIMEOUT;
        let is_silent = |member: &Member| now.saturating_sub(member.last_seen) > silence_max;
        let mut members = self.members.iter();
        let (rank, member) = members.find(|(_, member)| is_silent(member))?;
        let seconds = silence_max.as_secs();
        Some(format!(
            "{} was silent for {seconds} s",
            named(*rank, member)
        ))
    }

    /// Before the start: ranks that do not enter although nobody reads any more. Until then, the cluster may compute the
    /// rows of a lost machine again.
    fn missing(&mut self, now: Duration) -> Option<String> {
        let is_waiting = self.members.len() < self.world_size
            && !self.members.is_empty()
            && self.members.values().all(|member| member.is_ready);
        if !is_waiting {
            self.missing_since = None;
            return None;
        }
        let since = *self.missing_since.get_or_insert(now);
        if now.saturating_sub(since) <= JOIN_TIMEOUT {
            return None;
        }
        let missing = (0..self.world_size).filter(|rank| !self.members.contains_key(rank));
        let missing: Vec<String> = missing.map(|rank| rank.to_string()).collect();
        let seconds = JOIN_TIMEOUT.as_secs();
        let missing = missing.join(", ");
        Some(format!("worker {missing} did not join within {seconds} s"))
    }

    /// After the start: removes ranks that are silent.
    fn give_up_silent(&mut self, now: Duration, actions: &mut Actions) {
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
                actions,
            );
            if matches!(self.phase, Phase::Running) {
                let (who, seconds) = (named(rank, &member), LEASE.as_secs());
                let lost = format!("{who} was silent for {seconds} s");
                self.end(Outcome::Lost(lost), actions);
            }
        }
    }

    /// Ranks that ended because of others, while no rank reports the cause.
    fn unexplained(&self, now: Duration) -> Option<String> {
        let since = self.unexplained?;
        if now.saturating_sub(since) <= LEASE {
            return None;
        }
        let path = self.broken_path();
        Some(path.unwrap_or_else(|| "workers lost their connections to each other".into()))
    }

    /// A rank whose checkpoint is never written.
    fn unwritten(&self, now: Duration) -> Option<String> {
        let mut open = self.members.iter().filter(|(_, member)| !member.is_done);
        open.find_map(|(rank, member)| {
            let Activity::Writing { bytes } = member.vitals.activity else {
                return None;
            };
            let limit = WRITE_TIMEOUT + Duration::from_secs(bytes / WRITE_BYTES_PER_S);
            let is_late = now.saturating_sub(member.moved_at) > limit;
            is_late.then(|| {
                let (who, seconds) = (named(*rank, member), limit.as_secs());
                format!("{who} did not write a checkpoint of {bytes} bytes within {seconds} s")
            })
        })
    }

    /// A path that is dark.
    fn unreachable(&self, now: Duration) -> Option<String> {
        let quiet = now.saturating_sub(self.quiet_since()?);
        let limit = self.quiet_max(now);
        if quiet <= limit {
            return None;
        }
        let (path, seconds) = (self.broken_path()?, limit.as_secs());
        Some(format!("{path}: nothing moved for {seconds} s"))
    }

    /// The time since which nothing has moved, if all ranks at work wait for each other.
    fn quiet_since(&self) -> Option<Duration> {
        if !matches!(self.phase, Phase::Running) {
            return None;
        }
        let waits = |member: &Member| {
            member.is_done || matches!(member.vitals.activity, Activity::Waiting { .. })
        };
        if !self.members.values().all(waits) {
            return None;
        }
        // The end of a rank is a movement too: the others may have moved, and not told yet.
        self.members.values().map(|member| member.moved_at).max()
    }

    /// The longest time without movement that is not a dark path.
    fn quiet_max(&self, now: Duration) -> Duration {
        let is_recent = |stall: &Stall| now.saturating_sub(stall.ended_at) <= STALL_MEMORY;
        let longest = self.stall.filter(is_recent);
        longest.map_or(self.link_timeout, |stall| {
            self.link_timeout.max(stall.length * STALLS)
        })
    }

    /// The rank that is behind the others, and the rank for which it waits.
    fn broken_path(&self) -> Option<String> {
        let waiting = self.members.iter().filter_map(|(rank, member)| {
            let Activity::Waiting { peer } = member.vitals.activity else {
                return None;
            };
            Some((*rank, member, peer))
        });
        let (rank, member, peer) =
            waiting.min_by_key(|(rank, member, _)| (member.is_done, member.vitals.round, *rank))?;
        let peer = match self.members.get(&peer) {
            Some(other) => named(peer, other),
            None => format!("worker {peer}"),
        };
        Some(format!("{} cannot reach {peer}", named(rank, member)))
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

    fn stalled(&mut self, now: Duration, length: Duration) {
        let is_longest = self.stall.is_none_or(|stall| {
            length >= stall.length || now.saturating_sub(stall.ended_at) > STALL_MEMORY
        });
        if is_longest {
            let ended_at = now;
            self.stall = Some(Stall { ended_at, length });
        }
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
        for member in self.members.values_mut() {
            member.last_seen = now;
            member.moved_at = now;
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

/// A rank and its machine.
fn named(rank: usize, member: &Member) -> String {
    let host = member.address.rsplit_once(':').map_or("", |(host, _)| host);
    format!("worker {rank} at {host}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SqlState;

    const SECOND: Duration = Duration::from_secs(1);
    const WAITING: Activity = Activity::Waiting { peer: 0 };

    /// An attempt whose ranks have these connections: their ranks plus 1.
    struct Ranks {
        attempt: Attempt,
        now: Duration,
        vitals: Vec<Vitals>,
    }

    impl Ranks {
        fn reading(world_size: usize) -> Self {
            let mut ranks = Self {
                attempt: Attempt::new(world_size, LINK_TIMEOUT),
                now: SECOND,
                vitals: vec![Vitals::BEGIN; world_size],
            };
            for rank in 0..world_size {
                ranks.enter(rank);
            }
            ranks
        }

        fn running(world_size: usize) -> Self {
            let mut ranks = Self::reading(world_size);
            for rank in 0..world_size {
                ranks.event(rank, Event::Join { rows: 10 });
                ranks.set(rank, Activity::Computing);
            }
            assert!(!ranks.attempt.is_joining());
            ranks
        }

        fn event(&mut self, rank: usize, event: Event) -> Actions {
            self.attempt.handle(self.now, rank as Connection + 1, event)
        }

        fn enter(&mut self, rank: usize) {
            let address = format!("10.0.0.{rank}:4000");
            self.event(rank, Event::Enter { rank, address });
        }

        fn set(&mut self, rank: usize, activity: Activity) {
            self.vitals[rank].activity = activity;
            self.vitals[rank].round += 1;
        }

        /// The next seconds, in which these ranks beat. Returns how the attempt is lost.
        fn pass(&mut self, seconds: u64, ranks: &[usize]) -> Option<String> {
            for _ in 0..seconds {
                self.now += SECOND;
                for rank in ranks {
                    self.event(*rank, Event::Beat(self.vitals[*rank]));
                }
                self.attempt.tick(self.now);
            }
            match self.attempt.outcome() {
                Some(Outcome::Lost(lost)) => Some(lost.clone()),
                Some(other) => panic!("{other:?}"),
                None => None,
            }
        }
    }

    #[test]
    fn a_dark_path_is_found_by_the_lack_of_movement() {
        let mut ranks = Ranks::running(3);
        ranks.set(0, Activity::Waiting { peer: 1 });
        ranks.set(1, WAITING);
        ranks.set(2, WAITING);
        ranks.set(2, WAITING);
        assert_eq!(ranks.pass(30, &[0, 1, 2]), None);
        let lost = "worker 0 at 10.0.0.0 cannot reach worker 1 at 10.0.0.1: nothing moved for 30 s";
        assert_eq!(ranks.pass(2, &[0, 1, 2]).as_deref(), Some(lost));
    }

    #[test]
    fn a_rank_that_computes_for_an_hour_is_not_lost() {
        let mut ranks = Ranks::running(2);
        ranks.set(1, WAITING);
        assert_eq!(ranks.pass(3_600, &[0, 1]), None);
        // From now on only the network can move.
        ranks.set(0, Activity::Waiting { peer: 1 });
        assert_eq!(ranks.pass(30, &[0, 1]), None);
        assert!(ranks.pass(2, &[0, 1]).is_some());
    }

    #[test]
    fn ranks_that_waited_long_for_one_that_is_done_are_not_lost() {
        let mut ranks = Ranks::running(2);
        ranks.set(1, WAITING);
        assert_eq!(ranks.pass(300, &[0, 1]), None);
        let end = || Event::End {
            result: Some("result".into()),
            error: None,
            is_consequence: false,
        };
        ranks.event(0, end());
        assert_eq!(
            ranks.pass(1, &[1]),
            None,
            "its last beat says that it waits"
        );
        ranks.event(1, end());
        assert!(matches!(ranks.attempt.outcome(), Some(Outcome::Done(_))));
    }

    #[test]
    fn a_slow_path_that_moves_is_not_lost_and_may_stall_longer_after_a_stall() {
        let mut ranks = Ranks::running(2);
        ranks.set(0, Activity::Waiting { peer: 1 });
        ranks.set(1, WAITING);
        for _ in 0..20 {
            ranks.vitals[1].moved += 1;
            assert_eq!(ranks.pass(20, &[0, 1]), None);
        }
        ranks.vitals[1].moved += 1;
        assert_eq!(ranks.pass(200, &[0, 1]), None, "10 times the longest stall");
        assert!(ranks.pass(5, &[0, 1]).is_some());
    }

    #[test]
    fn a_stall_of_long_ago_does_not_count() {
        let mut ranks = Ranks::running(2);
        ranks.set(0, Activity::Waiting { peer: 1 });
        ranks.set(1, WAITING);
        assert_eq!(ranks.pass(25, &[0, 1]), None);
        for _ in 0..700 {
            ranks.vitals[1].moved += 1;
            assert_eq!(ranks.pass(1, &[0, 1]), None);
        }
        assert!(ranks.pass(35, &[0, 1]).is_some());
    }

    #[test]
    fn a_checkpoint_that_is_never_written_ends_the_attempt_and_a_large_one_does_not() {
        let mut ranks = Ranks::running(2);
        ranks.set(1, WAITING);
        let bytes = 500 * WRITE_BYTES_PER_S;
        ranks.set(0, Activity::Writing { bytes });
        assert_eq!(ranks.pass(620, &[0, 1]), None);
        ranks.set(0, Activity::Writing { bytes: 7 });
        assert_eq!(ranks.pass(120, &[0, 1]), None);
        let lost = "worker 0 at 10.0.0.0 did not write a checkpoint of 7 bytes within 120 s";
        assert_eq!(ranks.pass(2, &[0, 1]).as_deref(), Some(lost));
    }

    #[test]
    fn a_rank_may_read_ten_minutes_longer_than_the_others() {
        let mut ranks = Ranks::reading(2);
        let started = |actions: &Actions| {
            let is_start =
                |(_, message): &(Connection, ToRank)| matches!(message, ToRank::Start { .. });
            actions.send.iter().any(is_start)
        };
        assert!(!started(&ranks.event(0, Event::Join { rows: 5 })));
        for second in 0..600 {
            ranks.vitals[1].moved = second;
            assert_eq!(ranks.pass(1, &[0, 1]), None);
        }
        assert!(started(&ranks.event(1, Event::Join { rows: 600 })));
    }

    #[test]
    fn the_rows_that_all_ranks_have_read_are_told() {
        let mut ranks = Ranks::reading(2);
        let read = |moved| {
            Event::Beat(Vitals {
                moved,
                ..Vitals::BEGIN
            })
        };
        assert_eq!(ranks.event(0, read(3)).rows_read, Some(3));
        assert_eq!(ranks.event(1, read(4)).rows_read, Some(7));
        assert_eq!(ranks.event(1, read(4)).rows_read, None);
        assert_eq!(ranks.event(0, Event::Join { rows: 5 }).rows_read, Some(9));
    }

    #[test]
    fn a_reader_that_is_silent_is_lost_and_one_that_comes_back_is_not() {
        let mut ranks = Ranks::reading(2);
        ranks.event(0, Event::Join { rows: 5 });
        assert_eq!(ranks.pass(30, &[0]), None);
        assert_eq!(ranks.pass(1, &[0, 1]), None);
        assert_eq!(ranks.pass(36, &[0]), None);
        let lost = "worker 1 at 10.0.0.1 was silent for 36 s";
        assert_eq!(ranks.pass(2, &[0]).as_deref(), Some(lost));
    }

    #[test]
    fn a_rank_that_is_silent_when_the_last_joins_starts_later() {
        let mut ranks = Ranks::reading(2);
        ranks.event(0, Event::Join { rows: 5 });
        assert_eq!(ranks.pass(10, &[1]), None);
        ranks.event(1, Event::Join { rows: 5 });
        assert!(ranks.attempt.is_joining());
        assert_eq!(ranks.pass(1, &[0, 1]), None);
        assert!(!ranks.attempt.is_joining());
    }

    #[test]
    fn a_missing_rank_is_awaited_while_another_reads() {
        let mut ranks = Ranks::reading(3);
        ranks.event(0, Event::Join { rows: 5 });
        ranks.event(2, Event::Closed);
        assert_eq!(ranks.pass(300, &[0, 1]), None);
        ranks.event(1, Event::Join { rows: 5 });
        assert_eq!(ranks.pass(30, &[0, 1]), None);
        let lost = "worker 2 did not join within 30 s";
        assert_eq!(ranks.pass(2, &[0, 1]).as_deref(), Some(lost));
    }

    #[test]
    fn a_task_that_was_replaced_cannot_refuse() {
        let mut ranks = Ranks::reading(1);
        let address = "10.0.0.9:4000".to_owned();
        let now = ranks.now;
        ranks
            .attempt
            .handle(now, 9, Event::Enter { rank: 0, address });
        let error = SqlError {
            state: SqlState::Data,
            message: "bad row".into(),
            position: None,
        };
        ranks.event(0, Event::Refuse { error });
        assert!(ranks.attempt.outcome().is_none());
    }
}
