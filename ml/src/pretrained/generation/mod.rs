//! Models that write text: decoders of many families, and T5. They read the files of Hugging Face, and files in GGUF.
//!
//! ```text
//! config.json, values in GGUF ─▶ Design ─┐
//! safetensors, tensors in GGUF ─ Tensors ┴▶ Network ─┐
//! tokenizer.json, tokens in GGUF ─ PromptTokenizer ──┼▶ TextWriter: Model
//! template of chats ─ Chat ──────────────────────────┘
//! text ─ Chat ─ PromptTokenizer ─▶ tokens ─ Writing, token by token: Network ─ choose ─▶ tokens ─ PromptTokenizer ─▶ text
//! ```
//! Weights stay in memory as their file stores them, quantised ones too; a product makes f32 of some rows at a time. Each sum has an
//! order that depends on its length only. So what is written after a prompt is the same to the last bit alone and beside others, and
//! depends on the prompt, the arguments and the seed.
//!
//! * `families` the families in files of Hugging Face, as their `config.json` describes them: `config_design`, `config_rope`, `t5_design`
//! * `open_gguf` models in GGUF: `gguf_file` reads a file, `gguf_design` what it describes
//! * `design` what makes a decoder one of a family
//! * `stored` weights as files store them
//! * `tokens` texts ↔ tokens; `chat` a prompt in a model's template
//! * `template` computes a template with the functions, filters and tests of `library`; `made` counts what comes of them
//! * `network` the interface of networks: `decoder`, and `t5`; both of `linear`, `attention` and `rope`
//! * `write` writes texts side by side; `choose` the next token
//! * `model` the model
//!
//! To add a family, add a `Kind` with its differences, and compare its scores with the library that made it:
//! `tests/it/fixtures/generation.py` makes small models of random weights with their scores and texts.

mod attention;
mod chat;
mod choose;
mod config_design;
mod config_rope;
mod decoder;
mod design;
pub(crate) mod families;
#[cfg(test)]
mod fixture_tests;
mod gguf_design;
mod gguf_file;
mod library;
mod linear;
mod made;
mod model;
mod network;
mod open_gguf;
mod rope;
mod stored;
mod t5;
mod t5_design;
mod template;
mod tokens;
mod write;

pub(crate) use open_gguf::open_gguf;
