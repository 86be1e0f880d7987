//! The operator of `evaluate` ↔ bytes.

use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::exec::{EvaluateExec, EvaluateSpec};
use super::node::{Report, report_fields};
use crate::error::Result;
use crate::model::ModelAddress;
use crate::plan::extension::{from_wire, to_wire};

#[derive(Serialize, Deserialize)]
struct Wire {
    model: ModelAddress,
    report: Report,
    features: Vec<usize>,
    label: usize,
    description: String,
}

pub(super) fn encode(exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    let spec = exec.downcast_ref::<EvaluateExec>()?.spec();
    Some(to_wire(&Wire {
        model: spec.model.address(),
        report: spec.report,
        features: spec.features.clone(),
        label: spec.label,
        description: spec.description.clone(),
    }))
}

pub(super) fn decode(
    bytes: &[u8],
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wire: Wire = from_wire(bytes)?;
    let model = Arc::new(wire.model.open()?);
    let schema = Arc::new(Schema::new(report_fields(&model, wire.report)));
    let spec = EvaluateSpec {
        model,
        report: wire.report,
        features: wire.features,
        label: wire.label,
        description: wire.description,
    };
    Ok(Arc::new(EvaluateExec::new(input, spec, schema)))
}
