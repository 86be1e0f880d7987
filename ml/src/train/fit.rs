//! The training of one rank, from its rows to a model that is the same on every rank.
//!
//! ```text
//! rows ─ prepare ─▶ shards ─┬─ network: epochs of steps over slices of all shards ─┬─▶ evaluate ─▶ Trained
//!                           ├─ linear: L-BFGS over all rows                         ┤
//!                           └─ linear_reg: normal equations                         ┘
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, Var, WithDType};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::collective::Collective;
use crate::data::labels::Labels;
use crate::data::numbers::Precision;
use crate::data::rows::Rows;
use crate::data::signature::Signature;
use crate::model::flat::{add_tensor, penalised, variables};
use crate::model::metrics::Metric;
use crate::model::{Input, Model, ModelConfig, ModelType, Network};
use crate::random;
use crate::train::checkpoint::Checkpoints;
use crate::train::loss::{Loss, LossSum};
use crate::train::optim::{OptimizerState, Penalty, clip_norm};
use crate::train::options::{Optimizer, TrainOptions};
use crate::train::prepare::{Prepared, RankRows, Shard, prepare};
use crate::train::schedule::factor;
use crate::train::steps::Steps;
use crate::{Error, Result};

/// The version of the model files that this build writes.
pub const FORMAT_VERSION: u32 = 1;
const EPOCHS_DEFAULT: usize = 50;
/// Epochs without progress before early stopping.
const PATIENCE: usize = 5;
/// Rows of one forward pass outside of training steps: what lies between the layers stays in the cache of a core.
pub(crate) const CHUNK_ROWS: usize = 256;
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// What is trained, on what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TrainSpec {
    /// Features and label.
    pub signature: Signature,
    /// How.
    pub options: TrainOptions,
    /// Number of virtual shards.
    pub shards: usize,
}

/// How a training is watched and stopped.
#[derive(Clone, Default)]
pub struct Control {
    /// Set to stop at the next step.
    pub cancelled: Arc<AtomicBool>,
    /// Told of progress, by rank 0 only.
    pub progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
    /// Where a network's training is kept after epochs, and goes on from; all ranks have it, or none.
    pub checkpoints: Option<Arc<dyn Checkpoints>>,
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control")
            .field("cancelled", &self.cancelled)
            .finish_non_exhaustive()
    }
}

impl Control {
    pub(crate) fn check(&self) -> Result<()> {
        if self.cancelled.load(Ordering::Relaxed) {
            Err(Error::Cancelled)
        } else {
            Ok(())
        }
    }

    fn report(&self, progress: impl FnOnce() -> Progress) {
        if let Some(report) = &self.progress {
            report(progress());
        }
    }
}

/// Where a training is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Progress {
    /// Within an epoch.
    Step {
        /// The epoch, from 1.
        epoch: usize,
        /// Epochs at most.
        epochs: usize,
        /// Share of the epoch done.
        share: f64,
        /// Training rows a second since the start.
        rows_per_second: f64,
        /// Seconds to the last epoch, if none stops early.
        remaining_s: f64,
    },
    /// At the end of an epoch.
    Epoch(EpochRecord),
    /// Something that the user should know of the rows.
    Notice(String),
}

/// What is kept of an epoch, or of an iteration of a full-batch solver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 1.
    pub epoch: usize,
    /// Mean loss of the training rows.
    pub train_loss: f64,
    /// Mean loss of the evaluation rows, if there are any.
    pub eval_loss: Option<f64>,
    /// The learning rate of the last step; `None` for a solver without one.
    pub learn_rate: Option<f64>,
    /// Wall time of the epoch.
    pub duration_ms: u64,
}

/// A trained model and how it came about.
#[derive(Debug, Clone)]
pub struct Trained {
    /// Everything but the weights.
    pub config: ModelConfig,
    /// The weights, flat in the order of the network's parameters; of a model in single precision each is an f32.
    pub weights: Vec<f64>,
    /// One record an epoch.
    pub history: Vec<EpochRecord>,
    /// Metrics of the evaluation rows, or of the training rows if there are none.
    pub metrics: Vec<Metric>,
    /// Mean loss of the training rows under the final weights.
    pub train_loss: f64,
    /// Mean loss of the evaluation rows, if there are any.
    pub eval_loss: Option<f64>,
    /// Rows trained on.
    pub train_rows: u64,
    /// Rows evaluated with.
    pub eval_rows: u64,
    /// Rows left out because of a NULL.
    pub skipped_rows: u64,
    /// What the user should know of the rows.
    pub notices: Vec<String>,
    /// A hash of all rows as a multiset.
    pub rows_hash: u128,
    /// Rows of one step.
    pub batch_size: usize,
    /// How the weights were found.
    pub optimizer: Optimizer,
}

