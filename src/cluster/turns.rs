//! [`BindingRound`]: who may take free slots, while jobs are served from the oldest to the latest.
//!
//! A training needs all its slots at once. While it waits for them, queries pass it if they fit into the free slots; other
//! trainings do not. Once it has waited for [`PATIENCE`], free slots are kept for it, so that a stream of queries cannot
//! starve it. Kept slots are idle, so they are kept only while the others are expected soon:
//!
//! * While other trainings hold slots that it needs, queries go on.
//! * What has run for long is expected to run for long. So queries go on while a slot that it lacks is held by something that
//!   has run for longer than [`PATIENCE`], and for longer than the share [`WAITED_SHARE`] of the time that the training has
//!   waited. A slot that is held by a job before the training counts with the time of the whole job, whose next task would
//!   take the slot again; other slots count with the time of their task.
//!
//! So a query of ten minutes blocks other queries for a few seconds, or for at most a third of the time that the training has
//! waited before. And a training does not starve: if no query takes longer than a time D, slots are kept after 4 D at the
//! latest, and all are free after another D.

use std::time::Duration;

/// How long queries may pass a training that waits for its slots. Most queries take less time than that, and most
/// trainings so much more that they do not suffer from it.
const PATIENCE: Duration = Duration::from_secs(10);
/// One part in so many of the time that a training has waited.
const WAITED_SHARE: u32 = 4;

/// To whom free slots are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenTo {
    All,
    /// A training waits.
    Queries,
    /// A training has waited for long.
    Nobody,
}

/// The slots at the beginning of a round.
#[derive(Debug)]
pub(super) struct SlotsNow {
    pub(super) all: usize,
    /// The number of slots that ranks of trainings hold.
    pub(super) of_trainings: usize,
    pub(super) of_queries: Vec<QuerySlot>,
    pub(super) now_ms: u64,
}

/// A slot that a task of a query holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuerySlot {
    pub(super) job_started_ms: u64,
    pub(super) task_started_ms: u64,
}

/// One round of binding.
#[derive(Debug)]
pub(super) struct BindingRound {
    open: OpenTo,
    /// The slots that no training holds.
    reachable: usize,
    of_queries: Vec<QuerySlot>,
    now_ms: u64,
}

/// The slots that a training needs for its ranks.
#[derive(Debug, Clone, Copy)]
pub(super) struct RanksWanted {
    pub(super) needed: usize,
    /// The slots that are free now.
    pub(super) free: usize,
    /// The time since the training was refused slots for the first time.
    pub(super) waited: Duration,
    pub(super) job_started_ms: u64,
    /// Whether other ranks of the training hold slots.
    pub(super) is_rest: bool,
}

impl BindingRound {
    pub(super) fn new(slots: SlotsNow) -> Self {
        Self {
            open: OpenTo::All,
            reachable: slots.all.saturating_sub(slots.of_trainings),
            of_queries: slots.of_queries,
            now_ms: slots.now_ms,
        }
    }

    /// Whether a training may take slots for its ranks; if not, it waits.
    pub(super) fn admits_ranks(&mut self, ranks: RanksWanted) -> bool {
        // Two trainings would wait for each other's slots if the rest of one waited behind the other.
        let is_its_turn = ranks.is_rest || self.open == OpenTo::All;
        if is_its_turn && ranks.needed <= ranks.free {
            self.reachable = self.reachable.saturating_sub(ranks.needed);
            return true;
        }
        let would_help = is_its_turn && ranks.needed <= self.reachable;
        if would_help && ranks.waited >= PATIENCE && self.are_expected_soon(&ranks) {
            self.open = OpenTo::Nobody;
        } else if self.open == OpenTo::All {
            self.open = OpenTo::Queries;
        }
        false
    }

    /// Whether the slots that a training lacks are expected soon: those of the queries that have run the least.
    fn are_expected_soon(&self, ranks: &RanksWanted) -> bool {
        let mut times: Vec<Duration> = self
            .of_queries
            .iter()
            .map(|slot| self.time_of(slot, ranks.job_started_ms))
            .collect();
        times.sort_unstable();
        let lacking = ranks.needed.saturating_sub(ranks.free);
        let held = self.reachable.saturating_sub(ranks.free);
        // Slots that queries took in this round have been held for no time.
        let new = held.saturating_sub(times.len());
        let last = lacking.checked_sub(new + 1);
        let longest = last.and_then(|last| times.get(last));
        let longest = longest.copied().unwrap_or_default();
        longest < PATIENCE.max(ranks.waited / WAITED_SHARE)
    }

