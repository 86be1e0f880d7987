//! Models of texts: encoders that give each token of a text a vector, and what is made of the vectors.
//!
//! ```text
//! texts ─ tokenizer ─▶ TokenBatch ─ TextEncoder ─▶ vectors of tokens ─ pooling ─▶ vectors of texts
//! ```
//! Texts lie one after the other in a batch, so that no layer works on padding.
//!
//! * `batch` the tokens of several texts
//! * `tensors` where layers take their tensors from
//! * `spec` what an encoder is made of, as data; `family` architectures with one kind of encoder
//! * `encoder` the transformer of all families; `embedding`, `attention` (by `buckets` of distances, or `disentangled` from
//!   them), `perceptron` its parts; `layers` what these are made of
//! * `bert` families of encoders, a file for those that share layers
//! * `tasks` what comes behind an encoder: classes, entities, tokens for a gap, a folder
//!
//! To add a family, write a file with its [`TextFamily`](family::TextFamily), and compare its vectors with those of transformers:
//! `tests/it/fixtures/texts.py` makes small models of random weights with their outputs.

pub(crate) mod attention;
pub(crate) mod batch;
pub(crate) mod bert;
pub(crate) mod buckets;
pub(crate) mod disentangled;
pub(crate) mod embedding;
pub(crate) mod encoder;
pub(crate) mod family;
pub(crate) mod layers;
pub(crate) mod perceptron;
pub(crate) mod spec;
pub(crate) mod tasks;
pub(crate) mod tensors;
