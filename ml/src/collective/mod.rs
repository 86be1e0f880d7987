//! Collective operations of the ranks of a training: barrier, all-gather, and all-reduce over shards in a fixed order.
//!
//! * `sums` the fixed tree in which shards are summed
//! * `local` ranks that are threads of this process

mod local;
mod sums;

use std::sync::Arc;

use crate::Result;

pub use local::LocalCollective;
pub use sums::{branch, tree_sum};

/// One buffer for each shard that a rank owns, as (shard, buffer).
pub type ShardBuffers<T> = Vec<(usize, Vec<T>)>;

/// One rank's access to all ranks of a training. Every rank makes the same calls in the same order.
///
/// When a rank fails it drops its collective, and every call of the others returns [`Peer`](crate::Error::Peer).
pub trait Collective: Send + Sync {
    /// This rank, in `0..world_size`.
    fn rank(&self) -> usize;
    /// The number of ranks.
    fn world_size(&self) -> usize;
    /// The name of a rank and of its machine, for messages.
    fn rank_label(&self, rank: usize) -> String {
        format!("worker {rank}")
    }
    /// Returns when all ranks have called it.
    fn barrier(&self) -> Result<()>;
    /// The messages of all ranks, in the order of ranks.
    fn all_gather(&self, message: Vec<u8>) -> Result<Vec<Arc<Vec<u8>>>>;
    /// The sum over all shards of all ranks, in the tree of [`tree_sum`]: bit-identical for every world size.
    fn all_reduce_f32(&self, shards: ShardBuffers<f32>) -> Result<Vec<f32>>;
    /// As [`Collective::all_reduce_f32`], in double precision.
    fn all_reduce_f64(&self, shards: ShardBuffers<f64>) -> Result<Vec<f64>>;
}
