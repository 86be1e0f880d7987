//! [`Training`]: the state and the helpers that all optimisers and solvers share.

use std::any::Any;
use std::borrow::Cow;
use std::time::Instant;

use candle_core::{DType, Device, Tensor, Var, WithDType};

use crate::collective::Collective;
use crate::data::rows::Rows;
use crate::model::flat::{add_tensor, gradient_of};
use crate::model::network::{Mode, ModelType, Network};
use crate::model::options::TrainOptions;
use crate::model::trained::one_head;
use crate::nn::{Sums, collect_gradients};
use crate::train::augment::{Augmenter, Origin};
use crate::train::control::{Control, EpochRecord, Progress};
use crate::train::loss::LossSum;
use crate::train::losses::Losses;
use crate::train::optim::Penalty;
use crate::train::prepare::{Prepared, Shard};
use crate::{Error, Result};

/// A training whose rows are prepared.
pub(crate) struct Training<'a> {
    pub(crate) model_type: &'a dyn ModelType,
    pub(crate) network: &'a dyn Network,
    pub(crate) losses: Losses,
    pub(crate) device: Device,
    pub(crate) batch_size: usize,
    pub(crate) l2: f64,
    /// The number of epochs of a descent if the options set none.
    pub(crate) epochs_default: usize,
    /// The share of its old value that the moving average of the weights keeps at a step; 0 if there is no average.
    pub(crate) ema_decay: f64,
    /// The number of epochs of the second training, on all rows; `None` for the first.
    pub(crate) refit_epochs: Option<usize>,
    /// The weights of the base model, if there is one.
    pub(crate) base_weights: Option<Vec<f64>>,
    pub(crate) prepared: Prepared,
    /// Changes the images of the rows of a step, if the options say so.
    pub(crate) augmenter: Option<Augmenter>,
    pub(crate) options: &'a TrainOptions,
    pub(crate) collective: &'a dyn Collective,
    pub(crate) control: &'a Control,
    /// The start of [`fit`](crate::train::fit::fit).
    pub(crate) started: Instant,
}

/// The result of an optimiser or solver.
pub(crate) struct Solution {
    /// The weights, flat.
    pub(crate) weights: Vec<f64>,
    /// One record per epoch.
    pub(crate) history: Vec<EpochRecord>,
    /// A notice for the user about the weights.
    pub(crate) notice: Option<String>,
}

/// The factor of half the squared weights in the loss.
pub(crate) fn l2(model_type: &dyn ModelType, options: &TrainOptions, train_rows: u64) -> f64 {
    let default = || model_type.default_l2(train_rows);
    options.l2_reg.unwrap_or_else(default)
}

/// The numbers, if they are f32.
#[expect(clippy::ptr_arg, reason = "the vector is taken as a whole")]
fn single<T: 'static>(numbers: &mut Vec<T>) -> Option<&mut Vec<f32>> {
    let numbers: &mut dyn Any = numbers;
    numbers.downcast_mut()
}

