//! Tables and views that last: managed Parquet tables, external tables, the texts of views.
//!
//! Each is a log of states ([`crate::storage::state_log`]), so several processes may use one data directory. A managed
//! table is a list of Parquet files that are never changed; CREATE and INSERT write new ones and publish the longer list.
//! A view is its text, planned again wherever it is used, so that the models in it are those of that time.
//!
//! * `provider` the catalog as DataFusion sees it
//! * `name` names of tables, as statements have them and as names of directories
//! * `tables` all of them; `state` one at one time
//! * `managed`, `files` Parquet files in the data directory; `write`, `encoding` how they are written; `missing_files` whether they
//!   are there
//! * `external`, `partitions` files elsewhere, also in folders whose names are values of columns
//! * `view` views; `planner` who plans them in place of their owners
//! * `temporary` the tables of one session
//! * `system_tables` `information_schema.models` and its siblings, and `ml`

mod encoding;
pub(crate) mod external;
mod files;
pub(crate) mod managed;
mod missing_files;
pub(crate) mod name;
pub(crate) mod partitions;
mod planner;
pub(crate) mod provider;
mod state;
pub(crate) mod system_tables;
mod tables;
pub(crate) mod temporary;
pub(crate) mod view;
pub(crate) mod write;

pub(crate) use name::{CATALOG, ML_SCHEMA};
pub(crate) use planner::OwnerPlanner;
pub(crate) use state::{Creation, TableEntry, TableState, check_column_names};
pub(crate) use tables::{Catalog, Insertion, insert};
