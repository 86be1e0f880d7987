//! Tests of attempts: when ranks start, and what ends an attempt.

use super::super::losses::WRITE_BYTES_PER_S;
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
    let lost = "worker 0 at 10.0.0.0 did not finish to read or write its files within 120 s";
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
fn ranks_learn_at_the_start_how_long_their_attempt_has_taken() {
    let mut ranks = Ranks::reading(2);
    ranks.attempt.opened_at = SECOND / 2;
    ranks.event(0, Event::Join { rows: 5 });
    assert_eq!(ranks.pass(40, &[0, 1]), None);
    let actions = ranks.event(1, Event::Join { rows: 5 });
    let spent = actions
        .send
        .iter()
        .filter_map(|(_, message)| match message {
            ToRank::Start { spent, .. } => Some(*spent),
            ToRank::Beat | ToRank::Abort { .. } => None,
        });
    let spent: Vec<Duration> = spent.collect();
    assert_eq!(spent, [ranks.now - SECOND / 2; 2]);
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
fn a_rank_reads_again_only_rows_that_are_the_same_again() {
    for reads_once in [false, true] {
        let mut ranks = Ranks::reading(2);
        ranks.attempt.reads_once = reads_once;
        ranks.event(0, Event::Join { rows: 5 });
        // A machine with rows of the other rank is lost, whose task is repeated.
        ranks.event(1, Event::Closed);
        assert!(ranks.attempt.is_joining());
        ranks.enter(1);
        ranks.event(1, Event::Join { rows: 5 });
        match ranks.attempt.outcome() {
            Some(Outcome::Lost(lost)) => {
                assert!(
                    reads_once && lost.starts_with("rows of worker 1 were lost"),
                    "{lost}"
                );
            }
            Some(other) => panic!("{other:?}"),
            None => assert!(!reads_once && !ranks.attempt.is_joining()),
        }
    }
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
