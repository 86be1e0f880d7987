//! Tables partitioned by folders such as `year=2024/month=1/`, whose names are column values.
//!
//! * `folders` lists the files and parses the folders' names
//! * `table` the table provider: its columns, and scans of the folders that a query needs
//! * `prune` the files that a query needs, judged by values that all rows of a file share
//! * `nulls` an analyzer rule that writes NULL as a folder

mod folders;
mod nulls;
mod prune;
mod table;

pub(crate) use self::nulls::PartitionNulls;
pub(crate) use self::prune::{is_of_files, kept_files};
pub(crate) use self::table::open_partitioned;
