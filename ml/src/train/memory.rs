//! The memory that a training takes besides its rows.

use crate::model::options::Optimizer;
use crate::train::solvers::linear::BATCH_ROWS;
use crate::train::solvers::{lbfgs, normal_equation};
use crate::train::training::Training;

/// Memory of an optimiser or solver in bytes: an upper bound.
pub(crate) fn working_bytes(training: &Training<'_>, optimizer: Optimizer) -> usize {
    let (specs, prepared) = (training.network.parameters(), training.prepared);
    let weights: usize = specs.iter().map(|spec| spec.len()).sum();
    let shards = prepared.shards.len();
    let (copies, rows, number) = match optimizer {
        Optimizer::NormalEquation => return normal_equation::working_bytes(weights, shards),
        // Each shard has a gradient, and its part of a sum; the solver remembers pairs of points and gradients.
        Optimizer::Lbfgs => (2 * shards + 2 * lbfgs::PAIRS_MAX + 8, BATCH_ROWS, 8),
        // Weights, variables, gradients, the state of the optimiser, and the best weights so far.
        Optimizer::Adamw | Optimizer::Sgd => (2 * shards + 12, training.batch_size, 4),
    };
    let rows = rows.min(prepared.train_rows() as usize);
    // On a GPU, gradients and outputs take memory of the GPU; the host keeps the best weights and the optimiser's state.
    let (copies, rows) = match training.device.is_cpu() {
        true => (copies, rows),
        false => (4, 0),
    };
    // The outputs of each layer, their gradients, and what lies between them, for one shard at a time.
    let widths = training.network.numbers_per_row();
    let at_once = match optimizer {
        Optimizer::Adamw | Optimizer::Sgd => rows_of_one_shard(rows, &prepared.train_rows_by_shard),
        Optimizer::NormalEquation | Optimizer::Lbfgs => rows,
    };
    let inputs = prepared.encoder.bytes(rows);
    let orders = prepared.train_rows() as usize * size_of::<u32>();
    weights * copies * number + at_once * widths * number * 4 + inputs * 2 + orders
}

/// The most rows of a step of `rows` rows that one shard has.
fn rows_of_one_shard(rows: usize, by_shard: &[u64]) -> usize {
    let (largest, all) = (by_shard.iter().max(), by_shard.iter().sum::<u64>());
    let share = largest.copied().unwrap_or(0) as f64 / all.max(1) as f64;
    ((rows as f64 * share) as usize + 1).min(rows)
}
