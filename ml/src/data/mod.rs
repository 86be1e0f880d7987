//! Rows as a query gives them → what a model takes, and what it gives → labels. In the order of a batch:
//!
//! * `signature` what a model takes and gives
//! * `columns` the columns of a training; `types` SQL types, and which hold the same values
//! * `coerce`, `lists` columns of other types and encodings that hold the same values
//! * `apart` a column taken apart into `parts`, numbers and categories; `calendar` dates and times
//! * `encode` numbers standardised, categories as ids
//! * `precision` single or double
//! * `inputs` encoded rows, as tensors by name
//! * `rows` encoded rows beside labels and weights
//! * `labels` a column → what a loss takes; outputs → the label's type

pub mod apart;
pub mod coerce;
pub mod columns;
pub mod encode;
pub mod inputs;
pub mod labels;
pub mod parts;
pub mod precision;
pub mod rows;
pub mod signature;
pub mod types;

pub(crate) mod calendar;
pub(crate) mod lists;
