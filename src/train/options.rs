//! `OPTIONS (key = value, …)` → [`TrainOptions`]: checks names, types and ranges, and suggests the nearest name.

use vatic_ml::data::image::{Filter, ImageResize};
use vatic_ml::data::precision::Precision;
use vatic_ml::model::network::ModelType;
use vatic_ml::model::options::{
    DataSplit, Feedback, Freeze, LossName, NullHandling, Optimizer, Schedule, TextPooling,
    TrainOptions,
};
use vatic_ml::models::ModelTypes;
use vatic_ml::nn::Activation;

use super::base::{BASE_MODEL, BaseModel};
use super::option_checks::check;
use super::option_list::{FOREIGN, OPTIONS};
use super::option_values::{
    above_zero, above_zero_to_one, any, augment, below_one, between_zero_and_one, boolean,
    class_weights, columns, device, from_zero, hidden_units, input_shape, layers, model_type,
    named, number, numbers, one_of, target_weights, text, whole,
};
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::sql::OptionValue;

const WORKERS_MAX: u64 = 1_024;
const HASH_BUCKETS_MAX: u64 = 10_000_000;
const FACTORS_MAX: u64 = 1_024;

/// Parses and checks the options of a statement, and looks up the model type. Options of the network that the statement does not
/// have are those of the base model, if there is one.
pub(crate) fn train_options<'a>(
    options: &[(String, OptionValue)],
    model_types: &'a ModelTypes,
    base: Option<&BaseModel>,
) -> Result<(TrainOptions, &'a dyn ModelType)> {
    let names = model_types.names();
    let inherited = base.map(BaseModel::inherited).transpose()?;
    let mut read = Reader {
        options: inherited.unwrap_or_default(),
        split: Split::default(),
    };
    for (name, value) in options {
        read.set(name, value, &names)?;
    }
    let Some(model_type) = model_types.get(&read.options.model_type) else {
        let known = names.join(", ");
        let message = format!(
            "option \"model_type\" is missing; use OPTIONS (model_type = …) with one of {known}"
        );
        return Err(sql_err(SqlState::InvalidParameter, message));
    };
    read.options.data_split = read.split.finish()?;
    if let Some(base) = base {
        base.check_type(model_type)?;
        base.check(&read.options)?;
    }
    if model_type.takes_texts() {
        let is_given = |name: &str| options.iter().any(|(given, _)| given == name);
        set_text_defaults(&mut read.options, is_given);
    }
    check(options, &read.options, model_type, model_types)?;
    Ok((read.options, model_type))
}

/// The learning rate and the epochs of a network with a pre-trained encoder in it, which large steps would ruin.
const TUNING_LEARN_RATE: f64 = 5e-5;
const TUNING_EPOCHS: usize = 3;

/// Sets what a statement of a model of texts does not say.
fn set_text_defaults(options: &mut TrainOptions, is_given: impl Fn(&str) -> bool) {
    if !is_given("hidden_units") {
        options.hidden_units = vec![];
    }
    if options.text.freeze == Freeze::Encoder {
        return;
    }
    if !is_given("learn_rate") {
        options.learn_rate = TUNING_LEARN_RATE;
    }
    if !is_given("epochs") {
        options.epochs = Some(TUNING_EPOCHS);
    }
}

struct Reader {
    options: TrainOptions,
    split: Split,
}

#[derive(Default)]
struct Split {
    method: Option<String>,
    fraction: Option<f64>,
    column: Option<String>,
}

