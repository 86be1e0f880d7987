//! `TRAIN MODEL … AS query`.
//!
//! ```text
//! TrainExec(N ranks) ◀─ RepartitionExec(Hash(routing key), N) ◀─ RouteExec ◀─ the query's physical plan
//!    │ each: drain its shards, ml::fit, one row
//!    └▶ rank 0 wrote the files; the engine's process publishes the version, one result row
//! ```
//! The operators above the query are put there by `plan` and not by the planner, whose optimizer would replace the
//! repartitioning by one of its own. In the order of a training:
//!
//! * `options` OPTIONS (…) → `TrainOptions`
//! * `columns` features, label and split column among the columns of the query
//! * `policy` how many ranks
//! * `plan` the operators above the query
//! * `route` a row's hash and the rank that owns its shard
//! * `runner` where ranks run
//! * `task` what ranks know and say
//! * `exec` one rank; `rendezvous` where ranks meet
//! * `publish` files → a version
//! * `result` the row that a training returns
//! * `codec` the operators ↔ bytes
//! * `runs` the record of each training, whatever became of it
//!
//! Which of them when, `statements/train.rs` says.

mod codec;
mod columns;
mod exec;
mod options;
mod plan;
mod policy;
mod publish;
mod rendezvous;
mod result;
mod route;
mod runner;
mod runs;
mod task;

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

pub(crate) use columns::training_columns;
pub(crate) use exec::TrainExec;
pub use options::OPTIONS;
pub(crate) use options::{option_type, train_options};
pub(crate) use plan::{Attempt, Training, plan_ranks};
pub(crate) use policy::workers;
pub(crate) use publish::{NewModel, publish};
pub(crate) use rendezvous::{Joined, LocalRendezvous, RankExit, Rendezvous, RendezvousExtension};
pub(crate) use result::{result_row, result_schema};
pub(crate) use runner::{LocalRunner, Ranks, TrainRunner, TrainingFailure, run_ranks};
pub(crate) use runs::{RunLog, RunRecord};
pub(crate) use task::{BlobGuard, TrainTask};

use crate::error::Result;
use crate::plan::extension::PlanExtension;

/// `TRAIN MODEL`. Its operators are put above the query by `plan`, so it plans no nodes.
#[derive(Debug)]
pub(crate) struct Train;

impl PlanExtension for Train {
    fn name(&self) -> &'static str {
        "train"
    }

    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
        codec::encode(exec)
    }

    fn decode_exec(
        &self,
        bytes: &[u8],
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode(bytes, input)
    }
}
