//! Persistent tables and views: managed Parquet tables, external tables, the texts of views.
//!
//! Each object is a log of states ([`crate::storage::state_log`]), so several processes may use one data directory. A
//! managed table is a list of immutable Parquet files; CREATE and INSERT write new files and publish the new list. A
//! view is its text, planned again at each use, so that it uses the current versions of models.
//!
//! * `provider` the catalog provider and schema providers for DataFusion
//! * `name` names of tables in statements and as directories
//! * `tables` all tables and views; `state` the state of one; `open` opens them
//! * `managed`, `files` Parquet files in the data directory; `write`, `encoding` write them; `inserts` adds them to a table; `merge`
//!   merges small ones; `missing_files` checks that they exist; `store` where new tables go: into the data directory or a session
//! * `changes` UPDATE and DELETE of their rows
//! * `indexes` indexes of vectors, and the rule that uses them
//! * `external`, `partitions` files elsewhere, also in folders whose names are column values; `locations` where they are
//! * `file_relations` files in FROM without a table, and COPY … FROM
//! * `images` files of images, by the table function `read_images`
//! * `view` views; `planner` plans views and external tables with the right access
//! * `temporary` the temporary tables of one session
//! * `system_tables` `information_schema.models` and its siblings, and the schema `ml`
//! * `examples` the schema `examples`: small data sets inside the program

pub(crate) mod changes;
mod encoding;
mod examples;
pub(crate) mod external;
pub(crate) mod file_relations;
mod files;
pub(crate) mod images;
pub(crate) mod indexes;
mod inserts;
pub(crate) mod locations;
pub(crate) mod managed;
mod merge;
mod missing_files;
pub(crate) mod name;
mod open;
pub(crate) mod partitions;
mod planner;
pub(crate) mod provider;
mod state;
mod store;
pub(crate) mod system_tables;
mod tables;
pub(crate) mod temporary;
pub(crate) mod view;
pub(crate) mod write;

pub(crate) use name::CATALOG;
pub(crate) use planner::OwnerPlanner;
pub(crate) use state::{TableEntry, TableState, check_column_names, should_create};
pub(crate) use store::{ManagedTables, TableStore};
pub(crate) use tables::Catalog;
