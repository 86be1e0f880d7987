//! Wire codec of the operators of `predict`. A model is sent as its address, never as weights.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::chunk::{ChunkExec, ChunkSize, ChunkSpec};
use super::coalesce::{BatchCoalesceExec, BatchSize};
use super::exec::PredictExec;
use super::node::Appended;
use super::options::PredictOptions;
use super::spec::PredictSpec;
use crate::error::Result;
use crate::model::ModelAddress;
use crate::plan::extension::{from_wire, to_wire};

#[derive(Serialize, Deserialize)]
enum Wire {
    Coalesce(BatchSize),
    Predict(Box<Predict>),
    Chunk(Box<Chunk>),
}

#[derive(Serialize, Deserialize)]
struct Chunk {
    model: ModelAddress,
    text: usize,
    size: ChunkSize,
    options: PredictOptions,
}

#[derive(Serialize, Deserialize)]
struct Predict {
    model: ModelAddress,
    features: Vec<usize>,
    appended: Appended,
    options: PredictOptions,
    computes_once: bool,
    size: BatchSize,
    description: String,
}

pub(super) fn encode(exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    if let Some(coalesce) = exec.downcast_ref::<BatchCoalesceExec>() {
        return Some(to_wire(&Wire::Coalesce(coalesce.size())));
    }
    if let Some(chunk) = exec.downcast_ref::<ChunkExec>() {
        let spec = chunk.spec();
        return Some(to_wire(&Wire::Chunk(Box::new(Chunk {
            model: spec.model.address(),
            text: spec.text,
            size: spec.size,
            options: spec.options.clone(),
        }))));
    }
    let spec = exec.downcast_ref::<PredictExec>()?.spec();
    Some(to_wire(&Wire::Predict(Box::new(Predict {
        model: spec.model.address(),
        features: spec.features.clone(),
        appended: spec.appended.clone(),
        options: spec.options.clone(),
        computes_once: spec.computes_once,
        size: spec.size,
        description: spec.description.clone(),
    }))))
}

pub(super) fn decode(
    bytes: &[u8],
    input: Arc<dyn ExecutionPlan>,
) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(match from_wire(bytes)? {
        Wire::Coalesce(size) => Arc::new(BatchCoalesceExec::new(input, size)),
        Wire::Chunk(chunk) => {
            let spec = ChunkSpec {
                model: Arc::new(chunk.model.open()?),
                text: chunk.text,
                size: chunk.size,
                options: chunk.options,
            };
            Arc::new(ChunkExec::new(input, spec))
        }
        Wire::Predict(predict) => {
            let spec = PredictSpec {
                model: Arc::new(predict.model.open()?),
                features: predict.features,
                appended: predict.appended,
                options: predict.options,
                computes_once: predict.computes_once,
                size: predict.size,
                description: predict.description,
            };
            Arc::new(PredictExec::try_new(input, spec)?)
        }
    })
}
