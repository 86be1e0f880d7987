//! Wire codec of the operator of `recommend`. A model is sent as its address, never as weights.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::exec::RecommendExec;
use super::node::users_and_items;
use super::spec::RecommendSpec;
use crate::error::Result;
use crate::model::ModelAddress;
use crate::plan::extension::{from_wire, to_wire};

#[derive(Serialize, Deserialize)]
struct Wire {
    model: ModelAddress,
    top_k: usize,
    excluded_by: Option<usize>,
    user_columns: Vec<usize>,
    item_columns: Vec<usize>,
    description: String,
}

pub(super) fn encode(exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    let spec = exec.downcast_ref::<RecommendExec>()?.spec();
    Some(to_wire(&Wire {
        model: spec.model.address(),
        top_k: spec.top_k,
        excluded_by: spec.excluded_by,
        user_columns: spec.user_columns.clone(),
        item_columns: spec.item_columns.clone(),
        description: spec.description.clone(),
    }))
}

pub(super) fn decode(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Result<Arc<dyn ExecutionPlan>> {
    let wire: Wire = from_wire(bytes)?;
    let (users, items) = users_and_items(inputs.iter().map(Arc::clone))?;
    let spec = RecommendSpec {
        model: Arc::new(wire.model.open()?),
        top_k: wire.top_k,
        excluded_by: wire.excluded_by,
        user_columns: wire.user_columns,
        item_columns: wire.item_columns,
        description: wire.description,
    };
    Ok(Arc::new(RecommendExec::try_new(users, items, spec)?))
}
