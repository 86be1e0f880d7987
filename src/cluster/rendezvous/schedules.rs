//! Tests of an attempt and its ranks in seeded schedules: messages are late, doubled or out of order; ranks crash, freeze
//! and thaw, fail and enter again; some read for minutes, compute for minutes, or are connected by paths that are slow or
//! dark. The invariants are checked after each step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::attempt::{Actions, Attempt, Connection, Event, LEASE, LINK_TIMEOUT, Outcome};
use super::message::ToRank;
use super::rank::{Next, RankState};
use crate::cluster::pulse::{Activity, Vitals};
use crate::error::{SqlError, SqlState};

const SEEDS: u64 = 2_000;
const STEP: Duration = Duration::from_millis(100);
/// Longer than the longest reading, the longest training and all timeouts together.
const END: Duration = Duration::from_secs(1_500);
/// The longest time that a rank reads or computes.
const LONG_MS: u64 = 600_000;
/// A dark path is found this long after its timeout at the latest: beats and messages are late.
const SLACK: Duration = Duration::from_secs(10);

/// xorshift64*: a stream of numbers from a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// What happens between the ranks once they have started.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Training {
    /// They exchange and compute.
    Fast,
    /// Rank 0 computes for minutes, and the others wait for it.
    Computing,
    /// All wait for messages that come slowly.
    Slow { period: Duration },
    /// All wait for messages that never come.
    Dark,
}

#[derive(Debug)]
struct Rank {
    rank: usize,
    state: RankState,
    reads_until: Duration,
    has_joined: bool,
    is_training: bool,
    is_stopped: bool,
    is_crashed: bool,
    frozen_until: Duration,
    next_beat: Duration,
    began_at: Duration,
    ends_at: Option<Duration>,
}

impl Rank {
    fn vitals(&self, now: Duration, training: Training) -> Vitals {
        let elapsed = now.saturating_sub(self.began_at);
        let waiting = Activity::Waiting {
            peer: usize::from(self.rank == 0),
        };
        let (activity, moved) = match training {
            _ if !self.is_training => (Activity::Reading, elapsed.as_millis()),
            Training::Fast => (Activity::Computing, elapsed.as_millis()),
            Training::Computing if self.rank == 0 => (Activity::Computing, 0),
            Training::Computing | Training::Dark => (waiting, 0),
            Training::Slow { period } => (waiting, elapsed.as_millis() / period.as_millis()),
        };
        Vitals {
            activity,
            round: 1,
            moved: moved as u64,
        }
    }
}

#[derive(Debug)]
enum Packet {
    ToCoordinator(Connection, Event),
    ToRank(Connection, ToRank),
}

