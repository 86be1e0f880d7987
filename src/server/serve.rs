//! [`serve`]: starts a server, and stops it when the process receives a signal, or its standard input ends.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tonic::transport::{Certificate, Identity, Server as Transport, ServerTlsConfig};

use super::auth::{Auth, Gate};
use super::listener::incoming;
use super::logins::Logins;
use super::service::Service;
use super::sessions::Sessions;
use super::state::Server;
use super::users::UsersFile;
use crate::engine::Engine;
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::sql::Limits;

/// The maximum size of a client's message.
const UPLOAD_MESSAGE_BYTES_MAX: usize = 256 << 20;
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// Concurrent calls on a connection.
const STREAMS_MAX: u32 = 1_024;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const TLS_TIME: Duration = Duration::from_secs(10);
/// Unacknowledged bytes to a client that does not read: for one result, and for all on its connection.
const WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Statements waiting in the queue.
const QUEUE_MAX: usize = 1_024;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How often files that no table and no model names any more are looked for.
const CLEAN_INTERVAL: Duration = Duration::from_secs(3_600);
const RELIEF_INTERVAL: Duration = Duration::from_millis(50);
/// How long running statements may continue after the server is told to stop.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// The options of a server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address to listen on, `host:port`; port 0 picks a free port.
    pub listen: String,
    /// Where the web page is.
    pub page: Page,
    /// The users file; no login is needed if `None`.
    pub users: Option<PathBuf>,
    /// The TLS files; no encryption if `None`.
    pub tls: Option<Tls>,
    /// Whether other machines may connect without users and encryption.
    pub is_insecure: bool,
    /// Whether the end of standard input stops the server, as a signal does.
    pub stops_with_stdin: bool,
    /// How long a token or a session lives without use.
    pub idle_max: Duration,
    /// The maximum number of connections.
    pub connections_max: usize,
    /// The maximum number of running statements.
    pub statements_max: usize,
    /// The memory limit of the process, in bytes: near the limit, statements are refused and stopped.
    pub process_bytes_max: Option<u64>,
    /// The limits of a statement.
    pub limits: Limits,
    /// The initial settings of sessions.
    pub settings: Vec<(String, String)>,
}

/// A server for this machine only, on a free port.
impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            page: Page::None,
            users: None,
            tls: None,
            is_insecure: false,
            stops_with_stdin: false,
            idle_max: Duration::from_secs(12 * 3600),
            connections_max: 2_048,
            statements_max: 64,
            process_bytes_max: None,
            limits: Limits::server(),
            settings: vec![],
        }
    }
}

/// Where a server's web page is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// There is no page.
    None,
    /// On the loopback address, at the port after the server's. If that port is taken, there is no page.
    Beside,
    /// At this address, `host:port`.
    At(String),
}

/// The TLS files, in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate chain of the server.
    pub certificate: PathBuf,
    /// The private key of the server.
    pub key: PathBuf,
    /// The CA of client certificates; clients need one if this is set.
    pub client_ca: Option<PathBuf>,
}

/// Serves until the process is told to stop. Statements run on `workers`; `listening` gets the URLs of server and page.
///
/// # Errors
/// If a file cannot be read, the address is taken, or it is open to other machines without protection.
pub async fn serve(
    engine: &Engine,
    options: ServeOptions,
    workers: Handle,
    listening: impl FnOnce(&str, Option<&str>),
) -> Result<()> {
    let (listener, address) = listen(&options.listen).await?;
    check_protection(&options, address)?;
    let http = listen_http(&options, address).await?;
    let users = options.users.as_deref().map(UsersFile::open).transpose()?;
    let has_users = users.is_some();
    let server = Arc::new(Server {
        auth: Arc::new(Auth::new(
            users,
            Logins::new(engine.data().logins(), options.idle_max),
        )),
        sessions: Sessions::new(
            engine.clone(),
            options.limits.clone(),
            options.settings.clone(),
            options.idle_max,
        ),
        workers,
        slots: Arc::new(Semaphore::new(options.statements_max)),
        queued: AtomicUsize::new(0),
        queue_max: QUEUE_MAX,
        process_bytes_max: options.process_bytes_max,
        is_draining: AtomicBool::new(false),
    });
    let mut transport = Transport::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    let mut scheme = "grpc";
    if let Some(tls) = &options.tls {
        scheme = "grpc+tls";
        transport = transport
            .tls_config(tls_config(tls)?)
            .map_err(|error| sql_err(SqlState::InvalidParameter, plain(&error)))?;
    }
    let flight = FlightServiceServer::new(Service(Arc::clone(&server)))
        .max_decoding_message_size(UPLOAD_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(usize::MAX);
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter
        .set_serving::<FlightServiceServer<Service>>()
        .await;
    let auth = Arc::clone(&server.auth);
    let gate = tower_layer::layer_fn(move |inner| Gate {
        inner,
        auth: Arc::clone(&auth),
    });
    let ending = Arc::new(Notify::new());
    let told = Arc::clone(&ending);
    let serving = transport
        .layer(gate)
        .add_service(flight)
        .add_service(health)
        .serve_with_incoming_shutdown(incoming(listener, options.connections_max), async move {
            told.notified().await
        });
    tracing::info!(%address, has_users, tls = options.tls.is_some(), "the server listens");
    let page = http
        .as_ref()
        .map(|(_, address)| format!("http://{address}/"));
    listening(&format!("{scheme}://{address}"), page.as_deref());
    let is_local = http
        .as_ref()
        .is_none_or(|(_, address)| address.ip().is_loopback());
    let router = super::web::router(Arc::clone(&server), is_local);
    let showing = async {
        match http {
            Some((listener, _)) => axum::serve(listener, router).await,
            None => std::future::pending().await,
        }
    };
    let sweeping = async {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            server.sessions.sweep();
        }
    };
    let cleaning = async {
        loop {
            tokio::time::sleep(CLEAN_INTERVAL).await;
            engine.remove_orphans();
        }
    };
    let relieving = async {
        let Some(bytes) = options.process_bytes_max else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(RELIEF_INTERVAL).await;
            engine.memory().relieve(bytes);
        }
    };
    let ended = async {
        tokio::select! {
            () = shutdown_signal() => {}
            () = stdin_end(), if options.stops_with_stdin => {}
        }
        server.is_draining.store(true, Ordering::Relaxed);
        health_reporter
            .set_not_serving::<FlightServiceServer<Service>>()
            .await;
        tracing::info!("the server stops when its statements have ended, or after 30 s");
        ending.notify_one();
        tokio::select! {
            () = tokio::time::sleep(DRAIN_TIME) => {}
            () = shutdown_signal() => {}
        }
    };
    tokio::select! {
        served = serving => served.map_err(|error| sql_err(SqlState::Io, plain(&error))),
        () = ended => Ok(()),
        () = sweeping => Ok(()),
        () = cleaning => Ok(()),
        () = relieving => Ok(()),
        shown = showing => shown.map_err(|error| io_err("the page", &error)),
    }
}

