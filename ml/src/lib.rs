//! Neural models: record batches and tensors in, predictions out. No SQL, no query engine.
//!
//! The main traits are [`model::Model`] (predicts), [`artifact::Loader`] (opens the files of a model on a device),
//! [`model::network::ModelType`] and [`model::network::Network`] (what TRAIN trains) and [`collective::Collective`]
//! (communication of the ranks of a training). From top to bottom:
//!
//! * [`formats`] the formats of models that this build opens
//! * [`pretrained`] models of Hugging Face and timm
//! * `onnx` models in ONNX, with the feature of this name
//! * [`artifact`] models ↔ files
//! * [`train`] the training of one rank
//! * [`models`] the model types that can be trained
//! * [`model`] models that predict, and their parts
//! * [`nn`] layers
//! * [`graph`] graphs that other programs run
//! * [`data`] columns ↔ tensors
//! * [`collective`] communication of ranks
//! * [`device`], [`worker`] the devices of models, and the threads that own candle
//! * [`random`], `bytes`, `foreign`, `named`, `simd` seeded numbers; numbers as bytes; files that are no models; enums with names;
//!   vector instructions
//! * [`stop`], `error` requests to stop; errors

pub mod artifact;
pub mod collective;
pub mod data;
pub mod device;
pub mod formats;
pub mod graph;
pub mod model;
pub mod models;
pub mod nn;
#[cfg(feature = "onnx")]
pub mod onnx;
pub mod pretrained;
pub mod random;
pub mod stop;
pub mod train;
pub mod worker;

mod bytes;
mod error;
mod foreign;
mod named;
mod simd;

/// The tensor library of this crate, for models of other crates.
pub use candle_core as candle;
pub use error::{Error, Result};
