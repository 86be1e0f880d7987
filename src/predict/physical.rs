//! Extension planner: [`PredictNode`] → `PredictExec(BatchCoalesceExec(input))`, with what settings and arguments decide, and
//! [`ChunkNode`] → [`ChunkExec`].
//!
//! A physical optimizer rule could not add BatchCoalesceExec: a cluster's adaptive planning replaces those rules.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{LogicalPlan, UserDefinedLogicalNode};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{ExtensionPlanner, PhysicalPlanner};
use vatic_ml::data::signature::PortKind;

use super::chunk::{ChunkExec, ChunkNode, ChunkSpec};
use super::coalesce::{BatchCoalesceExec, BatchSize, WantedSize};
use super::exec::PredictExec;
use super::node::PredictNode;
use super::spec::PredictSpec;
use crate::config::{Dedupe, VaticOptions};
use crate::model::ResolvedModel;

pub(super) struct PredictPlanner;

#[async_trait]
impl ExtensionPlanner for PredictPlanner {
    async fn plan_extension(
        &self,
        _planner: &dyn PhysicalPlanner,
        node: &dyn UserDefinedLogicalNode,
        _logical_inputs: &[&LogicalPlan],
        physical_inputs: &[Arc<dyn ExecutionPlan>],
        session: &dyn Session,
        _context: &PhysicalPlanningContext,
    ) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        if let Some(node) = node.as_any().downcast_ref::<ChunkNode>() {
            let spec = ChunkSpec {
                model: Arc::clone(&node.model),
                text: node.text()?,
                size: node.size,
                options: node.options.clone(),
            };
            let input = Arc::clone(&physical_inputs[0]);
            return Ok(Some(Arc::new(ChunkExec::new(input, spec))));
        }
        let Some(node) = node.as_any().downcast_ref::<PredictNode>() else {
            return Ok(None);
        };
        let input = Arc::clone(&physical_inputs[0]);
        if node.appended.is_empty() {
            return Ok(Some(input));
        }
        let options = node.options.clone();
        let wanted = WantedSize {
            rows: options.batch_size,
            tokens: options.max_batch_tokens,
        };
        let size = BatchSize::of(&node.model, &node.features, wanted, options.device, session);
        let settings = VaticOptions::of(session.config_options());
        let spec = PredictSpec {
            model: Arc::clone(&node.model),
            features: node.features.clone(),
            appended: node.appended.clone(),
            computes_once: match options.dedupe.unwrap_or(settings.dedupe) {
                Dedupe::Auto => takes_long(&node.model),
                Dedupe::On => true,
                Dedupe::Off => false,
            },
            options,
            size,
            description: node.describe(),
        };
        let coalesced = Arc::new(BatchCoalesceExec::new(input, size.gathered()));
        Ok(Some(Arc::new(PredictExec::try_new(coalesced, spec)?)))
    }
}

/// Whether a row takes the model so long that finding an equal one is quicker: texts and images do.
fn takes_long(model: &ResolvedModel) -> bool {
    let mut inputs = model.manifest.signature.inputs.iter();
    inputs.any(|port| matches!(port.kind, PortKind::Text | PortKind::Image))
}
