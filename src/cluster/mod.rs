//! Execution on many machines. Only this folder names Ballista.
//!
//! ```text
//! the engine's process                            an executor, one a machine
//! ┌──────────────────────────────────┐            ┌─────────────────────────────┐
//! │ Session ─ plans ─ backend        │            │ task: PredictExec, scans, … │
//! │     scheduler (H:P) ─────────────┼── tasks ──▶│ task: TrainExec, one a rank │
//! │     coordinator (H:P+1) ◀────────┼── ranks ───│   └ collective ◀──▶ others  │
//! │ ◀────────────────────────────────┼── rows ────│                             │
//! └──────────────────────────────────┘            └─────────────────────────────┘
//! ```
//! | what | travels as | used by |
//! | --- | --- | --- |
//! | statement | not at all: the engine parses, plans and optimises | engine |
//! | plan | the task's operators, by [`codec`] | executor |
//! | a plan that executors would run differently | not at all: [`stages`] finds it, [`rules`] avoids it | engine |
//! | model | name, version, SHA-256 and directory | executor, from the files |
//! | rows between stages | shuffle files, over Arrow Flight | executor |
//! | rows of a result | the same, as fast as they are read ([`job`]) | engine |
//! | gradients | floats, from rank to rank ([`collective`]) | executor |
//! | LOAD, UNLOAD MODEL | an order with the reply to a report ([`rendezvous`]) | executor |
//! | settings | key and value with each task | executor |
//! | errors | text with our code in it ([`errors`]) | engine |
//!
//! In the order of a query, then of a training:
//!
//! * `services` the scheduler and what runs beside it; `scheduler`, `placement` (slots; all ranks of a training at once),
//!   `turns` (whose turn it is to take slots), `settings`, `address`
//! * `backend` decides what goes to executors; `stages` finds what would run differently there; `rules` plans for a cluster
//! * `attempts` repeats queries whose rows were lost; `job` reads the rows of a result; `liveness` finds executors that are lost
//! * `executor`, `task` the other side; `codec` plans as bytes; `errors` errors as text; `fetch` connections that break
//! * `caches` orders to the model caches of executors
//! * `analyze`, `status`, `counters`, `prometheus` what users see of it
//! * `training` one attempt of a training; `rendezvous` where its ranks meet; `collective` their sums; `pulse` what a rank
//!   does; `link` options of connections
//! * `secure` the secret of a cluster: who may take part, and TLS between all of them
//!
//! Catalog, registry and results stay in the engine's process: all code that writes tables, files or versions runs there.

mod address;
mod analyze;
mod attempts;
mod backend;
mod caches;
mod codec;
mod collective;
mod counters;
mod errors;
mod executor;
mod fetch;
mod job;
mod link;
mod liveness;
mod placement;
mod prometheus;
mod pulse;
mod rendezvous;
mod rules;
mod scheduler;
mod secure;
mod services;
mod settings;
mod stages;
mod status;
mod task;
mod training;
mod turns;

pub use executor::{Executor, ExecutorOptions, run_executor};

pub(crate) use collective::time_all_reduce;
pub(crate) use rules::for_cluster;
pub(crate) use services::Cluster;
pub(crate) use settings::restrict;
pub(crate) use status::{ExecutorView, JobView};
pub(crate) use training::ClusterRunner;
