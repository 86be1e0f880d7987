//! Rows of a query → inputs of a model, and outputs of a model → labels. In the order of a batch:
//!
//! * `signature` the inputs and outputs of a model
//! * `columns` the columns of a training; `types` SQL types, and which types hold the same values
//! * `coerce`, `lists` columns of other types and encodings that hold the same values
//! * `apart` splits a column into `parts`, which are numbers and categories; `calendar` dates and times
//! * `image` columns of images as pixels of one shape; `augment` random changes of images in a training
//! * `encode` numbers standardised, categories as ids
//! * `precision` single or double
//! * `inputs` encoded rows, as tensors by name; `extent` which elements of a tensor belong to which row
//! * `rows` encoded rows with labels and weights
//! * `targets` what a model predicts of a column; `labels` a column → the numbers of a loss; outputs → the label's type
//! * `heads` the columns of each target among the outputs of a network
//! * `one_or_more` the stored form of what a model has once for each target

pub mod apart;
pub mod augment;
pub mod coerce;
pub mod columns;
pub mod encode;
pub mod image;
pub mod inputs;
pub mod labels;
pub mod parts;
pub mod precision;
pub mod rows;
pub mod signature;
pub mod targets;
pub mod types;

pub(crate) mod calendar;
pub(crate) mod extent;
pub(crate) mod heads;
pub(crate) mod lists;
pub(crate) mod one_or_more;
