//! Differentiable layers, whose gradients `tests/it/gradients.rs` checks against finite differences.
//!
//! `linear`, `embedding`, `activation`, `dropout`; and `softmax`, which predictions use without gradients. To add a layer,
//! write a file here, add its gradients to `tests/it/gradients.rs`, and use it in a network of `models/`.
//!
//! The layers use only candle operations with a correct backward pass: candle's `relu` has slope 1 at 0, its `gelu`
//! six-digit constants, its dropout cannot be seeded, and its fused layers cut the gradient without an error.

mod activation;
mod dropout;
mod embedding;
mod linear;
mod softmax;

pub use activation::{Activation, activate};
pub use dropout::dropout;
pub use embedding::embedding_sum;
pub use linear::linear;
pub use softmax::softmax;