/// Trains on the rows of this rank together with all other ranks.
///
/// # Errors
/// What [`prepare`] refuses; [`Error::Invalid`] if the loss is not finite; [`Error::Cancelled`]; [`Error::Peer`] if
/// another rank failed.
pub fn fit(
    spec: &TrainSpec,
    model_type: &dyn ModelType,
    rows: RankRows,
    collective: &dyn Collective,
    control: &Control,
) -> Result<Trained> {
    let options = &spec.options;
    let began = Instant::now();
    let prepared = prepare(
        &spec.signature,
        model_type,
        options,
        spec.shards,
        rows,
        collective,
        &|| control.check(),
    )?;
    let rank = collective.rank();
    info!(
        rank,
        duration_ms = ms(began),
        "prepared the rows of a training"
    );
    if rank == 0 {
        for notice in &prepared.notices {
            control.report(|| Progress::Notice(notice.clone()));
        }
    }
    let shape = prepared.encoder.shape();
    let network = model_type.network(shape, prepared.labels.outputs(), options);
    let optimizer = options
        .optimizer
        .unwrap_or_else(|| model_type.default_optimizer(shape, options));
    let training = Training {
        network: network.as_ref(),
        loss: prepared.labels.loss(),
        precision: model_type.precision(),
        batch_size: options
            .batch_size
            .unwrap_or_else(|| default_batch_size(prepared.train_rows())),
        l2: options
            .l2_reg
            .unwrap_or_else(|| model_type.default_l2(prepared.train_rows())),
        prepared: &prepared,
        options,
        collective,
        control,
        started: Instant::now(),
    };
    let began = Instant::now();
    let (weights, mut history) = match optimizer {
        Optimizer::NormalEquation => training.solve()?,
        Optimizer::Lbfgs => training.lbfgs()?,
        Optimizer::Adamw | Optimizer::Sgd => training.descend(optimizer)?,
    };
    info!(
        rank,
        duration_ms = ms(began),
        "found the weights of a model"
    );
    let began = Instant::now();
    let unit = training.loss_unit();
    history.iter_mut().for_each(|record| {
        record.train_loss *= unit;
        record.eval_loss = record.eval_loss.map(|loss| loss * unit);
    });
    let has_eval = prepared.eval_rows > 0;
    let train = training.assess(&weights, |shard| &shard.train, !has_eval)?;
    let eval = training.assess(&weights, |shard| &shard.eval, has_eval)?;
    let train_loss = train.loss.unwrap_or(f64::NAN) * unit;
    let eval_loss = eval.loss.map(|loss| loss * unit);
    if !train_loss.is_finite() || weights.iter().any(|weight| !weight.is_finite()) {
        return Err(training.diverged(history.len()));
    }
    let watched = if has_eval { eval } else { train };
    let metrics = training.metrics(&watched.labels, &watched.outputs);
    info!(rank, duration_ms = ms(began), "assessed a model");
    Ok(Trained {
        config: ModelConfig {
            format_version: FORMAT_VERSION,
            signature: spec.signature.clone(),
            encoders: prepared.encoder.columns().to_vec(),
            labels: prepared.labels.clone(),
            options: options.clone(),
        },
        weights,
        history,
        metrics,
        train_loss,
        eval_loss,
        train_rows: prepared.train_rows(),
        eval_rows: prepared.eval_rows,
        skipped_rows: prepared.skipped_rows,
        notices: prepared.notices.clone(),
        rows_hash: prepared.rows_hash,
        batch_size: training.batch_size,
        optimizer,
    })
}

impl Trained {
    /// The model, ready to predict.
    pub fn model(&self, model_type: &dyn ModelType) -> Result<Model> {
        Model::new(self.config.clone(), model_type, &self.weights)
    }
}

fn widened(weights: &[f32]) -> Vec<f64> {
    weights.iter().copied().map(f64::from).collect()
}

fn ms(began: Instant) -> u64 {
    began.elapsed().as_millis() as u64
}

/// Some sixty steps an epoch: small data needs many steps, large data wide ones.
fn default_batch_size(train_rows: u64) -> usize {
    (train_rows / 64).next_power_of_two().clamp(32, 1_024) as usize
}

/// What all ways of finding weights share.
pub(crate) struct Training<'a> {
    pub(crate) network: &'a dyn Network,
    pub(crate) loss: Loss,
    pub(crate) precision: Precision,
    pub(crate) batch_size: usize,
    pub(crate) l2: f64,
    pub(crate) prepared: &'a Prepared,
    pub(crate) options: &'a TrainOptions,
    pub(crate) collective: &'a dyn Collective,
    pub(crate) control: &'a Control,
    pub(crate) started: Instant,
}

pub(crate) type Found = (Vec<f64>, Vec<EpochRecord>);

