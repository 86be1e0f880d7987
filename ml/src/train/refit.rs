//! A second training, on all rows: the first finds the number of epochs with the help of the evaluation rows, which then train too.
//!
//! The metrics are those of the first: there are no rows left by which the second could be judged.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::collective::Collective;
use crate::data::encode::tabular::CATEGORIES;
use crate::data::inputs::InputsBuilder;
use crate::data::rows::Rows;
use crate::model::options::{DataSplit, Optimizer};
use crate::train::control::{Control, EpochRecord};
use crate::train::prepare::{Prepared, Shard};
use crate::train::training::{Solution, Training, l2};

/// Tables of more rows train once by default: a second training takes long there, and a fifth more rows help little.
const DEFAULT_ROWS_MAX: u64 = 10_000;

/// A second training of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refit {
    /// The number of epochs: that of the best epoch of the first training.
    pub epochs: usize,
    /// The number of rows. Evaluation rows count, unless a category occurs in none of the training rows.
    pub rows: u64,
}

impl Training<'_> {
    /// The number of epochs of the second training that should follow a first one with this solution; `None` if none should.
    pub(crate) fn refit_after(&self, optimizer: Optimizer, first: &Solution) -> Option<usize> {
        let is_descent = matches!(optimizer, Optimizer::Adamw | Optimizer::Sgd);
        let is_possible = is_descent && self.prepared.eval_rows() > 0 && first.notice.is_none();
        let rows = self.prepared.train_rows() + self.prepared.eval_rows();
        let is_default = || {
            // Rows that a column holds out are the user's to judge by.
            let is_hashed = matches!(self.options.data_split, DataSplit::Hash { .. });
            let is_small = rows <= DEFAULT_ROWS_MAX;
            self.model_type.default_refit() && is_hashed && self.options.early_stop && is_small
        };
        if !is_possible || !self.options.refit.unwrap_or_else(is_default) {
            return None;
        }
        let epochs = match self.options.early_stop {
            true => best_epoch(&first.history),
            false => first.history.len(),
        };
        (epochs > 0).then_some(epochs)
    }

    /// The same training from the beginning, of so many epochs on all rows.
    pub(crate) fn on_all_rows(self, epochs: usize) -> Result<Self> {
        let prepared = self.prepared.with_all_rows(self.control, self.collective)?;
        Ok(Self {
            l2: l2(self.model_type, self.options, prepared.train_rows()),
            refit_epochs: Some(epochs),
            prepared,
            ..self
        })
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
    /// The same, with all rows as training rows: in each shard, the evaluation rows come behind the others. Those with a category
    /// that no training row has are left out: they would train the weights of unseen categories, which stay zero.
    fn with_all_rows(mut self, control: &Control, collective: &dyn Collective) -> Result<Self> {
        let shards = self.shards.iter();
        let numbers = |rows: &Rows| rows.labels.len() + rows.weights.len();
        let bytes = shards.map(|shard| {
            let rows = shard.train.len() + shard.eval.len();
            let numbers = numbers(&shard.train) + numbers(&shard.eval);
            self.encoder.bytes(rows) + numbers * size_of::<f64>()
        });
        let largest = bytes.max().unwrap_or(0);
        let _joined = control.reserve(largest, "the rows of a shard with its evaluation rows")?;
        let unseen = &self.encoder.shape().unseen_ids;
        let mut added = Vec::with_capacity(self.shards.len() * 2 * size_of::<u64>());
        for shard in &mut self.shards {
            control.stop.check()?;
            let rows = join(shard, unseen)?;
            added.extend((shard.number as u64).to_le_bytes());
            added.extend((rows as u64).to_le_bytes());
        }
        for message in collective.all_gather(added)? {
            let (numbers, _) = message.as_chunks::<8>();
            for pair in numbers.chunks_exact(2) {
                let [shard, rows] = [pair[0], pair[1]].map(u64::from_le_bytes);
                self.train_rows_by_shard[shard as usize] += rows;
            }
        }
        self.eval_rows_by_shard.fill(0);
        Ok(self)
    }
}

