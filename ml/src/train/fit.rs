//! The training of one rank, from its rows to a model that is the same on every rank.
//!
//! ```text
//! rows ─ prepare ─▶ shards ─┬─ network: epochs of steps over slices of all shards ─┬─▶ assess ─▶ Trained
//!                           ├─ linear: L-BFGS over all rows                         ┤
//!                           └─ linear_reg: normal equations                         ┘
//! ```
//! A network may then learn all rows, evaluation rows too, from the beginning: see `refit.rs`.

use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;
use tracing::info;

use crate::collective::Collective;
use crate::data::columns::Column;
use crate::data::encode::shape::InputShape;
use crate::data::encode::tabular::Encoder;
use crate::data::labels::outputs_of;
use crate::device::{DeviceName, HOST};
use crate::model::Model;
use crate::model::compute::LoadOptions;
use crate::model::metrics::Metric;
use crate::model::network::{EPOCHS_DEFAULT, ModelType, Network};
use crate::model::options::{Freeze, Optimizer, TrainOptions};
use crate::model::text::{TextModel, network_of};
use crate::model::trained::{ModelConfig, TrainedModel};
use crate::train::augment::Augmenter;
use crate::train::base::Base;
use crate::train::control::{Control, EpochRecord, Progress};
use crate::train::judge::Judged;
use crate::train::losses::Losses;
use crate::train::memory::working_bytes;
use crate::train::prepare::{Prepared, prepare};
use crate::train::raw::RankRows;
pub use crate::train::refit::Refit;
pub use crate::train::spec::TrainSpec;
use crate::train::steps::Steps;
use crate::train::training::{Solution, Training, l2};
use crate::worker::helpers;
use crate::{Error, Result};

/// The version of the model files that this build writes.
pub const FORMAT_VERSION: u32 = 1;

/// Batch norm has rough statistics if it normalises fewer numbers of a channel together.
const NORMALISED_MIN: usize = 16;

/// A trained model and the record of its training.
#[derive(Debug, Clone)]
pub struct Trained {
    /// Everything except the weights.
    pub config: ModelConfig,
    /// The weights, flat in the order of the network's parameters; in single precision, each weight fits in an f32.
    pub weights: Vec<f64>,
    /// One record per epoch.
    pub history: Vec<EpochRecord>,
    /// Metrics of the evaluation rows, or of the training rows if there are none.
    pub metrics: Vec<Metric>,
    /// Mean loss of the training rows under the weights of the first training.
    pub train_loss: f64,
    /// Mean loss of the evaluation rows, if there are any.
    pub eval_loss: Option<f64>,
    /// The number of training rows.
    pub train_rows: u64,
    /// The number of evaluation rows.
    pub eval_rows: u64,
    /// The second training, if there was one. The weights are its weights; all figures are those of the first.
    pub refit: Option<Refit>,
    /// The number of rows left out because of a NULL.
    pub skipped_rows: u64,
    /// Notices for the user about the rows and the weights.
    pub notices: Vec<String>,
    /// A hash of all rows as a multiset.
    pub rows_hash: u128,
    /// Rows of one step.
    pub batch_size: usize,
    /// The optimiser or solver that found the weights.
    pub optimizer: Optimizer,
    /// The encoder of texts that the training started from.
    pub text_base: Option<Arc<dyn Model>>,
}

/// Trains on the rows of this rank together with all other ranks.
///
/// # Errors
/// The errors of [`prepare`]; [`Diverged`](Error::Diverged) if the loss is not finite;
/// [`Unsupported`](Error::Unsupported) if the ranks hold different weights;
/// [`Cancelled`](Error::Cancelled); [`Peer`](Error::Peer) if another rank failed.
pub fn fit(
    spec: &TrainSpec,
    model_type: &dyn ModelType,
    rows: RankRows,
    collective: &dyn Collective,
    control: &Control,
) -> Result<Trained> {
    let train = || train(spec, model_type, rows, collective, control);
    control.stop.watch(train)
}

