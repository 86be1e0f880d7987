//! Options that fit neither each other nor the model type are refused: no option is dropped in silence.

use datafusion::common::DataFusionError;
use vatic_ml::model::network::{ModelType, Task};
use vatic_ml::model::options::{LossName, Optimizer, TrainOptions};
use vatic_ml::models::ModelTypes;

use crate::error::{Result, SqlState, ml_err, sql_err};
use crate::sql::OptionValue;

/// Checks the options of a statement, which are `given` as written and read as `options`.
pub(super) fn check(
    given: &[(String, OptionValue)],
    options: &TrainOptions,
    model_type: &dyn ModelType,
    model_types: &ModelTypes,
) -> Result<()> {
    check_applies_to_network(given, model_type, model_types)?;
    model_type.check(options).map_err(ml_err)?;
    check_together(options, model_type)?;
    check_applies(given, options, model_type)?;
    check_precision(options, model_type)
}

/// Refuses options that contradict each other or the task.
fn check_together(options: &TrainOptions, model_type: &dyn ModelType) -> Result<()> {
    let wrong = |message: String| Err(sql_err(SqlState::InvalidParameter, message));
    let is_linear = model_type.is_linear();
    let has_normal_equation = is_linear && model_type.task(options) == Task::Regression;
    match options.optimizer {
        Some(Optimizer::NormalEquation) if !has_normal_equation => {
            return wrong("optimizer normal_equation works only for linear_reg".into());
        }
        Some(Optimizer::NormalEquation) if options.base_model.is_some() => {
            return wrong(
                "optimizer normal_equation starts from no weights; leave out base_model, or use lbfgs".into(),
            );
        }
        Some(Optimizer::NormalEquation) if options.l1_reg > 0.0 => {
            return wrong("optimizer normal_equation does not support l1_reg; use lbfgs".into());
        }
        Some(Optimizer::Als) if !model_type.is_factorization() => {
            return wrong("optimizer als works only for matrix_factorization".into());
        }
        Some(optimizer) if model_type.is_factorization() && optimizer != Optimizer::Als => {
            return wrong(format!(
                "optimizer {} does not work for matrix_factorization, which als finds; leave it out",
                optimizer.name()
            ));
        }
        Some(Optimizer::Lbfgs) if !is_linear => {
            return wrong("optimizer lbfgs works only for linear_reg and logistic_reg".into());
        }
        _ => {}
    }
    // A linear model and a factorization take no loss at all, which `check_applies` says.
    if let Some(loss) = options.loss
        && !is_linear
        && !model_type.is_factorization()
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

/// The error for an option that has no effect.
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
    let is_factorization = model_type.is_factorization();
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
            "batch_size" | "learn_rate" | "lr_schedule" | "warmup" | "clip_norm"
            | "weight_decay" | "l1_reg" | "ema_decay" | "refit"
                if is_factorization =>
            {
                "a model type that optimizer = 'adamw' or 'sgd' trains"
            }
            "loss" | "label_smoothing" | "focal_gamma" | "huber_delta" | "quantile"
                if is_factorization =>
            {
                "a network, such as a dnn model"
            }
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
            "batch_size" | "learn_rate" | "lr_schedule" | "warmup" | "clip_norm" | "early_stop"
            | "min_rel_progress" | "ema_decay" | "refit"
                if is_solved =>
            {
                "optimizer = 'adamw' or 'sgd'"
            }
            "weight_decay" if is_solved || options.optimizer == Some(Optimizer::Sgd) => {
                "optimizer = 'adamw'; l2_reg is the penalty of the others"
            }
            "refit" if options.refit == Some(true) && !options.data_split.evaluates() => {
                "evaluation rows, which the second training takes too"
            }
            _ => continue,
        };
        return Err(without_effect(name, model_type, needs));
    }
    Ok(())
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
