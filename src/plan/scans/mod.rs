//! Optimizer rules of file scans, which correct statistics and filters, choose the size of batches and read vectors; and the bytes
//! of scans of our own sources.
//!
//! * `rule` a rule that replaces file scans only
//! * `floats` NaN, which the bounds of Parquet leave out
//! * `equalities` equalities in a filter, which a scan must not declare
//! * `declared` batches with the schema that their scan declares
//! * `wide_rows` smaller batches of arrays
//! * `vectors` scans of vectors, which are read by whole pages
//! * `wire` scans as bytes for executors

mod declared;
mod equalities;
mod floats;
mod rule;
mod vectors;
mod wide_rows;
mod wire;

pub(crate) use self::declared::declared;
pub(crate) use self::equalities::SCAN_EQUALITIES;
pub(crate) use self::floats::{FLOAT_PREDICATES, FLOAT_STATISTICS};
pub(crate) use self::rule::file_scan;
pub(crate) use self::vectors::VECTOR_SCANS;
pub(crate) use self::wide_rows::{WIDE_ROWS, rows_of_arrays};
pub(crate) use self::wire::WireSource;
