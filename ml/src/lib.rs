//! Neural models: record batches and tensors in, predictions out. No SQL, no query engine.
//!
//! The contracts are [`model::ModelType`] (something TRAIN can make), [`model::Network`] (a differentiable function)
//! and [`collective::Collective`] (how the ranks of a training meet). In the order in which data visits them:
//!
//! * training: [`signature`], [`coerce`] and `lists`, [`shard`], [`prepare`], `split` and `copies`, [`parts`],
//!   [`features`], [`numbers`], [`labels`], [`fit`], `steps`, [`artifact`]
//! * prediction: [`artifact`], [`worker`], [`model::Model`], [`features`], [`coerce`] and `lists`, [`parts`],
//!   [`numbers`], [`labels`]

pub mod artifact;
pub mod checkpoint;
pub mod coerce;
pub mod collective;
pub mod features;
pub mod fit;
pub mod labels;
pub mod loss;
pub mod metrics;
pub mod model;
pub mod models;
pub mod nn;
pub mod numbers;
pub mod optim;
pub mod options;
pub mod parts;
pub mod prepare;
pub mod random;
pub mod rows;
pub mod schedule;
pub mod shard;
pub mod signature;
pub mod worker;

mod assess;
mod copies;
mod counts;
mod error;
mod flat;
mod lbfgs;
mod lists;
mod normal_equation;
mod plain;
mod simd;
mod solvers;
mod split;
mod steps;

pub use error::{Error, Result};

// gemm is a dependency only to switch on the AVX-512 kernels of candle's products.
use gemm as _;
