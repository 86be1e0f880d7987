//! The number of ranks of a training.

use vatic_ml::model::options::TrainOptions;
use vatic_ml::train::shard::SHARDS_DEFAULT;

use super::runner::TrainRunner;
use crate::config::VaticOptions;
use crate::error::{Result, SqlState, sql_err};
use crate::progress::ProgressListener;

/// Seconds that a repeated attempt waits for an executor: short, to report soon that all executors are lost.
const WAIT_AGAIN_S: usize = 20;

/// The number of ranks. More ranks than slots could never run at the same time. A repeated attempt uses fewer ranks if
/// machines were lost; the result is the same.
pub(crate) async fn workers(
    runner: &dyn TrainRunner,
    settings: &VaticOptions,
    options: &TrainOptions,
    listener: Option<&ProgressListener>,
    is_retry: bool,
) -> Result<usize> {
    let setting = Some(settings.workers).filter(|workers| *workers > 0);
    let wanted = options.workers.or(setting);
    // With more ranks than shards, some ranks would have no rows.
    let shards = options.shards.unwrap_or(SHARDS_DEFAULT);
    let wait = match is_retry {
        true => WAIT_AGAIN_S,
        false => settings.executor_wait_s,
    };
    let Some(slots) = runner.slots(wait, listener).await? else {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok(wanted.unwrap_or(cores).min(shards));
    };
    let workers = wanted.unwrap_or(slots).min(shards);
    if is_retry {
        return Ok(workers.min(slots));
    }
    if workers > slots {
        let message = format!(
            "the training needs {workers} slots, one for each worker, and the cluster has {slots}; lower workers, or \
             start more executors"
        );
        return Err(sql_err(SqlState::NoResources, message));
    }
    Ok(workers)
}
