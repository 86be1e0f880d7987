//! The training of one rank, from its rows to the same model on every rank. In the order of execution:
//!
//! * `spec` what a training trains on; `fit` the whole training
//! * `control` cancellation, progress and checkpoints
//! * `shard`, `split`, `copies` the rows that train together, and the rows for evaluation
//! * `raw` rows before they are encoded; `memory` what a training takes besides its rows
//! * `base` the model that a training starts from
//! * `prepare` everything learnt from the rows before the first step: `counts` and `label_counts`, `statistics`, `vocabularies`,
//!   `keys`, `texts`, `images`, `targets`
//! * `training` the state that all optimisers and solvers share
//! * `descend` the loop over epochs; `descent` the trait for its steps; `host_descent`, `gpu_descent` where they run
//! * `steps`, `schedule` rows and learning rate of a step; `augment` changes of their images; `best` early stopping
//! * `average` the moving average of the weights
//! * `refit` a second training, on all rows
//! * `loss`, `losses`, `optim` loss functions of one target and of all, and optimisers; `running` the statistics that follow the rows of the steps
//! * `solvers` linear models on all rows at once
//! * `als` factorizations by alternating least squares
//! * `agreement` the check that all ranks hold the same weights
//! * `checkpoint` the state between two epochs
//! * `assess` evaluation of weights on the rows of all ranks; `judge` that of the final weights

pub mod base;
pub mod checkpoint;
pub mod control;
pub mod fit;
pub mod loss;
pub mod losses;
pub mod optim;
pub mod prepare;
pub mod raw;
pub mod schedule;
pub mod shard;

mod agreement;
mod als;
mod assess;
mod augment;
mod average;
mod best;
mod copies;
mod counts;
mod descend;
mod descent;
#[cfg(feature = "cuda")]
mod gpu_descent;
mod host_descent;
mod images;
mod judge;
mod keys;
mod label_counts;
mod memory;
mod refit;
mod running;
mod solvers;
mod spec;
mod split;
mod statistics;
mod steps;
mod targets;
mod texts;
mod training;
mod vocabularies;
