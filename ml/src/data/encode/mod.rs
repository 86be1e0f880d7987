//! Features → tensors, by the encoding that training learnt.
//!
//! * `tabular` columns of a table: numbers and categories
//! * `column` what training learnt of a column; `shape` the widths of the tensors
//! * `lookup` the ids of the values of a category
//! * `keys` the ids of users and items, of which there may be millions
//! * `standardise` numbers minus their mean, divided by their standard deviation
//! * `ids` whole numbers that a model takes as they are
//! * `plain` columns of numbers that are encoded directly from their Arrow buffers

pub mod column;
pub mod keys;
pub mod shape;
pub mod standardise;
pub mod tabular;

pub(crate) mod ids;
pub(crate) mod lookup;
pub(crate) mod plain;
