//! What the system tables are computed from.

use std::sync::Arc;

use crate::catalog::Catalog;
use crate::cluster::Cluster;
use crate::model::ModelRegistry;
use crate::model::runtime::ModelRuntime;
use crate::train::RunLog;

/// The sources of the tables.
#[derive(Debug)]
pub(crate) struct SystemTables {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) registry: Arc<ModelRegistry>,
    pub(crate) runs: Arc<RunLog>,
    pub(crate) cache: Arc<ModelRuntime>,
    pub(crate) cluster: Option<Arc<Cluster>>,
}
