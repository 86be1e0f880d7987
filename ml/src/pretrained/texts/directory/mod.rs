//! The directory of an encoder with the layers behind it that TRAIN made, for transformers and sentence-transformers.
//!
//! ```text
//! the encoder's files ─ config.json with the outputs' names, weights as they are ─┬─ transformers: a family's own head, if the layers fit it
//!                                                                                └─ sentence-transformers: pooling, and a module for each layer
//! ```
//! * `write` which of the two, and the files that both have
//! * `sentence` the modules of sentence-transformers
//! * `weights` the tensors of an encoder as files have them

mod sentence;
mod weights;
mod write;

pub(in crate::pretrained) use write::directory_of;
