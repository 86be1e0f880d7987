//! A training of one rank, from its rows to the same model on every rank. In the order in which it goes:
//!
//! * `options` how a model is trained
//! * `shard`, `split`, `copies` which rows train together, and which are kept to evaluate
//! * `counts`, `prepare` what is learnt of the rows before the first step
//! * `fit` the loop; `steps`, `schedule` what each step takes
//! * `loss`, `optim` what is made small, and how
//! * `solvers` linear models on all rows at once
//! * `checkpoint` the state between two epochs
//! * `assess` how weights do on the rows of all ranks

pub mod checkpoint;
pub mod fit;
pub mod loss;
pub mod optim;
pub mod options;
pub mod prepare;
pub mod schedule;
pub mod shard;

mod assess;
mod copies;
mod counts;
mod solvers;
mod split;
mod steps;
