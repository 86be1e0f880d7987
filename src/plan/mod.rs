//! Additions to DataFusion's planning: analyzer and optimizer rules, operators, table functions, and scans of CSV files and images.
//!
//! * `extension` the trait of additions with operators of their own
//! * `functions` the functions that plans may call
//! * `prepare` checks and rewrites of a statement before DataFusion's planner
//! * `table_function` the shared code of table functions; `argument_values` the values of their named arguments;
//!   `features` the columns that a model reads
//! * `nearest` the table function `nearest`: the nearest vectors of one relation for each of another
//! * `series` the table function `windows`: time series as arrays
//! * `summary` the table function `summarize`: figures of the columns of a relation
//! * `times` timestamps beyond nanoseconds
//! * `integer_overflow` integer arithmetic that fails on overflow
//! * `chance`, `once` random values are drawn once; WITH queries that draw are computed once
//! * `conditions` conditions that DataFusion plans wrongly
//! * `divided` a batch in parts
//! * `sample` TABLESAMPLE
//! * `keys` functional dependencies between the columns of a relation
//! * `joins` rules around joins, and joins that let other tasks run
//! * `orders` orders of rows that DataFusion derives wrongly
//! * `names` the names of columns that rules add
//! * `display` how operators write themselves into plans
//! * `logical_nodes`, `one_input` what logical nodes share, and the methods that operators with one input share
//! * `node_planner` the planner from a node to its operators
//! * `replace_rule` a physical optimizer rule that replaces some operators
//! * `short_filters` filters that gather no more rows than the short batches below them have
//! * `scans` rules that correct the statistics and filters of file scans
//! * `csv` CSV files: format, scan, and the codec of a scan
//! * `images` scans of images
//! * `json` functions and operators of JSON in texts
//! * `types` names of types of the SQL standard, and timestamps of declared columns
//!
//! `session/install.rs` installs the additions of every session. `session/planner.rs` adds the table functions, which need
//! the models of a statement.

pub(crate) mod argument_values;
pub(crate) mod chance;
pub(crate) mod conditions;
pub(crate) mod csv;
pub(crate) mod display;
pub(crate) mod divided;
pub(crate) mod extension;
pub(crate) mod features;
pub(crate) mod functions;
pub(crate) mod images;
pub(crate) mod integer_overflow;
pub(crate) mod joins;
mod json;
pub(crate) mod keys;
pub(crate) mod logical_nodes;
pub(crate) mod names;
pub(crate) mod nearest;
pub(crate) mod node_planner;
pub(crate) mod once;
pub(crate) mod one_input;
pub(crate) mod orders;
pub(crate) mod prepare;
pub(crate) mod replace_rule;
pub(crate) mod sample;
pub(crate) mod scans;
pub(crate) mod series;
pub(crate) mod short_filters;
pub(crate) mod summary;
pub(crate) mod table_function;
pub(crate) mod times;
pub(crate) mod types;
