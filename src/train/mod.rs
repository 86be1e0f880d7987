//! The training pipeline of `TRAIN MODEL … AS query`: options, operators, ranks and results.
//!
//! ```text
//! TrainExec(N ranks) ◀─ RepartitionExec(Hash(routing key), N) ◀─ RouteExec ◀─ the query's physical plan
//!    │ each rank reads the rows of its shards, runs ml::fit, and returns one row
//!    └▶ rank 0 writes the files; the engine's process publishes the version and returns one result row
//! ```
//! `plan` adds the operators above the query's physical plan after planning, because DataFusion's optimizer would
//! replace the RepartitionExec by one of its own. The files, in the order of a training:
//!
//! * `base` the model that a training starts from
//! * `options` OPTIONS (…) → `TrainOptions`; `option_list` the options, `option_values` their values, `option_checks` which of them fit the
//!   model type
//! * `columns` features, targets and split column among the columns of the query
//! * `policy` the number of ranks
//! * `plan` the operators above the query
//! * `route` a row's hash and the rank that owns its shard
//! * `runner` runs the ranks, in this process or on a cluster
//! * `task` the data that ranks receive and return
//! * `exec` the operator of a rank; `rows` the rows that a rank receives; `rendezvous` how ranks join a training
//! * `result` the row that a training returns
//! * `codec` wire codec of the operators
//! * `runs` the record of each training, successful or not
//!
//! `statements/train.rs` calls these parts in order.

mod base;
mod codec;
mod columns;
mod exec;
mod option_checks;
mod option_list;
mod option_values;
mod options;
mod plan;
mod policy;
mod rendezvous;
mod result;
mod route;
mod rows;
mod runner;
mod runs;
mod task;

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

pub(crate) use base::{BaseModel, base_reference, with_version};
pub(crate) use columns::training_columns;
pub(crate) use exec::TrainExec;
pub(crate) use option_list::option_type;
pub use option_list::{OPTIONS, TrainOption};
pub(crate) use options::train_options;
pub(crate) use plan::{Attempt, Training, plan_ranks};
pub(crate) use policy::{Purpose, workers};
pub(crate) use rendezvous::{
    Entered, Joined, LocalRendezvous, RankExit, Rendezvous, RendezvousExtension,
};
pub(crate) use result::{result_row, result_schema};
pub(crate) use runner::{LocalRunner, Ranks, SlotsWanted, TrainRunner, TrainingFailure, run_ranks};
pub(crate) use runs::{RunLog, RunRecord};
pub(crate) use task::{RankResult, TrainTask};

use crate::error::Result;
use crate::plan::extension::{PlanExtension, only_input};

/// The plan extension of `TRAIN MODEL`. `plan` creates its operators, so it plans no logical nodes.
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
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>> {
        codec::decode(bytes, only_input(inputs)?)
    }
}
