//! [`take`]: the named arguments of calls as [`PredictOptions`].

use datafusion::common::{DataFusionError, Result};
use datafusion::scalar::ScalarValue;
use vatic_ml::data::labels::LabelForm;
use vatic_ml::data::signature::PortKind;
use vatic_ml::device::DeviceName;
use vatic_ml::model::Batching;
use vatic_ml::model::compute::ComputeType;

use super::call_task::TASK_ARGUMENTS;
use super::generation;
use super::options::PredictOptions;
use crate::config::Dedupe;
use crate::error::{SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::model::runtime::check_device;
use crate::plan::table_function::argument_err;

/// Takes over one argument of a call of the model.
pub(super) fn take(
    options: &mut PredictOptions,
    model: &ResolvedModel,
    name: &str,
    value: &ScalarValue,
) -> Result<()> {
    let labels = || model.manifest.signature.labels();
    let needs = |what: &str| needs(name, what, model);
    match name {
        "batch_size" => options.batch_size = Some(positive(name, value)?),
        name if generation::ARGUMENTS.contains(&name) => {
            if !writes_text(model) {
                return Err(needs("a model that writes text"));
            }
            generation::take(&mut options.generation, name, value)?;
        }
        "top_k" if writes_text(model) => options.generation.top_k = Some(positive(name, value)?),
        "top_k" => {
            let has_classes = labels().any(|label| !label.classes.is_empty());
            let mut outputs = model.manifest.signature.outputs.iter();
            let has_choice = has_classes || outputs.any(|port| port.kind == PortKind::Tokens);
            let top_k = has_choice.then(|| positive(name, value));
            options.top_k = Some(top_k.ok_or_else(|| needs("a classifier"))??);
        }
        "threshold" => {
            let has_threshold = labels().any(|label| match label.form() {
                LabelForm::Class(2) | LabelForm::Set(_) => true,
                LabelForm::Number | LabelForm::Vector(_) | LabelForm::Class(_) => false,
            });
            if !has_threshold {
                return Err(needs("a classifier of two classes"));
            }
            options.set_threshold(fraction(name, value)?);
        }
        "on_error" => options.null_on_error = one_of(name, value, &["error", "null"])? == "null",
        "on_null" => options.error_on_null = one_of(name, value, &["null", "error"])? == "error",
        "dedupe" => {
            let known = Dedupe::ALL.map(Dedupe::name);
            options.dedupe = Dedupe::parse(one_of(name, value, &known)?);
        }
        "max_batch_tokens" | "truncate" | "prompt" if !takes_texts(model) => {
            return Err(needs("a model of texts"));
        }
        // Each of two texts may be short, and both together long.
        "truncate" if text_inputs(model) > 1 => return Err(needs("a model of one text")),
        "max_batch_tokens" => options.max_batch_tokens = Some(positive(name, value)?),
        "truncate" => match value {
            ScalarValue::Boolean(Some(truncate)) => options.truncate = *truncate,
            other => return Err(argument_err(name, "true or false", other)),
        },
        "prompt" => match value.try_as_str().flatten() {
            Some(prompt) => options.prompt = Some(prompt.to_owned()),
            None => {
                return Err(argument_err(
                    name,
                    "the name of one of the model's prompts",
                    value,
                ));
            }
        },
        // The model of the call has taken them.
        task if TASK_ARGUMENTS.contains(&task) => {}
        "dtype" => {
            let found = ComputeType::parse(&lower_case(value));
            let unknown = || argument_err(name, ComputeType::EXPECTED, value);
            options.compute = Some(found.ok_or_else(unknown)?);
        }
        "device" => {
            options.device = DeviceName::parse(&lower_case(value))
                .ok_or_else(|| argument_err(name, DeviceName::EXPECTED, value))?;
        }
        other => {
            let message = format!("nobody reads the argument {other}");
            return Err(sql_err(SqlState::Internal, message));
        }
    }
    Ok(())
}

/// The options once all arguments are taken over.
pub(super) fn finished(
    mut options: PredictOptions,
    model: &ResolvedModel,
) -> Result<PredictOptions> {
    model.check_device(options.device)?;
    options.device = model.device(options.device);
    check_device(options.compute, options.device)?;
    Ok(options)
}

/// Whether a model counts the tokens of texts.
pub(super) fn takes_texts(model: &ResolvedModel) -> bool {
    matches!(model.manifest.batching, Batching::Tokens { .. })
}

fn writes_text(model: &ResolvedModel) -> bool {
    model.manifest.signature.generated().is_some()
}

fn text_inputs(model: &ResolvedModel) -> usize {
    let inputs = model.manifest.signature.inputs.iter();
    inputs.filter(|port| port.kind == PortKind::Text).count()
}

pub(super) fn needs(argument: &str, what: &str, model: &ResolvedModel) -> DataFusionError {
    let message = format!(
        "argument {argument} needs {what}, which \"{}\" is not",
        model.label()
    );
    sql_err(SqlState::InvalidParameter, message)
}

pub(super) fn positive(name: &str, value: &ScalarValue) -> Result<usize> {
    match value {
        ScalarValue::Int64(Some(number)) if (1..=1_000_000).contains(number) => {
            Ok(*number as usize)
        }
        other => Err(argument_err(
            name,
            "a whole number from 1 to 1000000",
            other,
        )),
    }
}

fn fraction(name: &str, value: &ScalarValue) -> Result<f64> {
    match value {
        ScalarValue::Float64(Some(number)) if (0.0..=1.0).contains(number) => Ok(*number),
        ScalarValue::Int64(Some(number)) if (0..=1).contains(number) => Ok(*number as f64),
        other => Err(argument_err(name, "a number from 0 to 1", other)),
    }
}

/// The text in lower case; empty if the value is not a text.
fn lower_case(value: &ScalarValue) -> String {
    let text = value.try_as_str().flatten().unwrap_or_default();
    text.to_lowercase()
}

fn one_of(name: &str, value: &ScalarValue, known: &[&'static str]) -> Result<&'static str> {
    let text = lower_case(value);
    let expected = || format!("one of '{}'", known.join("', '"));
    known
        .iter()
        .copied()
        .find(|known| *known == text)
        .ok_or_else(|| argument_err(name, &expected(), value))
}
