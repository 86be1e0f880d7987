//! `generate(model, prompt)`: the text that a model writes after a prompt.

use super::function::ModelFunction;
use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::predict::arguments::take;
use crate::sql::{CallForm, CallInputs};

pub(super) const GENERATE: ModelFunction = ModelFunction {
    form: CallForm {
        name: "generate",
        usage: "generate(model, prompt, name => value, …)",
        inputs: CallInputs::One {
            named: &[
                "max_tokens",
                "temperature",
                "seed",
                "stop",
                "top_p",
                "top_k",
                "chat",
                "on_error",
                "dedupe",
            ],
        },
    },
    gives: "the text that a model writes after a prompt",
    output: generated,
    take,
};

/// The text that a model writes.
fn generated(model: &ResolvedModel) -> Result<usize> {
    let signature = &model.manifest.signature;
    signature.generated().ok_or_else(|| {
        let outputs = signature.outputs.iter().map(|port| port.name.as_str());
        let message = format!(
            "generate needs a model that writes text; \"{}\" gives {}",
            model.label(),
            outputs.collect::<Vec<_>>().join(", ")
        );
        sql_err(SqlState::InvalidParameter, message)
    })
}
