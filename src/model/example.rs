//! A model version without files, for tests of plans.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;

use super::name::ModelName;
use super::registry::ResolvedModel;
use crate::storage::Place;

/// A model for tests of plans: its inputs are these columns, its outputs `predicted_y` and `predicted_y_probs`.
pub(crate) fn example_model(inputs: &[(&str, DataType)]) -> ResolvedModel {
    let inputs = inputs.iter().map(|(name, data_type)| {
        serde_json::json!({"name": name, "data_type": data_type, "kind": "number"})
    });
    let target = serde_json::json!({"name": "y", "data_type": "Int64"});
    let label = serde_json::json!({"label": {"target": target, "classes": [{"integer": 0}, {"integer": 1}]}});
    let probabilities = serde_json::json!({"probabilities": {"target": "y"}});
    let manifest = serde_json::json!({
        "format_version": 2, "created_at": "2026-01-01T00:00:00Z", "engine": "0.1.0", "format": "trained",
        "signature": {"inputs": inputs.collect::<Vec<_>>(), "outputs": [
            {"name": "predicted_y", "data_type": "Int64", "kind": label},
            {"name": "predicted_y_probs", "data_type": "Float64", "kind": probabilities}]},
        "batching": "rows",
        "origin": {"imported": {"source": "/models/m", "licence": null, "statement": "CREATE"}},
        "files": [],
    });
    let (schema, name) = ("public".into(), "m".into());
    ResolvedModel {
        name: ModelName { schema, name },
        version: 1,
        sha256: "0123456789abcdef".into(),
        directory: Place::Local("/nowhere".into()),
        manifest: Arc::new(serde_json::from_value(manifest).unwrap()),
        arguments: None,
    }
}
