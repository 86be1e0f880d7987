//! Stores that speak S3's protocol: `s3://bucket/key`, of Amazon or of anybody else.
//!
//! Credentials and the address come from the environment of the process that reads or writes, under the names that
//! Amazon's tools use: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL` and the like. So they
//! are in no statement, no plan and no log.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{ClientConfigKey, SpawnedReqwestConnector};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, RetryConfig, WriteMultipart};
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;
use url::Url;

use super::Kind;
use crate::error::{Result, SqlState, sql_err};

/// Threads that wait for stores, so that no computation keeps them from it.
const THREADS: usize = 2;
const CONNECT: &str = "5s";
/// A request, with all that it sends or fetches.
const REQUEST: &str = "300s";
/// Larger contents are sent in parts.
const PART_BYTES: usize = 8 << 20;
const PARTS_AT_ONCE: usize = 4;
const RETRIES_MAX: usize = 5;
const RETRY: Duration = Duration::from_secs(30);
/// A store has no directories, so an empty one is a file of this name.
const DIRECTORY: &str = ".directory";

/// Whether a location is in a store.
pub fn is_remote(location: &str) -> bool {
    location.starts_with("s3://") || location.starts_with("s3a://")
}

/// A file or a directory in a store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RemotePlace {
    bucket: String,
    /// Without a slash at either end.
    key: String,
}

impl fmt::Display for RemotePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s3://{}/{}", self.bucket, self.key)
    }
}

impl RemotePlace {
    /// The place of a URL, if it is a plain one: nothing in it may be read in another way by somebody else.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let wrong = || {
            let message =
                format!("{url} is not s3://bucket/key, or its key has more than plain characters");
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

    /// Whether this is `other`, or below it.
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

    pub(super) fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or_default()
    }

    /// The store, and where in it.
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
        match created {
            // The answer to a first try may have been lost, and the second one found what the first had written.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match self.read() {
                Ok(found) if found == content => Ok(()),
                Ok(_) => Err(error),
                // Whether it is ours cannot be told, and to go on as if it were not could do a change twice.
                Err(unknown) => Err(io::Error::other(unknown)),
            },
            created => created.map(drop),
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
        // Some tools make an empty object for a folder, which is no file in it.
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

/// DataFusion's stores: files of this machine, and those that speak S3's protocol, each opened when it is first named.
#[derive(Debug, Default)]
pub(crate) struct Stores(DefaultObjectStoreRegistry);

impl ObjectStoreRegistry for Stores {
    fn register_store(
        &self,
        url: &Url,
        store: Arc<dyn ObjectStore>,
    ) -> Option<Arc<dyn ObjectStore>> {
        self.0.register_store(url, store)
    }

    fn deregister_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        self.0.deregister_store(url)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        match (url.scheme(), url.host_str()) {
            ("s3" | "s3a", Some(bucket)) => Ok(store(bucket)?),
            ("file", _) => self.0.get_store(url),
            (scheme, _) => self.0.get_store(url).map_err(|_| {
                let message = format!(
                    "there is no way to read {scheme}://; there are files of the machine, and s3://bucket/key"
                );
                sql_err(SqlState::Unsupported, message)
            }),
        }
    }
}

/// The store of a bucket. There is one a process, so that connections are shared.
fn store(bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
    static OPEN: LazyLock<Mutex<HashMap<String, Arc<AmazonS3>>>> = LazyLock::new(Mutex::default);
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(store) = open.get(bucket) {
        return Ok(Arc::clone(store) as _);
    }
    let retry = RetryConfig {
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY,
        ..RetryConfig::default()
    };
    let builder = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .with_retry(retry)
        .with_http_connector(SpawnedReqwestConnector::new(runtime()?.handle().clone()));
    let client = |key: ClientConfigKey| AmazonS3ConfigKey::Client(key);
    let mut builder = builder
        .with_config(client(ClientConfigKey::ConnectTimeout), CONNECT)
        .with_config(client(ClientConfigKey::Timeout), REQUEST);
    // Whoever gives an address without encryption means it.
    let addresses = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];
    let is_plain =
        |name: &&str| std::env::var(name).is_ok_and(|address| address.starts_with("http://"));
    if addresses.iter().any(is_plain) {
        builder = builder.with_config(client(ClientConfigKey::AllowHttp), "true");
    }
    let store = Arc::new(builder.build()?);
    open.insert(bucket.to_owned(), Arc::clone(&store));
    Ok(store)
}

fn runtime() -> object_store::Result<&'static Runtime> {
    static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("vatic-store")
            .enable_all()
            .build()
    });
    RUNTIME
        .as_ref()
        .map_err(|error| object_store::Error::Generic {
            store: "S3",
            source: error.to_string().into(),
        })
}

/// Waits for a store, from whatever thread.
fn wait<T: Send + 'static>(
    work: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime().map_err(io_error)?.spawn(async move {
        // Whoever waits does so until there is an answer.
        let _ = sender.send(work.await);
    });
    let answer = receiver.recv();
    answer
        .map_err(|_| io::Error::other("a request to a store ended without an answer"))?
        .map_err(io_error)
}

fn io_error(error: object_store::Error) -> io::Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
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
