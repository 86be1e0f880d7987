//! The state of a training between two epochs: weights, optimiser and position in one file of safetensors.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::model::options::TrainOptions;
use crate::train::best::Best;
use crate::train::control::{Checkpoints, EpochRecord};
use crate::train::descent::Descent;
use crate::train::optim::OptimizerState;
use crate::train::training::Training;
use crate::{Error, Result};

const POSITION: &str = "position";
/// The time between two checkpoints if the options set no number of epochs.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(60);

/// The state of a training after some epochs.
#[derive(Debug, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) weights: Vec<f32>,
    /// The moving average of the weights, if the training has one.
    pub(crate) average: Option<Vec<f32>>,
    pub(crate) best_weights: Vec<f32>,
    pub(crate) optimizer: OptimizerState,
}

/// Everything but the weights.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// The hash of the rows, and the options as text: a checkpoint with another key belongs to another training.
    pub(crate) key: String,
    /// One record for each epoch done.
    pub(crate) history: Vec<EpochRecord>,
    /// Bits of the best loss, and of the loss at the last progress: both may be infinite, which JSON cannot hold.
    pub(crate) best_loss: u64,
    pub(crate) best_mark: u64,
    pub(crate) epochs_since: usize,
}

impl Checkpoint {
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>> {
        let failed =
            |error: &dyn std::fmt::Display| Error::Internal(format!("checkpoint: {error}"));
        let (state, steps) = match &self.optimizer {
            OptimizerState::Adamw {
                mean,
                square,
                steps,
            } => (vec![("mean", mean), ("square", square)], *steps),
            OptimizerState::Sgd { velocity } => (vec![("velocity", velocity)], 0),
            OptimizerState::Als => (vec![], 0),
        };
        let tensors = [("weights", &self.weights), ("best", &self.best_weights)];
        let bytes: Vec<(&str, usize, Vec<u8>)> = tensors
            .into_iter()
            .chain(self.average.as_ref().map(|average| ("average", average)))
            .chain(state)
            .map(|(name, values)| {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes());
                (name, values.len(), bytes.collect())
            })
            .collect();
        let views = bytes.iter().map(|(name, length, bytes)| {
            Ok((*name, TensorView::new(Dtype::F32, vec![*length], bytes)?))
        });
        let views: std::result::Result<Vec<_>, safetensors::SafeTensorError> = views.collect();
        let position =
            serde_json::to_string(&(&self.position, steps)).map_err(|error| failed(&error))?;
        let metadata = HashMap::from([(POSITION.to_owned(), position)]);
        let views = views.map_err(|error| failed(&error))?;
        safetensors::serialize(views, Some(metadata)).map_err(|error| failed(&error))
    }

    /// `None` if the checkpoint is damaged, or belongs to another training.
    pub(crate) fn from_bytes(content: &[u8], key: &str, parameters: usize) -> Option<Self> {
        let (_, header) = SafeTensors::read_metadata(content).ok()?;
        let position = header.metadata().as_ref()?.get(POSITION)?;
        let (position, steps): (Position, i32) = serde_json::from_str(position).ok()?;
        if position.key != key {
            return None;
        }
        let tensors = SafeTensors::deserialize(content).ok()?;
        let values = |name: &str| {
            let bytes = tensors.tensor(name).ok()?.data();
            let (values, rest) = bytes.as_chunks::<4>();
            let is_whole = rest.is_empty() && values.len() == parameters;
            is_whole.then(|| {
                values
                    .iter()
                    .map(|bytes| f32::from_le_bytes(*bytes))
                    .collect()
            })
        };
        let has = |name: &str| tensors.names().contains(&name);
        let optimizer = match (has("velocity"), has("mean")) {
            (true, _) => OptimizerState::Sgd {
                velocity: values("velocity")?,
            },
            (false, true) => OptimizerState::Adamw {
                mean: values("mean")?,
                square: values("square")?,
                steps,
            },
            (false, false) => OptimizerState::Als,
        };
        Some(Self {
            position,
            weights: values("weights")?,
            average: match has("average") {
                true => Some(values("average")?),
                false => None,
            },
            best_weights: values("best")?,
            optimizer,
        })
    }
}

