//! [`Folders`]: lists files in folders such as `year=2024/`, and parses the folders' names.

use std::sync::Arc;

use datafusion::datasource::listing::ListingTableUrl;
use futures::TryStreamExt;

use crate::error::{Result, SqlState, sql_err};
use crate::plan::csv;
use crate::storage::{ObjectMeta, ObjectStore, shown_path};

/// The folder for NULL, as named by Hive and Spark.
pub(crate) const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// The locations of files, and the names of their folders.
#[derive(Debug)]
pub(crate) struct Folders {
    pub(crate) urls: Vec<ListingTableUrl>,
    extension: String,
    /// The names before the equals signs, outermost first.
    pub(crate) names: Vec<String>,
}

impl Folders {
    pub(crate) fn new(urls: Vec<ListingTableUrl>, extension: String, names: Vec<String>) -> Self {
        Self {
            urls,
            extension,
            names,
        }
    }

    /// The URL of the object store; all locations are in the same store.
    pub(crate) fn store(&self) -> &ListingTableUrl {
        &self.urls[0]
    }

    /// Finds the names of the existing folders; none if no file is in such a folder.
    pub(crate) async fn find_names(&mut self, store: &Arc<dyn ObjectStore>) -> Result<()> {
        let mut first: Option<(String, Vec<String>)> = None;
        for (file, parents) in self.listed(store).await? {
            let names = parents.iter().map(|parent| parent.split_once('='));
            let names = names.map(|parts| parts.map(|(name, _)| name.to_owned()));
            // DataFusion ignores files in other folders below a table's.
            let Some(names) = names.collect::<Option<Vec<_>>>() else {
                continue;
            };
            let path = shown_path(store.as_ref(), &file.location);
            match &first {
                None => first = Some((path, names)),
                Some((_, other)) if *other == names => {}
                Some((other, _)) => {
                    let message = format!(
                        "{path} and {other} are in folders of different names; move one of them, or name the folders with PARTITIONED BY"
                    );
                    return Err(sql_err(SqlState::Data, message));
                }
            }
        }
        self.names = first.map(|(_, names)| names).unwrap_or_default();
        Ok(())
    }

    /// All files, with their folders' values as texts.
    pub(crate) async fn files(
        &self,
        store: &Arc<dyn ObjectStore>,
    ) -> Result<Vec<(ObjectMeta, Vec<String>)>> {
        let files = self.listed(store).await?.into_iter();
        let files = files.map(|(file, parents)| match self.values(&parents) {
            Some(values) => Ok((file, values)),
            None => {
                let expected: String = self.names.iter().map(|name| format!("{name}=…/")).collect();
                let message = format!(
                    "file {} is not in a folder {expected} of the table; move it into one, or out of the table's folder",
                    shown_path(store.as_ref(), &file.location)
                );
                Err(sql_err(SqlState::Data, message))
            }
        });
        files.collect()
    }

    fn values(&self, parents: &[String]) -> Option<Vec<String>> {
        if parents.len() != self.names.len() {
            return None;
        }
        let values = parents.iter().zip(&self.names).map(|(parent, name)| {
            let (found, value) = parent.split_once('=')?;
            (found == name).then(|| decoded(value))
        });
        values.collect()
    }

    /// The non-empty data files, with the folders that they are in.
    async fn listed(&self, store: &Arc<dyn ObjectStore>) -> Result<Vec<(ObjectMeta, Vec<String>)>> {
        let mut found = Vec::new();
        for url in &self.urls {
            let files: Vec<ObjectMeta> = store.list(Some(url.prefix())).try_collect().await?;
            for file in files {
                let Some(parts) = url.strip_prefix(&file.location) else {
                    continue;
                };
                let mut parts: Vec<String> = parts.map(str::to_owned).collect();
                let name = parts.pop().unwrap_or_default();
                if file.size > 0 && self.is_data(&name) && !parts.iter().any(|part| is_hidden(part))
                {
                    found.push((file, parts));
                }
            }
        }
        found.sort_by(|(left, _), (right, _)| left.location.cmp(&right.location));
        found.dedup_by(|(left, _), (right, _)| left.location == right.location);
        Ok(found)
    }

    /// Whether a file has the table's format, as other files may lie beside the data.
    fn is_data(&self, name: &str) -> bool {
        let is_named = match self.extension == "csv" {
            true => csv::is_in_folder(name),
            false => name.ends_with(&format!(".{}", self.extension)),
        };
        is_named && !is_hidden(name)
    }
}

/// Whether a file or folder is a writer's own, such as `_temporary/` or `.part.crc`.
fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.']) && !name.contains('=')
}

/// Decodes the percent escapes of a folder's value.
fn decoded(value: &str) -> String {
    let bytes = value.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = value.get(at + 1..at + 3);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], byte) {
            (b'%', Some(byte)) => {
                plain.push(byte);
                at += 3;
            }
            (byte, _) => {
                plain.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8(plain).unwrap_or_else(|_| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_signs_are_decoded_once() {
        let all = [
            ("a%20b", "a b"),
            ("100%", "100%"),
            ("a%2520b", "a%20b"),
            ("%C3%A4", "ä"),
            ("%FF", "%FF"),
            ("ä%", "ä%"),
        ];
        for (encoded, plain) in all {
            assert_eq!(decoded(encoded), plain);
        }
    }
}
