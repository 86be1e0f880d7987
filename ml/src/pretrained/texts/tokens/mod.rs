//! Texts → tokens.
//!
//! * `config` what `tokenizer_config.json` says
//! * `files` the tokenizer of a directory: of `tokenizer.json`, or of the `vocabularies` or `sentence_pieces` that are there in its
//!   place; `patterns` checks what a file asks for before it is used
//! * `tokenizer` a tokenizer with the limits of a model

pub(crate) mod config;
pub(crate) mod files;
pub(crate) mod patterns;
pub(crate) mod sentence_pieces;
pub(crate) mod tokenizer;
pub(crate) mod vocabularies;
