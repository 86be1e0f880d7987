//! Features → tensors, with what was learnt of them.
//!
//! * `tabular` columns of a table: numbers and categories
//! * `standardise` numbers less their mean, divided by their deviation
//! * `plain` columns of numbers that are encoded as they lie in memory

pub mod standardise;
pub mod tabular;

pub(crate) mod plain;
