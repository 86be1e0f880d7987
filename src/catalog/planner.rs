//! [`OwnerPlanner`]: plans the statements of views with their owners' rights, and of external tables with the process's
//! rights.

use std::fmt::Debug;

use async_trait::async_trait;
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as DFStatement;

use crate::access::Access;
use crate::access::files::FileAccess;
use crate::access::ownership::Ownership;
use crate::error::Result;

/// Plans statements for the catalog.
#[async_trait]
pub(crate) trait OwnerPlanner: Debug + Send + Sync {
    /// The access of an object's owner.
    fn owner(&self, ownership: &Ownership) -> Access;

    /// The state of a new session with this access.
    fn state(&self, access: &Access) -> Result<SessionState>;

    /// Plans a statement with this access.
    async fn plan(
        &self,
        state: &SessionState,
        access: &Access,
        statement: DFStatement,
    ) -> Result<LogicalPlan>;

    /// The files that statements may access.
    fn files(&self) -> &FileAccess;
}
