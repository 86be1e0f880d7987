//! Prompts as tokens, and written tokens as text.
//!
//! * `tokenizer` the tokenizer of a model: one that `tokenizer.json` describes, or pieces
//! * `pieces` the pieces of SentencePiece, from a file in GGUF; `merges` how characters become pieces; `special` tokens that are
//!   found in a text before it is divided
//! * `byte_pairs` the pairs of bytes of a file in GGUF, as `tokenizer.json` describes them

mod byte_pairs;
mod merges;
mod pieces;
mod special;
mod tokenizer;

pub(super) use pieces::Pieces;
pub(super) use tokenizer::PromptTokenizer;
