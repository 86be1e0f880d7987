//! Checks that all ranks hold the same weights. Each rank computes them for itself, from sums that all ranks share.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::model::options::Optimizer;
use crate::train::training::{Solution, Training};
use crate::{Error, Result};

/// The length of a hash of weights in a message.
const HASH_BYTES: usize = 16;
/// Bytes of weights that are hashed at once.
const BUFFER_BYTES: usize = 8 << 10;

impl Training<'_> {
    /// Called at the end of an epoch. Returns whether `max_runtime_s` has passed.
    ///
    /// # Errors
    /// If the ranks hold different weights.
    pub(crate) fn end_epoch(&self, epoch: usize, weights: &[f32]) -> Result<bool> {
        let is_late = self.is_late();
        if self.collective.world_size() == 1 {
            return Ok(is_late);
        }
        let weights = weights.iter().copied().map(f64::from);
        let mut message = hash(weights).to_le_bytes().to_vec();
        message.push(u8::from(is_late));
        let all = self.collective.all_gather(message)?;
        self.check_hashes(&all, || format!("epoch {epoch}"))?;
        // Clocks differ, so the ranks vote: one rank that is out of time ends the training for all.
        Ok(all.iter().any(|message| message.last() == Some(&1)))
    }

    /// The solution of a solver that runs without epochs.
    ///
    /// # Errors
    /// If the ranks hold different weights.
    pub(crate) fn agreed(&self, solution: Solution, optimizer: Optimizer) -> Result<Solution> {
        if self.collective.world_size() > 1 {
            let message = hash(solution.weights.iter().copied()).to_le_bytes();
            let all = self.collective.all_gather(message.to_vec())?;
            self.check_hashes(&all, || format!("optimizer {}", optimizer.name()))?;
        }
        Ok(solution)
    }

    fn check_hashes(&self, all: &[Arc<Vec<u8>>], after: impl FnOnce() -> String) -> Result<()> {
        let hashes: Vec<Option<&[u8]>> = all
            .iter()
            .map(|message| message.get(..HASH_BYTES))
            .collect();
        let other = hashes.iter().position(|hash| Some(hash) != hashes.first());
        let Some(other) = other else {
            return Ok(());
        };
        let (first, other) = (
            self.collective.rank_label(0),
            self.collective.rank_label(other),
        );
        Err(Error::Unsupported(format!(
            "{first} and {other} hold different weights after {}: their processors compute differently; train on machines \
             of one kind, or with workers = 1",
            after()
        )))
    }
}

fn hash(weights: impl Iterator<Item = f64>) -> u128 {
    let mut hash = Xxh3::new();
    let mut buffer = Vec::with_capacity(BUFFER_BYTES);
    for weight in weights {
        buffer.extend(weight.to_le_bytes());
        if buffer.len() >= BUFFER_BYTES {
            hash.update(&buffer);
            buffer.clear();
        }
    }
    hash.update(&buffer);
    hash.digest128()
}
