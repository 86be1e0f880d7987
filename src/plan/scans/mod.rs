//! Optimizer rules that correct the statistics and the filters of scans of files.
//!
//! * `rule` a rule that looks at scans only
//! * `floats` NaN, which the bounds of Parquet leave out
//! * `equalities` equalities of a filter, which a scan must not tell of

mod equalities;
mod floats;
mod rule;

pub(crate) use self::equalities::SCAN_EQUALITIES;
pub(crate) use self::floats::{FLOAT_PREDICATES, FLOAT_STATISTICS};
pub(crate) use self::rule::file_scan;
