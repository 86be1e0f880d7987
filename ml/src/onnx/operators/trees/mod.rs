//! Ensembles of trees.
//!
//! * `nodes` attributes → trees, checked
//! * `ensemble` trees in one array, and the walk of many rows through them
//! * `classifier`, `regressor` the operators

pub(super) mod classifier;
mod ensemble;
mod nodes;
pub(super) mod regressor;
