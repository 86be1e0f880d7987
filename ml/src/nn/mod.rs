//! Differentiable layers whose gradients are right, each checked against finite differences in `tests/it/gradients.rs`.
//!
//! Of candle only operations with a correct backward pass are used: its `relu` has slope 1 at 0, its `gelu` six-digit
//! constants, its dropout cannot be seeded, and its fused layers cut the gradient without an error.

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
