//! Wire codec of the operator of `evaluate`.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::exec::{EvaluateExec, EvaluateSpec, Step};
use super::node::Report;
use crate::error::Result;
use crate::model::ModelAddress;
use crate::plan::extension::{from_wire, to_wire};

#[derive(Serialize, Deserialize)]
struct Wire {
    model: ModelAddress,
    report: Report,
    features: Vec<usize>,
    labels: Vec<Option<usize>>,
    step: Step,
    description: String,
}

pub(super) fn encode(exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    let spec = exec.downcast_ref::<EvaluateExec>()?.spec();
    Some(to_wire(&Wire {
        model: spec.model.address(),
        report: spec.report,
        features: spec.features.clone(),
        labels: spec.labels.clone(),
        step: spec.step,
        description: spec.description.clone(),
    }))
}

pub(super) fn decode(
    bytes: &[u8],
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let wire: Wire = from_wire(bytes)?;
    let model = Arc::new(wire.model.open()?);
    let spec = EvaluateSpec {
        model,
        report: wire.report,
        features: wire.features,
        labels: wire.labels,
        step: wire.step,
        description: wire.description,
    };
    Ok(Arc::new(EvaluateExec::try_new(input, spec)?))
}