impl Reader {
    fn set(&mut self, name: &str, value: &OptionValue, model_types: &[&str]) -> Result<()> {
        let options = &mut self.options;
        match name {
            "model_type" => options.model_type = model_type(value, model_types)?,
            "hidden_units" => options.hidden_units = hidden_units(value)?,
            "layers" => options.layers = layers(value)?,
            "input_shape" => options.input_shape = input_shape(value)?,
            "image_resize" => options.image.resize = named(name, value, ImageResize::ALL)?,
            "image_filter" => options.image.filter = named(name, value, &Filter::ALL)?,
            "image_mean" => options.image.mean = numbers(name, value, any)?,
            "image_std" => options.image.std = numbers(name, value, above_zero)?,
            "augment" => options.augment = augment(value)?,
            "activation" => options.activation = named(name, value, Activation::ALL)?,
            "dropout" => options.dropout = number(name, value, below_one)?,
            "loss" => options.loss = Some(named(name, value, LossName::ALL)?),
            "label_smoothing" => options.label_smoothing = number(name, value, below_one)?,
            "focal_gamma" => options.focal_gamma = Some(number(name, value, from_zero)?),
            "huber_delta" => options.huber_delta = Some(number(name, value, above_zero)?),
            "quantile" => options.quantile = Some(number(name, value, between_zero_and_one)?),
            "target_weights" => options.target_weights = target_weights(value)?,
            "batch_size" => options.batch_size = Some(whole(name, value, 1, 1 << 24)? as usize),
            "epochs" => options.epochs = Some(whole(name, value, 1, 1_000_000)? as usize),
            "learn_rate" => options.learn_rate = number(name, value, above_zero)?,
            "optimizer" => options.optimizer = Some(named(name, value, Optimizer::ALL)?),
            "lr_schedule" => options.lr_schedule = named(name, value, Schedule::ALL)?,
            "l1_reg" => options.l1_reg = number(name, value, from_zero)?,
            "l2_reg" => options.l2_reg = Some(number(name, value, from_zero)?),
            "weight_decay" => options.weight_decay = number(name, value, from_zero)?,
            "ema_decay" => options.ema_decay = Some(number(name, value, below_one)?),
            "clip_norm" => options.clip_norm = Some(number(name, value, above_zero)?),
            "early_stop" => options.early_stop = boolean(name, value)?,
            "min_rel_progress" => options.min_rel_progress = number(name, value, below_one)?,
            "refit" => options.refit = Some(boolean(name, value)?),
            "max_runtime_s" => options.max_runtime_s = Some(number(name, value, above_zero)?),
            "class_weights" => options.class_weights = class_weights(value)?,
            "auto_class_weights" => options.auto_class_weights = boolean(name, value)?,
            "data_split_method" => {
                self.split.method =
                    Some(one_of(name, value, &["hash", "column", "none"])?.to_owned());
            }
            "data_split_eval_fraction" => {
                self.split.fraction = Some(number(name, value, below_one)?)
            }
            "data_split_col" => self.split.column = Some(text(name, value)?.to_owned()),
            "seed" => options.seed = whole(name, value, 0, i64::MAX as u64)?,
            "null_handling" => options.null_handling = named(name, value, NullHandling::ALL)?,
            "hash_buckets" => {
                options.hash_buckets = Some(whole(name, value, 1, HASH_BUCKETS_MAX)? as u32);
            }
            "checkpoint_every" => {
                options.checkpoint_every = Some(whole(name, value, 1, 1_000_000)? as usize);
            }
            "workers" => options.workers = Some(whole(name, value, 1, WORKERS_MAX)? as usize),
            "shards" => options.shards = Some(whole(name, value, 1, WORKERS_MAX)? as usize),
            "freeze" => options.text.freeze = named(name, value, Freeze::ALL)?,
            "pooling" => options.text.pooling = Some(named(name, value, TextPooling::ALL)?),
            "layer_decay" => {
                options.text.layer_decay = number(name, value, above_zero_to_one)?;
            }
            "warmup" => options.warmup = number(name, value, below_one)?,
            "device" => options.device = device(name, value)?,
            "dtype" => {
                options.precision = Some(match one_of(name, value, &["f32", "f64"])? {
                    "f64" => Precision::Double,
                    _ => Precision::Single,
                });
            }
            "user_col" => options.user_cols = vec![text(name, value)?.to_owned()],
            "item_col" => options.item_cols = vec![text(name, value)?.to_owned()],
            "user_cols" => options.user_cols = columns(name, value)?,
            "item_cols" => options.item_cols = columns(name, value)?,
            "num_factors" => {
                options.num_factors = Some(whole(name, value, 1, FACTORS_MAX)? as usize);
            }
            "feedback_type" => options.feedback = Some(named(name, value, Feedback::ALL)?),
            "wals_alpha" => options.wals_alpha = Some(number(name, value, above_zero)?),
            // The statement has resolved it before.
            BASE_MODEL => {
                text(name, value)?;
            }
            _ => {
                let what = format!("there is no option \"{name}\"");
                let foreign = FOREIGN.iter().find(|(foreign, _)| *foreign == name);
                let known = OPTIONS.iter().map(|option| option.name);
                let message = match foreign {
                    Some((_, same)) => format!("{what}; {same}"),
                    None => with_cause(what, name, known),
                };
                return Err(sql_err(SqlState::InvalidParameter, message));
            }
        }
        Ok(())
    }
}

impl Split {
    fn finish(self) -> Result<DataSplit> {
        let wrong = |message: &str| Err(sql_err(SqlState::InvalidParameter, message));
        match (self.method.as_deref(), self.fraction, self.column) {
            (Some("hash") | None, fraction, None) => Ok(DataSplit::Hash {
                eval_fraction: fraction.unwrap_or(0.2),
            }),
            (Some("none"), None, None) => Ok(DataSplit::None),
            (Some("column") | None, None, Some(name)) => Ok(DataSplit::Column { name }),
            (Some("column"), _, None) => wrong("data_split_method = 'column' needs data_split_col"),
            (_, _, Some(_)) => wrong("data_split_col works only with data_split_method = 'column'"),
            _ => wrong("data_split_eval_fraction works only with data_split_method = 'hash'"),
        }
    }
}

#[cfg(test)]
#[path = "options_tests.rs"]
mod tests;
