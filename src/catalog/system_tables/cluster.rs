//! `ml.executors` and `.jobs`: the executors of the cluster, and what they compute.

use datafusion::arrow::record_batch::RecordBatch;

use super::columns::{integers, lists, strings, times};
use crate::cluster::{ExecutorView, JobView};
use crate::error::Result;

pub(super) fn executors(executors: &[ExecutorView]) -> Result<RecordBatch> {
    let each = || executors.iter();
    let id = strings(each().map(|executor| executor.id.clone()));
    let address = strings(each().map(|executor| executor.address.clone()));
    let slots = integers(each().map(|executor| executor.slots));
    let free = integers(each().map(|executor| executor.free_slots));
    let device = strings(each().map(|executor| executor.device.clone()));
    let last_seen = times(each().map(|executor| executor.last_seen));
    let models = lists(each().map(|executor| executor.models.clone()));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("executor_id", id, false),
        ("address", address, false),
        ("slots", slots, false),
        ("free_slots", free, false),
        ("device", device, true),
        ("last_seen", last_seen, true),
        ("models", models, true),
    ])?)
}

pub(super) fn jobs(jobs: &[JobView]) -> Result<RecordBatch> {
    let each = || jobs.iter();
    let id = strings(each().map(|job| job.id.clone()));
    let name = strings(each().map(|job| job.name.clone()));
    let started_at = times(each().map(|job| job.started_at));
    let stages = integers(each().map(|job| job.stages));
    let done = integers(each().map(|job| job.stages_done));
    let tasks = integers(each().map(|job| job.tasks_running));
    Ok(RecordBatch::try_from_iter_with_nullable([
        ("job_id", id, false),
        ("job_name", name, false),
        ("started_at", started_at, true),
        ("stages", stages, false),
        ("stages_done", done, false),
        ("tasks_running", tasks, false),
    ])?)
}
