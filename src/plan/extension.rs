//! [`PlanExtension`]: the trait of our additions to DataFusion's plans. `extensions.rs` lists all of them.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModels;
use crate::plan::one_input::only;

/// An addition to plans: planners from SQL to its node and from its node to its operator, and the codec of its operator
/// for other processes. A feature without a codec does not compile.
pub(crate) trait PlanExtension: Debug + Send + Sync {
    /// The name of its operators on the wire.
    fn name(&self) -> &'static str;

    /// The planner of its table functions, which gets the models that the statement uses.
    fn relation_planner(&self, _models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        None
    }

    /// The planner of its nodes; `None` if it has no nodes of its own.
    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        None
    }

    /// Encodes an operator without its inputs; `None` if the operator belongs to another extension.
    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>>;

    /// Decodes an operator and puts it over its inputs.
    fn decode_exec(
        &self,
        bytes: &[u8],
        inputs: &[Arc<dyn ExecutionPlan>],
    ) -> Result<Arc<dyn ExecutionPlan>>;
}

/// The input of an operator that has one.
pub(crate) fn only_input(inputs: &[Arc<dyn ExecutionPlan>]) -> Result<Arc<dyn ExecutionPlan>> {
    let [input] = only(inputs.to_vec())?;
    Ok(input)
}

/// Encodes the description of an operator.
pub(crate) fn to_wire(description: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(description).map_err(|error| {
        let message = format!("cannot encode an operator: {error}");
        sql_err(SqlState::Internal, message)
    })
}

/// Decodes the description of an operator.
pub(crate) fn from_wire<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("cannot decode an operator; do all nodes run one build? ({error})");
        sql_err(SqlState::Internal, message)
    })
}
