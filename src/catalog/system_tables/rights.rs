//! The rows of the system tables that a session may read.

use std::collections::HashMap;

use datafusion::arrow::array::{AsArray, BooleanArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::record_batch::RecordBatch;

use super::sources::SystemTables;
use crate::access::Access;
use crate::access::grants::Privilege;
use crate::error::Result;
use crate::model::{ModelName, ModelState};
use crate::train::RunRecord;

impl SystemTables {
    /// The rows about models that the session may read; rows about the cluster are for administrators only.
    pub(super) fn open_rows(&self, access: &Access, batch: RecordBatch) -> Result<RecordBatch> {
        let Access::User(user) = access else {
            return Ok(batch);
        };
        let rights = access.rights()?;
        let models = self.registry.list()?.into_iter();
        let open: HashMap<ModelName, ModelState> = models
            .filter(|(name, state)| {
                rights.may(Privilege::Execute, &name.object(), &state.ownership)
            })
            .collect();
        let runs = match batch.column_by_name("run_id") {
            Some(_) => self.runs.list()?,
            None => vec![],
        };
        let runs: HashMap<&str, &RunRecord> =
            runs.iter().map(|run| (run.run_id.as_str(), run)).collect();
        let text = |column: &str, row: usize| {
            let column = batch.column_by_name(column)?.as_string_opt::<i32>()?;
            Some(column.value(row).to_owned())
        };
        let is_open = |row: usize| {
            let name = text("model_name", row)?;
            let name = match text("model_schema", row) {
                Some(schema) => ModelName { schema, name },
                None => ModelName::parse(&name).ok()?,
            };
            let model = open.get(&name);
            match text("run_id", row) {
                Some(id) => Some(is_run_open(runs.get(id.as_str())?, model, &user.name)),
                None => Some(model.is_some()),
            }
        };
        let mask: BooleanArray = (0..batch.num_rows())
            .map(|row| Some(is_open(row).unwrap_or(false)))
            .collect();
        Ok(filter_record_batch(&batch, &mask)?)
    }
}

/// Whether a user may see a training: the training is the user's own, or made a version of a model that the user sees.
/// The model that now has the name may be a different one, so owner and version are compared.
fn is_run_open(run: &RunRecord, model: Option<&ModelState>, user: &str) -> bool {
    let is_of = |model: &ModelState| {
        let is_owners = run.user.is_none() || run.user == model.ownership.owner;
        let mut versions = model.versions.iter();
        is_owners && versions.any(|entry| Some(entry.version) == run.version)
    };
    run.user.as_deref() == Some(user) || model.is_some_and(is_of)
}
