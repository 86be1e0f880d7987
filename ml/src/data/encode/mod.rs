//! Features → tensors, with what was learnt of them.
//!
//! * `tabular` columns of a table: numbers and categories
//! * `standardise` numbers less their mean, divided by their deviation
//! * `plain` columns of numbers that are encoded as they lie in memory
//! * `calendar` dates and times taken apart

pub mod standardise;
pub mod tabular;

pub(crate) mod calendar;
pub(crate) mod plain;
