//! The operators of `predict` ↔ bytes. A model travels as its address, never as weights.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::coalesce::BatchCoalesceExec;
use super::exec::{PredictExec, PredictSpec};
use super::node::{Output, PredictOptions};
use crate::error::Result;
use crate::model::ModelAddress;
use crate::plan::extension::{from_wire, to_wire};

#[derive(Serialize, Deserialize)]
enum Wire {
    Coalesce { rows: usize },
    Predict(Box<Predict>),
}

#[derive(Serialize, Deserialize)]
struct Predict {
    model: ModelAddress,
    features: Vec<usize>,
    outputs: Vec<Output>,
    options: PredictOptions,
    batch_rows: usize,
    description: String,
}

pub(super) fn encode(exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    if let Some(coalesce) = exec.downcast_ref::<BatchCoalesceExec>() {
        let rows = coalesce.rows();
        return Some(to_wire(&Wire::Coalesce { rows }));
    }
    let spec = exec.downcast_ref::<PredictExec>()?.spec();
    Some(to_wire(&Wire::Predict(Box::new(Predict {
        model: spec.model.address(),
        features: spec.features.clone(),
        outputs: spec.outputs.clone(),
        options: spec.options,
        batch_rows: spec.batch_rows,
        description: spec.description.clone(),
    }))))
}

pub(super) fn decode(
    bytes: &[u8],
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(match from_wire(bytes)? {
        Wire::Coalesce { rows } => Arc::new(BatchCoalesceExec::new(input, rows)),
        Wire::Predict(predict) => {
            let spec = PredictSpec {
                model: Arc::new(predict.model.open()?),
                features: predict.features,
                outputs: predict.outputs,
                options: predict.options,
                batch_rows: predict.batch_rows,
                description: predict.description,
            };
            Arc::new(PredictExec::try_new(input, spec)?)
        }
    })
}