/// An error and its causes, in one line.
fn plain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}

async fn listen(text: &str) -> Result<(TcpListener, SocketAddr)> {
    let failed = |error: std::io::Error| io_err(text, &error);
    let addresses: Vec<SocketAddr> = text.to_socket_addrs().map_err(failed)?.collect();
    let listener = TcpListener::bind(addresses.as_slice())
        .await
        .map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The page and its passwords are not encrypted, so other machines should use a proxy that adds TLS.
async fn listen_http(
    options: &ServeOptions,
    server: SocketAddr,
) -> Result<Option<(TcpListener, SocketAddr)>> {
    let text = match &options.page {
        Page::None => return Ok(None),
        Page::Beside => return Ok(listen_beside(&options.listen, server).await),
        Page::At(text) => text,
    };
    let (listener, address) = listen(text).await?;
    if address.ip().is_loopback() || options.is_insecure {
        return Ok(Some((listener, address)));
    }
    let message = format!(
        "the page at {address} is open to other machines without encryption; --insecure allows it"
    );
    Err(sql_err(SqlState::InvalidParameter, message))
}

/// The loopback address after the server's. A server that took any free port has its page at any free port too: the next one
/// may be meant for somebody else.
async fn listen_beside(asked: &str, server: SocketAddr) -> Option<(TcpListener, SocketAddr)> {
    let port = match asked.ends_with(":0") {
        true => 0,
        false => server.port().checked_add(1)?,
    };
    match listen(&format!("127.0.0.1:{port}")).await {
        Ok(listening) => Some(listening),
        Err(error) => {
            let error = crate::error::report(&error).message;
            tracing::warn!(
                error,
                "there is no web page; --http chooses another address"
            );
            None
        }
    }
}

/// Without users, anybody who reaches the port runs SQL; without encryption, passwords can be read on the network.
fn check_protection(options: &ServeOptions, address: SocketAddr) -> Result<()> {
    let is_protected = options.users.is_some() && options.tls.is_some();
    if address.ip().is_loopback() || is_protected || options.is_insecure {
        return Ok(());
    }
    let message = format!(
        "{address} is open to other machines, which needs --users, --tls-cert and --tls-key; --insecure allows it without"
    );
    Err(sql_err(SqlState::InvalidParameter, message))
}

fn tls_config(tls: &Tls) -> Result<ServerTlsConfig> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| io_err(path.display(), &error));
    let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
    let config = ServerTlsConfig::new().identity(identity).timeout(TLS_TIME);
    Ok(match &tls.client_ca {
        Some(path) => config.client_ca_root(Certificate::from_pem(read(path)?)),
        None => config,
    })
}

/// Waits for the end of standard input, on a thread that nothing else waits for: a read of a terminal or a pipe cannot be cancelled.
async fn stdin_end() {
    let (ending, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        // What cannot be read has ended, too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        drop(ending);
    });
    // The error says that the other side was dropped.
    let _ = ended.await;
}

#[cfg(unix)]
async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};

    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

#[cfg(not(unix))]
async fn shutdown_signal() {
    // An error means that no handler could be installed; it is treated like the signal.
    let _ = tokio::signal::ctrl_c().await;
}
