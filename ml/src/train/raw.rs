//! Rows of a training before they are encoded.

use arrow::array::RecordBatch;

/// The rows that one rank received: the rows of its shards, in any order.
#[derive(Debug, Default)]
pub struct RankRows {
    /// The features in their order, then the label, then the split column if there is one.
    pub batches: Vec<RecordBatch>,
    /// A content hash of each row of each batch.
    pub hashes: Vec<Vec<u128>>,
}

/// A shard before encoding.
pub(crate) struct RawShard {
    pub(crate) number: usize,
    pub(crate) train: RecordBatch,
    pub(crate) eval: RecordBatch,
    pub(crate) skipped: u64,
    pub(crate) rows_hash: u128,
}
