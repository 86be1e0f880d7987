//! The files of a managed table: which they are, and how a table gets more.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use datafusion::arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::storage::Place;

/// The file in each directory.
pub(super) const FILE: &str = "data.parquet";

/// One file of a managed table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagedFile {
    /// The directory of the file below `blobs`.
    pub(crate) directory: String,
    pub(crate) rows: u64,
    /// Of files that were written before sizes were kept, none is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// Where the list of a table's files is kept: in the log of a table that lasts, or in a session.
pub(super) trait TableFiles: Debug + Send + Sync {
    /// Whether the files go with a session.
    fn is_temporary(&self) -> bool;

    /// Appends files that were written for this schema, or replaces those there are by them.
    ///
    /// # Errors
    /// If the table has become another one, or is gone.
    fn append(&self, schema: &SchemaRef, written: Written, overwrite: bool) -> Result<()>;
}

/// Files that are deleted again unless they are kept.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) files: Vec<ManagedFile>,
    pub(super) directory: Place,
    pub(super) is_kept: AtomicBool,
}

impl Written {
    pub(crate) fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// The catalog names the files now.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // What cannot be removed now is an orphan, and removed a day later.
            let _ = self.directory.remove_directory();
        }
    }
}
