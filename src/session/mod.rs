//! [`Session`]: one client's settings, limits, prepared statements and temporary tables. A session plans statements and
//! runs plans; `statements` decides which statement does what.
//!
//! * `install` the rules, functions and catalog that a session installs into DataFusion
//! * `plan` planning within the limits of the session
//! * `planner` planning for a session, and for the catalog with the rights of an object's owner
//! * `planner_thread` threads with a deep stack for planning
//! * `run` running plans, in this process or on a cluster; `notices` what a query says once its rows are read
//! * `task` running a statement on the workers
//! * `answer` the effect and the rows of a statement
//! * `prepared` PREPARE, EXECUTE and DEALLOCATE
//! * `reset` RESET of settings of ours
//! * `describe` the columns and parameters of a statement that does not run
//! * `column_tables` the tables that the columns of a result come from

pub(crate) mod answer;
pub(crate) mod column_tables;
pub(crate) mod describe;
pub(crate) mod install;
mod notices;
mod plan;
mod planner;
mod planner_thread;
mod prepared;
mod reset;
mod run;
pub(crate) mod task;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider};
use datafusion::common::TableReference;
use datafusion::common::config::ConfigExtension;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DFStatement;

use self::install::session_state;
pub(crate) use self::planner_thread::PlannerShare;
use crate::access::Access;
use crate::catalog::temporary::TemporaryTables;
use crate::catalog::{ManagedTables, TableStore};
use crate::engine::Engine;
use crate::error::Result;
use crate::memory::StatementPool;
use crate::progress::ProgressListener;
use crate::sql::Limits;

/// One client's view of an engine: its settings and prepared statements.
#[derive(Clone)]
pub struct Session {
    engine: Engine,
    context: SessionContext,
    prepared: Arc<Mutex<HashMap<String, DFStatement>>>,
    progress: Option<ProgressListener>,
    limits: Arc<Limits>,
    memory: Option<Arc<StatementPool>>,
    names_column_tables: bool,
    access: Access,
    temporary: Arc<TemporaryTables>,
    planning: Arc<PlannerShare>,
}

/// The catalog of the tables of rows that are bound to a statement.
const BOUND_ROWS: &str = "bound";

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.context.session_id())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// A session with its own settings; tables and models are shared.
    ///
    /// # Errors
    /// If the session cannot be set up.
    pub fn session(&self) -> Result<Session> {
        Session::try_new(self.clone(), Access::All)
    }

    /// A session with the rights of a user.
    pub(crate) fn session_as(&self, access: Access) -> Result<Session> {
        Session::try_new(self.clone(), access)
    }
}

impl Session {
    pub(crate) fn try_new(engine: Engine, access: Access) -> Result<Self> {
        let temporary = Arc::default();
        let state = session_state(&engine, &access, &temporary)?;
        let context = SessionContext::new_with_state(state);
        Ok(Self {
            engine,
            context,
            prepared: Arc::default(),
            progress: None,
            limits: Arc::default(),
            memory: None,
            names_column_tables: false,
            access,
            temporary,
            planning: Arc::default(),
        })
    }

    /// Applies these limits to statements.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = Arc::new(limits);
        self
    }

    /// Statements reserve their memory in this pool.
    #[must_use]
    pub(crate) fn with_memory(mut self, pool: Arc<StatementPool>) -> Self {
        self.memory = Some(pool);
        self
    }

    /// Statements are planned on the threads that this client may have; by default, a session is a client of its own.
    #[must_use]
    pub(crate) fn with_planner_share(mut self, share: Arc<PlannerShare>) -> Self {
        self.planning = share;
        self
    }

    /// The schemas of results name the table of each column; the schemas of their batches do not.
    #[must_use]
    pub(crate) fn with_column_tables(mut self) -> Self {
        self.names_column_tables = true;
        self
    }

    /// Reports the progress of trainings and of queries on a cluster, and the notices of both, to `listener`.
    #[must_use]
    pub fn with_progress(mut self, listener: ProgressListener) -> Self {
        self.progress = Some(listener);
        self
    }

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    pub(crate) fn access(&self) -> &Access {
        &self.access
    }

    /// Where new tables go.
    pub(crate) fn table_store(&self, is_temporary: bool) -> Box<dyn TableStore + '_> {
        match is_temporary {
            true => Box::new(Arc::clone(&self.temporary)),
            false => Box::new(ManagedTables {
                catalog: self.engine.catalog(),
                access: &self.access,
            }),
        }
    }

    /// The temporary tables of this session.
    pub(crate) fn temporary(&self) -> &Arc<TemporaryTables> {
        &self.temporary
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The default schema.
    pub(crate) fn default_schema(&self) -> String {
        let state = self.context.state();
        state.config_options().catalog.default_schema.clone()
    }

    /// Sets the default schema.
    pub(crate) fn set_default_schema(&self, schema: &str) {
        let state = self.context.state_ref();
        let mut state = state.write();
        let options = state.config_mut().options_mut();
        schema.clone_into(&mut options.catalog.default_schema);
    }

    /// Adds rows as a table for statements of this session, until the result is dropped.
    pub(crate) fn add_rows(&self, batch: RecordBatch) -> Result<AddedRows<'_>> {
        let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
        let name = uuid::Uuid::new_v4().simple().to_string();
        let at = TableReference::full(BOUND_ROWS, BOUND_ROWS, name);
        if self.context.catalog(BOUND_ROWS).is_none() {
            let catalog = MemoryCatalogProvider::new();
            catalog.register_schema(BOUND_ROWS, Arc::new(MemorySchemaProvider::new()))?;
            self.context.register_catalog(BOUND_ROWS, Arc::new(catalog));
        }
        self.context.register_table(at.clone(), Arc::new(table))?;
        let context = &self.context;
        Ok(AddedRows { context, at })
    }

    pub(crate) fn progress(&self) -> Option<ProgressListener> {
        self.progress.clone()
    }

    pub(crate) fn settings<T: ConfigExtension + Default + Clone>(&self) -> T {
        self.context
            .state()
            .config_options()
            .extensions
            .get::<T>()
            .cloned()
            .unwrap_or_default()
    }
}

/// Rows as a table of a session. A statement may be dropped while it is planned, and the session lives on: so the table
/// goes when this is dropped.
pub(crate) struct AddedRows<'a> {
    context: &'a SessionContext,
    at: TableReference,
}

impl AddedRows<'_> {
    /// The name of the table, in quotes.
    pub(crate) fn quoted_name(&self) -> String {
        self.at.to_quoted_string()
    }
}

impl Drop for AddedRows<'_> {
    fn drop(&mut self) {
        // The table may be gone already.
        let _ = self.context.deregister_table(self.at.clone());
    }
}
