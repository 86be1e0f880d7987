//! [`PlanExtension`]: something that we add to DataFusion's plans. All of them are listed in `extensions.rs`.

use std::fmt::Debug;
use std::sync::Arc;

use datafusion::logical_expr::planner::RelationPlanner;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::ExtensionPlanner;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModels;

/// Something we add to plans: how SQL becomes its node, its node an operator, and its operator bytes for another
/// process. A feature that cannot travel to a cluster does not compile.
pub(crate) trait PlanExtension: Debug + Send + Sync {
    /// What its operators are marked with on the wire.
    fn name(&self) -> &'static str;

    /// Plans its table functions, given the models that the statement uses.
    fn relation_planner(&self, _models: &Arc<ResolvedModels>) -> Option<Arc<dyn RelationPlanner>> {
        None
    }

    /// Plans its nodes; `None` if it has none of its own.
    fn physical_planner(&self) -> Option<Arc<dyn ExtensionPlanner + Send + Sync>> {
        None
    }

    /// An operator without its input; `None` if it is not one of its own.
    fn encode_exec(&self, exec: &dyn ExecutionPlan) -> Option<Result<Vec<u8>>>;

    /// The operator of these bytes over its input.
    fn decode_exec(
        &self,
        bytes: &[u8],
        input: Arc<dyn ExecutionPlan>,
    ) -> Result<Arc<dyn ExecutionPlan>>;
}

/// An operator's description as bytes.
pub(crate) fn to_wire(description: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(description).map_err(|error| {
        let message = format!("an operator cannot be written: {error}");
        sql_err(SqlState::Internal, message)
    })
}

/// The description in these bytes.
pub(crate) fn from_wire<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let message = format!("an operator cannot be read; do all nodes run one build? ({error})");
        sql_err(SqlState::Internal, message)
    })
}