/// Joins the evaluation rows of a shard with its training rows, and returns their number.
fn join(shard: &mut Shard, unseen: &[usize]) -> Result<usize> {
    let eval = known(std::mem::take(&mut shard.eval), unseen)?;
    let added = eval.len();
    if added == 0 {
        return Ok(0);
    }
    if shard.train.is_empty() {
        shard.train = eval;
        return Ok(added);
    }
    let train = std::mem::take(&mut shard.train);
    let mut inputs = InputsBuilder::new(train.len() + added);
    inputs.add(&train.inputs)?;
    inputs.add(&eval.inputs)?;
    shard.train = Rows {
        inputs: inputs.finish()?,
        labels: [train.labels, eval.labels].concat(),
        weights: [train.weights, eval.weights].concat(),
    };
    Ok(added)
}

/// The rows without an id that stands for unseen categories.
fn known(rows: Rows, unseen: &[usize]) -> Result<Rows> {
    let Some(ids) = rows.inputs.get(CATEGORIES).filter(|_| !unseen.is_empty()) else {
        return Ok(rows);
    };
    let width = ids.elem_count() / rows.len().max(1);
    let ids: Vec<u32> = ids.flatten_all()?.to_vec1()?;
    let is_known = |row: &u32| {
        let ids = ids.iter().skip(*row as usize * width).take(width);
        ids.copied().all(|id| !unseen.contains(&(id as usize)))
    };
    let chosen: Vec<u32> = (0..rows.len() as u32).filter(is_known).collect();
    match chosen.len() {
        0 => Ok(Rows::default()),
        count if count == rows.len() => Ok(rows),
        _ => rows.select(&chosen),
    }
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
        let count = values.len();
        let x = Tensor::new(values, &HOST).unwrap();
        // The last digit is a category.
        let ids: Vec<u32> = values.iter().map(|value| *value as u32 % 10).collect();
        let ids = Tensor::from_vec(ids, (count, 1), &HOST).unwrap();
        let inputs = Inputs::new(count).with("x", x).unwrap();
        Rows {
            inputs: inputs.with(CATEGORIES, ids).unwrap(),
            labels: values.iter().map(|value| value * 2.0).collect(),
            weights: values.iter().map(|value| value * 3.0).collect(),
        }
    }

    /// Joins these rows, and returns the values of all.
    fn joined(train: &[f64], eval: &[f64], unseen: &[usize]) -> Vec<f64> {
        let mut shard = Shard {
            number: 0,
            train: rows(train),
            eval: rows(eval),
        };
        let added = join(&mut shard, unseen).unwrap();
        assert!(shard.eval.is_empty());
        let all = shard.train;
        assert_eq!(all.len(), train.len() + added);
        if all.is_empty() {
            return vec![];
        }
        let values: Vec<f64> = all.inputs.get("x").unwrap().to_vec1().unwrap();
        let times = |factor: f64| {
            values
                .iter()
                .map(|value| value * factor)
                .collect::<Vec<_>>()
        };
        assert_eq!((all.labels, all.weights), (times(2.0), times(3.0)));
        values
    }

    #[test]
    fn evaluation_rows_come_behind_the_others() {
        assert_eq!(joined(&[1.0, 2.0], &[3.0], &[]), [1.0, 2.0, 3.0]);
        assert_eq!(joined(&[1.0], &[], &[]), [1.0]);
        assert_eq!(joined(&[], &[3.0], &[]), [3.0]);
    }

    #[test]
    fn rows_with_an_unseen_category_stay_out() {
        assert_eq!(joined(&[11.0], &[25.0, 31.0, 45.0], &[5, 7]), [11.0, 31.0]);
        assert_eq!(joined(&[11.0], &[25.0], &[5]), [11.0]);
        assert_eq!(joined(&[], &[25.0], &[5]), [0.0; 0]);
        assert_eq!(joined(&[], &[25.0, 31.0], &[5]), [31.0]);
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
