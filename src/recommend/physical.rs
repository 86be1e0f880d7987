//! The plan of a [`RecommendNode`]: `RecommendExec(BatchCoalesceExec(users), items)`.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::physical_plan::ExecutionPlan;
use vatic_ml::device::DeviceName;

use super::exec::RecommendExec;
use super::node::{RecommendNode, users_and_items};
use super::spec::RecommendSpec;
use crate::predict::{BatchCoalesceExec, BatchSize, WantedSize};

/// Users of a batch: enough to read the items once for many of them, and few enough to keep all cores busy.
const USERS: usize = 128;

pub(super) fn plan(
    node: &RecommendNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let (users, items) = users_and_items(inputs.iter().map(Arc::clone))?;
    let wanted = WantedSize {
        rows: Some(USERS),
        tokens: None,
    };
    let size = BatchSize::of(&node.model, &[], wanted, DeviceName::Cpu, session);
    let users = Arc::new(BatchCoalesceExec::new(users, size));
    let spec = RecommendSpec {
        model: Arc::clone(&node.model),
        top_k: node.top_k,
        excluded_by: node.excluded_by,
        user_columns: node.user_columns.clone(),
        item_columns: node.item_columns.clone(),
        description: node.describe(),
    };
    Ok(Arc::new(RecommendExec::try_new(users, items, spec)?))
}
