//! Rows as a query gives them → what a network takes, and what it gives → labels. In the order of a batch:
//!
//! * `signature` the columns that a model takes and gives, and their SQL types
//! * `coerce`, `lists` columns of other types and encodings that hold the same values
//! * `parts` a column taken apart into numbers and categories, dates into their parts
//! * `encode` numbers standardised, categories as ids
//! * `numbers` single or double precision
//! * `rows` encoded features beside labels and weights
//! * `labels` a column → what a loss takes; outputs → the label's type

pub mod coerce;
pub mod encode;
pub mod labels;
pub mod numbers;
pub mod parts;
pub mod rows;
pub mod signature;

pub(crate) mod lists;