    fn time_of(&self, slot: &QuerySlot, training_started_ms: u64) -> Duration {
        let is_before = slot.job_started_ms <= training_started_ms;
        let started_ms = match is_before {
            true => slot.job_started_ms,
            false => slot.task_started_ms,
        };
        Duration::from_millis(self.now_ms.saturating_sub(started_ms))
    }

    /// Whether tasks of a query may take free slots.
    pub(super) fn admits_queries(&self) -> bool {
        match self.open {
            OpenTo::All | OpenTo::Queries => true,
            OpenTo::Nobody => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round on four slots, of which trainings hold this many.
    fn round(of_trainings: usize) -> BindingRound {
        BindingRound::new(SlotsNow {
            all: 4,
            of_trainings,
            of_queries: vec![],
            now_ms: 0,
        })
    }

    fn ranks(needed: usize, free: usize, waited: Duration) -> RanksWanted {
        RanksWanted {
            needed,
            free,
            waited,
            job_started_ms: 0,
            is_rest: false,
        }
    }

    const SHORT: Duration = Duration::from_millis(9_999);

    #[test]
    fn a_training_that_fits_takes_its_slots_and_queries_the_others() {
        let mut round = round(0);
        assert!(round.admits_ranks(ranks(3, 4, Duration::ZERO)));
        assert!(round.admits_queries());
        assert!(round.admits_ranks(ranks(1, 1, Duration::ZERO)));
    }

    #[test]
    fn queries_pass_a_training_that_waits_until_it_has_waited_for_long() {
        for (waited, may_pass) in [(Duration::ZERO, true), (SHORT, true), (PATIENCE, false)] {
            let mut round = round(0);
            assert!(!round.admits_ranks(ranks(4, 3, waited)));
            assert_eq!(round.admits_queries(), may_pass, "{waited:?}");
        }
    }

    #[test]
    fn no_training_passes_another_one_that_waits() {
        let mut round = round(0);
        assert!(!round.admits_ranks(ranks(4, 3, SHORT)));
        // Slots that are kept for it would be idle until the other training starts.
        assert!(!round.admits_ranks(ranks(1, 3, PATIENCE)));
        assert!(round.admits_queries());
    }

    #[test]
    fn lost_ranks_are_bound_again_although_another_training_waits() {
        for waited in [SHORT, PATIENCE] {
            let mut round = round(1);
            assert!(!round.admits_ranks(ranks(3, 2, waited)));
            let rest = RanksWanted {
                is_rest: true,
                ..ranks(1, 2, Duration::ZERO)
            };
            assert!(round.admits_ranks(rest));
        }
    }

    #[test]
    fn queries_go_on_while_a_running_training_holds_the_slots_that_another_one_needs() {
        // Also if that training has taken the slots in this round.
        for held in [3, 0] {
            let mut round = round(held);
            if held == 0 {
                assert!(round.admits_ranks(ranks(3, 4, Duration::ZERO)));
            }
            assert!(!round.admits_ranks(ranks(3, 1, PATIENCE)));
            assert!(round.admits_queries());
        }
    }

    /// A query with one task.
    #[derive(Debug, Clone, Copy)]
    struct Query {
        asks_at_s: u64,
        runs_s: u64,
    }

    /// One query in each of these intervals, from the first second on.
    fn stream(interval_s: u64, runs_s: u64) -> impl Iterator<Item = Query> {
        (0..).map(move |number| Query {
            asks_at_s: number * interval_s,
            runs_s,
        })
    }

    /// The second in which a training starts that wants all four slots from second 2 on, and the longest time for which
    /// queries waited although slots were free.
    fn simulate(queries: impl Iterator<Item = Query>) -> (u64, u64) {
        const TRAINING_AT_S: u64 = 2;
        let mut queries = queries.peekable();
        // The queries that run, each with its first second.
        let mut running: Vec<(u64, Query)> = Vec::new();
        let (mut blocked_s, mut longest_s) = (0, 0);
        for now_s in 0..10_000 {
            running.retain(|(started_s, query)| started_s + query.runs_s > now_s);
            let of_queries = running.iter().map(|(started_s, query)| QuerySlot {
                job_started_ms: query.asks_at_s * 1_000,
                task_started_ms: started_s * 1_000,
            });
            let mut round = BindingRound::new(SlotsNow {
                all: 4,
                of_trainings: 0,
                of_queries: of_queries.collect(),
                now_ms: now_s * 1_000,
            });
            if now_s >= TRAINING_AT_S {
                let waited = Duration::from_secs(now_s - TRAINING_AT_S);
                let wanted = RanksWanted {
                    job_started_ms: TRAINING_AT_S * 1_000,
                    ..ranks(4, 4 - running.len(), waited)
                };
                if round.admits_ranks(wanted) {
                    return (now_s, longest_s);
                }
            }
            let asks = |query: &Query| query.asks_at_s <= now_s;
            let may_start = round.admits_queries();
            while may_start
                && running.len() < 4
                && let Some(query) = queries.next_if(asks)
            {
                running.push((now_s, query));
            }
            let is_blocked = !may_start && running.len() < 4 && queries.peek().is_some_and(asks);
            blocked_s = if is_blocked { blocked_s + 1 } else { 0 };
            longest_s = longest_s.max(blocked_s);
        }
        panic!("the training starves");
    }

    #[test]
    fn a_stream_of_queries_delays_a_training_by_its_patience_and_one_query() {
        let (starts_at_s, _) = simulate(stream(1, 3));
        assert!((12..=12 + 3).contains(&starts_at_s), "{starts_at_s}");
    }

    #[test]
    fn a_long_query_does_not_block_others_while_a_training_waits_for_its_slot() {
        // It begins before the training, or while the training waits already.
        for asks_at_s in [0, 1, 5, 8, 20, 100] {
            let long = Query {
                asks_at_s,
                runs_s: 600,
            };
            let mut queries: Vec<Query> = stream(1, 2).take(2_000).collect();
            let at = queries.partition_point(|query| query.asks_at_s < asks_at_s);
            queries.insert(at, long);
            let (starts_at_s, blocked_s) = simulate(queries.into_iter());
            // Without the long query, it starts before this time.
            if starts_at_s > 20 {
                assert!(blocked_s <= 15, "{asks_at_s}: {blocked_s}");
                let ends_at_s = asks_at_s + 600;
                let soon = ends_at_s..=ends_at_s + 5;
                assert!(soon.contains(&starts_at_s), "{asks_at_s}: {starts_at_s}");
            }
        }
    }

    #[test]
    fn queries_that_take_longer_than_the_patience_do_not_starve_a_training() {
        for runs_s in [15, 60, 300] {
            let (starts_at_s, _) = simulate(stream(runs_s / 4, runs_s));
            let limit_s = 5 * runs_s + 15;
            assert!(starts_at_s <= limit_s, "{runs_s}: {starts_at_s}");
        }
    }

    #[test]
    fn slots_that_a_training_does_not_need_may_be_held_for_long() {
        let held_for = |seconds: &[u64]| {
            let of_queries = seconds.iter().map(|seconds| QuerySlot {
                job_started_ms: 1_000_000 - seconds * 1_000,
                task_started_ms: 1_000_000 - seconds * 1_000,
            });
            let mut round = BindingRound::new(SlotsNow {
                all: 4,
                of_trainings: 0,
                of_queries: of_queries.collect(),
                now_ms: 1_000_000,
            });
            let wanted = RanksWanted {
                job_started_ms: 980_000,
                ..ranks(3, 4 - seconds.len(), Duration::from_secs(20))
            };
            assert!(!round.admits_ranks(wanted));
            !round.admits_queries()
        };
        assert!(held_for(&[600, 3]), "a query of 3 s");
        assert!(!held_for(&[600, 30]), "both have run for long");
        assert!(held_for(&[600, 3, 4]));
        assert!(!held_for(&[600, 500, 3]));
    }
}
