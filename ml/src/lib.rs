//! Neural models: record batches and tensors in, predictions out. No SQL, no query engine.
//!
//! The contracts are [`model::ModelType`] (something TRAIN can make), [`model::Network`] (a differentiable function)
//! and [`collective::Collective`] (how the ranks of a training meet). From top to bottom:
//!
//! * [`artifact`] models ↔ files
//! * [`train`] a training of one rank; [`models`], [`nn`] what it trains
//! * [`model`] what predicts
//! * [`data`] columns ↔ tensors
//! * [`collective`] how ranks meet
//! * [`worker`], [`random`], `simd`, `error` threads that own candle; seeded numbers; vector instructions; errors

pub mod artifact;
pub mod collective;
pub mod data;
pub mod model;
pub mod models;
pub mod nn;
pub mod random;
pub mod train;
pub mod worker;

mod error;
mod simd;

pub use error::{Error, Result};

// gemm is a dependency only to switch on the AVX-512 kernels of candle's products.
use gemm as _;