impl Training<'_> {
    /// Minibatch descent: each step takes its share of every shard and sums gradients over shards in a fixed tree.
    fn descend(&self, optimizer: Optimizer) -> Result<Found> {
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
        let mut is_over = false;
        if let Some(last) = self.last_checkpoint(weights.len())? {
            info!(
                epochs = last.position.history.len(),
                "goes on from a checkpoint"
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
            let has_stalled = best.has_stalled(watched, &weights, self.options.min_rel_progress);
            self.keep(&mut saved, &weights, &state, &history, &best)?;
            is_over = (self.options.early_stop && has_stalled) || self.is_out_of_time()?;
        }
        let weights = if self.options.early_stop {
            best.weights
        } else {
            weights
        };
        Ok((widened(&weights), history))
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
        let variables = variables(self.network.parameters(), weights)?;
        let mut buffers = Vec::with_capacity(orders.len());
        for (shard, order) in self.prepared.shards.iter().zip(orders) {
            let slice = &order[ranges[shard.number].clone()];
            let mut sum = vec![0.0f32; weights.len()];
            let (mut weight, mut loss) = (0.0, 0.0);
            if !slice.is_empty() {
                let counters = [epoch as u64, step as u64, shard.number as u64];
                let mut random = random::stream(self.options.seed, "dropout", &counters);
                let batch = shard.train.gather(slice);
                let at = self.gradient(&variables, &batch, Some(&mut random), &mut sum)?;
                (weight, loss) = (at.weight as f32, at.loss as f32);
            }
            sum.extend([loss, weight]);
            buffers.push((shard.number, sum));
        }
        self.collective.all_reduce_f32(buffers)
    }

    /// Adds the gradient of the summed loss of `rows` to `sum`.
    pub(crate) fn gradient<T: WithDType + std::ops::AddAssign>(
        &self,
        variables: &[Var],
        rows: &Rows,
        random: Option<&mut ChaCha8Rng>,
        sum: &mut [T],
    ) -> Result<LossSum> {
        let parameters: Vec<Tensor> = variables
            .iter()
            .map(|variable| variable.as_tensor().clone())
            .collect();
        let input = Input::new(&rows.features, T::DTYPE, &Device::Cpu)?;
        let outputs = self.network.forward(&parameters, &input, random)?;
        let values = outputs.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?;
        let loss = self.loss.evaluate(&values, &rows.labels, &rows.weights)?;
        let slope = Tensor::from_slice(&loss.gradient, outputs.shape(), &Device::Cpu)?
            .to_dtype(T::DTYPE)?;
        let gradients = (outputs * slope)?.sum_all()?.backward()?;
        let mut rest = sum;
        for (variable, spec) in variables.iter().zip(self.network.parameters()) {
            let (ours, tail) = rest.split_at_mut(spec.len());
            rest = tail;
            let gradient = gradients.get(variable).ok_or_else(|| {
                Error::Internal(format!(
                    "parameter \"{}\" received no gradient; the network cuts it",
                    spec.name
                ))
            })?;
            add_tensor(ours, gradient)?;
        }
        Ok(loss)
    }

    /// What a mean loss is multiplied with to be one that people know: the mean squared error in the label's units.
    fn loss_unit(&self) -> f64 {
        match &self.prepared.labels {
            Labels::Number { std, .. } => 2.0 * std * std,
            Labels::Classes { .. } => 1.0,
        }
    }

    pub(crate) fn is_out_of_time(&self) -> Result<bool> {
        let Some(seconds) = self.options.max_runtime_s else {
            return Ok(false);
        };
        // Clocks differ, so one rank's decision must be everybody's.
        let is_over = self.started.elapsed().as_secs_f64() > seconds;
        let all = self.collective.all_gather(vec![u8::from(is_over)])?;
        Ok(all.iter().any(|vote| vote.first() == Some(&1)))
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

    pub(crate) fn report_epoch(&self, record: &EpochRecord) {
        if self.collective.rank() == 0 {
            let unit = self.loss_unit();
            self.control.report(|| {
                Progress::Epoch(EpochRecord {
                    train_loss: record.train_loss * unit,
                    eval_loss: record.eval_loss.map(|loss| loss * unit),
                    ..record.clone()
                })
            });
        }
    }

    pub(crate) fn diverged(&self, epoch: usize) -> Error {
        Error::Invalid(format!(
            "the loss is not finite in epoch {epoch}; lower learn_rate (now {}), or set clip_norm",
            self.options.learn_rate
        ))
    }
}

/// The weights of the best epoch, and how long ago it was.
pub(crate) struct Best {
    pub(crate) weights: Vec<f32>,
    pub(crate) loss: f64,
    /// The loss that the last progress was measured from.
    pub(crate) mark: f64,
    pub(crate) epochs_since: usize,
}

impl Best {
    fn new(weights: Vec<f32>) -> Self {
        Self {
            weights,
            loss: f64::INFINITY,
            mark: f64::INFINITY,
            epochs_since: 0,
        }
    }

    fn has_stalled(&mut self, loss: f64, weights: &[f32], min_rel_progress: f64) -> bool {
        if loss < self.loss {
            self.loss = loss;
            self.weights.copy_from_slice(weights);
        }
        if loss < self.mark * (1.0 - min_rel_progress) || self.mark.is_infinite() {
            self.mark = loss;
            self.epochs_since = 0;
        } else {
            self.epochs_since += 1;
        }
        self.epochs_since >= PATIENCE
    }
}
