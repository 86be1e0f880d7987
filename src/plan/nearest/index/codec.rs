//! Wire codec of [`IndexExec`].

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;

use super::exec::IndexExec;
use crate::error::{Result, SqlState, sql_err};
use crate::plan::extension::{from_wire, to_wire};

pub(super) fn encode(exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>> {
    Some(to_wire(exec.downcast_ref::<IndexExec>()?.spec()))
}

pub(super) fn decode(
    bytes: &[u8],
    inputs: &[Arc<dyn ExecutionPlan>],
) -> Result<Arc<dyn ExecutionPlan>> {
    let (scan, queries) = match inputs {
        [scan] => (scan, None),
        [scan, queries] => (scan, Some(Arc::clone(queries))),
        _ => {
            let message = format!("an index was given {} inputs", inputs.len());
            return Err(sql_err(SqlState::Internal, message));
        }
    };
    let exec = IndexExec::try_new(Arc::clone(scan), queries, from_wire(bytes)?)?;
    Ok(Arc::new(exec))
}
