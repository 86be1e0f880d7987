//! `predict(model, (query), chunk => n, overlap => k)`: a row for each part of a long text, before the model.
//!
//! ```text
//! PredictNode: features=[chunk_text] ─ ChunkNode: a row for each n tokens ─ input
//! ```
//! * `node` the logical node: the columns `chunk`, `chunk_start` and `chunk_text`
//! * `exec` the operator, which asks the model for the tokens of each text

mod exec;
mod node;

pub(super) use exec::{ChunkExec, ChunkSpec};
pub(super) use node::{ChunkNode, ChunkSize, TEXT};
