//! Tables whose folders are columns, as in `year=2024/month=1/`.
//!
//! * `folders` which files are there, and what their folders say
//! * `table` the table: its columns, and the scans of the folders that a query needs
//! * `nulls` NULL as a folder, when rows are written

mod folders;
mod nulls;
mod table;

pub(crate) use self::nulls::PartitionNulls;
pub(crate) use self::table::open_partitioned;
