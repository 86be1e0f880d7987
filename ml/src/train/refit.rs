//! A second training, on all rows: the first finds the number of epochs with the help of the evaluation rows, which then train too.
//!
//! The metrics are those of the first: there are no rows left by which the second could be judged.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::inputs::InputsBuilder;
use crate::data::rows::Rows;
use crate::model::network::ModelType;
use crate::model::options::{DataSplit, Optimizer};
use crate::train::control::{Control, EpochRecord};
use crate::train::prepare::{Prepared, Shard};
use crate::train::training::Training;

/// The most rows of which a model type trains twice by default. A fifth more rows make a small table's model better, and take long
/// for a large one.
const ROWS_MAX: u64 = 10_000;

/// A second training of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refit {
    /// The number of epochs: as many as were best in the first training.
    pub epochs: usize,
    /// The rows, evaluation rows too.
    pub rows: u64,
}

impl Training<'_> {
    /// The second training that follows a first one with these epochs; `None` if there is none.
    pub(crate) fn refit(
        &self,
        model_type: &dyn ModelType,
        optimizer: Optimizer,
        history: &[EpochRecord],
    ) -> Option<Refit> {
        let is_descent = matches!(optimizer, Optimizer::Adamw | Optimizer::Sgd);
        let rows = self.prepared.train_rows() + self.prepared.eval_rows;
        let is_default = || {
            let is_random = matches!(self.options.data_split, DataSplit::Hash { .. });
            model_type.refits() && is_random && self.options.early_stop && rows <= ROWS_MAX
        };
        let is_wanted = self.options.refit.unwrap_or_else(is_default);
        if !is_wanted || !is_descent || self.prepared.eval_rows == 0 {
            return None;
        }
        let epochs = match self.options.early_stop {
            true => best_epoch(history),
            false => history.len(),
        };
        (epochs > 0).then_some(Refit { epochs, rows })
    }
}

/// The number of the first epoch with the lowest evaluation loss; 0 without any.
fn best_epoch(history: &[EpochRecord]) -> usize {
    let losses = history.iter().filter_map(|record| {
        let loss = record.eval_loss?;
        Some((record.epoch, loss))
    });
    let best = losses.min_by(|(_, one), (_, other)| one.total_cmp(other));
    best.map_or(0, |(epoch, _)| epoch)
}

impl Prepared {
    /// The same, with all rows as training rows: in each shard, the evaluation rows come behind the others.
    pub(crate) fn with_all_rows(mut self, control: &Control) -> Result<Self> {
        let shards = self.shards.iter();
        let largest = shards.map(|shard| shard.train.len() + shard.eval.len());
        let bytes = self.encoder.bytes(largest.max().unwrap_or(0));
        let _joined = control.reserve(bytes, "the rows of a shard with its evaluation rows")?;
        for shard in &mut self.shards {
            control.stop.check()?;
            join(shard)?;
        }
        for (train, eval) in (self.train_rows_by_shard.iter_mut()).zip(&mut self.eval_rows_by_shard)
        {
            *train += std::mem::take(eval);
        }
        self.eval_rows = 0;
        Ok(self)
    }
}

fn join(shard: &mut Shard) -> Result<()> {
    let eval = std::mem::take(&mut shard.eval);
    if eval.is_empty() {
        return Ok(());
    }
    if shard.train.is_empty() {
        shard.train = eval;
        return Ok(());
    }
    let train = std::mem::take(&mut shard.train);
    let mut inputs = InputsBuilder::new(train.len() + eval.len());
    inputs.add(&train.inputs)?;
    inputs.add(&eval.inputs)?;
    shard.train = Rows {
        inputs: inputs.finish()?,
        labels: [train.labels, eval.labels].concat(),
        weights: [train.weights, eval.weights].concat(),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use candle_core::Tensor;

    use super::*;
    use crate::data::inputs::Inputs;
    use crate::device::HOST;

    fn rows(values: &[f64]) -> Rows {
        if values.is_empty() {
            return Rows::default();
        }
        let x = Tensor::new(values, &HOST).unwrap();
        Rows {
            inputs: Inputs::new(values.len()).with("x", x).unwrap(),
            labels: values.iter().map(|value| value * 2.0).collect(),
            weights: vec![1.0; values.len()],
        }
    }

    #[test]
    fn evaluation_rows_come_behind_the_others() {
        for (train, eval) in [
            (vec![1.0, 2.0], vec![3.0]),
            (vec![1.0], vec![]),
            (vec![], vec![3.0]),
        ] {
            let mut shard = Shard {
                number: 0,
                train: rows(&train),
                eval: rows(&eval),
            };
            join(&mut shard).unwrap();
            let all = [train, eval].concat();
            assert_eq!(shard.train.len(), all.len());
            let doubled: Vec<f64> = all.iter().map(|value| value * 2.0).collect();
            assert_eq!(shard.train.labels, doubled);
            assert_eq!(shard.train.weights.len(), all.len());
            assert!(shard.eval.is_empty());
        }
    }

    #[test]
    fn the_first_of_the_best_epochs_counts() {
        let record = |epoch, eval_loss| EpochRecord {
            epoch,
            train_loss: 1.0,
            eval_loss,
            learn_rate: None,
            duration_ms: 0,
        };
        let losses = [0.5, 0.25, 0.75, 0.25].map(Some);
        let history: Vec<EpochRecord> = (1..)
            .zip(losses)
            .map(|(epoch, loss)| record(epoch, loss))
            .collect();
        assert_eq!(best_epoch(&history), 2);
        assert_eq!(best_epoch(&[record(1, None)]), 0);
        assert_eq!(best_epoch(&[]), 0);
    }
}
