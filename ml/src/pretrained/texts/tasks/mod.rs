//! Tasks on texts: what comes behind an encoder.
//!
//! ```text
//! texts ─ tokens ─▶ rows ─ encoder ─ head ─▶ scores ─▶ classes, entities, tokens
//! ```
//! * `task` the task of an architecture, and how a model for it is opened
//! * `tokens` texts as tokens, with their places; `rows` the tokens of a batch
//! * `network` an encoder with its `head`; `heads` which layers these are in each family; `sequence_head` the layers of a training that are
//!   those of a family
//! * `classifier` classes, numbers or a score of one text or two; `scorer` its network, `meaning` what the outputs are;
//!   `cross_encoder` when a classifier takes two texts
//! * `zero_shot` classes that a call names; `call` the inputs and outputs of a model for a call
//! * `token_classifier` labels of tokens; `entities` parts of a text from these
//! * `mask_filler` tokens for a gap
//!
//! To add a family, add its heads to the list in `heads`, and its models to `tests/it/fixtures/text_tasks.py`.

mod call;
mod classifier;
mod cross_encoder;
mod entities;
mod head;
mod heads;
mod mask_filler;
mod meaning;
mod network;
mod rows;
mod scorer;
pub(crate) mod sequence_head;
pub(crate) mod task;
mod token_classifier;
mod tokens;
mod zero_shot;

pub use call::ports_for;