impl Training<'_> {
    /// The weights before the first step, flat.
    pub(crate) fn first_weights(&self) -> Cow<'_, [f64]> {
        if let Some(base) = &self.base_weights {
            return Cow::Borrowed(base.as_slice());
        }
        let specs = self.network.parameters().iter();
        let initial = specs.flat_map(|spec| spec.initial_values(self.options.seed));
        Cow::Owned(initial.map(f64::from).collect())
    }

    /// Adds the gradient of the summed loss of `rows` to `sum`; the places of statistics stay as they are.
    pub(crate) fn gradient<T: WithDType + std::ops::AddAssign>(
        &self,
        variables: &[Var],
        rows: &Rows,
        mode: Mode<'_>,
        sum: &mut Vec<T>,
    ) -> Result<LossSum> {
        let parameters: Vec<Tensor> = variables
            .iter()
            .map(|variable| variable.as_tensor().clone())
            .collect();
        let inputs = rows.inputs.to(&self.device, T::DTYPE)?;
        let outputs = self.network.forward(&parameters, &inputs, mode)?;
        let outputs = one_head(outputs)?;
        let values = outputs.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let loss = self.losses.evaluate(&values, &rows.labels, &rows.weights)?;
        let slope = Tensor::from_slice(&loss.gradient, outputs.shape(), &self.device)?
            .to_dtype(T::DTYPE)?;
        let objective = (outputs * slope)?.sum_all()?;
        let sums = match single(sum) {
            Some(sum) => Sums::new(std::mem::take(sum), variables),
            None => Sums::default(),
        };
        let (gradients, sums) = collect_gradients(sums, || objective.backward())?;
        let is_added: Vec<bool> = variables
            .iter()
            .map(|variable| sums.has(variable))
            .collect();
        if let Some(sum) = single(sum) {
            *sum = sums.into_values();
        }
        let mut rest = sum.as_mut_slice();
        let parameters = variables.iter().zip(self.network.parameters());
        for ((variable, spec), is_added) in parameters.zip(is_added) {
            let (ours, tail) = rest.split_at_mut(spec.len());
            rest = tail;
            if is_added && gradients.get(variable).is_none() {
                continue;
            }
            if let Some(gradient) = gradient_of(&gradients, variable, spec)? {
                add_tensor(ours, gradient)?;
            }
        }
        Ok(loss)
    }

    /// The training rows of a shard at these places, for a step of an epoch.
    pub(crate) fn batch(&self, shard: &Shard, rows: &[u32], epoch: usize) -> Result<Rows> {
        let mut batch = shard.train.select(rows)?;
        if let Some(augmenter) = self.augmenter.as_ref().filter(|_| !rows.is_empty()) {
            let origin = Origin {
                epoch,
                shard: shard.number,
                rows,
            };
            batch.inputs = augmenter.apply(batch.inputs, &origin)?;
        }
        Ok(batch)
    }

    pub(crate) fn penalty(&self) -> Penalty {
        Penalty {
            l1: self.options.l1_reg as f32,
            l2: self.l2 as f32,
            decay: self.options.weight_decay as f32,
        }
    }

    /// The factor from a mean loss to the reported loss, which is in the units of the only target.
    pub(crate) fn loss_unit(&self) -> f64 {
        self.losses.unit(&self.prepared.labels)
    }

    /// Whether `max_runtime_s` has passed for any rank since the training was asked for.
    pub(crate) fn is_out_of_time(&self) -> Result<bool> {
        if self.options.max_runtime_s.is_none() {
            return Ok(false);
        }
        // Clocks differ, so the ranks vote: one rank that is out of time ends the training for all.
        let all = self.collective.all_gather(vec![u8::from(self.is_late())])?;
        Ok(all.iter().any(|vote| vote.first() == Some(&1)))
    }

    /// Whether `max_runtime_s` has passed for this rank.
    pub(crate) fn is_late(&self) -> bool {
        let spent = (self.control.spent + self.started.elapsed()).as_secs_f64();
        let limit = self.options.max_runtime_s;
        limit.is_some_and(|seconds| spent > seconds)
    }

    /// The notice of a training that `max_runtime_s` ended.
    pub(crate) fn out_of_time(&self, epochs: usize) -> String {
        let seconds = self.options.max_runtime_s.unwrap_or_default();
        format!("max_runtime_s = {seconds} ended the training after epoch {epochs}")
    }

    /// Tells the user of an epoch. Those of a second training are not told: they have no evaluation loss.
    pub(crate) fn report_epoch(&self, record: &EpochRecord) {
        if self.collective.rank() == 0
            && self.refit_epochs.is_none()
            && let Some(record) = in_unit(record, self.loss_unit())
        {
            self.control.report(|| Progress::Epoch(record));
        }
    }

    pub(crate) fn diverged(&self, epoch: usize) -> Error {
        Error::Diverged(format!(
            "the loss is not finite in epoch {epoch}; lower learn_rate (now {}), or set clip_norm",
            self.options.learn_rate
        ))
    }
}

/// The record with its losses in this unit; `None` if a training has diverged, which ends it with an error. Progress travels as
/// JSON, which has no infinite number: the connection of a worker would break.
fn in_unit(record: &EpochRecord, unit: f64) -> Option<EpochRecord> {
    let train_loss = record.train_loss * unit;
    let eval_loss = record.eval_loss.map(|loss| loss * unit);
    train_loss.is_finite().then(|| EpochRecord {
        train_loss,
        eval_loss: eval_loss.filter(|loss| loss.is_finite()),
        ..record.clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_that_diverged_is_not_reported() {
        let record = |train_loss, eval_loss| EpochRecord {
            epoch: 3,
            train_loss,
            eval_loss,
            learn_rate: None,
            duration_ms: 7,
        };
        let twice = in_unit(&record(1.0, Some(1.5)), 2.0);
        assert_eq!(twice, Some(record(2.0, Some(3.0))));
        let infinite = in_unit(&record(1.0, Some(f64::INFINITY)), 2.0);
        assert_eq!(infinite, Some(record(2.0, None)));
        for (loss, unit) in [(f64::NAN, 1.0), (f64::INFINITY, 1.0), (1e200, 1e200)] {
            assert_eq!(in_unit(&record(loss, None), unit), None);
        }
    }
}
