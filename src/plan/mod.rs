//! What is added to DataFusion's planning: analyzer and optimizer rules, operators, table functions, and scans of CSV files.
//!
//! * `extension` the trait of what has operators of its own
//! * `functions` the functions that plans may call
//! * `prepare` what is done to a statement before DataFusion's planner sees it
//! * `table_function` what table functions over a model have in common
//! * `times` timestamps beyond nanoseconds
//! * `integer_overflow` integer arithmetic that fails on overflow
//! * `chance`, `once` random values are drawn once; WITH queries that draw are computed once
//! * `conditions` conditions that DataFusion plans wrongly
//! * `sample` TABLESAMPLE
//! * `keys` what determines what in a relation
//! * `joins` rules around joins, and joins that let other tasks run
//! * `orders` what is known of the order of rows
//! * `instead` a physical rule that puts another operator in the place of some
//! * `scans` rules that correct the statistics and filters of file scans
//! * `csv` CSV files: format, scan, and how a scan travels
//!
//! What every session has is installed in `session/install.rs`; table functions, which need the models of a statement, in
//! `session/planner.rs`.

pub(crate) mod chance;
pub(crate) mod conditions;
pub(crate) mod csv;
pub(crate) mod extension;
pub(crate) mod functions;
pub(crate) mod instead;
pub(crate) mod integer_overflow;
pub(crate) mod joins;
pub(crate) mod keys;
pub(crate) mod once;
pub(crate) mod orders;
pub(crate) mod prepare;
pub(crate) mod sample;
pub(crate) mod scans;
pub(crate) mod table_function;
pub(crate) mod times;
