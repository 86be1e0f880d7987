//! `OPTIONS (key = value, …)` → [`TrainOptions`]: names, types, ranges, the nearest name on a slip.

use datafusion::arrow::datatypes::DataType;
use vatic_ml::data::precision::Precision;
use vatic_ml::device::DeviceName;
use vatic_ml::model::options::{DataSplit, NullHandling, Optimizer, Schedule, TrainOptions};
use vatic_ml::models::ModelTypes;
use vatic_ml::nn::Activation;

use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::sql::OptionValue;

/// Every option: its name, what it takes, its default, what it does.
pub const OPTIONS: &[(&str, &str, &str, &str)] = &[
    ("model_type", "name", "required", "what to train"),
    (
        "hidden_units",
        "list of whole numbers",
        "[128, 128]",
        "widths of the hidden layers of a dnn",
    ),
    (
        "activation",
        "relu, gelu, silu, tanh, sigmoid",
        "relu",
        "the function between layers",
    ),
    (
        "dropout",
        "number from 0 to below 1",
        "0",
        "share of hidden units left out at each step",
    ),
    (
        "batch_size",
        "whole number",
        "rows / 64, from 32 to 1024",
        "rows of one whole step, over all workers",
    ),
    (
        "epochs",
        "whole number",
        "50, or 500 iterations of lbfgs",
        "passes over the rows, at most",
    ),
    ("learn_rate", "number above 0", "0.001", "step size"),
    (
        "optimizer",
        "adamw, sgd, lbfgs, normal_equation",
        "by model type",
        "how weights are found",
    ),
    (
        "lr_schedule",
        "constant, cosine, linear, step",
        "constant",
        "how the learning rate falls",
    ),
    (
        "l1_reg",
        "number from 0",
        "0",
        "weight of the sum of absolute weights beside the mean loss",
    ),
    (
        "l2_reg",
        "number from 0",
        "0, or 1 / rows for logistic_reg",
        "weight of half the sum of squared weights beside the mean loss",
    ),
    (
        "weight_decay",
        "number from 0",
        "0",
        "share of learn_rate by which adamw shrinks weights at each step, apart from the gradient",
    ),
    ("clip_norm", "number above 0", "none", "longest gradient"),
    (
        "early_stop",
        "boolean",
        "true",
        "stop when the evaluation loss stalls, keep the best epoch's weights",
    ),
    (
        "min_rel_progress",
        "number from 0 to below 1",
        "0.001",
        "relative fall of the loss that counts as progress",
    ),
    (
        "max_runtime_s",
        "number above 0",
        "none",
        "no epoch begins after so many seconds",
    ),
    (
        "class_weights",
        "list of ('label', weight)",
        "all 1",
        "what rows of a class count",
    ),
    (
        "auto_class_weights",
        "boolean",
        "false",
        "weigh classes inversely to their frequency",
    ),
    (
        "data_split_method",
        "hash, column, none",
        "hash",
        "how evaluation rows are set apart",
    ),
    (
        "data_split_eval_fraction",
        "number from 0 to below 1",
        "0.2",
        "share of evaluation rows of hash",
    ),
    (
        "data_split_col",
        "column name",
        "none",
        "boolean column of column: true is an evaluation row",
    ),
    ("seed", "whole number", "0", "seeds everything random"),
    (
        "null_handling",
        "error, skip, impute",
        "error",
        "what becomes of rows with a NULL",
    ),
    (
        "checkpoint_every",
        "whole number",
        "60 seconds",
        "epochs between two states that a network on a cluster goes on from when a machine is lost",
    ),
    (
        "workers",
        "whole number",
        "one for each core",
        "ranks that train together",
    ),
    (
        "shards",
        "whole number",
        "8",
        "virtual shards; results depend on it, not on workers, of which there are never more",
    ),
    ("device", "auto, cpu", "auto", "where to train"),
    (
        "dtype",
        "f32, f64",
        "f32, or f64 for linear_reg",
        "the type of weights, which is that of the model type",
    ),
];

/// The type of a value that a client binds to an option, `None` if there is no such option.
pub(crate) fn option_type(name: &str) -> Option<DataType> {
    let (_, takes, ..) = OPTIONS.iter().find(|(known, ..)| *known == name)?;
    Some(match *takes {
        takes if takes.starts_with("whole number") => DataType::Int64,
        takes if takes.starts_with("number") => DataType::Float64,
        takes if takes.starts_with("boolean") => DataType::Boolean,
        _ => DataType::Utf8,
    })
}

/// Options of the language that this build does not have yet.
const PLANNED: &[&str] = &["base_model", "freeze", "layers"];