fn train(
    spec: &TrainSpec,
    model_type: &dyn ModelType,
    rows: RankRows,
    collective: &dyn Collective,
    control: &Control,
) -> Result<Trained> {
    let options = &spec.options;
    let started = Instant::now();
    let helpers = helpers(control.threads.max(1))?;
    let prepared = prepare(spec, model_type, rows, collective, &helpers, control)?;
    drop(helpers);
    let rank = collective.rank();
    info!(
        rank,
        duration_ms = ms(started),
        "prepared the rows of a training"
    );
    let report = |notice: &String| {
        if rank == 0 {
            control.report(|| Progress::Notice(notice.clone()));
        }
    };
    prepared.notices.iter().for_each(report);
    let shape = prepared.encoder.shape();
    let of_rows = (shape, outputs_of(&prepared.labels));
    let network = network_of(spec.base.as_deref(), model_type, of_rows, options)?;
    let device = agreed_device(spec, model_type, collective)?;
    let base = Base::of(spec)?;
    let optimizer = optimizer_of(model_type, options, shape, base.is_some());
    let batch_size = batch_size(options, optimizer, prepared.train_rows());
    let mut training = Training {
        model_type,
        network: network.as_ref(),
        losses: Losses::of(&spec.columns.targets, &prepared.labels, options)?,
        device: device.open()?,
        batch_size,
        l2: l2(model_type, options, prepared.train_rows()),
        epochs_default: epochs_default(model_type, options, &prepared, batch_size),
        ema_decay: ema_decay(model_type, options),
        refit_epochs: None,
        base_weights: base_weights(spec, base, network.as_ref(), &prepared.encoder)?,
        augmenter: Augmenter::of(options, &prepared.encoder)?,
        // Behind the fields that are made from the rows.
        prepared,
        options,
        collective,
        control,
        started,
    };
    let too_few = network.normalised_numbers().and_then(|of_row| {
        too_few_at_once(of_row, batch_size, &training.prepared.train_rows_by_shard)
    });
    too_few.iter().for_each(report);
    let bytes = working_bytes(&training, optimizer);
    let _held = control.reserve(bytes, "the weights, gradients and outputs of a step")?;
    let first = training.solution(optimizer)?;
    let judged = training.judged(&first, &spec.columns.targets)?;
    let train_rows = training.prepared.train_rows();
    let eval_rows = training.prepared.eval_rows();
    let refit_epochs = training.refit_after(optimizer, &first);
    let is_out_of_time = refit_epochs.is_some() && training.is_out_of_time()?;
    let Solution {
        mut weights,
        mut history,
        mut notice,
    } = first;
    let mut refit = None;
    if is_out_of_time {
        let ended = training.out_of_time(history.len());
        notice = Some(format!("{ended}, before the second training, on all rows"));
    } else if let Some(epochs) = refit_epochs {
        training = training.on_all_rows(epochs)?;
        let more = working_bytes(&training, optimizer).saturating_sub(bytes);
        let _more = control.reserve(more, "the order of all rows")?;
        let ended = match training.solution(optimizer) {
            Ok(second) => {
                if second.notice.is_none() {
                    weights = second.weights;
                    let rows = training.prepared.train_rows();
                    refit = Some(Refit { epochs, rows });
                }
                second.notice
            }
            // All ranks see at once that a loss is not finite.
            Err(Error::Diverged(cause)) => Some(cause),
            Err(error) => return Err(error),
        };
        notice = ended.map(|cause| {
            format!(
                "{cause}: that was the second training, on all rows; the model is that of the first"
            )
        });
    }
    notice.iter().for_each(report);
    let unit = training.loss_unit();
    for record in &mut history {
        record.train_loss *= unit;
        record.eval_loss = record.eval_loss.map(|loss| loss * unit);
    }
    let prepared = training.prepared;
    let text_base = spec.base.as_ref().filter(|base| base.text_base().is_some());
    Ok(Trained {
        config: ModelConfig {
            format_version: FORMAT_VERSION,
            columns: prepared.columns,
            encoders: prepared.encoder.columns().to_vec(),
            labels: prepared.labels,
            options: TrainOptions {
                device,
                ..options.clone()
            },
            imputed: prepared.imputed,
        },
        weights,
        history,
        metrics: judged.metrics,
        train_loss: judged.train_loss,
        eval_loss: judged.eval_loss,
        train_rows,
        eval_rows,
        refit,
        skipped_rows: prepared.skipped_rows,
        notices: prepared
            .notices
            .into_iter()
            .chain(too_few)
            .chain(notice)
            .collect(),
        rows_hash: prepared.rows_hash,
        batch_size,
        optimizer,
        text_base: text_base.cloned(),
    })
}

