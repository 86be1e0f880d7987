//! [`OwnerPlanner`]: who plans what the catalog opens. A view is planned with the rights of its owner, an external table with
//! those of the process.

use std::fmt::Debug;

use async_trait::async_trait;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as DFStatement;

use crate::access::Access;
use crate::access::files::FileAccess;
use crate::access::ownership::Ownership;
use crate::error::Result;

/// Plans in place of others.
#[async_trait]
pub(crate) trait OwnerPlanner: Debug + Send + Sync {
    /// As whom what belongs to this owner is read.
    fn owner(&self, ownership: &Ownership) -> Access;

    /// The state of a new session of somebody.
    fn state(&self, access: &Access) -> Result<SessionState>;

    /// Plans a statement as somebody who has these rights.
    async fn plan(
        &self,
        state: &SessionState,
        access: &Access,
        statement: DFStatement,
    ) -> Result<LogicalPlan>;

    /// Which files statements may touch.
    fn files(&self) -> &FileAccess;
}
