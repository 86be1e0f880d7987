//! Minibatch descent: each step takes its share of every shard and sums gradients over shards in a fixed tree.

use std::ops::Range;
use std::time::{Duration, Instant};

use tracing::info;

use crate::model::flat::{penalised, variables};
use crate::model::network::Mode;
use crate::model::options::Optimizer;
use crate::train::best::{Best, PATIENCE};
use crate::train::control::{EpochRecord, Progress};
use crate::train::optim::{OptimizerState, Penalty, clip_norm};
use crate::train::prepare::Shard;
use crate::train::schedule::factor;
use crate::train::steps::Steps;
use crate::train::training::{Solution, Training};
use crate::{Result, random};

const EPOCHS_DEFAULT: usize = 50;
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

impl Training<'_> {
    /// Trains until the last epoch, early stopping or the time limit.
    pub(crate) fn descend(&self, optimizer: Optimizer) -> Result<Solution> {
        let specs = self.network.parameters();
        let mut weights: Vec<f32> = specs
            .iter()
            .flat_map(|spec| spec.initial_values(self.options.seed))
            .collect();
        let mut state = match optimizer {
            Optimizer::Sgd => OptimizerState::sgd(weights.len()),
            _ => OptimizerState::adamw(weights.len()),
        };
        let penalised = penalised(specs);
        let penalty = Penalty {
            l1: self.options.l1_reg as f32,
            l2: self.l2 as f32,
            decay: self.options.weight_decay as f32,
        };
        let epochs = self.options.epochs.unwrap_or(EPOCHS_DEFAULT);
        let steps = Steps::count(self.prepared.train_rows(), self.batch_size);
        let mut history = Vec::with_capacity(epochs);
        let mut best = Best::new(weights.clone());
        let (mut is_over, mut notice) = (false, None);
        if let Some(last) = self.last_checkpoint(weights.len())? {
            info!(
                epochs = last.position.history.len(),
                "resumed from a checkpoint"
            );
            (weights, state, history) = (last.weights, last.optimizer, last.position.history);
            best = Best {
                weights: last.best_weights,
                loss: f64::from_bits(last.position.best_loss),
                mark: f64::from_bits(last.position.best_mark),
                epochs_since: last.position.epochs_since,
            };
            is_over = self.options.early_stop && best.epochs_since >= PATIENCE;
        }
        let mut saved = Instant::now();
        for epoch in history.len()..epochs {
            if is_over {
                break;
            }
            let began = Instant::now();
            let orders = self.orders(epoch);
            let (mut loss, mut weight, mut learn_rate) = (0.0, 0.0, 0.0);
            let mut last_report = Instant::now();
            let shards = &self.prepared.train_rows_by_shard;
            for (step, ranges) in Steps::new(shards, self.batch_size).enumerate() {
                self.control.check()?;
                let progress = (epoch * steps + step) as f64 / (epochs * steps) as f64;
                learn_rate = self.options.learn_rate * factor(self.options.lr_schedule, progress);
                let mut sum = self.step_gradient(&weights, &orders, &ranges, (epoch, step))?;
                let (step_weight, step_loss) = (sum.pop().unwrap_or(0.0), sum.pop().unwrap_or(0.0));
                if !step_loss.is_finite() || sum.iter().any(|slope| !slope.is_finite()) {
                    return Err(self.diverged(epoch + 1));
                }
                loss += f64::from(step_loss);
                weight += f64::from(step_weight);
                if step_weight > 0.0 {
                    sum.iter_mut().for_each(|slope| *slope /= step_weight);
                    if let Some(norm_max) = self.options.clip_norm {
                        clip_norm(&mut sum, norm_max);
                    }
                    state.step(&mut weights, &sum, learn_rate as f32, penalty, &penalised);
                }
                if last_report.elapsed() > PROGRESS_EVERY {
                    last_report = Instant::now();
                    self.report_step(epoch, epochs, (step + 1) as f64 / steps as f64);
                }
            }
            let record = EpochRecord {
                epoch: epoch + 1,
                train_loss: loss / weight.max(f64::MIN_POSITIVE),
                eval_loss: self.mean_loss(&widened(&weights), |shard| &shard.eval)?,
                learn_rate: Some(learn_rate),
                duration_ms: began.elapsed().as_millis() as u64,
            };
            self.report_epoch(&record);
            self.report_step(epoch, epochs, 1.0);
            let watched = record.eval_loss.unwrap_or(record.train_loss);
            history.push(record);
            if !watched.is_finite() {
                return Err(self.diverged(epoch + 1));
            }
            let has_stalled = best.record(watched, &weights, self.options.min_rel_progress);
            self.keep(&mut saved, &weights, &state, &history, &best)?;
            is_over = self.options.early_stop && has_stalled;
            if !is_over && epoch + 1 < epochs && self.is_out_of_time()? {
                notice = Some(self.out_of_time(epoch + 1));
                is_over = true;
            }
        }
        let weights = if self.options.early_stop {
            best.weights
        } else {
            weights
        };
        Ok(Solution {
            weights: widened(&weights),
            history,
            notice,
        })
    }

    /// The order of the training rows of each shard in an epoch.
    fn orders(&self, epoch: usize) -> Vec<Vec<u32>> {
        let order = |shard: &Shard| {
            let mut stream = random::stream(
                self.options.seed,
                "order",
                &[epoch as u64, shard.number as u64],
            );
            random::permutation(shard.train.labels.len(), &mut stream)
        };
        self.prepared.shards.iter().map(order).collect()
    }

    /// The gradient of the step's loss summed over all shards, then the loss, then the sum of weights.
    fn step_gradient(
        &self,
        weights: &[f32],
        orders: &[Vec<u32>],
        ranges: &[Range<usize>],
        (epoch, step): (usize, usize),
    ) -> Result<Vec<f32>> {
        let variables = variables(self.network.parameters(), weights, &self.device)?;
        let mut buffers = Vec::with_capacity(orders.len());
        for (shard, order) in self.prepared.shards.iter().zip(orders) {
            let slice = &order[ranges[shard.number].clone()];
            let mut sum = vec![0.0f32; weights.len()];
            let (mut weight, mut loss) = (0.0, 0.0);
            if !slice.is_empty() {
                let counters = [epoch as u64, step as u64, shard.number as u64];
                let mut random = random::stream(self.options.seed, "dropout", &counters);
                let batch = shard.train.select(slice)?;
                let mode = Mode::Training {
                    random: &mut random,
                };
                let at = self.gradient(&variables, &batch, mode, &mut sum)?;
                (weight, loss) = (at.weight as f32, at.loss as f32);
            }
            sum.extend([loss, weight]);
            buffers.push((shard.number, sum));
        }
        self.collective.all_reduce_f32(buffers)
    }

    fn report_step(&self, epoch: usize, epochs: usize, share: f64) {
        if self.collective.rank() > 0 {
            return;
        }
        let done = epoch as f64 + share;
        let elapsed = self.started.elapsed().as_secs_f64();
        self.control.report(|| Progress::Step {
            epoch: epoch + 1,
            epochs,
            share,
            rows_per_second: done * self.prepared.train_rows() as f64 / elapsed,
            remaining_s: elapsed / done * (epochs as f64 - done),
        });
    }
}

fn widened(weights: &[f32]) -> Vec<f64> {
    weights.iter().copied().map(f64::from).collect()
}
