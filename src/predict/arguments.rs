//! [`take`]: the named arguments of calls as [`PredictOptions`].

use datafusion::common::{DataFusionError, Result};
use datafusion::scalar::ScalarValue;
use vatic_ml::data::labels::LabelForm;
use vatic_ml::data::signature::PortKind;
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::ComputeType;

use super::call_task::TASK_ARGUMENTS;
use super::coalesce::text_input;
use super::generation;
use super::options::PredictOptions;
use crate::config::Dedupe;
use crate::error::{SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::model::runtime::check_device;
use crate::plan::argument_values::{flag, lower_case, number, one_of, positive};
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
            if !has_choice {
                return Err(needs("a classifier"));
            }
            options.top_k = Some(positive(name, value)?);
        }
        "threshold" => {
            let has_threshold = labels().any(|label| match label.form() {
                LabelForm::Class(2) | LabelForm::Set(_) => true,
                LabelForm::Number | LabelForm::Vector(_) | LabelForm::Class(_) => false,
            });
            if !has_threshold {
                return Err(needs("a classifier of two classes"));
            }
            options.set_threshold(number(name, value, 0.0..=1.0)?);
        }
        "on_error" => options.null_on_error = one_of(name, value, &["error", "null"])? == "null",
        "on_null" => {
            let found = one_of(name, value, &["null", "error", "impute"])?;
            if found == "impute" && !model.manifest.imputes() {
                return Err(self::needs(
                    "on_null => 'impute'",
                    "a model trained with null_handling = 'impute'",
                    model,
                ));
            }
            options.error_on_null = found == "error";
            options.imputes = Some(found == "impute");
        }
        "dedupe" => {
            let known = Dedupe::ALL.map(Dedupe::name);
            options.dedupe = Dedupe::parse(one_of(name, value, &known)?);
        }
        "max_batch_tokens" | "truncate" | "prompt" if text_input(model).is_none() => {
            return Err(needs("a model of texts"));
        }
        // Each of two texts may be short, and both together long.
        "truncate" if text_inputs(model) > 1 => return Err(needs("a model of one text")),
        "max_batch_tokens" => options.max_batch_tokens = Some(positive(name, value)?),
        "truncate" => options.truncate = flag(name, value)?,
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

fn writes_text(model: &ResolvedModel) -> bool {
    model.manifest.signature.generated().is_some()
}

fn text_inputs(model: &ResolvedModel) -> usize {
    let inputs = model.manifest.signature.inputs.iter();
    inputs.filter(|port| port.kind == PortKind::Text).count()
}

/// The error of an argument that this model does not take.
pub(super) fn needs(argument: &str, what: &str, model: &ResolvedModel) -> DataFusionError {
    let message = format!(
        "argument {argument} needs {what}, which \"{}\" is not",
        model.label()
    );
    sql_err(SqlState::InvalidParameter, message)
}
