//! [`RemotePlace`]: a file or a directory in a store, `s3://bucket/key`.

use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::SystemTime;

use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, WriteMultipart};
use serde::{Deserialize, Serialize};

use super::Kind;
use super::stores::{io_error, store, wait};
use crate::error::{Result, SqlState, sql_err};

/// Larger contents are uploaded in parts.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;
/// A store has no directories, so an empty directory is represented by a file of this name.
const DIRECTORY: &str = ".directory";

/// Whether a location is in a store.
pub fn is_remote(location: &str) -> bool {
    location.starts_with("s3://") || location.starts_with("s3a://")
}

/// A file or a directory in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemotePlace {
    bucket: String,
    /// The key, without a slash at either end.
    key: String,
}

impl fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl RemotePlace {
    /// Parses a URL. Characters that another parser could read in a different way are refused.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let wrong = || {
            let message =
                format!("{url} is not s3://bucket/key, or its key has special characters");
            sql_err(SqlState::InvalidParameter, message)
        };
        let (_, rest) = url.split_once("://").ok_or_else(wrong)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let key = key.trim_end_matches('/');
        let in_bucket = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
        let in_key = |c: char| !c.is_control() && !"%?#\\*[]".contains(c);
        let is_odd = |part: &str| part.is_empty() || part.trim_matches('.').is_empty();
        if bucket.is_empty()
            || !bucket.chars().all(in_bucket)
            || !key.chars().all(in_key)
            || key.trim() != key
            || (!key.is_empty() && key.split('/').any(is_odd))
        {
            return Err(wrong());
        }
        let (bucket, key) = (bucket.to_owned(), key.to_owned());
        Ok(Self { bucket, key })
    }

    /// The directory of a key, and its last part.
    pub(crate) fn split(&self) -> Option<(Self, String)> {
        let (directory, name) = self.key.rsplit_once('/').unwrap_or(("", &self.key));
        let directory = Self {
            bucket: self.bucket.clone(),
            key: directory.into(),
        };
        (!name.is_empty()).then(|| (directory, name.into()))
    }

    /// Whether this place is `other` or inside `other`.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        let rest = self.key.strip_prefix(&other.key);
        let is_part = |rest: &str| rest.is_empty() || other.key.is_empty() || rest.starts_with('/');
        self.bucket == other.bucket && rest.is_some_and(is_part)
    }

    pub(super) fn join(&self, name: &str) -> Self {
        let key = match self.key.as_str() {
            "" => name.to_owned(),
            key => format!("{key}/{name}"),
        };
        let bucket = self.bucket.clone();
        Self { bucket, key }
    }

    /// The store, and the path in it.
    pub(crate) fn open(&self) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
        let path = Path::parse(&self.key)
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        Ok((store(&self.bucket).map_err(io_error)?, path))
    }

    pub(super) fn read(&self) -> io::Result<Vec<u8>> {
        let (store, path) = self.open()?;
        wait(async move { Ok(store.get(&path).await?.bytes().await?.to_vec()) })
    }

    pub(super) fn create(&self, content: &[u8]) -> io::Result<()> {
        let (store, path) = self.open()?;
        let written = content.to_vec();
        let created = wait(async move {
            let payload = written.into();
            store.put_opts(&path, payload, PutMode::Create.into()).await
        });
        let Err(error) = created else { return Ok(()) };
        // The reply to a try may have been lost: a retry of the client found the file that the first try had written, or the
        // connection ended, after which the client does not retry.
        let kind = error.kind();
        if !matches!(kind, ErrorKind::AlreadyExists | ErrorKind::Other) {
            return Err(error);
        }
        match self.read() {
            Ok(found) if found == content => Ok(()),
            Ok(_) => Err(io::Error::new(ErrorKind::AlreadyExists, error)),
            // The file may be ours; to report AlreadyExists could make the caller apply a change twice.
            Err(unknown) if kind == ErrorKind::AlreadyExists => Err(io::Error::other(unknown)),
            Err(_) => Err(error),
        }
    }

    pub(super) fn replace(&self, content: &[u8]) -> io::Result<()> {
        let (store, path) = self.open()?;
        let content = content.to_vec();
        wait(async move {
            if content.len() <= PART_BYTES {
                return store.put(&path, content.into()).await.map(drop);
            }
            let mut parts = WriteMultipart::new(store.put_multipart(&path).await?);
            for part in content.chunks(PART_BYTES) {
                parts.wait_for_capacity(PARTS_AT_ONCE).await?;
                parts.write(part);
            }
            parts.finish().await.map(drop)
        })
    }

    pub(super) fn entries(&self) -> io::Result<Vec<(String, Kind)>> {
        let (store, path) = self.open()?;
        let folder = path.clone();
        let listed = wait(async move { store.list_with_delimiter(Some(&path)).await })?;
        // Some tools create an empty object for a folder; it is not a file in the folder.
        let files = listed.objects.into_iter().map(|object| object.location);
        let files = files.filter(|path| *path != folder);
        let files = files.map(|path| (path, Kind::File));
        let directories = listed.common_prefixes.into_iter();
        let all = files.chain(directories.map(|path| (path, Kind::Directory)));
        let named = |(path, kind): (Path, Kind)| Some((path.filename()?.to_owned(), kind));
        let all = all.filter_map(named);
        Ok(all.filter(|(name, _)| name != DIRECTORY).collect())
    }

    pub(super) fn kind(&self) -> io::Result<Option<Kind>> {
        let (store, path) = self.open()?;
        wait(async move {
            if !path.as_ref().is_empty() {
                match store.head(&path).await {
                    Ok(_) => return Ok(Some(Kind::File)),
                    Err(object_store::Error::NotFound { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            let first = store.list(Some(&path)).try_next().await?;
            Ok(first.map(|_| Kind::Directory))
        })
    }

    pub(super) fn modified(&self) -> io::Result<SystemTime> {
        let (store, path) = self.open()?;
        wait(async move { Ok(store.head(&path).await?.last_modified.into()) })
    }

    pub(super) fn bytes(&self) -> io::Result<u64> {
        let (store, path) = self.open()?;
        wait(async move { Ok(store.head(&path).await?.size) })
    }

    pub(super) fn create_directory(&self) -> io::Result<()> {
        self.join(DIRECTORY).replace(&[])
    }

    pub(super) fn remove_file(&self) -> io::Result<()> {
        let (store, path) = self.open()?;
        wait(async move { store.delete(&path).await })
    }

    pub(super) fn remove_directory(&self) -> io::Result<()> {
        let (store, path) = self.open()?;
        wait(async move {
            let found = store.list(Some(&path)).map_ok(|object| object.location);
            store
                .delete_stream(found.boxed())
                .try_for_each(|_| futures::future::ready(Ok(())))
                .await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_locations_are_places() {
        let place = |url: &str| RemotePlace::parse(url).map(|place| place.to_string());
        assert_eq!(place("s3://b/a/c=1/").unwrap(), "s3://b/a/c=1");
        assert_eq!(place("s3a://b").unwrap(), "s3://b/");
        for odd in [
            "s3://",
            "s3:///a",
            "s3://b//a",
            "s3://b/a/../c",
            "s3://b/./a",
            "s3://b/%2e%2e/a",
            "s3://b/a?x",
            "s3://b/a#x",
            "s3://b/a\\c",
            "s3://b/a\nc",
            "s3://u@b/a",
            "s3://b:80/a",
            "s3://b/ a",
        ] {
            assert!(place(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn below_is_told_by_whole_names() {
        let is_below = |url: &str, other: &str| {
            let place = |url: &str| RemotePlace::parse(url).unwrap();
            place(url).is_below(&place(other))
        };
        assert!(is_below("s3://b/a/c", "s3://b/a/"));
        assert!(is_below("s3://b/a", "s3://b/a"));
        assert!(is_below("s3://b/a", "s3://b"));
        assert!(!is_below("s3://b/ab", "s3://b/a"));
        assert!(!is_below("s3://c/a", "s3://b"));
        assert!(!is_below("s3://b", "s3://b/a"));
    }
}
