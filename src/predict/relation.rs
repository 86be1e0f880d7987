//! Relation planner of `predict(model, input, …)`: plans a [`PredictNode`], with `chunk` over a [`ChunkNode`].

use std::sync::Arc;

use datafusion::common::{Column, Result};
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::TableFactor;

use super::arguments::{finished, needs, take};
use super::call_task::with_task;
use super::chunk::{ChunkNode, ChunkSize, TEXT};
use super::coalesce::text_input;
use super::node::PredictNode;
use super::options::PredictOptions;
use crate::error::{SqlState, sql_err};
use crate::model::ResolvedModels;
use crate::plan::argument_values::positive;
use crate::plan::features::bind_features;
use crate::plan::table_function::{Call, argument_err, call};

/// The named arguments of `predict`.
pub(crate) const ARGUMENTS: &[&str] = &[
    "batch_size",
    "max_batch_tokens",
    "threshold",
    "top_k",
    "on_error",
    "on_null",
    "dedupe",
    "truncate",
    "prompt",
    "chunk",
    "overlap",
    "max_tokens",
    "temperature",
    "seed",
    "stop",
    "top_p",
    "chat",
    "device",
    "dtype",
    "labels",
    "hypothesis",
    "multi_label",
    "aggregation",
];

#[derive(Debug)]
pub(super) struct PredictRelation {
    pub(super) models: Arc<ResolvedModels>,
}

impl RelationPlanner for PredictRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(mut call) = call(&factor, &["predict"], &self.models, context)? else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let input = call.required_input()?;
        call.model = with_task(&call, ARGUMENTS)?;
        let (options, chunk) = options(&call)?;
        let node = match chunk {
            None => PredictNode::try_new(Arc::clone(&call.model), input, options)?,
            Some(size) => over_chunks(&call, input, size, options)?,
        };
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        call.planned(plan)
    }
}

/// The model over the parts of texts.
fn over_chunks(
    call: &Call,
    input: LogicalPlan,
    size: ChunkSize,
    options: PredictOptions,
) -> Result<PredictNode> {
    let model = &call.model;
    let text = text_input(model).ok_or_else(|| needs("chunk", "a model of texts", model))?;
    let features = bind_features(model, input.schema())?;
    let columns = features
        .iter()
        .map(|feature| Column::from(input.schema().qualified_field(*feature)));
    let mut columns: Vec<Column> = columns.collect();
    let column = std::mem::replace(&mut columns[text], Column::new_unqualified(TEXT));
    let chunks = ChunkNode::try_new(Arc::clone(model), input, column, size, options.clone())?;
    let chunks = LogicalPlan::Extension(Extension {
        node: Arc::new(chunks),
    });
    PredictNode::of_all(Arc::clone(model), Some(columns), chunks, options)
}

/// The options of a call, and the size of chunks if it wants any.
fn options(call: &Call) -> Result<(PredictOptions, Option<ChunkSize>)> {
    let mut options = PredictOptions::default();
    let (mut tokens, mut overlap) = (None, None);
    call.named(ARGUMENTS, |name, value| {
        match name {
            "chunk" => tokens = Some(positive(name, value)?),
            "overlap" => overlap = Some(value.clone()),
            _ => take(&mut options, &call.model, name, value)?,
        }
        Ok(())
    })?;
    let options = finished(options, &call.model)?;
    match (tokens, overlap) {
        (None, None) => Ok((options, None)),
        (None, Some(_)) => {
            let message = "argument overlap needs chunk => n, the tokens of a chunk";
            Err(sql_err(SqlState::InvalidParameter, message))
        }
        (Some(tokens), overlap) => {
            let overlap = overlap.map_or(Ok(0), |overlap| overlap_of(&overlap, tokens))?;
            Ok((options, Some(ChunkSize { tokens, overlap })))
        }
    }
}

fn overlap_of(value: &ScalarValue, tokens: usize) -> Result<usize> {
    let overlap = match value {
        ScalarValue::Int64(Some(overlap)) => usize::try_from(*overlap).ok(),
        _ => None,
    };
    overlap.filter(|overlap| *overlap < tokens).ok_or_else(|| {
        let expected = format!("a whole number from 0 to {}, less than chunk", tokens - 1);
        argument_err("overlap", &expected, value)
    })
}
