//! [`may_refuse`]: whether a value may be an error of the statement.

use datafusion::arrow::datatypes::DataType;
use vatic_ml::artifact::TRAINED;
use vatic_ml::data::signature::PortKind;
use vatic_ml::data::types::{Coercion, coercion};

use crate::model::ResolvedModel;
use crate::predict::options::PredictOptions;

/// Whether a model may refuse a row for its values, which are of these types, so that the statement fails. Such a row must not reach the
/// model if the user's query leaves it out before.
pub(in crate::predict) fn may_refuse(
    model: &ResolvedModel,
    options: &PredictOptions,
    types: &[DataType],
) -> bool {
    if options.error_on_null {
        return true;
    }
    if options.null_on_error {
        return false;
    }
    let signature = &model.manifest.signature;
    if let [input] = signature.inputs.as_slice()
        && input.kind == PortKind::Text
    {
        // A text that is cut off has tokens; tasks may want more of it, such as a gap to fill.
        let is_of_text = |kind: &PortKind| {
            matches!(
                kind,
                PortKind::Vector { .. } | PortKind::Label { .. } | PortKind::Probabilities { .. }
            )
        };
        let takes_any = signature.outputs.iter().all(|port| is_of_text(&port.kind));
        return !(takes_any && options.truncate && model.arguments.is_none());
    }
    // What others made, such as a graph in ONNX, may fail in a row.
    let mut inputs = signature.inputs.iter().zip(types);
    model.manifest.format != TRAINED
        || inputs.any(|(port, data_type)| {
            let is_plain = matches!(
                port.kind,
                PortKind::Number | PortKind::Category | PortKind::Date | PortKind::Timestamp
            );
            let fits = matches!(coercion(data_type, &port.data_type), Some(Coercion::ByType));
            !(is_plain && fits)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::example_model;

    #[test]
    fn a_value_that_may_not_fit_the_type_of_training_may_be_refused() {
        let model = example_model(&[("x", DataType::Float64)]);
        let of = |options: &PredictOptions, data_type| may_refuse(&model, options, &[data_type]);
        let default = PredictOptions::default();
        assert!(!of(&default, DataType::Float64));
        assert!(!of(&default, DataType::Int32));
        assert!(of(&default, DataType::Int64));
        let to_null = PredictOptions {
            null_on_error: true,
            ..PredictOptions::default()
        };
        assert!(!of(&to_null, DataType::Int64));
        let on_null = PredictOptions {
            error_on_null: true,
            ..to_null
        };
        assert!(of(&on_null, DataType::Float64));
    }
}
