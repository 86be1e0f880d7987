//! The number of ranks of a training.

use vatic_ml::device::{DeviceName, cores};
use vatic_ml::model::options::TrainOptions;
use vatic_ml::train::shard::shards;

use super::runner::{SlotsWanted, TrainRunner};
use crate::config::VaticOptions;
use crate::error::{Result, SqlState, sql_err};
use crate::progress::ProgressListener;

/// Seconds that a repeated attempt waits for an executor: short, to report soon that all executors are lost.
const WAIT_AGAIN_S: usize = 20;

/// The purpose of a plan of ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The first attempt of a training.
    Train,
    /// Another attempt.
    Retry,
    /// EXPLAIN, which waits for the first executor only.
    Explain,
}

/// The number of ranks. More ranks than slots could never run at the same time. A repeated attempt uses fewer ranks if
/// machines were lost; the result is the same.
pub(crate) async fn workers(
    runner: &dyn TrainRunner,
    settings: &VaticOptions,
    options: &TrainOptions,
    listener: Option<&ProgressListener>,
    purpose: Purpose,
) -> Result<usize> {
    let setting = Some(settings.workers).filter(|workers| *workers > 0);
    let wanted = options.workers.or(setting);
    // With more ranks than shards, some ranks would have no rows.
    let shards = shards(options);
    let wait = match purpose {
        Purpose::Retry => WAIT_AGAIN_S,
        Purpose::Train | Purpose::Explain => settings.executor_wait_s,
    };
    let slots_wanted = match (purpose, wanted) {
        (Purpose::Retry | Purpose::Explain, _) => SlotsWanted::AtLeast(1),
        (Purpose::Train, Some(workers)) => SlotsWanted::AtLeast(workers.min(shards)),
        (Purpose::Train, None) => SlotsWanted::AllThatJoin {
            enough: slots_for_all(shards),
        },
    };
    let Some(slots) = runner.slots(slots_wanted, wait, listener).await? else {
        // One rank keeps a GPU busy.
        let free = match options.device {
            DeviceName::Cuda(_) => 1,
            DeviceName::Auto | DeviceName::Cpu => cores(),
        };
        return Ok(wanted.unwrap_or(free).min(shards));
    };
    let default = || default_workers(slots, shards);
    let workers = wanted.unwrap_or_else(default).min(shards);
    if purpose == Purpose::Retry {
        return Ok(workers.min(slots));
    }
    if workers > slots {
        let message = format!(
            "the training needs {workers} slots, one for each worker, and the cluster has {slots} after {wait} s; lower \
             workers, start more executors, or raise vatic.executor_wait_s"
        );
        return Err(sql_err(SqlState::TooMany, message));
    }
    Ok(workers)
}

/// The slots that a training without `workers` may take: it leaves one of eight for queries, and at least one. On one or two
/// slots it takes all, because it would be twice as slow otherwise.
fn slots_of_a_training(slots: usize) -> usize {
    match slots {
        0..=2 => slots,
        _ => slots - (slots / 8).max(1),
    }
}

/// The slots with which a training without `workers` has one for each shard; more would not make it faster.
fn slots_for_all(shards: usize) -> usize {
    let is_enough = |slots: &usize| slots_of_a_training(*slots) >= shards;
    (shards..).find(is_enough).unwrap_or(shards)
}

/// The workers of a training without `workers` on a cluster of this many slots.
fn default_workers(slots: usize, shards: usize) -> usize {
    let may_take = slots_of_a_training(slots).max(1);
    // All ranks wait for one that has the most shards, so fewer ranks that have as many at most are as fast: four are as
    // fast as seven for eight shards.
    let shards_of_a_rank = shards.div_ceil(may_take).max(1);
    shards.div_ceil(shards_of_a_rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_without_workers_leaves_slots_for_queries() {
        let workers = |slots| default_workers(slots, 8);
        let expected = [
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 3),
            (5, 4),
            (8, 4),
            (9, 8),
            (64, 8),
        ];
        for (slots, expected) in expected {
            assert_eq!(workers(slots), expected, "{slots} slots");
        }
        // With many shards, one slot of eight is free.
        assert_eq!(default_workers(64, 1_000), 56);
        assert_eq!(default_workers(0, 8), 1);
    }

    #[test]
    fn a_training_without_workers_waits_for_no_more_slots_than_make_it_faster() {
        for (shards, slots) in [(1, 1), (2, 2), (3, 4), (8, 9), (64, 73)] {
            assert_eq!(slots_for_all(shards), slots, "{shards} shards");
            assert_eq!(default_workers(slots, shards), shards);
        }
    }
}
