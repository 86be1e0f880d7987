//! How many ranks a training has.

use vatic_ml::model::options::TrainOptions;
use vatic_ml::train::shard::SHARDS_DEFAULT;

use super::runner::TrainRunner;
use crate::config::VaticOptions;
use crate::error::{Result, SqlState, sql_err};
use crate::progress::ProgressListener;

/// How long an attempt after the first waits for an executor, in seconds: who lost all wants to hear of it.
const WAIT_AGAIN_S: usize = 20;

/// How many ranks there will be. More than there are slots could never meet; when machines were lost, fewer do: the
/// result is the same.
pub(crate) async fn workers(
    runner: &dyn TrainRunner,
    settings: &VaticOptions,
    options: &TrainOptions,
    listener: Option<&ProgressListener>,
    is_again: bool,
) -> Result<usize> {
    let setting = Some(settings.workers).filter(|workers| *workers > 0);
    let wanted = options.workers.or(setting);
    // More ranks than shards would have nothing to do.
    let shards = options.shards.unwrap_or(SHARDS_DEFAULT);
    let wait = match is_again {
        true => WAIT_AGAIN_S,
        false => settings.executor_wait_s,
    };
    let Some(slots) = runner.slots(wait, listener).await? else {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        return Ok(wanted.unwrap_or(cores).min(shards));
    };
    let workers = wanted.unwrap_or(slots).min(shards);
    if is_again {
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
