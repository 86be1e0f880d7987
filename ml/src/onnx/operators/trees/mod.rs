//! Ensembles of trees.
//!
//! * `nodes` attributes → trees, checked
//! * `ensemble` trees in one array, and the walk of many rows through them
//! * `operator` trees as an operator of a graph
//! * `classifier`, `regressor` what two operators make of the scores

pub(super) mod classifier;
mod ensemble;
mod nodes;
mod operator;
pub(super) mod regressor;
