//! Minibatch descent: the loop over epochs and steps, with early stopping, checkpoints and progress.

use std::time::{Duration, Instant};

use tracing::info;

use crate::model::options::Optimizer;
use crate::train::als::AlsDescent;
use crate::train::best::{Best, PATIENCE};
use crate::train::control::{EpochRecord, Progress};
use crate::train::descent::{Descent, Step};
use crate::train::host_descent::HostDescent;
use crate::train::optim::OptimizerState;
use crate::train::prepare::Shard;
use crate::train::schedule::factor_of_step;
use crate::train::steps::Steps;
use crate::train::training::{Solution, Training};
use crate::{Result, random};

/// Sweeps of alternating least squares: each solves for all users and items.
const SWEEPS_DEFAULT: usize = 20;
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

impl Training<'_> {
    /// Trains until the last epoch, early stopping or the time limit.
    pub(crate) fn descend(&self, optimizer: Optimizer) -> Result<Solution> {
        let weights: Vec<f32> = self.first_weights().iter().map(|w| *w as f32).collect();
        let state = match optimizer {
            Optimizer::Sgd => OptimizerState::sgd(weights.len()),
            Optimizer::Als => OptimizerState::Als,
            _ => OptimizerState::adamw(weights.len()),
        };
        let has_learn_rate = optimizer != Optimizer::Als;
        let epochs = self.options.epochs.unwrap_or(match optimizer {
            Optimizer::Als => SWEEPS_DEFAULT,
            _ => self.epochs_default,
        });
        let steps = Steps::count(self.prepared.train_rows(), self.batch_size);
        let mut history = Vec::with_capacity(epochs);
        let mut best = Best::new(weights.clone());
        let (mut is_over, mut notice) = (false, None);
        // A second training has no evaluation rows that could stop it early.
        let (epochs_max, may_stop) = match self.refit_epochs {
            Some(refit) => (refit, false),
            None => (epochs, self.options.early_stop),
        };
        let mut descent = match self.last_checkpoint(weights.len())? {
            None => {
                let average = (self.ema_decay > 0.0).then(|| weights.clone());
                self.start(weights, average, state)?
            }
            Some(checkpoint) => {
                info!(
                    epochs = checkpoint.position.history.len(),
                    "resumed from a checkpoint"
                );
                history = checkpoint.position.history;
                best = Best {
                    weights: checkpoint.best_weights,
                    loss: f64::from_bits(checkpoint.position.best_loss),
                    mark: f64::from_bits(checkpoint.position.best_mark),
                    epochs_since: checkpoint.position.epochs_since,
                };
                is_over = may_stop && best.epochs_since >= PATIENCE;
                self.start(checkpoint.weights, checkpoint.average, checkpoint.optimizer)?
            }
        };
        let mut saved = Instant::now();
        let pace = Pace {
            began: Instant::now(),
            epochs_before: history.len(),
            epochs_max,
            is_refit: self.refit_epochs.is_some(),
        };
        for epoch in history.len()..epochs_max {
            if is_over {
                break;
            }
            let began = Instant::now();
            descent.begin(self.orders(epoch))?;
            let mut learn_rate = 0.0;
            let mut last_report = Instant::now();
            let shards = &self.prepared.train_rows_by_shard;
            for (number, ranges) in Steps::new(shards, self.batch_size).enumerate() {
                self.control.stop.check()?;
                let (schedule, warmup) = (self.options.lr_schedule, self.options.warmup);
                let taken = epoch * steps + number;
                // A second training falls as the first did, up to its best epoch: the schedule has the epochs of the first.
                let factor = factor_of_step(schedule, warmup, taken, epochs * steps);
                learn_rate = self.options.learn_rate * factor;
                descent.step(&Step {
                    epoch,
                    number,
                    taken,
                    ranges: &ranges,
                    learn_rate,
                })?;
                if last_report.elapsed() > PROGRESS_EVERY {
                    last_report = Instant::now();
                    self.report_step(&pace, epoch, (number + 1) as f64 / steps as f64);
                }
            }
            let (loss, weight) = descent.take_loss()?;
            let weights = weights_of_model(descent.as_ref())?;
            let record = EpochRecord {
                epoch: epoch + 1,
                train_loss: loss / weight.max(f64::MIN_POSITIVE),
                eval_loss: match self.refit_epochs {
                    None => self.eval_loss(&widened(&weights))?,
                    Some(_) => None,
                },
                learn_rate: has_learn_rate.then_some(learn_rate),
                duration_ms: began.elapsed().as_millis() as u64,
            };
            self.report_epoch(&record);
            self.report_step(&pace, epoch, 1.0);
            let watched = record.eval_loss.unwrap_or(record.train_loss);
            let is_finite = watched.is_finite() && record.train_loss.is_finite();
            history.push(record);
            if !is_finite {
                return Err(self.diverged(epoch + 1));
            }
            let has_stalled = best.record(watched, &weights, self.options.min_rel_progress);
            let is_out_of_time = self.end_epoch(epoch + 1, &weights)?;
            self.keep(&mut saved, descent.as_ref(), &history, &best)?;
            is_over = may_stop && has_stalled;
            if !is_over && epoch + 1 < epochs_max && is_out_of_time {
                notice = Some(self.out_of_time(epoch + 1));
                is_over = true;
            }
        }
        let weights = match may_stop {
            true => best.weights,
            false => weights_of_model(descent.as_ref())?,
        };
        Ok(Solution {
            weights: widened(&weights),
            history,
            notice,
        })
    }

    /// A descent on the device of the training, from these weights, their average and this state.
    fn start(
        &self,
        weights: Vec<f32>,
        average: Option<Vec<f32>>,
        state: OptimizerState,
    ) -> Result<Box<dyn Descent + '_>> {
        if state == OptimizerState::Als {
            return Ok(Box::new(AlsDescent::new(self, weights)?));
        }
        match &self.device {
            #[cfg(feature = "cuda")]
            candle_core::Device::Cuda(gpu) => {
                Ok(Box::new(crate::train::gpu_descent::GpuDescent::new(
                    self,
                    gpu,
                    &weights,
                    average.as_deref(),
                    &state,
                )?))
            }
            _ => Ok(Box::new(HostDescent::new(self, weights, average, state))),
        }
    }

    /// The order of the training rows of each shard in an epoch.
    fn orders(&self, epoch: usize) -> Vec<Vec<u32>> {
        let order = |shard: &Shard| {
            let mut stream = random::stream(
                self.options.seed,
                "order",
                &[epoch as u64, shard.number as u64],
            );
            random::permutation(shard.train.len(), &mut stream)
        };
        self.prepared.shards.iter().map(order).collect()
    }

    fn report_step(&self, pace: &Pace, epoch: usize, share: f64) {
        if self.collective.rank() > 0 {
            return;
        }
        let done = (epoch - pace.epochs_before) as f64 + share;
        let ahead = (pace.epochs_max - pace.epochs_before) as f64 - done;
        let elapsed = pace.began.elapsed().as_secs_f64();
        self.control.report(|| Progress::Step {
            epoch: epoch + 1,
            epochs: pace.epochs_max,
            share,
            rows_per_second: done * self.prepared.train_rows() as f64 / elapsed,
            remaining_s: elapsed / done * ahead,
            is_refit: pace.is_refit,
        });
    }
}

/// What the time that remains is reckoned from.
struct Pace {
    began: Instant,
    /// Epochs that an interrupted attempt has done.
    epochs_before: usize,
    /// The number of the last epoch, without early stopping.
    epochs_max: usize,
    is_refit: bool,
}

/// The weights that a model of this moment has: the average, if there is one.
fn weights_of_model(descent: &dyn Descent) -> Result<Vec<f32>> {
    match descent.average()? {
        Some(average) => Ok(average),
        None => descent.weights(),
    }
}

fn widened(weights: &[f32]) -> Vec<f64> {
    weights.iter().copied().map(f64::from).collect()
}
