//! Neural models: record batches and tensors in, predictions out. No SQL, no query engine.
//!
//! The contracts are [`model::Model`] (what predicts), [`artifact::Loader`] (files to a model on a device),
//! [`model::network::ModelType`] and [`model::network::Network`] (what TRAIN makes) and [`collective::Collective`] (how the ranks of a
//! training meet). From top to bottom:
//!
//! * [`artifact`] models ↔ files
//! * [`train`] a training of one rank
//! * [`models`] what can be trained
//! * [`model`] what predicts, and what it is made of
//! * [`nn`] layers
//! * [`data`] columns ↔ tensors
//! * [`collective`] how ranks meet
//! * [`device`], [`worker`] where models run, and the threads that own candle
//! * [`random`], `bytes`, `named`, `simd`, `error` seeded numbers; numbers as bytes; enums with names; vector instructions; errors

pub mod artifact;
pub mod collective;
pub mod data;
pub mod device;
pub mod model;
pub mod models;
pub mod nn;
pub mod random;
pub mod train;
pub mod worker;

mod bytes;
mod error;
mod named;
mod simd;

/// The tensors of this crate, for models of others.
pub use candle_core as candle;
pub use error::{Error, Result};

// gemm is a dependency only to switch on the AVX-512 kernels of candle's products.
use gemm as _;
