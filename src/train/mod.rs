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
//! * `progress` what a shell may show
//! * `runs` the record of each training, whatever became of it

mod driver;
mod exec;
mod options;
mod progress;
mod route;
mod runs;

pub(crate) use driver::{explain, result_schema, train};
pub(crate) use exec::Gang;
pub use options::OPTIONS;
pub use progress::{ProgressListener, TrainEvent};
pub(crate) use runs::RunLog;
