//! Optimizer rules that correct the statistics and the filters of file scans.
//!
//! * `rule` a rule that replaces file scans only
//! * `floats` NaN, which the bounds of Parquet leave out
//! * `equalities` equalities in a filter, which a scan must not declare

mod equalities;
mod floats;
mod rule;

pub(crate) use self::equalities::SCAN_EQUALITIES;
pub(crate) use self::floats::{FLOAT_PREDICATES, FLOAT_STATISTICS};
pub(crate) use self::rule::file_scan;