impl Training<'_> {
    /// The weights that an optimiser or solver finds.
    ///
    /// # Errors
    /// [`Diverged`](Error::Diverged) if a weight is not finite.
    fn solution(&self, optimizer: Optimizer) -> Result<Solution> {
        let began = Instant::now();
        let solution = match optimizer {
            Optimizer::NormalEquation => self.agreed(self.solve()?, optimizer),
            Optimizer::Lbfgs => self.agreed(self.lbfgs()?, optimizer),
            Optimizer::Adamw | Optimizer::Sgd | Optimizer::Als => self.descend(optimizer),
        }?;
        if solution.weights.iter().any(|weight| !weight.is_finite()) {
            return Err(self.diverged(solution.history.len()));
        }
        info!(
            rank = self.collective.rank(),
            duration_ms = ms(began),
            "found the weights of a model"
        );
        Ok(solution)
    }

    /// The losses, in the unit that users see, and the metrics of a solution.
    fn judged(&self, solution: &Solution, targets: &[Column]) -> Result<Judged> {
        let (began, unit) = (Instant::now(), self.loss_unit());
        let mut judged = self.judge(&solution.weights, targets)?;
        judged.train_loss *= unit;
        judged.eval_loss = judged.eval_loss.map(|loss| loss * unit);
        if !judged.train_loss.is_finite() {
            return Err(self.diverged(solution.history.len()));
        }
        info!(
            rank = self.collective.rank(),
            duration_ms = ms(began),
            "assessed a model"
        );
        Ok(judged)
    }
}

fn optimizer_of(
    model_type: &dyn ModelType,
    options: &TrainOptions,
    shape: &InputShape,
    has_base: bool,
) -> Optimizer {
    let default = || match model_type.default_optimizer(shape, options) {
        // A solution in closed form begins nowhere.
        Optimizer::NormalEquation if has_base => Optimizer::Lbfgs,
        optimizer => optimizer,
    };
    options.optimizer.unwrap_or_else(default)
}

/// The weights that a training starts from, if it has a base.
fn base_weights(
    spec: &TrainSpec,
    base: Option<Base<'_>>,
    network: &dyn Network,
    encoder: &Encoder,
) -> Result<Option<Vec<f64>>> {
    let seed = spec.options.seed;
    let texts = spec.base.as_deref().and_then(Model::text_base);
    match texts.filter(|_| spec.options.text.freeze != Freeze::Encoder) {
        Some(texts) => Ok(Some(texts.weights(network, seed)?)),
        None => base
            .map(|base| base.weights(network, encoder, seed))
            .transpose(),
    }
}

fn batch_size(options: &TrainOptions, optimizer: Optimizer, train_rows: u64) -> usize {
    match (options.batch_size, optimizer) {
        // A sweep takes all rows.
        (_, Optimizer::Als) => train_rows.max(1) as usize,
        (Some(rows), _) => rows,
        (None, _) => default_batch_size(train_rows),
    }
}

fn epochs_default(
    model_type: &dyn ModelType,
    options: &TrainOptions,
    prepared: &Prepared,
    batch_size: usize,
) -> usize {
    match options.early_stop && prepared.eval_rows() > 0 {
        true => model_type.default_epochs(Steps::count(prepared.train_rows(), batch_size)),
        // Without early stopping, nothing ends a descent that learns its rows by heart.
        false => EPOCHS_DEFAULT,
    }
}

fn ema_decay(model_type: &dyn ModelType, options: &TrainOptions) -> f64 {
    let default = match options.l1_reg > 0.0 {
        // An L1 penalty is there to make weights exactly zero, and an average of weights is not.
        true => 0.0,
        false => model_type.default_ema_decay(),
    };
    options.ema_decay.unwrap_or(default)
}

impl Trained {
    /// The network with its weights on a device. That of a model of texts takes what [`Trained::text_base`] makes of texts.
    ///
    /// # Errors
    /// The errors of [`TrainedModel::new`].
    pub fn model(&self, model_type: &dyn ModelType, device: &Device) -> Result<TrainedModel> {
        let config = self.config.clone();
        let encoder = Encoder::new(config.encoders.clone(), model_type.precision());
        let of_rows = (encoder.shape(), outputs_of(&config.labels));
        let base = self.text_base.as_deref();
        let network = network_of(base, model_type, of_rows, &config.options)?;
        let options = LoadOptions::on(device);
        TrainedModel::of_network(config, model_type, network, &self.weights, &options)
    }

