//! The memory that a training takes besides its rows.

use crate::data::labels::outputs_of;
use crate::device::pass_rows;
use crate::model::options::Optimizer;
use crate::train::als;
use crate::train::solvers::linear::BATCH_ROWS;
use crate::train::solvers::{lbfgs, normal_equation};
use crate::train::training::Training;

/// How often the numbers that a network keeps for a row ([`numbers_per_row`](crate::model::network::Network::numbers_per_row))
/// exist at once, at most.
///
/// Forward, they exist once. Backward, one layer is at work. There are the slope of its output, that slope before the activation,
/// the slope of its input, and the sum of the slopes of its input with the zeros that candle starts it from: twice the numbers of
/// its output, and three times those of its input, which is the output of the layer before. The first layer has no slope of its
/// input. Recurrent layers have slopes of what they keep besides their output, at most three times. Each residual layer around the
/// layer at work has one more slope of as many numbers as its own output. All these are different numbers that the network keeps,
/// so the slopes are at most three times as many.
const COPIES: usize = 4;

/// Copies of each output of a model while its loss and their slopes are computed, in numbers of f32: in f64, the outputs as a
/// tensor and as values, and their slopes; in the type of the network, the slopes and their product with the outputs, and the
/// sums with zeros to which candle adds the gradients of both.
const COPIES_OF_LOSS: usize = 16;

/// Memory of an optimiser or solver in bytes: an upper bound.
pub(crate) fn working_bytes(training: &Training<'_>, optimizer: Optimizer) -> usize {
    let (network, prepared) = (training.network, &training.prepared);
    let weights: usize = network.parameters().iter().map(|spec| spec.len()).sum();
    let shards = prepared.shards.len();
    let (copies, rows, number) = match optimizer {
        Optimizer::NormalEquation => return normal_equation::working_bytes(weights, shards),
        Optimizer::Als => {
            let rows = prepared.train_rows() + prepared.eval_rows();
            return als::working_bytes(weights, rows as usize);
        }
        // Each shard has a gradient, and its part of a sum; the solver remembers pairs of points and gradients.
        Optimizer::Lbfgs => (2 * shards + 2 * lbfgs::PAIRS_MAX + 8, BATCH_ROWS, 8),
        // Weights, their average, variables, gradients, the state of the optimiser, and the best weights so far.
        Optimizer::Adamw | Optimizer::Sgd => (2 * shards + 14, training.batch_size, 4),
    };
    let rows = rows.min(prepared.train_rows() as usize);
    // Images that are changed are there before and after, and one of them in f32, twice.
    let augmented = match training.augmenter {
        Some(_) => 2 * prepared.encoder.bytes(rows) + 8 * prepared.encoder.bytes(1),
        None => 0,
    };
    let orders = prepared.train_rows() as usize * size_of::<u32>();
    if !training.device.is_cpu() {
        // Gradients and outputs take memory of the GPU; the host keeps the best weights, their average and the
        // optimiser's state.
        return weights * 5 * number + orders + augmented;
    }
    let at_once = match optimizer {
        Optimizer::Adamw | Optimizer::Sgd => rows_of_one_shard(rows, &prepared.train_rows_by_shard),
        Optimizer::NormalEquation | Optimizer::Lbfgs | Optimizer::Als => rows,
    };
    let (widths, outputs) = (network.numbers_per_row(), outputs_of(&prepared.labels));
    let of_step = bytes_of_rows(at_once, widths * COPIES + outputs * COPIES_OF_LOSS, number);
    // Losses are computed without gradients, but possibly of more rows than a shard has in a step.
    let assessed = (prepared.train_rows() + prepared.eval_rows()) as usize;
    let assessed = assessed.min(pass_rows(&training.device, widths));
    let of_loss = bytes_of_rows(assessed, widths + outputs * COPIES_OF_LOSS, number);
    let inputs = prepared.encoder.bytes(rows.max(assessed));
    let base = training.base_weights.as_ref().map_or(0, Vec::len) * size_of::<f64>();
    let rest = weights * copies * number
        + network.scratch_bytes()
        + inputs * 2
        + augmented
        + orders
        + base;
    // No process has more, and an account may still add it to what it has given.
    let most = isize::MAX as usize;
    of_step.max(of_loss).saturating_add(rest).min(most)
}

/// The memory of rows of so many numbers of `number` bytes. Layers that a user writes may need more bytes than a `usize` counts;
/// a product that wrapped around would seem to fit into memory.
fn bytes_of_rows(rows: usize, numbers: usize, number: usize) -> usize {
    rows.saturating_mul(numbers).saturating_mul(number)
}

/// The most rows of a step of `rows` rows that one shard has.
fn rows_of_one_shard(rows: usize, by_shard: &[u64]) -> usize {
    let (largest, all) = (by_shard.iter().max(), by_shard.iter().sum::<u64>());
    let share = largest.copied().unwrap_or(0) as f64 / all.max(1) as f64;
    ((rows as f64 * share) as usize + 1).min(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_bytes_than_can_be_counted_do_not_seem_few() {
        assert_eq!(bytes_of_rows(3, 10, 4), 120);
        // A thousand layers of the largest size, for the largest batch, in four copies.
        let numbers = 1_000 * (1 << 28) * COPIES;
        assert_eq!(bytes_of_rows(1 << 24, numbers, 4), usize::MAX);
    }
}
