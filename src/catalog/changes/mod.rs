//! UPDATE, DELETE and TRUNCATE of managed tables (decision 0065): a query finds the changed rows, the files that have them are written
//! again, and one state of the table names the new files instead of the old ones.
//!
//! ```text
//! Dml: op=[Update] table=[t]                 Dml: op=[Update] table=[t]
//!   Projection: t.a AS a, 1 AS b      ─▶       Projection: t.__file, t.__row, 1 AS b
//!     Filter: t.a > 2                            Filter: t.a > 2
//!       TableScan: t                               TableScan: t
//! ```
//!
//! * `plan` rewrites the plans of these statements, so that they return the places of the changed rows
//! * `change` what a statement does with these rows
//! * `table` the table with the place of each row; its operator for changes
//! * `sink` the operator: writes the files and publishes their list
//! * `rewrite` the rows of the new files
//! * `changed_rows` the changed rows in the order of their places

mod change;
mod changed_rows;
mod plan;
mod rewrite;
mod sink;
mod table;

pub(crate) use plan::{as_insertions, with_changes};
pub(super) use table::ChangedTable;
