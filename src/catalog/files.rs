//! [`ManagedFile`]: a file of a managed table; [`TableFiles`]: the list of a table's files.

use std::collections::BTreeSet;
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

    /// Replaces files, whose rows were changed, by a file that was written for this schema. This does not wait, so that a cancel
    /// cannot come between the new list and the answer.
    ///
    /// # Errors
    /// If the table was replaced or dropped, or if another statement removed files that this one read.
    fn replace(&self, schema: &SchemaRef, replacement: Replacement) -> Result<()>;
}

/// The files that a statement changes.
#[derive(Debug)]
pub(crate) struct Replacement {
    /// All files that the table had when the statement read it.
    pub(crate) read: Vec<ManagedFile>,
    /// The places in `read` of the files with changed rows.
    pub(crate) replaced: BTreeSet<usize>,
    /// The rows of these files after the change; `None` if there are none.
    pub(crate) written: Option<Written>,
}

impl Replacement {
    /// The files of a table with `current` files after the change; `None` if the table has not all files any more that the statement
    /// read. Files that were added since then stay, as if their rows came after the statement.
    pub(super) fn applied(&self, current: &[ManagedFile]) -> Option<Vec<ManagedFile>> {
        let added = current.strip_prefix(self.read.as_slice())?;
        let new = self.new_files();
        let mut files = Vec::with_capacity(current.len());
        for (at, file) in self.read.iter().enumerate() {
            if self.replaced.first() == Some(&at) {
                files.extend_from_slice(new);
            }
            if !self.replaced.contains(&at) {
                files.push(file.clone());
            }
        }
        files.extend_from_slice(added);
        Some(files)
    }

    pub(super) fn new_files(&self) -> &[ManagedFile] {
        self.written
            .as_ref()
            .map_or(&[], |written| written.files.as_slice())
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<ManagedFile> {
        let file = |name: &&str| ManagedFile {
            directory: (*name).to_owned(),
            rows: 1,
            bytes: Some(1),
        };
        names.iter().map(file).collect()
    }

    #[test]
    fn replaced_files_go_and_added_ones_stay() {
        let removal = |replaced: &[usize]| Replacement {
            read: files(&["a", "b", "c"]),
            replaced: replaced.iter().copied().collect(),
            written: None,
        };
        let current = files(&["a", "b", "c", "d"]);
        assert_eq!(removal(&[0, 2]).applied(&current), Some(files(&["b", "d"])));
        assert_eq!(removal(&[]).applied(&current), Some(current.clone()));
        for gone in [&["a", "b"][..], &["a", "x", "c"], &["b", "a", "c"], &[]] {
            assert_eq!(removal(&[0]).applied(&files(gone)), None, "{gone:?}");
        }
    }
}