const WORKERS_MAX: u64 = 1_024;
const UNITS_MAX: u64 = 65_536;

/// Reads options. `model_types` are the known ones.
pub(crate) fn train_options(
    options: &[(String, OptionValue)],
    model_types: &ModelTypes,
) -> Result<TrainOptions> {
    let names = model_types.names();
    let mut read = Reader {
        options: TrainOptions::default(),
        split: Split::default(),
    };
    for (name, value) in options {
        read.set(name, value, &names)?;
    }
    if read.options.model_type.is_empty() {
        let known = names.join(", ");
        let message = format!(
            "option \"model_type\" is missing; use OPTIONS (model_type = …) with one of {known}"
        );
        return Err(sql_err(SqlState::InvalidParameter, message));
    }
    read.options.data_split = read.split.finish()?;
    check_together(&read.options)?;
    check_applies(options, &read.options)?;
    check_precision(&read.options, model_types)?;
    Ok(read.options)
}

/// Weights have the type in which models of their type compute.
fn check_precision(options: &TrainOptions, model_types: &ModelTypes) -> Result<()> {
    let own = model_types
        .get(&options.model_type)
        .map(|known| known.precision());
    match (options.precision, own) {
        (Some(wanted), Some(own)) if wanted != own => {
            let message = format!(
                "dtype = '{}' is not that of {}, which computes in {}; leave it out",
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
            "activation" => options.activation = named(name, value, Activation::ALL)?,
            "dropout" => options.dropout = number(name, value, below_one)?,
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
            "checkpoint_every" => {
                options.checkpoint_every = Some(whole(name, value, 1, 1_000_000)? as usize);
            }
            "workers" => options.workers = Some(whole(name, value, 1, WORKERS_MAX)? as usize),
            "shards" => options.shards = Some(whole(name, value, 1, WORKERS_MAX)? as usize),
            "device" => options.device = named(name, value, DeviceName::CHOICES)?,
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
                let known = OPTIONS.iter().map(|(known, ..)| *known);
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
            (_, _, Some(_)) => wrong("data_split_col goes with data_split_method = 'column' alone"),
            _ => wrong("data_split_eval_fraction goes with data_split_method = 'hash' alone"),
        }
    }
}

fn check_together(options: &TrainOptions) -> Result<()> {
    let wrong = |message: String| Err(sql_err(SqlState::InvalidParameter, message));
    let is_linear = matches!(options.model_type.as_str(), "linear_reg" | "logistic_reg");
    match options.optimizer {
        Some(Optimizer::NormalEquation) if options.model_type != "linear_reg" => {
            return wrong("optimizer normal_equation is for linear_reg alone".into());
        }
        Some(Optimizer::NormalEquation) if options.l1_reg > 0.0 => {
            return wrong("optimizer normal_equation cannot take l1_reg; use lbfgs".into());
        }
        Some(Optimizer::Lbfgs) if !is_linear => {
            return wrong("optimizer lbfgs is for linear_reg and logistic_reg alone".into());
        }
        _ => {}
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

/// Refuses options that the model type would leave unread.
fn check_applies(given: &[(String, OptionValue)], options: &TrainOptions) -> Result<()> {
    let kind = options.model_type.as_str();
    let is_linear = matches!(kind, "linear_reg" | "logistic_reg");
    let is_solved =
        is_linear && !matches!(options.optimizer, Some(Optimizer::Adamw | Optimizer::Sgd));
    let is_regressor = matches!(kind, "linear_reg" | "dnn_regressor");
    for (name, _) in given {
        let needs = match name.as_str() {
            "hidden_units" | "activation" | "dropout" | "checkpoint_every" if is_linear => {
                "a model type with hidden layers"
            }
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
        let message = format!(
            "option \"{name}\" has no effect on this {kind}: it needs {needs}; leave it out"
        );
        return Err(sql_err(SqlState::InvalidParameter, message));
    }
    Ok(())
}

fn expected(
    name: &str,
    expected: &str,
    found: &OptionValue,
) -> datafusion::common::DataFusionError {
    let message = format!("option \"{name}\" is {found}; expected {expected}");
    sql_err(SqlState::InvalidParameter, message)
}

fn model_type(value: &OptionValue, known: &[&str]) -> Result<String> {
    let found = text("model_type", value)?.to_lowercase();
    if known.contains(&found.as_str()) {
        return Ok(found);
    }
    let what = format!(
        "there is no model type \"{found}\"; there are {}",
        known.join(", ")
    );
    Err(sql_err(
        SqlState::InvalidParameter,
        with_cause(what, &found, known.iter().copied()),
    ))
}

fn whole(name: &str, value: &OptionValue, min: u64, max: u64) -> Result<u64> {
    let found = match value {
        OptionValue::Number(text) => text
            .parse::<u64>()
            .ok()
            .filter(|number| (min..=max).contains(number)),
        _ => None,
    };
    found.ok_or_else(|| expected(name, &format!("a whole number from {min} to {max}"), value))
}

type Range = (fn(f64) -> bool, &'static str);

fn below_one() -> Range {
    (
        |number| (0.0..1.0).contains(&number),
        "a number from 0 to below 1",
    )
}

fn above_zero() -> Range {
    (
        |number| number > 0.0 && number.is_finite(),
        "a number above 0",
    )
}

fn from_zero() -> Range {
    (
        |number| number >= 0.0 && number.is_finite(),
        "a number from 0",
    )
}

fn number(name: &str, value: &OptionValue, range: fn() -> Range) -> Result<f64> {
    let (is_valid, description) = range();
    let found = match value {
        OptionValue::Number(text) => text.parse::<f64>().ok().filter(|number| is_valid(*number)),
        _ => None,
    };
    found.ok_or_else(|| expected(name, description, value))
}

fn boolean(name: &str, value: &OptionValue) -> Result<bool> {
    match value {
        OptionValue::Boolean(value) => Ok(*value),
        _ => Err(expected(name, "true or false", value)),
    }
}

fn text<'a>(name: &str, value: &'a OptionValue) -> Result<&'a str> {
    match value {
        OptionValue::Text(text) => Ok(text),
        _ => Err(expected(name, "a name", value)),
    }
}

fn one_of<'a>(name: &str, value: &OptionValue, known: &[&'a str]) -> Result<&'a str> {
    let found = text(name, value)?.to_lowercase();
    let of = || expected(name, &format!("one of {}", known.join(", ")), value);
    known
        .iter()
        .copied()
        .find(|known| *known == found)
        .ok_or_else(of)
}

