//! [`Descent`]: the trait for the steps of a minibatch descent, on the host or on a GPU.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::train::optim::OptimizerState;
use crate::{Result, random};

/// Where weights and optimiser are during a descent: on the host or on a GPU.
pub(crate) trait Descent {
    /// Takes the order of the training rows of each shard of this rank for an epoch.
    fn begin(&mut self, orders: Vec<Vec<u32>>) -> Result<()>;
    /// Moves the weights by one step of all ranks.
    fn step(&mut self, step: &Step<'_>) -> Result<()>;
    /// The sums of losses and of weights of the rows since the last call.
    fn take_loss(&mut self) -> Result<(f64, f64)>;
    /// The weights, flat.
    fn weights(&self) -> Result<Vec<f32>>;
    /// The moving average of the weights, flat, if the training has one.
    fn average(&self) -> Result<Option<Vec<f32>>> {
        Ok(None)
    }
    /// The state of the optimiser.
    fn optimizer(&self) -> Result<OptimizerState>;
}

/// One step of a descent.
pub(crate) struct Step<'a> {
    pub(crate) epoch: usize,
    /// The number of the step in its epoch.
    pub(crate) number: usize,
    /// The number of steps before it.
    pub(crate) taken: usize,
    /// The range of rows of each shard, in the shard's order.
    pub(crate) ranges: &'a [Range<usize>],
    pub(crate) learn_rate: f64,
}

impl Step<'_> {
    /// The source of the random values of a shard in this step.
    pub(crate) fn random(&self, seed: u64, shard: usize) -> ChaCha8Rng {
        let counters = [self.epoch as u64, self.number as u64, shard as u64];
        random::stream(seed, "dropout", &counters)
    }
}
