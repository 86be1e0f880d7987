//! Attention over sequences that lie one after the other, without padding: the work is that of the tokens that are there.
//!
//! `sequences` says where they lie. `attention` is the layer, forward and backward; `sizes` are the parts of its argument, `sight`
//! says which keys a query sees, and `distances` are those for which a bias adds numbers to scores. `weights` turns scores into
//! weights. `heads` is the attention of f32 on x86-64: a `head` after the other, with the products of `tile` (`no_heads` stands for
//! it elsewhere). Other attention is products of matrices. `padded` is the same for devices that compute many equal products at once.

mod attention;
mod distances;
#[cfg(target_arch = "x86_64")]
mod head;
#[cfg(target_arch = "x86_64")]
mod heads;
#[cfg(not(target_arch = "x86_64"))]
#[path = "no_heads.rs"]
mod heads;
mod padded;
mod sequences;
mod sight;
mod sizes;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod tile;
mod weights;

pub use attention::{PackedAttention, packed_attention};
pub use sequences::Sequences;
