//! `OPTIONS (key = value, …)` → [`TrainOptions`]: checks names, types and ranges, and suggests the nearest name.

use datafusion::common::DataFusionError;
use vatic_ml::data::image::{Filter, ImageResize};
use vatic_ml::data::precision::Precision;
use vatic_ml::model::network::{ModelType, Task};
use vatic_ml::model::options::{
    DataSplit, LossName, NullHandling, Optimizer, Schedule, TrainOptions,
};
use vatic_ml::models::ModelTypes;
use vatic_ml::nn::Activation;

use super::option_list::{OPTIONS, PLANNED};
use super::option_values::{
    above_zero, any, augment, below_one, between_zero_and_one, boolean, class_weights, device,
    from_zero, hidden_units, input_shape, layers, model_type, named, number, numbers, one_of,
    target_weights, text, whole,
};
use crate::error::{Result, SqlState, ml_err, sql_err, with_cause};
use crate::sql::OptionValue;

const WORKERS_MAX: u64 = 1_024;
const HASH_BUCKETS_MAX: u64 = 10_000_000;

/// Parses and checks the options of a statement, and looks up the model type.
pub(crate) fn train_options<'a>(
    options: &[(String, OptionValue)],
    model_types: &'a ModelTypes,
) -> Result<(TrainOptions, &'a dyn ModelType)> {
    let names = model_types.names();
    let mut read = Reader {
        options: TrainOptions::default(),
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
    check_applies_to_network(options, model_type, model_types)?;
    model_type.check(&read.options).map_err(ml_err)?;
    check_together(&read.options, model_type)?;
    check_applies(options, &read.options, model_type)?;
    check_precision(&read.options, model_type)?;
    Ok((read.options, model_type))
}

/// Checks that `dtype`, if given, is the type in which the model type computes.
fn check_precision(options: &TrainOptions, model_type: &dyn ModelType) -> Result<()> {
    let own = model_type.precision();
    match options.precision {
        Some(wanted) if wanted != own => {
            let message = format!(
                "dtype = '{}' does not match {}, which computes in {}; leave it out",
                wanted.name(),
                options.model_type,
                own.name()
            );
            Err(sql_err(SqlState::Unsupported, message))
        }
        _ => Ok(()),
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
            "clip_norm" => options.clip_norm = Some(number(name, value, above_zero)?),
            "early_stop" => options.early_stop = boolean(name, value)?,
            "min_rel_progress" => options.min_rel_progress = number(name, value, below_one)?,
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
            "device" => options.device = device(name, value)?,
            "dtype" => {
                options.precision = Some(match one_of(name, value, &["f32", "f64"])? {
                    "f64" => Precision::Double,
                    _ => Precision::Single,
                });
            }
            _ if PLANNED.contains(&name) => {
                return Err(sql_err(
                    SqlState::Unsupported,
                    format!("option \"{name}\" is not supported yet"),
                ));
            }
            _ => {
                let known = OPTIONS.iter().map(|option| option.name);
                let message = with_cause(format!("there is no option \"{name}\""), name, known);
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

fn check_together(options: &TrainOptions, model_type: &dyn ModelType) -> Result<()> {
    let wrong = |message: String| Err(sql_err(SqlState::InvalidParameter, message));
    let is_linear = model_type.is_linear();
    let has_normal_equation = is_linear && model_type.task(options) == Task::Regression;
    match options.optimizer {
        Some(Optimizer::NormalEquation) if !has_normal_equation => {
            return wrong("optimizer normal_equation works only for linear_reg".into());
        }
        Some(Optimizer::NormalEquation) if options.l1_reg > 0.0 => {
            return wrong("optimizer normal_equation does not support l1_reg; use lbfgs".into());
        }
        Some(Optimizer::Lbfgs) if !is_linear => {
            return wrong("optimizer lbfgs works only for linear_reg and logistic_reg".into());
        }
        _ => {}
    }
    // A linear model takes no loss at all, which `check_applies` says.
    if let Some(loss) = options.loss
        && !is_linear
    {
        check_loss_of_task(loss, options, model_type)?;
    }
    if options.auto_class_weights && !options.class_weights.is_empty() {
        return wrong(
            "class_weights and auto_class_weights exclude each other; keep one of them".into(),
        );
    }
    if let (Some(workers), Some(shards)) = (options.workers, options.shards)
        && workers > shards
    {
        return wrong(format!(
            "workers = {workers} needs at least as many shards, found shards = {shards}"
        ));
    }
    Ok(())
}

/// Refuses a loss of the other task.
fn check_loss_of_task(
    loss: LossName,
    options: &TrainOptions,
    model_type: &dyn ModelType,
) -> Result<()> {
    let task = model_type.task(options);
    if loss.task() == task {
        return Ok(());
    }
    let kind = match task {
        Task::Classification => "classifier",
        Task::Regression => "regressor",
    };
    let fitting = LossName::ALL.iter();
    let fitting = fitting.filter(|(_, loss)| loss.task() == task);
    let fitting: Vec<&str> = fitting.map(|(name, _)| *name).collect();
    let message = format!(
        "loss = '{}' does not fit this {}, which is a {kind}; use one of {}, or {}",
        loss.name(),
        model_type.name(),
        fitting.join(", "),
        model_type.other_task(options)
    );
    Err(sql_err(SqlState::InvalidParameter, message))
}

/// Refuses options of networks that the model type does not use.
fn check_applies_to_network(
    given: &[(String, OptionValue)],
    model_type: &dyn ModelType,
    model_types: &ModelTypes,
) -> Result<()> {
    for (name, _) in given {
        let users = model_types.using(name);
        let is_used = model_type.network_options().contains(&name.as_str());
        if !users.is_empty() && !is_used {
            let needs = format!("model_type = '{}'", users.join("' or '"));
            return Err(without_effect(name, model_type, &needs));
        }
    }
    Ok(())
}

fn without_effect(name: &str, model_type: &dyn ModelType, needs: &str) -> DataFusionError {
    let kind = model_type.name();
    let message =
        format!("option \"{name}\" has no effect on this {kind}: it needs {needs}; leave it out");
    sql_err(SqlState::InvalidParameter, message)
}

/// Refuses options that have no effect on the model type or its optimizer.
fn check_applies(
    given: &[(String, OptionValue)],
    options: &TrainOptions,
    model_type: &dyn ModelType,
) -> Result<()> {
    let is_linear = model_type.is_linear();
    let is_solved =
        is_linear && !matches!(options.optimizer, Some(Optimizer::Adamw | Optimizer::Sgd));
    let task = model_type.task(options);
    let is_regressor = task == Task::Regression;
    let loss = options.loss.unwrap_or(LossName::default_of(task));
    for (name, _) in given {
        let needs = match name.as_str() {
            "hash_buckets" if !model_type.takes_categories(options) => {
                "a model type that takes categories, such as a dnn model"
            }
            "checkpoint_every" if is_linear => "a model type with hidden layers",
            "loss" | "label_smoothing" | "focal_gamma" | "huber_delta" | "quantile"
                if is_linear =>
            {
                "a network, such as a dnn model"
            }
            "label_smoothing" if loss != LossName::CrossEntropy => {
                "a classifier with loss = 'cross_entropy'"
            }
            "focal_gamma" if loss != LossName::Focal => "a classifier with loss = 'focal'",
            "huber_delta" if loss != LossName::Huber => "a regressor with loss = 'huber'",
            "quantile" if loss != LossName::Quantile => "a regressor with loss = 'quantile'",
            "class_weights" | "auto_class_weights" if is_regressor => "a classifier",
            "batch_size" | "learn_rate" | "lr_schedule" | "clip_norm" | "early_stop"
            | "min_rel_progress"
                if is_solved =>
            {
                "optimizer = 'adamw' or 'sgd'"
            }
            "weight_decay" if is_solved || options.optimizer == Some(Optimizer::Sgd) => {
                "optimizer = 'adamw'; l2_reg is the penalty of the others"
            }
            _ => continue,
        };
        return Err(without_effect(name, model_type, needs));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vatic_ml::data::encode::tabular::InputShape;
    use vatic_ml::model::network::Network;

    use super::*;
    use crate::sql::{Statement, parse};

    fn read(options: &str) -> Result<TrainOptions> {
        let text = format!("TRAIN MODEL m OPTIONS ({options}) AS SELECT 1");
        let Some(Statement::Train(train)) = parse(&text)? else {
            panic!("{text}")
        };
        let model_types = ModelTypes::with(vec![Arc::new(Line)]);
        Ok(train_options(&train.options, &model_types)?.0)
    }

    /// A linear regression of a third party.
    #[derive(Debug)]
    struct Line;

    impl ModelType for Line {
        fn name(&self) -> &str {
            "line"
        }

        fn task(&self, _options: &TrainOptions) -> Task {
            Task::Regression
        }

        fn is_linear(&self) -> bool {
            true
        }

        fn network(
            &self,
            _shape: &InputShape,
            _outputs: usize,
            _options: &TrainOptions,
        ) -> vatic_ml::Result<Box<dyn Network>> {
            unreachable!("nothing is trained here")
        }
    }

    #[test]
    fn an_added_type_takes_the_options_that_its_task_and_its_network_allow() {
        for optimizer in ["lbfgs", "normal_equation"] {
            assert!(read(&format!("model_type = 'line', optimizer = '{optimizer}'")).is_ok());
        }
        for (option, needs) in [
            ("class_weights = [('a', 2)]", "a classifier"),
            (
                "hidden_units = [8]",
                "model_type = 'dnn_classifier' or 'dnn_regressor' or 'cnn_classifier' or 'cnn_regressor'; leave it out",
            ),
            ("batch_size = 8", "optimizer = 'adamw' or 'sgd'"),
        ] {
            let error = read(&format!("model_type = 'line', {option}")).unwrap_err();
            let message = crate::error::report(&error).message;
            assert!(message.contains(needs), "{option}: {message}");
        }
    }

    fn error(options: &str) -> String {
        crate::error::report(
            &read(&format!("model_type = 'dnn_classifier', {options}")).unwrap_err(),
        )
        .message
    }

    #[test]
    fn options_are_read_with_their_types() {
        let options = read(
            "model_type = dnn_classifier, hidden_units = [8], dropout = 0.5, seed = 7, early_stop = false, \
             class_weights = [('a', 2), (1, 0.5)], data_split_col = 'held_out'",
        )
        .unwrap();
        assert_eq!(options.hidden_units, [8]);
        assert_eq!(
            options.class_weights,
            [("a".to_owned(), 2.0), ("1".to_owned(), 0.5)]
        );
        assert_eq!(
            options.data_split,
            DataSplit::Column {
                name: "held_out".into()
            }
        );
        assert!(!options.early_stop && options.seed == 7);
    }

    #[test]
    fn values_out_of_range_name_the_option_and_its_range() {
        for name in ["epochs", "batch_size", "workers"] {
            for value in [
                "0",
                "-1",
                "1e30",
                "1.5",
                "'a'",
                "true",
                "99999999999999999999",
            ] {
                let message = error(&format!("{name} = {value}"));
                assert!(
                    message.contains(name) && message.contains("whole number from 1"),
                    "{value}: {message}"
                );
            }
        }
        for value in ["0", "-1", "'NaN'", "1e999"] {
            let message = error(&format!("learn_rate = {value}"));
            assert!(
                message.contains("learn_rate") && message.contains("above 0"),
                "{value}: {message}"
            );
        }
        assert!(error("dropout = 1").contains("below 1"));
        assert!(error("hidden_units = []").contains("a list of whole numbers"));
        assert!(error("hidden_units = [0]").contains("whole number from 1"));
        assert!(error("layers = 'relu'").contains("a list of layers such as"));
        assert!(error("layers = [3]").contains("a list of layers such as"));
        assert!(error("input_shape = []").contains("a list of whole numbers such as [1, 28, 28]"));
        assert!(error("input_shape = [0]").contains("whole number from 1"));
        let sizes = error("input_shape = [1, 1, 1, 1, 1, 1, 1]");
        assert!(sizes.contains("expected at most 6 sizes"), "{sizes}");
    }

    #[test]
    fn options_of_a_network_need_a_type_that_uses_them() {
        let message = |options: &str| crate::error::report(&read(options).unwrap_err()).message;
        let layers = "model_type = sequential, layers = ['linear(classes)']";
        assert!(read(layers).is_ok());
        let dropout = message(&format!("{layers}, dropout = 0.1"));
        assert!(dropout.contains("it needs model_type = 'dnn_classifier' or"));
        for model_type in [
            layers,
            "model_type = cnn_regressor, input_shape = [1, 8, 8]",
        ] {
            let hashed = message(&format!("{model_type}, hash_buckets = 8"));
            assert!(hashed.contains("it needs a model type that takes categories"));
        }
        let regressor =
            "model_type = sequential, layers = ['linear(1)'], auto_class_weights = true";
        assert!(message(regressor).contains("it needs a classifier"));
        assert!(error("layers = ['relu']").contains("it needs model_type = 'sequential';"));
        assert!(error("input_shape = [1, 8, 8]").contains("'cnn_classifier' or 'cnn_regressor'"));
        let cnn = "model_type = cnn_regressor, input_shape = [1, 8, 8], hidden_units = [16]";
        assert!(read(cnn).is_ok());
    }

    #[test]
    fn options_of_images_are_read_and_checked() {
        let cnn = "model_type = cnn_regressor, input_shape = [3, 8, 8]";
        let options = read(&format!(
            "{cnn}, image_resize = 'pad', image_filter = LANCZOS, image_mean = [0.485, 0.456, 0.406], image_std = 0.5, \
             augment = ['flip', 'color(0.1)']"
        ))
        .unwrap();
        assert_eq!(options.image.resize, ImageResize::Pad);
        assert_eq!(options.image.filter, Filter::Lanczos);
        assert_eq!(options.image.mean, [0.485, 0.456, 0.406]);
        assert_eq!(options.image.std, [0.5]);
        assert_eq!(options.augment, ["flip", "color(0.1)"]);
        let message = |option: &str| {
            let error = read(&format!("{cnn}, {option}")).unwrap_err();
            crate::error::report(&error).message
        };
        for (option, expected) in [
            ("image_resize = 'cover'", "one of crop, pad, stretch"),
            ("image_filter = 'cubic'", "bicubic, lanczos"),
            ("image_mean = []", "a number, or a list of them"),
            ("image_std = [0.5, 0]", "a number above 0"),
            ("augment = 'flip'", "a list such as ['flip', 'shift(0.1)']"),
            (
                "augment = ['rotat(3)']",
                "there is no augmentation \"rotat\"; use flip, shift(share), crop(share), rotate(degrees), colour(strength); \
                 the nearest name is \"rotate\"",
            ),
            (
                "augment = ['shift(3)']",
                "share is 3; expected a number from 0 to 1",
            ),
        ] {
            let message = message(option);
            assert!(message.contains(expected), "{option}: {message}");
        }
        assert!(error("augment = ['flip']").contains("it needs model_type = 'sequential' or"));
        let vector = "model_type = sequential, layers = ['linear(1)'], augment = ['flip']";
        let error = crate::error::report(&read(vector).unwrap_err()).message;
        assert!(error.contains("needs input_shape = [channels,"), "{error}");
    }

    #[test]
    fn losses_fit_their_task_and_their_options() {
        let read = |model_type: &str, options: &str| {
            read(&format!("model_type = {model_type}, {options}"))
        };
        for (model_type, options) in [
            ("dnn_classifier", "label_smoothing = 0.1"),
            (
                "dnn_classifier",
                "loss = 'cross_entropy', label_smoothing = 0",
            ),
            ("dnn_classifier", "loss = FOCAL, focal_gamma = 0"),
            ("dnn_regressor", "loss = 'huber', huber_delta = 0.5"),
            ("dnn_regressor", "loss = 'quantile', quantile = 0.9"),
            ("sequential", "loss = 'poisson', layers = ['linear(1)']"),
            ("sequential", "loss = 'focal', layers = ['linear(classes)']"),
        ] {
            assert!(read(model_type, options).is_ok(), "{model_type}, {options}");
        }
        let options = read("dnn_regressor", "loss = 'quantile', quantile = 0.9").unwrap();
        let expected = (Some(LossName::Quantile), Some(0.9));
        assert_eq!((options.loss, options.quantile), expected);
        for (model_type, options, expected) in [
            (
                "dnn_classifier",
                "loss = 'mea'",
                "one of cross_entropy, focal, mse",
            ),
            (
                "dnn_classifier",
                "loss = 'mae'",
                "loss = 'mae' does not fit this dnn_classifier, which is a classifier; use one of cross_entropy, focal",
            ),
            (
                "sequential",
                "loss = 'focal', layers = ['linear(1)']",
                "which is a regressor; use one of mse, mae, huber, quantile, poisson, or end the layers with 'linear(classes)'",
            ),
            (
                "dnn_classifier",
                "loss = 'focal', label_smoothing = 0.1",
                "\"label_smoothing\" has no effect on this dnn_classifier: it needs a classifier with loss = 'cross_entropy'",
            ),
            (
                "dnn_classifier",
                "focal_gamma = 2",
                "a classifier with loss = 'focal'",
            ),
            (
                "dnn_regressor",
                "huber_delta = 2",
                "a regressor with loss = 'huber'",
            ),
            (
                "dnn_regressor",
                "loss = mae, quantile = 0.5",
                "a regressor with loss = 'quantile'",
            ),
            (
                "linear_reg",
                "loss = 'mae'",
                "no effect on this linear_reg: it needs a network",
            ),
            ("logistic_reg", "loss = 'mae'", "it needs a network"),
            (
                "logistic_reg",
                "label_smoothing = 0.1",
                "it needs a network",
            ),
            (
                "dnn_regressor",
                "loss = quantile, quantile = 1",
                "a number above 0 and below 1",
            ),
            (
                "dnn_regressor",
                "loss = huber, huber_delta = 0",
                "a number above 0",
            ),
            (
                "dnn_classifier",
                "loss = focal, focal_gamma = -1",
                "a number from 0",
            ),
            (
                "dnn_classifier",
                "label_smoothing = 1",
                "a number from 0 to below 1",
            ),
        ] {
            let error = read(model_type, options).unwrap_err();
            let message = crate::error::report(&error).message;
            assert!(message.contains(expected), "{options}: {message}");
        }
    }

    #[test]
    fn a_slip_gets_the_nearest_name() {
        assert!(error("learning_rate = 1").contains("nearest name is \"learn_rate\""));
        assert!(error("huber_detla = 1").contains("nearest name is \"huber_delta\""));
        assert!(error("activation = 'rleu'").contains("relu, gelu"));
        assert!(error("freeze = 1").contains("not supported yet"));
        let message =
            crate::error::report(&read("model_type = 'dnn_clasifier'").unwrap_err()).message;
        assert!(
            message.contains("nearest name is \"dnn_classifier\""),
            "{message}"
        );
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        assert!(error("optimizer = lbfgs").contains("only for linear_reg and logistic_reg"));
        assert!(error("workers = 4, shards = 2").contains("at least as many shards"));
        assert!(
            error("data_split_method = 'none', data_split_eval_fraction = 0.1")
                .contains("only with data_split_method = 'hash'")
        );
        assert!(error("data_split_method = 'column'").contains("needs data_split_col"));
    }
}
