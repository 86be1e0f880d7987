//! Weights as their files store them: the bytes of a file stay in memory once, and become f32 where they are used.
//!
//! * `element` the types of numbers; `half` numbers of 16 bits, `blocks` and `k_blocks` those in blocks with a common scale
//! * `content` the bytes of a file; `matrix` a matrix in it, and products with it
//! * `products` sums of products; `tensors` matrices and vectors by name, from safetensors or from GGUF

mod blocks;
mod content;
mod element;
mod half;
mod k_blocks;
mod matrix;
mod products;
mod tensors;

pub(super) use content::Content;
pub(super) use element::Element;
pub(super) use matrix::{Columns, Matrix};
pub(super) use products::{add, dot, rms_norm};
pub(super) use tensors::{StoredTensor, Tensors};
