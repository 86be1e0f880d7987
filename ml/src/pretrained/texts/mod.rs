//! Models of texts: encoders that give each token of a text a vector, and what is made of the vectors.
//!
//! ```text
//! texts ─ tokenizer ─▶ TokenBatch ─ TextEncoder ─▶ vectors of tokens ─ pooling ─▶ vectors of texts
//! ```
//! Texts lie one after the other in a batch, so that no layer works on padding.
//!
//! * `tokens` texts → tokens, a folder; `inputs` tokens of rows as inputs of a model, and passes over them; `batch` the tokens of
//!   several texts
//! * `tensors` where layers take their tensors from
//! * `spec` what an encoder is made of, as data; `family` architectures with one kind of encoder
//! * `encoder` the transformer of all families; `embedding`, `attention` (by `buckets` of distances, or `disentangled` from
//!   them), `perceptron` its parts; `layers` what these are made of
//! * `bert`, `distilbert`, `mpnet`, `modernbert`, `nomic`, `deberta` families of encoders, a file for those that share layers
//! * `parts` an encoder with its tokenizer
//! * `modules` what sentence-transformers has behind an encoder, such as `pooling`; `prompts` what it has before texts
//! * `tasks` what comes behind an encoder for a task: classes, entities, tokens for a gap, a folder
//! * `tuned` an encoder as a part of a network that TRAIN makes
//! * `directory` the files of an encoder with layers behind it that TRAIN made, for programs of others, a folder
//! * `embedding_model` an encoder as a model; `families` the list of all, and the way from an architecture to a model
//!
//! To add a family, write a file with its [`TextFamily`](family::TextFamily), and compare its vectors with those of transformers:
//! `tests/it/fixtures/texts.py` makes small models of random weights with their outputs.

pub(crate) mod attention;
pub(crate) mod batch;
pub(crate) mod bert;
pub(crate) mod buckets;
pub(crate) mod deberta;
pub(crate) mod directory;
pub(crate) mod disentangled;
pub(crate) mod distilbert;
pub(crate) mod embedding;
pub(crate) mod embedding_model;
pub(crate) mod encoder;
pub(crate) mod families;
pub(crate) mod family;
pub(crate) mod inputs;
pub(crate) mod layers;
pub(crate) mod modernbert;
pub(crate) mod modules;
pub(crate) mod mpnet;
pub(crate) mod nomic;
pub(crate) mod parts;
pub(crate) mod perceptron;
pub(crate) mod pooling;
pub(crate) mod prompts;
pub(crate) mod spec;
pub(crate) mod tasks;
pub(crate) mod tensors;
pub(crate) mod tokens;
pub(crate) mod tuned;
