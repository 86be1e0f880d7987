//! The system tables `information_schema.models` and `.model_versions`, `ml.training_runs`, `.training_metrics`,
//! `.metrics`, `.model_cache`, `.devices`, `.indexes`, `.executors` and `.jobs`, computed at each read.
//!
//! * `list` all tables, and how a session opens one
//! * `sources` what the tables are computed from
//! * `models` models and their versions; `trainings` trainings, their epochs, and the metrics of their versions
//! * `process` the devices of this process, and the models in its cache
//! * `indexes` indexes of vectors; `cluster` executors and jobs
//! * `columns` the columns of all these tables
//! * `rights` the rows that a session may read

mod cluster;
mod columns;
mod indexes;
mod list;
mod models;
mod process;
mod rights;
mod sources;
mod trainings;

pub(crate) use list::names;
pub(crate) use sources::SystemTables;