impl Training<'_> {
    /// The checkpoint from which every rank resumes: the one that rank 0 finds.
    pub(crate) fn last_checkpoint(&self, parameters: usize) -> Result<Option<Checkpoint>> {
        let Some(checkpoints) = self.checkpoints() else {
            return Ok(None);
        };
        let found = match self.collective.rank() {
            0 => checkpoints.load().unwrap_or_default(),
            _ => Vec::new(),
        };
        let all = self.collective.all_gather(found)?;
        let found = all.first().filter(|content| !content.is_empty());
        let key = self.checkpoint_key();
        Ok(found.and_then(|content| Checkpoint::from_bytes(content, &key, parameters)))
    }

    /// The store of checkpoints, for the first training only. An interrupted second training begins anew, after the checkpoint of the
    /// first, which must stay.
    fn checkpoints(&self) -> Option<&dyn Checkpoints> {
        let is_first = self.refit_epochs.is_none();
        self.control.checkpoints.as_deref().filter(|_| is_first)
    }

    /// The hash of the rows, and the options as text without the number of ranks.
    fn checkpoint_key(&self) -> String {
        let options = TrainOptions {
            workers: None,
            ..self.options.clone()
        };
        let device = if self.device.is_cpu() { "host" } else { "gpu" };
        let defaults = (self.l2, self.ema_decay, self.epochs_default);
        format!(
            "{:032x} {device} {defaults:?} {options:?}",
            self.prepared.rows_hash
        )
    }

    /// Saves a checkpoint if one is due.
    pub(crate) fn keep(
        &self,
        saved: &mut Instant,
        descent: &dyn Descent,
        history: &[EpochRecord],
        best: &Best,
    ) -> Result<()> {
        let Some(checkpoints) = self.checkpoints() else {
            return Ok(());
        };
        let is_due = match self.options.checkpoint_every {
            Some(epochs) => history.len().is_multiple_of(epochs),
            None => saved.elapsed() > CHECKPOINT_EVERY,
        };
        if self.collective.rank() != 0 || !is_due {
            return Ok(());
        }
        let checkpoint = Checkpoint {
            position: Position {
                key: self.checkpoint_key(),
                history: history.to_vec(),
                best_loss: best.loss.to_bits(),
                best_mark: best.mark.to_bits(),
                epochs_since: best.epochs_since,
            },
            weights: descent.weights()?,
            average: descent.average()?,
            best_weights: best.weights.clone(),
            optimizer: descent.optimizer()?,
        };
        *saved = Instant::now();
        // Without the checkpoint a later attempt takes longer, which is no reason to end this attempt.
        if let Err(error) = checkpoints.save(&checkpoint.to_bytes()?) {
            warn!(%error, "cannot save a checkpoint");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_comes_back_and_a_damaged_or_strange_one_does_not() {
        let checkpoint = Checkpoint {
            position: Position {
                key: "rows".into(),
                history: vec![],
                best_loss: f64::INFINITY.to_bits(),
                best_mark: 0.25f64.to_bits(),
                epochs_since: 3,
            },
            weights: vec![1.0, -0.0],
            average: Some(vec![0.75, 0.25]),
            best_weights: vec![0.5, f32::MIN_POSITIVE],
            optimizer: OptimizerState::Adamw {
                mean: vec![0.1, 0.2],
                square: vec![0.3, 0.4],
                steps: 9,
            },
        };
        let bytes = checkpoint.to_bytes().unwrap();
        assert_eq!(
            Checkpoint::from_bytes(&bytes, "rows", 2).unwrap(),
            checkpoint
        );
        assert!(Checkpoint::from_bytes(&bytes, "other rows", 2).is_none());
        assert!(Checkpoint::from_bytes(&bytes, "rows", 3).is_none());
        for length in 0..bytes.len() {
            assert!(Checkpoint::from_bytes(&bytes[..length], "rows", 2).is_none());
        }
    }
}