    /// The model on the host, as its files give it.
    ///
    /// # Errors
    /// The errors of [`TrainedModel::new`] and [`TextModel::new`].
    pub fn whole(&self, model_type: &dyn ModelType) -> Result<Box<dyn Model>> {
        let network = self.model(model_type, &HOST)?;
        match &self.text_base {
            None => Ok(Box::new(network)),
            Some(base) => Ok(Box::new(TextModel::new(Arc::clone(base), network)?)),
        }
    }
}

/// The device on which a model of this type trains in this process. For a linear model and a factorization, which are solved
/// on the host, `auto` is the host.
pub fn training_device(device: DeviceName, model_type: &dyn ModelType) -> DeviceName {
    match device {
        DeviceName::Auto if model_type.is_linear() || model_type.is_factorization() => {
            DeviceName::Cpu
        }
        device => device.resolved(),
    }
}

/// The device of all ranks: `auto` is a GPU if each rank has one. With several shards, `auto` is the host, which is faster
/// then.
fn agreed_device(
    spec: &TrainSpec,
    model_type: &dyn ModelType,
    collective: &dyn Collective,
) -> Result<DeviceName> {
    let ours = training_device(spec.options.device, model_type);
    if spec.options.device != DeviceName::Auto {
        return Ok(ours);
    }
    let has_gpu = spec.shards == 1 && ours != DeviceName::Cpu;
    let all = collective.all_gather(vec![u8::from(has_gpu)])?;
    match all.iter().all(|has_gpu| has_gpu.first() == Some(&1)) {
        true => Ok(ours),
        false => Ok(DeviceName::Cpu),
    }
}

fn ms(began: Instant) -> u64 {
    began.elapsed().as_millis() as u64
}

/// The notice of a training with batch norm whose steps have too few rows, each of which has `of_row` numbers of a channel.
fn too_few_at_once(of_row: usize, batch_size: usize, rows_by_shard: &[u64]) -> Option<String> {
    let train_rows = rows_by_shard.iter().sum::<u64>() as usize;
    let shards = rows_by_shard.iter().filter(|rows| **rows > 0).count();
    let rows = batch_size.min(train_rows);
    let enough = NORMALISED_MIN.div_ceil(of_row.max(1)) * shards;
    if rows >= enough {
        return None;
    }
    let of_step = match shards {
        1 => format!("a step has {rows} rows"),
        _ => format!("a step has {rows} rows in {shards} shards, each normalised by itself"),
    };
    let remedy = match (enough <= train_rows, shards) {
        (true, 1) => format!("set batch_size = {enough}"),
        (true, _) => format!("set batch_size = {enough}, or shards = 1"),
        (false, 1) => "train on more rows, or leave it out".to_owned(),
        (false, _) => "set shards = 1".to_owned(),
    };
    Some(format!(
        "batch_norm normalises too few rows at once: {of_step}; {remedy}"
    ))
}

/// About 32 to 64 steps per epoch, with 32 to 1,024 rows each: small data needs many steps, large data large batches.
fn default_batch_size(train_rows: u64) -> usize {
    (train_rows / 64).next_power_of_two().clamp(32, 1_024) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_with_few_rows_for_batch_norm_are_a_notice() {
        let notice = |of_row, batch_size, rows: &[u64]| {
            let notice = too_few_at_once(of_row, batch_size, rows);
            notice.unwrap_or_default()
        };
        let shards = [100; 8];
        assert_eq!(notice(1, 128, &shards), "");
        assert_eq!(
            notice(1, 32, &shards),
            "batch_norm normalises too few rows at once: a step has 32 rows in 8 shards, each normalised by itself; set \
             batch_size = 128, or shards = 1"
        );
        // The places of a channel count too, and shards without rows do not.
        assert_eq!(notice(4, 32, &shards), "");
        assert_eq!(notice(1, 32, &[100, 0, 100]), "");
        // No step has more rows than there are.
        let few = notice(1, 128, &[3; 8]);
        assert!(few.contains("has 24 rows in 8 shards, each"), "{few}");
        assert!(few.ends_with("; set shards = 1"), "{few}");
        let one = notice(1, 8, &[100]);
        assert!(
            one.ends_with("a step has 8 rows; set batch_size = 16"),
            "{one}"
        );
        let none = notice(3, 32, &[4]);
        assert!(
            none.ends_with("has 4 rows; train on more rows, or leave it out"),
            "{none}"
        );
    }
}
