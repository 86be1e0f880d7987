//! `predict_value(model, feature, …)`: what a model predicts for the features of a row.

use super::function::ModelFunction;
use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::predict::arguments::take;
use crate::sql::{CallForm, CallInputs};

pub(super) const PREDICT_VALUE: ModelFunction = ModelFunction {
    form: CallForm {
        name: "predict_value",
        usage: "predict_value(model, column, feature => value, …)",
        inputs: CallInputs::Features,
    },
    gives: "what a model predicts for the features of a row",
    output: value,
    take,
};

/// The only label of a model, or its only output.
fn value(model: &ResolvedModel) -> Result<usize> {
    let signature = &model.manifest.signature;
    let labels: Vec<usize> = signature.labels().map(|label| label.output).collect();
    match (labels.as_slice(), signature.outputs.len()) {
        ([label], _) => Ok(*label),
        ([], 1) => Ok(0),
        _ => {
            let outputs = signature.outputs.iter().map(|port| port.name.as_str());
            let message = format!(
                "predict_value gives one prediction, model \"{}\" gives {}; use predict",
                model.label(),
                outputs.collect::<Vec<_>>().join(", ")
            );
            Err(sql_err(SqlState::InvalidParameter, message))
        }
    }
}
