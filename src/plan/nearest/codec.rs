//! Wire codec of the operators of `nearest`.

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};

use super::merge_exec::MergeExec;
use super::search_exec::SearchExec;
use super::spec::Spec;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::extension::{from_wire, to_wire};

#[derive(Serialize, Deserialize)]
enum Wire {
    Search(Spec),
    Merge(usize),
}

pub(super) fn encode(exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    let wire = match exec.downcast_ref::<SearchExec>() {
        Some(search) => Wire::Search(search.spec()),
        None => Wire::Merge(exec.downcast_ref::<MergeExec>()?.top_k()),
    };
    Some(to_wire(&wire))
}

pub(super) fn decode(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Result<Arc<dyn ExecutionPlan>> {
    match (from_wire(bytes)?, inputs) {
        (Wire::Search(spec), [queries, items]) => {
            let (queries, items) = (Arc::clone(queries), Arc::clone(items));
            Ok(Arc::new(SearchExec::try_new(queries, items, spec)?))
        }
        (Wire::Merge(top_k), [input]) => {
            Ok(Arc::new(MergeExec::try_new(Arc::clone(input), top_k)?))
        }
        _ => Err(sql_err(
            SqlState::Internal,
            format!("an operator of nearest was given {} inputs", inputs.len()),
        )),
    }
}
