//! Features → tensors, by the encoding that training learnt.
//!
//! * `tabular` columns of a table: numbers and categories
//! * `standardise` numbers minus their mean, divided by their standard deviation
//! * `ids` whole numbers that a model takes as they are
//! * `plain` columns of numbers that are encoded directly from their Arrow buffers

pub mod standardise;
pub mod tabular;

pub(crate) mod ids;
pub(crate) mod plain;
