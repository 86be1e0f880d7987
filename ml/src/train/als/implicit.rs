//! The loss of implicit feedback: what its factorization minimises, without the penalty.

use std::ops::Range;

use crate::Result;
use crate::train::als::ratings::{Block, Ratings, counts, shares};
use crate::train::als::table::Table;
use crate::train::training::Training;

/// The loss of these weights on the training rows: as [`loss_of`].
pub(crate) fn implicit_loss(training: &Training<'_>, weights: &[f64]) -> Result<f64> {
    let table = Table::of(training)?;
    let weights: Vec<f32> = weights.iter().map(|weight| *weight as f32).collect();
    let ratings = Ratings::gather(training, |shard| &shard.train)?;
    let counts = counts(&ratings, table.ids);
    let (rank, ranks) = (training.collective.rank(), training.collective.world_size());
    let ours: Range<usize> = shares(table.known(true), &counts, ranks)[rank].clone();
    let block = Block::of(&ratings, true, ours, true);
    loss_of(training, &table, &weights, &block)
}

/// Half the weighted squared differences of all pairs of a user and an item from 1, for the pairs of the training rows, and from 0,
/// for all others; divided by the number of training rows. `block` holds the pairs of this rank by the ids of the first column.
pub(super) fn loss_of(
    training: &Training<'_>,
    table: &Table,
    weights: &[f32],
    block: &Block,
) -> Result<f64> {
    let alpha = training.options.implicit_alpha().unwrap_or_default();
    let mut message = Vec::with_capacity(block.ids.len() * size_of::<f64>());
    for id in block.ids.clone() {
        let (others, strengths) = block.of_id(id);
        let taken = others
            .iter()
            .zip(strengths)
            .filter(|(_, strength)| **strength > 0.0);
        let of_id: f64 = taken
            .map(|(other, strength)| {
                let product = table.product(weights, [id as u32, *other]);
                // The sum over all pairs counts this one as if it were not there.
                (1.0 + alpha * f64::from(*strength)) * (1.0 - product).powi(2) - product.powi(2)
            })
            .sum();
        message.extend(of_id.to_le_bytes());
    }
    // One sum for each id, in the order of the ids, whichever rank they are from.
    let mut of_pairs = 0.0;
    for message in training.collective.all_gather(message)? {
        let sums = message.as_chunks::<8>().0.iter();
        of_pairs = sums.fold(of_pairs, |sum, bytes| sum + f64::from_le_bytes(*bytes));
    }
    let gram = |is_first| table.gram(weights, table.known(is_first));
    let of_all: f64 = gram(true).iter().zip(gram(false)).map(|(a, b)| a * b).sum();
    let rows = training.prepared.train_rows().max(1) as f64;
    Ok(0.5 * (of_pairs + of_all) / rows)
}
