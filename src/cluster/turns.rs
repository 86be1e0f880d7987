//! [`BindingRound`]: who may take free slots, while jobs are served from the oldest to the latest.
//!
//! A training needs all its slots at once. While it waits for them, queries pass it if they fit into the free slots; other
//! trainings do not. Once it has waited for [`PATIENCE`], free slots are kept for it, so that a stream of queries cannot
//! starve it. While other trainings hold slots that it needs, the kept slots would only be idle, so queries go on.

use std::time::Duration;

/// How long queries may pass a training that waits for its slots. Most queries take less time than that, and most
/// trainings so much more that they do not suffer from it.
const PATIENCE: Duration = Duration::from_secs(10);

/// To whom free slots are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OpenTo {
    All,
    /// A training waits.
    Queries,
    /// A training has waited for long.
    Nobody,
}

/// One round of binding.
#[derive(Debug)]
pub(super) struct BindingRound {
    open: OpenTo,
    /// The slots that no training holds.
    reachable: usize,
}

/// The slots that a training needs for its ranks.
#[derive(Debug, Clone, Copy)]
pub(super) struct RanksWanted {
    pub(super) needed: usize,
    /// The slots that are free now.
    pub(super) free: usize,
    /// The time since the training was refused slots for the first time.
    pub(super) waited: Duration,
    /// Whether other ranks of the training hold slots.
    pub(super) is_rest: bool,
}

impl BindingRound {
    /// A round on this many slots, of which trainings hold `held`.
    pub(super) fn new(slots: usize, held: usize) -> Self {
        Self {
            open: OpenTo::All,
            reachable: slots.saturating_sub(held),
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
        if would_help && ranks.waited >= PATIENCE {
            self.open = OpenTo::Nobody;
        } else if self.open == OpenTo::All {
            self.open = OpenTo::Queries;
        }
        false
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

    fn ranks(needed: usize, free: usize, waited: Duration) -> RanksWanted {
        RanksWanted {
            needed,
            free,
            waited,
            is_rest: false,
        }
    }

    const SHORT: Duration = Duration::from_millis(9_999);

    #[test]
    fn a_training_that_fits_takes_its_slots_and_queries_the_others() {
        let mut round = BindingRound::new(4, 0);
        assert!(round.admits_ranks(ranks(3, 4, Duration::ZERO)));
        assert!(round.admits_queries());
        assert!(round.admits_ranks(ranks(1, 1, Duration::ZERO)));
    }

    #[test]
    fn queries_pass_a_training_that_waits_until_it_has_waited_for_long() {
        for (waited, may_pass) in [(Duration::ZERO, true), (SHORT, true), (PATIENCE, false)] {
            let mut round = BindingRound::new(4, 0);
            assert!(!round.admits_ranks(ranks(4, 3, waited)));
            assert_eq!(round.admits_queries(), may_pass, "{waited:?}");
        }
    }

    #[test]
    fn no_training_passes_another_one_that_waits() {
        let mut round = BindingRound::new(4, 0);
        assert!(!round.admits_ranks(ranks(4, 3, SHORT)));
        // Slots that are kept for it would be idle until the other training starts.
        assert!(!round.admits_ranks(ranks(1, 3, PATIENCE)));
        assert!(round.admits_queries());
    }

    #[test]
    fn lost_ranks_are_bound_again_although_another_training_waits() {
        for waited in [SHORT, PATIENCE] {
            let mut round = BindingRound::new(4, 1);
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
            let mut round = BindingRound::new(4, held);
            if held == 0 {
                assert!(round.admits_ranks(ranks(3, 4, Duration::ZERO)));
            }
            assert!(!round.admits_ranks(ranks(3, 1, PATIENCE)));
            assert!(round.admits_queries());
        }
    }

    #[test]
    fn a_stream_of_queries_delays_a_training_by_its_patience_and_one_query() {
        const SLOTS: usize = 4;
        const QUERY_S: u64 = 3;
        // The ends of the running queries. One more starts in each second, so that all slots are never free.
        let mut ends = vec![1, 2, 3];
        let starts_at = (0..60).find(|&now| {
            ends.retain(|end| *end > now);
            let mut round = BindingRound::new(SLOTS, 0);
            let free = SLOTS - ends.len();
            if round.admits_ranks(ranks(SLOTS, free, Duration::from_secs(now))) {
                return true;
            }
            if round.admits_queries() && free > 0 {
                ends.push(now + QUERY_S);
            }
            false
        });
        let starts_at = starts_at.expect("the training starves");
        assert!((10..=10 + QUERY_S).contains(&starts_at), "{starts_at}");
    }
}
