//! A training of one rank, from its rows to the same model on every rank. In the order in which it goes:
//!
//! * `fit` the whole of it
//! * `control` how it is watched and stopped
//! * `shard`, `split`, `copies` which rows train together, and which are kept to evaluate
//! * `raw` rows before they are encoded
//! * `prepare` what is learnt of the rows before the first step: `counts`, `statistics`, `vocabularies`
//! * `training` what all ways of finding weights share
//! * `descend` the loop over epochs; `steps`, `schedule` what each step takes; `best` when it stops early
//! * `loss`, `optim` what is made small, and how
//! * `solvers` linear models on all rows at once
//! * `checkpoint` the state between two epochs
//! * `assess` how weights do on the rows of all ranks

pub mod checkpoint;
pub mod control;
pub mod fit;
pub mod loss;
pub mod optim;
pub mod prepare;
pub mod raw;
pub mod schedule;
pub mod shard;

mod assess;
mod best;
mod copies;
mod counts;
mod descend;
mod solvers;
mod split;
mod statistics;
mod steps;
mod training;
mod vocabularies;
