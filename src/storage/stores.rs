//! S3-compatible stores, opened once per process and shared by Vatic and DataFusion.
//!
//! Credentials and the address come from the environment of the process that reads or writes, under the names that
//! the AWS tools use: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT_URL` and others. So no
//! statement, plan or log contains them.

use std::collections::HashMap;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, mpsc};
use std::time::Duration;

use datafusion::execution::object_store::{DefaultObjectStoreRegistry, ObjectStoreRegistry};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::client::{ClientConfigKey, SpawnedReqwestConnector};
use object_store::{ObjectStore, RetryConfig};
use tokio::runtime::Runtime;
use url::Url;

use crate::error::{Result, SqlState, sql_err};

/// Threads that wait for stores, so that computations do not block requests.
const THREADS: usize = 2;
const CONNECT: &str = "5s";
/// The timeout of a request, including its transfer.
const REQUEST: &str = "300s";
const RETRIES_MAX: usize = 5;
const RETRY: Duration = Duration::from_secs(30);

/// The object stores of DataFusion: local files and S3-compatible stores; a store is opened at its first use.
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
                    "{scheme}:// is not supported; use a file of this machine, or s3://bucket/key"
                );
                sql_err(SqlState::Unsupported, message)
            }),
        }
    }
}

/// The store of a bucket, one per process, so that connections are shared.
pub(super) fn store(bucket: &str) -> object_store::Result<Arc<dyn ObjectStore>> {
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
    // An address with http:// is a deliberate choice to go without encryption.
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

/// Waits for a store operation, from any thread.
pub(super) fn wait<T: Send + 'static>(
    work: impl Future<Output = object_store::Result<T>> + Send + 'static,
) -> io::Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    runtime().map_err(io_error)?.spawn(async move {
        // The receiver waits until this answer arrives.
        let _ = sender.send(work.await);
    });
    let answer = receiver.recv();
    answer
        .map_err(|_| io::Error::other("a request to a store ended without an answer"))?
        .map_err(io_error)
}

pub(super) fn io_error(error: object_store::Error) -> io::Error {
    let kind = match &error {
        object_store::Error::NotFound { .. } => ErrorKind::NotFound,
        object_store::Error::AlreadyExists { .. } => ErrorKind::AlreadyExists,
        object_store::Error::PermissionDenied { .. }
        | object_store::Error::Unauthenticated { .. } => ErrorKind::PermissionDenied,
        _ => ErrorKind::Other,
    };
    io::Error::new(kind, error.to_string())
}
