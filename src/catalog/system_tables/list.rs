//! All system tables, and how a session opens one.

use std::sync::Arc;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::{MemTable, TableProvider};

use super::cluster::{executors, jobs};
use super::indexes::indexes;
use super::models::{model_versions, models};
use super::process::{devices, model_cache};
use super::sources::SystemTables;
use super::trainings::{metrics, training_metrics, training_runs};
use crate::access::Access;
use crate::catalog::indexes::ListedIndex;
use crate::cluster::{ExecutorView, JobView};
use crate::error::Result;

/// The function that computes a table; `Indexes` takes those of tables that the session may read, `Executors` and `Jobs` the cluster's answer.
enum Make {
    Models(fn(&SystemTables) -> Result<RecordBatch>),
    Indexes(fn(&[ListedIndex]) -> Result<RecordBatch>),
    Executors(fn(&[ExecutorView]) -> Result<RecordBatch>),
    Jobs(fn(&[JobView]) -> Result<RecordBatch>),
}

/// All system tables: schema, name, and function.
const TABLES: &[(&str, &str, Make)] = &[
    ("information_schema", "models", Make::Models(models)),
    (
        "information_schema",
        "model_versions",
        Make::Models(model_versions),
    ),
    ("ml", "training_runs", Make::Models(training_runs)),
    ("ml", "training_metrics", Make::Models(training_metrics)),
    ("ml", "metrics", Make::Models(metrics)),
    ("ml", "model_cache", Make::Models(model_cache)),
    ("ml", "devices", Make::Models(devices)),
    ("ml", "indexes", Make::Indexes(indexes)),
    ("ml", "executors", Make::Executors(executors)),
    ("ml", "jobs", Make::Jobs(jobs)),
];

/// The names of a schema's tables.
pub(crate) fn names(schema: &str) -> impl Iterator<Item = &'static str> {
    TABLES
        .iter()
        .filter(move |(of, ..)| *of == schema)
        .map(|(_, name, _)| *name)
}

impl SystemTables {
    /// Computes a table.
    pub(crate) async fn open(
        &self,
        access: &Access,
        schema: &str,
        name: &str,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some((.., make)) = TABLES
            .iter()
            .find(|(of, known, _)| *of == schema && *known == name)
        else {
            return Ok(None);
        };
        let batch = match (make, &self.cluster) {
            (Make::Models(make), _) => self.open_rows(access, make(self)?)?,
            (Make::Indexes(make), _) => make(&self.catalog.listed_indexes(access)?)?,
            (Make::Executors(make), Some(cluster)) => {
                self.open_rows(access, make(&cluster.executors().await)?)?
            }
            (Make::Jobs(make), Some(cluster)) => {
                self.open_rows(access, make(&cluster.jobs().await)?)?
            }
            (Make::Executors(make), None) => make(&[])?,
            (Make::Jobs(make), None) => make(&[])?,
        };
        Ok(Some(Arc::new(MemTable::try_new(
            batch.schema(),
            vec![vec![batch]],
        )?)))
    }
}