struct World {
    random: Random,
    now: Duration,
    attempt: Attempt,
    ranks: BTreeMap<Connection, Rank>,
    /// The packets by time of arrival, then in the order of sending.
    network: BTreeMap<(Duration, u64), Packet>,
    sent: u64,
    next_connection: Connection,
    world_size: usize,
    training: Training,
    /// The length of a training that is not fast, for all ranks: none is done while others wait for it.
    length: Duration,
    /// Whether ranks read for minutes.
    reads_long: bool,
    /// Whether nothing fails.
    is_calm: bool,
    started_at: Option<Duration>,
    /// Connections whose successful end has reached the coordinator.
    done: BTreeSet<Connection>,
    started: BTreeSet<Connection>,
    had_fault: bool,
    outcome_at: Option<Duration>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let world_size = 1 + random.below(4) as usize;
        let training = match random.below(12) {
            // A single rank waits for nobody.
            _ if world_size == 1 => Training::Fast,
            0 => Training::Computing,
            1 => Training::Slow {
                period: Duration::from_millis(1_000 + random.below(19_000)),
            },
            2 => Training::Dark,
            _ => Training::Fast,
        };
        let length = Duration::from_millis(random.below(LONG_MS));
        let (reads_long, is_calm) = (random.one_in(20), random.one_in(4));
        Self {
            random,
            now: Duration::ZERO,
            attempt: Attempt::new(world_size, LINK_TIMEOUT),
            ranks: BTreeMap::new(),
            network: BTreeMap::new(),
            sent: 0,
            next_connection: 1,
            world_size,
            training,
            length,
            reads_long,
            is_calm,
            started_at: None,
            done: BTreeSet::new(),
            started: BTreeSet::new(),
            had_fault: false,
            outcome_at: None,
        }
    }

    fn delay(&mut self) -> Duration {
        // A beat and its answer together take less than the lease.
        let most = if self.random.one_in(20) { 2_000 } else { 150 };
        Duration::from_millis(self.random.below(most))
    }

    /// Packets of one connection keep their order, as with TCP.
    fn post(&mut self, packet: Packet) {
        let of = |packet: &Packet| match packet {
            Packet::ToCoordinator(connection, _) => (*connection, true),
            Packet::ToRank(connection, _) => (*connection, false),
        };
        let mut at = self.now + self.delay();
        let same = self
            .network
            .iter()
            .filter(|(_, other)| of(other) == of(&packet));
        if let Some(last) = same.map(|((at, _), _)| *at).max() {
            at = at.max(last);
        }
        self.sent += 1;
        self.network.insert((at, self.sent), packet);
    }

    fn arrive(&mut self, rank: usize) {
        let connection = self.next_connection;
        self.next_connection += 1;
        let address = format!("{rank}");
        let reads_ms = match self.reads_long {
            true => self.random.below(LONG_MS),
            false => self.random.below(2_000),
        };
        self.ranks.insert(
            connection,
            Rank {
                rank,
                state: RankState::new(self.now),
                reads_until: self.now + Duration::from_millis(reads_ms),
                has_joined: false,
                is_training: false,
                is_stopped: false,
                is_crashed: false,
                frozen_until: Duration::ZERO,
                next_beat: self.now + Duration::from_secs(1),
                began_at: self.now,
                ends_at: None,
            },
        );
        self.post(Packet::ToCoordinator(
            connection,
            Event::Enter { rank, address },
        ));
    }

    fn apply(&mut self, actions: Actions) {
        for (connection, message) in actions.send {
            if let ToRank::Start { peers, .. } = &message {
                let expected: Vec<String> =
                    (0..self.world_size).map(|rank| rank.to_string()).collect();
                assert_eq!(*peers, expected, "addresses in the order of ranks");
                assert!(self.started.insert(connection), "started twice");
                self.started_at = Some(self.now);
            }
            self.post(Packet::ToRank(connection, message));
        }
        // The outcome never changes once it is set.
        match (self.attempt.outcome(), self.outcome_at) {
            (Some(outcome), None) => {
                self.outcome_at = Some(self.now);
                if matches!(outcome, Outcome::Done(_)) {
                    assert_eq!(
                        self.done.len(),
                        self.world_size,
                        "done before all ranks were"
                    );
                }
            }
            (None, Some(_)) => panic!("an outcome was taken back"),
            _ => {}
        }
    }

    fn deliver(&mut self, packet: Packet) {
        match packet {
            Packet::ToCoordinator(connection, event) => {
                if matches!(event, Event::End { error: None, .. })
                    && self.started.contains(&connection)
                {
                    self.done.insert(connection);
                }
                let actions = self.attempt.handle(self.now, connection, event);
                self.apply(actions);
            }
            Packet::ToRank(connection, message) => {
                let now = self.now;
                let Some(rank) = self.ranks.get_mut(&connection) else {
                    return;
                };
                if rank.is_crashed || rank.is_stopped {
                    return;
                }
                match rank.state.heard(now, message) {
                    Next::Start { .. } => {
                        rank.is_training = true;
                        rank.began_at = now;
                        let short = Duration::from_millis(500 + self.random.below(8_000));
                        rank.ends_at = match self.training {
                            Training::Fast => Some(now + short),
                            Training::Computing | Training::Slow { .. } => Some(now + self.length),
                            Training::Dark => None,
                        };
                    }
                    Next::Stop(_) | Next::LostEngine(_) => self.turn_away(connection),
                    Next::Nothing | Next::Beat => {}
                }
            }
        }
    }

    fn stop(&mut self, connection: Connection) {
        if let Some(rank) = self.ranks.get_mut(&connection) {
            rank.is_stopped = true;
            rank.is_training = false;
        }
        self.post(Packet::ToCoordinator(connection, Event::Closed));
    }

    /// Stops a rank that was told to. If the last task of a rank fails before the start, the cluster gives the job up.
    fn turn_away(&mut self, connection: Connection) {
        let number = self.ranks[&connection].rank;
        let mut later = self.ranks.range(connection + 1..);
        let is_last = !later.any(|(_, other)| other.rank == number);
        self.stop(connection);
        if is_last && self.attempt.is_joining() {
            self.had_fault = true;
            let actions = self.attempt.cancel();
            self.apply(actions);
        }
    }

    fn act(&mut self, connection: Connection) {
        let now = self.now;
        let is_faulty = !self.is_calm && self.random.one_in(400);
        let kind = self.random.below(3);
        let Some(rank) = self.ranks.get_mut(&connection) else {
            return;
        };
        if rank.is_crashed || rank.is_stopped || rank.frozen_until > now {
            return;
        }
        if is_faulty {
            self.had_fault = true;
            match kind {
                0 => {
                    rank.is_crashed = true;
                    let number = rank.rank;
                    // If a machine dies, nothing closes the connection; if a process dies, its kernel does.
                    if self.random.one_in(2) {
                        self.post(Packet::ToCoordinator(connection, Event::Closed));
                    }
                    if self.attempt.is_joining() {
                        self.arrive(number);
                    }
                }
                1 => rank.frozen_until = now + Duration::from_secs(30),
                _ => {
                    let error = SqlError {
                        state: SqlState::Data,
                        message: "bad row".into(),
                        position: None,
                    };
                    let is_consequence = rank.is_training && self.random.one_in(2);
                    let event = match self.ranks[&connection].is_training {
                        true => Event::End {
                            result: None,
                            error: Some(error),
                            is_consequence,
                        },
                        false => Event::Refuse { error },
                    };
                    self.post(Packet::ToCoordinator(connection, event));
                    self.stop(connection);
                }
            }
            return;
        }
        if now >= rank.next_beat {
            rank.next_beat = now + Duration::from_secs(1);
            match rank.state.tick(now) {
                Next::Stop(_) | Next::LostEngine(_) => return self.turn_away(connection),
                Next::Nothing | Next::Beat | Next::Start { .. } => {
                    let vitals = rank.vitals(now, self.training);
                    self.post(Packet::ToCoordinator(connection, Event::Beat(vitals)));
                }
            }
        }
        let Some(rank) = self.ranks.get_mut(&connection) else {
            return;
        };
        if !rank.has_joined && now >= rank.reads_until {
            rank.has_joined = true;
            let rows = rank.vitals(now, self.training).moved;
            self.post(Packet::ToCoordinator(connection, Event::Join { rows }));
        }
        let Some(rank) = self.ranks.get_mut(&connection) else {
            return;
        };
        if rank.ends_at.is_some_and(|at| now >= at) {
            rank.ends_at = None;
            rank.is_stopped = true;
            rank.is_training = false;
            let event = Event::End {
                result: Some("result".into()),
                error: None,
                is_consequence: false,
            };
            self.post(Packet::ToCoordinator(connection, event));
            self.post(Packet::ToCoordinator(connection, Event::Closed));
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        while let Some(entry) = self.network.first_entry()
            && entry.key().0 <= self.now
        {
            let packet = entry.remove();
            self.deliver(packet);
        }
        let actions = self.attempt.tick(self.now);
        self.apply(actions);
        let connections: Vec<Connection> = self.ranks.keys().copied().collect();
        for connection in connections {
            self.act(connection);
        }
    }

    fn run(&mut self) {
        for rank in 0..self.world_size {
            self.arrive(rank);
            // A task that Ballista retries.
            if !self.is_calm && self.random.one_in(10) {
                self.had_fault = true;
                self.arrive(rank);
            }
        }
        let cancels = !self.is_calm && self.random.one_in(10);
        let cancels_at = cancels.then(|| {
            self.had_fault = true;
            Duration::from_millis(self.random.below(6_000))
        });
        while self.now < END && !self.is_settled() {
            self.step();
            if cancels_at.is_some_and(|at| self.now >= at && self.now < at + STEP) {
                let actions = self.attempt.cancel();
                self.apply(actions);
            }
            self.check_stopped();
        }
    }

    /// Whether the attempt is over, and no rank and no message is left.
    fn is_settled(&self) -> bool {
        let mut ranks = self.ranks.values();
        self.attempt.outcome().is_some()
            && self.network.is_empty()
            && ranks.all(|rank| rank.is_stopped || rank.is_crashed)
    }

    /// Without a fault, only a dark path ends a training, and soon.
    fn check_calm(&self, outcome: &Outcome) {
        match (self.training, outcome) {
            (Training::Dark, Outcome::Lost(lost)) => {
                assert!(lost.contains("cannot reach"), "{lost}");
                let (started, over) = (self.started_at.unwrap(), self.outcome_at.unwrap());
                assert!(over - started <= LINK_TIMEOUT + SLACK, "{over:?}");
            }
            (Training::Dark, other) => panic!("{other:?} over a dark path"),
            (_, outcome) => assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}"),
        }
    }

    /// No rank trains on for longer than a lease, plus the time that a frozen rank needs to notice.
    fn check_stopped(&self) {
        let Some(over) = self.outcome_at else { return };
        let limit = over + LEASE + Duration::from_secs(5);
        for rank in self.ranks.values() {
            let is_at_work = rank.is_training && !rank.is_crashed && rank.frozen_until < self.now;
            let thawed = rank.frozen_until + Duration::from_secs(2);
            assert!(
                !is_at_work || self.now < limit || self.now < thawed,
                "a rank trains on: {rank:?}"
            );
        }
    }
}

