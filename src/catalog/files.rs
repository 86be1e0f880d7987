//! [`ManagedFile`]: a file of a managed table; [`TableFiles`]: the list of a table's files.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::storage::Place;

/// The name of the file in each directory.
pub(super) const FILE: &str = "data.parquet";

/// One file of a managed table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ManagedFile {
    /// The directory of the file below `blobs`.
    pub(crate) directory: String,
    pub(crate) rows: u64,
    /// The size in bytes; `None` for files that older versions wrote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// The list of a table's files: in the log of a managed table, or in a session.
#[async_trait]
pub(crate) trait TableFiles: Debug + Send + Sync {
    /// Whether the files belong to a session.
    fn is_temporary(&self) -> bool;

    /// Appends files that were written for this schema, or replaces the current files by them. Once the new list is
    /// published, this does not wait any more, so that a cancel cannot come between it and the answer.
    ///
    /// # Errors
    /// If the table was replaced or dropped.
    async fn append(&self, schema: &SchemaRef, written: Written, overwrite: bool) -> Result<()>;
}

/// Written files, which are deleted on drop unless they are kept.
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

    /// Keeps the files, because the catalog now names them.
    pub(crate) fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// Deletes the files on drop after all, because the catalog does not name them and will not.
    pub(super) fn release(&self) {
        self.is_kept.store(false, Ordering::Relaxed);
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // If the removal fails, the files are orphans and are removed a day later.
            let _ = self.directory.remove_directory();
        }
    }
}