fn named<T: Copy>(name: &str, value: &OptionValue, known: &[(&str, T)]) -> Result<T> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let found = one_of(name, value, &names)?;
    let position = names.iter().position(|name| *name == found);
    position
        .map(|position| known[position].1)
        .ok_or_else(|| expected(name, "a name", value))
}

fn hidden_units(value: &OptionValue) -> Result<Vec<usize>> {
    let name = "hidden_units";
    match value {
        OptionValue::List(values) if !values.is_empty() && values.len() <= 100 => values
            .iter()
            .map(|value| Ok(whole(name, value, 1, UNITS_MAX)? as usize))
            .collect(),
        _ => Err(expected(
            name,
            "a list of whole numbers such as [128, 128]",
            value,
        )),
    }
}

fn class_weights(value: &OptionValue) -> Result<Vec<(String, f64)>> {
    let name = "class_weights";
    let wrong = || expected(name, "a list such as [('yes', 5.0), ('no', 1.0)]", value);
    let OptionValue::List(pairs) = value else {
        return Err(wrong());
    };
    let mut weights: Vec<(String, f64)> = Vec::with_capacity(pairs.len());
    for pair in pairs {
        let OptionValue::Tuple(parts) = pair else {
            return Err(wrong());
        };
        let [label, weight] = parts.as_slice() else {
            return Err(wrong());
        };
        let label = match label {
            OptionValue::Text(label) | OptionValue::Number(label) => label.clone(),
            OptionValue::Boolean(label) => label.to_string(),
            _ => return Err(wrong()),
        };
        if weights.iter().any(|(known, _)| *known == label) {
            let message = format!("class_weights names \"{label}\" twice; keep one of them");
            return Err(sql_err(SqlState::InvalidParameter, message));
        }
        weights.push((label, number(name, weight, above_zero)?));
    }
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Statement, parse};

    fn read(options: &str) -> Result<TrainOptions> {
        let text = format!("TRAIN MODEL m OPTIONS ({options}) AS SELECT 1");
        let Some(Statement::Train(train)) = parse(&text)? else {
            panic!("{text}")
        };
        train_options(&train.options, &ModelTypes::default())
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
    }

    #[test]
    fn a_slip_gets_the_nearest_name() {
        assert!(error("learning_rate = 1").contains("nearest name is \"learn_rate\""));
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
        assert!(error("optimizer = lbfgs").contains("linear_reg and logistic_reg alone"));
        assert!(error("workers = 4, shards = 2").contains("at least as many shards"));
        assert!(
            error("data_split_method = 'none', data_split_eval_fraction = 0.1")
                .contains("'hash' alone")
        );
        assert!(error("data_split_method = 'column'").contains("needs data_split_col"));
    }
}
