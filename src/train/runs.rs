//! [`RunLog`]: the records of all trainings, whether running, successful, failed or cancelled.
//!
//! While a process trains, it keeps a sign of life beside the record. A RUNNING record without a sign of life belongs to
//! a process that ended, so no clean-up is needed after a kill.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use vatic_ml::train::control::EpochRecord;

use crate::error::{Result, SqlError, SqlState, io_err};
use crate::storage::data_dir::DataDir;
use crate::storage::state_log::names_in;
use crate::storage::{Hold, Place, is_held};

/// The record of one training.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) run_id: String,
    pub(crate) model: String,
    /// The user who trains; `None` for a session with full access.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    pub(crate) version: Option<u64>,
    /// RUNNING, SUCCEEDED, FAILED or CANCELLED.
    pub(crate) status: String,
    pub(crate) error: Option<String>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) ended_at: Option<DateTime<Utc>>,
    pub(crate) training_sql: String,
    pub(crate) history: Vec<EpochRecord>,
}

/// All records of a data directory.
#[derive(Debug)]
pub(crate) struct RunLog {
    data: Arc<DataDir>,
}

impl RunLog {
    pub(crate) fn new(data: Arc<DataDir>) -> Self {
        Self { data }
    }

    /// Records the start of a training. The guard records the outcome; a dropped guard records a cancel.
    pub(crate) fn begin(
        &self,
        run_id: &str,
        user: Option<String>,
        model: &str,
        training_sql: &str,
    ) -> Result<RunGuard> {
        let place = self.record(run_id);
        let failed = |error: std::io::Error| io_err(&place, &error);
        self.data.runs().create_directory().map_err(failed)?;
        let sign = Hold::begin(self.sign(run_id)).map_err(failed)?;
        let record = RunRecord {
            run_id: run_id.into(),
            model: model.into(),
            user,
            version: None,
            status: "RUNNING".into(),
            error: None,
            started_at: Utc::now(),
            ended_at: None,
            training_sql: training_sql.into(),
            history: Vec::new(),
        };
        write(&place, &record)?;
        Ok(RunGuard {
            place,
            _sign: sign,
            record,
            is_over: false,
        })
    }

    fn record(&self, run_id: &str) -> Place {
        self.data.runs().join(&format!("{run_id}.json"))
    }

    fn sign(&self, run_id: &str) -> Place {
        self.data.runs().join(&format!("{run_id}.lock"))
    }

    /// Every record, the newest first.
    pub(crate) fn list(&self) -> Result<Vec<RunRecord>> {
        let mut records = Vec::new();
        for name in names_in(&self.data.runs())? {
            let Some(run_id) = name.strip_suffix(".json") else {
                continue;
            };
            // Skip records that cannot be read: those of a later version of vatic, or those being replaced now.
            let content = self.record(run_id).read().ok();
            let Some(mut record) = content.and_then(|content| read(&content)) else {
                continue;
            };
            if record.status == "RUNNING" && !is_held(&self.sign(run_id)) {
                record.status = "FAILED".into();
                record.error = Some("the process ended before the training did".into());
            }
            records.push(record);
        }
        records.sort_by(|left, right| {
            (right.started_at, &right.run_id).cmp(&(left.started_at, &left.run_id))
        });
        Ok(records)
    }
}

fn read(content: &[u8]) -> Option<RunRecord> {
    serde_json::from_slice(content).ok()
}

fn write(place: &Place, record: &RunRecord) -> Result<()> {
    let failed = |error: std::io::Error| io_err(place, &error);
    let content = serde_json::to_vec(record).map_err(|error| failed(error.into()))?;
    place.replace(&content).map_err(failed)
}

/// The record of a running training.
#[derive(Debug)]
pub(crate) struct RunGuard {
    place: Place,
    _sign: Hold,
    record: RunRecord,
    is_over: bool,
}

impl RunGuard {
    pub(crate) fn succeed(mut self, version: u64, history: Vec<EpochRecord>) {
        self.record.version = Some(version);
        self.record.history = history;
        self.end("SUCCEEDED", None);
    }

    pub(crate) fn fail(mut self, error: &SqlError) {
        let status = if error.state == SqlState::Cancelled {
            "CANCELLED"
        } else {
            "FAILED"
        };
        self.end(status, Some(error.message.clone()));
    }

    fn end(&mut self, status: &str, error: Option<String>) {
        self.is_over = true;
        self.record.status = status.into();
        self.record.error = error;
        self.record.ended_at = Some(Utc::now());
        // The version, if there is one, is published already; a record that cannot be written must not undo that.
        if let Err(error) = write(&self.place, &self.record) {
            tracing::warn!(run = %self.record.run_id, %error, "the record of a training cannot be written");
        }
    }
}

impl Drop for RunGuard {
    fn drop(&mut self) {
        if !self.is_over {
            self.end("CANCELLED", Some("the statement was cancelled".into()));
        }
    }
}