#[test]
fn every_schedule_ends_the_same_for_all() {
    let mut outcomes = BTreeMap::new();
    // Seeds without a fault, by their kind of training.
    let mut calm = BTreeMap::new();
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        world.run();
        let outcome = world.attempt.outcome().cloned();
        let name = match &outcome {
            Some(Outcome::Done(_)) => "done",
            Some(Outcome::Failed(_)) => "failed",
            Some(Outcome::Lost(_)) => "lost",
            Some(Outcome::Cancelled) => "cancelled",
            None => panic!(
                "seed {seed}: no outcome within {END:?}: {:?}",
                world.attempt
            ),
        };
        if let (false, Some(outcome)) = (world.had_fault, &outcome) {
            world.check_calm(outcome);
            *calm
                .entry(format!("{:?}", std::mem::discriminant(&world.training)))
                .or_insert(0) += 1;
        }
        *outcomes.entry(name).or_insert(0) += 1;
    }
    assert_eq!(calm.len(), 4, "{calm:?}");
    assert!(calm.values().all(|count| *count > 5), "{calm:?}");
    // Every outcome occurred; a simulation without faults would prove nothing.
    for name in ["done", "failed", "lost", "cancelled"] {
        assert!(
            outcomes.get(name).is_some_and(|count| *count > 10),
            "{outcomes:?}"
        );
    }
}
