//! Starts a server, and ends it when the process is told to.

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
use super::listener::{Connections, incoming};
use super::logins::Logins;
use super::service::Service;
use super::sessions::Sessions;
use super::state::Server;
use super::users::UsersFile;
use crate::engine::Engine;
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::sql::Limits;

/// A message of a client.
const UPLOAD_MESSAGE_BYTES_MAX: usize = 256 << 20;
const HEADER_BYTES_MAX: u32 = 64 << 10;
/// Calls at once on a connection.
const STREAMS_MAX: u32 = 1_024;
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
const TLS_TIME: Duration = Duration::from_secs(10);
/// What is on its way to a client that does not read: of one result, and of all on its connection.
const WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// Statements that wait for others to end.
const QUEUE_MAX: usize = 1_024;
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
const RELIEF_INTERVAL: Duration = Duration::from_millis(50);
/// What is left to statements that run when the server is to end.
const DRAIN_TIME: Duration = Duration::from_secs(30);

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Where it listens, `host:port`; port 0 picks one.
    pub listen: String,
    /// Where it shows people what it does, `host:port`; nowhere if `None`.
    pub http: Option<String>,
    /// Who may log in; anybody if `None`.
    pub users: Option<PathBuf>,
    /// Encryption; none if `None`.
    pub tls: Option<Tls>,
    /// Whether it may listen beyond this machine without users and encryption.
    pub is_insecure: bool,
    /// How long a token or a session lives without being used.
    pub idle_max: Duration,
    /// Connections at once.
    pub connections_max: usize,
    /// Statements at once.
    pub statements_max: usize,
    /// How large the process may be, in bytes: when it is about to be larger, statements are refused and stopped.
    pub process_bytes_max: Option<u64>,
    /// What a statement may cost.
    pub limits: Limits,
    /// Settings that sessions begin with.
    pub settings: Vec<(String, String)>,
}

/// For whoever is on this machine, on a port that is picked.
impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            http: None,
            users: None,
            tls: None,
            is_insecure: false,
            idle_max: Duration::from_secs(12 * 3600),
            connections_max: 2_048,
            statements_max: 64,
            process_bytes_max: None,
            limits: Limits::server(),
            settings: vec![],
        }
    }
}

/// The files of encryption, in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate of the server, and of those who signed it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Who signs the certificates of clients, which they need then.
    pub client_ca: Option<PathBuf>,
}

/// Serves until the process is told to end. Statements run on `workers`; `listening` hears of its address, and of that of its page.
///
/// # Errors
/// If a file cannot be read, the address is taken, or it is open to others without protection.
pub async fn serve(
    engine: &Engine,
    options: ServeOptions,
    workers: Handle,
    listening: impl FnOnce(&str, Option<&str>),
) -> Result<()> {
    let (listener, address) = listen(&options.listen).await?;
    check_protection(&options, address)?;
    let http = match &options.http {
        Some(text) => Some(listen_http(text, options.is_insecure).await?),
        None => None,
    };
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
        .serve_with_incoming_shutdown(
            incoming(listener, Connections::new(options.connections_max)),
            async move { told.notified().await },
        );
    tracing::info!(%address, has_users, tls = options.tls.is_some(), "the server listens");
    let page = http
        .as_ref()
        .map(|(_, address)| format!("http://{address}/"));
    listening(&format!("{scheme}://{address}"), page.as_deref());
    let router = super::web::router(Arc::clone(&server));
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
        told_to_end().await;
        server.is_draining.store(true, Ordering::Relaxed);
        health_reporter
            .set_not_serving::<FlightServiceServer<Service>>()
            .await;
        tracing::info!("the server ends when its statements have, or in 30 s");
        ending.notify_one();
        tokio::select! {
            () = tokio::time::sleep(DRAIN_TIME) => {}
            () = told_to_end() => {}
        }
    };
    tokio::select! {
        served = serving => served.map_err(|error| sql_err(SqlState::Io, plain(&error))),
        () = ended => Ok(()),
        () = sweeping => Ok(()),
        () = relieving => Ok(()),
        shown = showing => shown.map_err(|error| io_err("the page", &error)),
    }
}

/// An error and what it comes from, in a line.
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

/// Passwords and what the page shows are not encrypted, so it is for this machine; others come through a proxy that does.
async fn listen_http(text: &str, is_insecure: bool) -> Result<(TcpListener, SocketAddr)> {
    let (listener, address) = listen(text).await?;
    if address.ip().is_loopback() || is_insecure {
        return Ok((listener, address));
    }
    let message = format!(
        "the page at {address} is open to other machines without encryption; --insecure does it anyway"
    );
    Err(sql_err(SqlState::InvalidParameter, message))
}

/// Whoever reaches the port of a server without users runs SQL; without encryption passwords can be read on the way.
fn check_protection(options: &ServeOptions, address: SocketAddr) -> Result<()> {
    let is_protected = options.users.is_some() && options.tls.is_some();
    if address.ip().is_loopback() || is_protected || options.is_insecure {
        return Ok(());
    }
    let message = format!(
        "{address} is open to other machines, which takes --users, --tls-cert and --tls-key; --insecure does without"
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

#[cfg(unix)]
async fn told_to_end() {
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
async fn told_to_end() {
    // Without a handler nothing can be waited for.
    let _ = tokio::signal::ctrl_c().await;
}
