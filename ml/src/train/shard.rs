//! Virtual shards: which rows train together, whatever the number of workers.
//!
//! A row belongs to one of V shards by a hash of its content and the seed. Ranks own whole shards, and all sums run over
//! shards in a fixed tree, so the result does not depend on the number of ranks.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::Result;
use crate::data::lists::to_large_list;
use crate::device::DeviceName;
use crate::model::options::TrainOptions;

/// The default number of shards. It affects the result, so it must not depend on the number of workers or cores.
/// Workers beyond the number of shards would have nothing to do.
pub const SHARDS_DEFAULT: usize = 8;

/// The number of shards of a training. A GPU is fastest with one shard: the gradients stay on the GPU, and a step has as
/// many rows as it can.
pub fn shards(options: &TrainOptions) -> usize {
    let default = match options.device {
        DeviceName::Cuda(_) => 1,
        DeviceName::Auto | DeviceName::Cpu => SHARDS_DEFAULT,
    };
    options.shards.unwrap_or(default)
}

/// Rows of about this many bytes are hashed at once: arrow's row format takes several times their memory.
const HASHED_BYTES: usize = 4 << 20;

/// The placement of a row: a seeded hash of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Placement(u128);

impl Placement {
    /// The placement of the row with this content hash.
    pub fn new(content_hash: u128, seed: u64) -> Self {
        Self(xxh3_128_with_seed(&content_hash.to_le_bytes(), seed))
    }

    /// The shard of the row, in `0..shards`.
    pub fn shard(self, shards: usize) -> usize {
        (self.0 as u64 % shards as u64) as usize
    }

    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    pub(crate) fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }
}

/// A stable hash of each row of these columns. Equal rows have equal hashes, whatever the types of their lists.
///
/// # Errors
/// If arrow has no row format for a type.
pub fn content_hashes(columns: &[&ArrayRef]) -> Result<Vec<u128>> {
    let columns = columns.iter().map(|column| match column.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            to_large_list(column)
        }
        _ => Ok(Arc::clone(column)),
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let fields = columns
        .iter()
        .map(|column| SortField::new(column.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let rows = columns.first().map_or(0, |column| column.len());
    let bytes = columns
        .iter()
        .map(|column| column.to_data().get_slice_memory_size());
    let bytes = bytes.sum::<Result<usize, _>>()?;
    let chunk = (HASHED_BYTES / (bytes / rows.max(1)).max(1)).max(1);
    let mut hashes = Vec::with_capacity(rows);
    for start in (0..rows).step_by(chunk) {
        let length = chunk.min(rows - start);
        let columns: Vec<ArrayRef> = columns
            .iter()
            .map(|column| column.slice(start, length))
            .collect();
        let rows = converter.convert_columns(&columns)?;
        hashes.extend(rows.iter().map(|row| xxh3_128(row.as_ref())));
    }
    Ok(hashes)
}

/// The rank that owns a shard. A rank owns neighbours, so its own sums are branches of [`crate::collective::tree_sum`].
pub fn owner(shard: usize, shards: usize, world_size: usize) -> usize {
    // The inverse of `rank * shards / world_size` as the first shard of a rank.
    ((shard + 1) * world_size - 1) / shards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_has_one_owner_and_every_rank_its_neighbours() {
        for (shards, world_size) in [(8, 1), (8, 2), (8, 3), (8, 8), (5, 4), (7, 3)] {
            let owners: Vec<usize> = (0..shards)
                .map(|shard| owner(shard, shards, world_size))
                .collect();
            assert!(owners.is_sorted());
            let counts =
                (0..world_size).map(|rank| owners.iter().filter(|&&is| is == rank).count());
            let counts: Vec<usize> = counts.collect();
            assert_eq!(counts.iter().sum::<usize>(), shards);
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(*least > 0 && most - least <= 1, "{counts:?}");
        }
    }
}
