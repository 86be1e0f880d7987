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
        (Purpose::Train, None) => SlotsWanted::AllThatJoin { enough: shards },
    };
    let Some(slots) = runner.slots(slots_wanted, wait, listener).await? else {
        // One rank keeps a GPU busy.
        let free = match options.device {
            DeviceName::Cuda(_) => 1,
            DeviceName::Auto | DeviceName::Cpu => cores(),
        };
        return Ok(wanted.unwrap_or(free).min(shards));
    };
    let workers = wanted.unwrap_or(slots).min(shards);
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
