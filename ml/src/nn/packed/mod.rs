//! Attention over sequences that lie one after the other, without padding: the work is that of the tokens that are there.
//!
//! `sequences` says where they lie. `attention` is the layer, forward and backward; `sizes` are the parts of its argument, and
//! `sight` says which keys a query sees. `weights` turns scores into weights, and `distances` are those for which a bias adds numbers to scores.
//! `padded` is the same for devices that compute many equal products at once.

mod attention;
mod distances;
mod padded;
mod sequences;
mod sight;
mod sizes;
mod weights;

pub use attention::{PackedAttention, packed_attention};
pub use sequences::Sequences;
