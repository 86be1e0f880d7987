//! `TRAIN MODEL … AS query`.
//!
//! ```text
//! TrainExec(N ranks) ◀─ RepartitionExec(Hash(routing key), N) ◀─ RouteExec ◀─ the query's physical plan
//!    │ each: drain its shards, ml::fit, one row
//!    └▶ driver: rank 0 wrote the files; publish the version, one result row
//! ```
//! The operators above the query are put there by the driver and not by the planner, whose optimizer would replace the
//! repartitioning by one of its own. In the order of a training:
//!
//! * `options` OPTIONS (…) → `TrainOptions`
//! * `driver` one training from statement to version
//! * `route` a row's hash and the rank that owns its shard
//! * `exec` one rank
//! * `ranks` where the ranks meet
//! * `codec` the operators ↔ bytes
//! * `runs` the record of each training, whatever became of it

mod codec;
mod driver;
mod exec;
mod options;
mod ranks;
mod route;
mod runs;

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

pub(crate) use driver::{explain, result_schema, train};
pub(crate) use exec::{TrainExec, TrainTask};
pub use options::OPTIONS;
pub(crate) use options::option_type;
pub(crate) use ranks::{Gang, Link, Meeting, Meetings, Seat};
pub(crate) use runs::{RunLog, RunRecord};

use crate::error::Result;
use crate::plan::extension::PlanExtension;

/// `TRAIN MODEL`. Its operators are put above the query by the driver, so it plans no nodes.
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
