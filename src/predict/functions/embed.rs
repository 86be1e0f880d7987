//! `embed(model, text)`: the vector that a model gives for a text, an image or another single input.

use vatic_ml::data::signature::PortKind;

use super::function::ModelFunction;
use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::predict::arguments::take;
use crate::sql::{CallForm, CallInputs};

pub(super) const EMBED: ModelFunction = ModelFunction {
    form: CallForm {
        name: "embed",
        usage: "embed(model, text, name => value, …)",
        inputs: CallInputs::One {
            named: &[
                "prompt", "truncate", "on_error", "dedupe", "device", "dtype",
            ],
        },
    },
    gives: "the vector that a model gives for a text or an image",
    output: embedding,
    take,
};

/// The only vector of a model with one input.
fn embedding(model: &ResolvedModel) -> Result<usize> {
    let signature = &model.manifest.signature;
    let label = model.label();
    let wrong = |message: String| sql_err(SqlState::InvalidParameter, message);
    let outputs = signature.outputs.iter();
    let found = outputs
        .enumerate()
        .find(|(_, port)| matches!(port.kind, PortKind::Vector { .. }));
    let Some((output, port)) = found else {
        let outputs: Vec<&str> = signature
            .outputs
            .iter()
            .map(|port| port.name.as_str())
            .collect();
        return Err(wrong(format!(
            "embed needs a model that gives a vector; \"{label}\" gives {}",
            outputs.join(", ")
        )));
    };
    match signature.inputs.as_slice() {
        [_] => Ok(output),
        inputs => Err(wrong(format!(
            "embed takes one value, model \"{label}\" takes {}; use the column {} of predict",
            inputs.len(),
            port.name
        ))),
    }
}
