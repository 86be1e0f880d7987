//! [`Security`]: the protection of a cluster, as its scheduler, executors and ranks use it.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::error::BallistaError;
use ballista_core::extension::EndpointOverrideFn;
use ballista_core::serde::protobuf::scheduler_grpc_server::{SchedulerGrpc, SchedulerGrpcServer};
use ballista_executor::ArrowFlightServerProvider;
use datafusion::prelude::SessionConfig;
use sha2::{Digest, Sha256};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tonic::transport::Endpoint;

use super::build::BUILD;
use super::doorway::{STRANGERS_MAX, new_doorway};
use super::failure::Failure;
use super::greeting::greet;
use super::grpc;
use super::identity::Identity;
use super::pass::TaskPass;
use super::peer::PeerStream;
use super::secret::Secret;
use super::stream::SecureStream;
use super::tls_proxy::TlsProxy;
use crate::error::{Result, SqlState, sql_err};

/// The time of the handshake and the greeting.
const GREETING_TIMEOUT: Duration = Duration::from_secs(5);

/// The secret of a cluster, if it has one, and the build of this process.
#[derive(Clone)]
pub(in crate::cluster) struct Security {
    identity: Option<Arc<Identity>>,
    build: Arc<str>,
}

/// No secret.
impl Default for Security {
    fn default() -> Self {
        let build = Arc::from(BUILD);
        let identity = None;
        Self { identity, build }
    }
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Security")
            .field("has_secret", &self.has_secret())
            .field("build", &self.build)
            .finish()
    }
}

impl Security {
    /// The protection by the secret in a file; none without a file.
    pub(in crate::cluster) fn open(secret_file: Option<&Path>) -> Result<Self> {
        let secret = secret_file.map(Secret::read).transpose()?;
        Self::new(secret.as_ref())
    }

    fn new(secret: Option<&Secret>) -> Result<Self> {
        let identity = secret.map(Identity::new).transpose()?;
        Ok(Self {
            identity: identity.map(Arc::new),
            ..Self::default()
        })
    }

    #[cfg(test)]
    pub(in crate::cluster) fn of_test(secret: Option<&str>, build: &str) -> Self {
        let secret = secret.map(|secret| Secret::new(secret.as_bytes()));
        let security = Self::new(secret.as_ref()).unwrap();
        let build = Arc::from(build);
        Self { build, ..security }
    }

    pub(in crate::cluster) fn has_secret(&self) -> bool {
        self.identity.is_some()
    }

    /// Refuses an address that other machines reach, unless there is a secret.
    pub(in crate::cluster) fn check(&self, flag: &str, address: SocketAddr) -> Result<()> {
        if self.has_secret() || address.ip().is_loopback() {
            return Ok(());
        }
        let message = format!(
            "{flag} {address} is not on the loopback device, which needs --cluster-secret-file, the same secret on all machines"
        );
        Err(sql_err(SqlState::InvalidParameter, message))
    }

    /// The connection of an executor or rank to the engine, after handshake and greeting.
    pub(in crate::cluster) async fn connect(&self, stream: TcpStream) -> io::Result<SecureStream> {
        let connecting = async {
            let mut stream = SecureStream::connect(self.identity.as_deref(), stream).await?;
            greet(&mut stream, &self.build).await?;
            Ok::<_, Failure>(stream)
        };
        let connected = timeout(GREETING_TIMEOUT, connecting).await?;
        connected.map_err(|failure| failure.between("this executor", "the engine", &self.build))
    }

    /// The connection of the engine to an executor or rank, after handshake and greeting.
    pub(in crate::cluster) async fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> io::Result<SecureStream> {
        let accepting = async {
            let mut stream = SecureStream::accept(self.identity.as_deref(), stream).await?;
            greet(&mut stream, &self.build).await?;
            Ok::<_, Failure>(stream)
        };
        let accepted = timeout(GREETING_TIMEOUT, accepting).await?;
        let them = format!("the executor at {peer}");
        accepted.map_err(|failure| failure.between("this engine", &them, &self.build))
    }

    /// The connection of a rank to another rank, which calls [`Security::accept_peer`].
    pub(in crate::cluster) fn connect_peer(
        &self,
        socket: std::net::TcpStream,
    ) -> io::Result<PeerStream> {
        PeerStream::connect(self.identity.as_deref(), socket)
    }

    pub(in crate::cluster) fn accept_peer(
        &self,
        socket: std::net::TcpStream,
    ) -> io::Result<PeerStream> {
        PeerStream::accept(self.identity.as_deref(), socket)
    }

    /// The endpoint of a gRPC client, encrypted if there is a secret.
    pub(in crate::cluster) fn endpoint(
        &self,
        endpoint: Endpoint,
    ) -> Result<Endpoint, Box<dyn Error + Send + Sync>> {
        match &self.identity {
            Some(identity) => grpc::endpoint(identity, &endpoint),
            None => Ok(endpoint),
        }
    }

    /// The same for Ballista's clients; `None` without a secret.
    pub(in crate::cluster) fn endpoint_override(&self) -> Option<EndpointOverrideFn> {
        let identity = Arc::clone(self.identity.as_ref()?);
        Some(Arc::new(move |endpoint: Endpoint| {
            grpc::endpoint(&identity, &endpoint)
        }))
    }

    /// Serves a scheduler with encryption. There must be a secret.
    pub(in crate::cluster) async fn serve_scheduler<S: SchedulerGrpc>(
        &self,
        listener: TcpListener,
        scheduler: SchedulerGrpcServer<S>,
    ) -> Result<(), BallistaError> {
        match &self.identity {
            Some(identity) => grpc::serve_scheduler(identity, listener, scheduler).await,
            None => Err(BallistaError::General("there is no cluster secret".into())),
        }
    }

    /// The encrypted server of an executor's rows; `None` without a secret.
    pub(in crate::cluster) fn flight_provider(
        &self,
        listener: TcpListener,
        message_bytes_max: usize,
    ) -> Option<Arc<ArrowFlightServerProvider>> {
        let identity = self.identity.as_ref()?;
        let provider = grpc::flight_provider(identity, listener, message_bytes_max);
        Some(provider)
    }

    /// The encrypted way to a server at an address of this machine; `None` without a secret.
    pub(in crate::cluster) fn tls_proxy(
        &self,
        listener: TcpListener,
        server: SocketAddr,
    ) -> Option<TlsProxy> {
        let identity = Arc::clone(self.identity.as_ref()?);
        Some(TlsProxy {
            identity,
            listener,
            server,
            doorway: new_doorway(STRANGERS_MAX),
        })
    }

    /// The settings of a job of the engine with this name, with the pass of its tasks.
    pub(in crate::cluster) fn with_pass(
        &self,
        mut config: SessionConfig,
        engine: &str,
    ) -> SessionConfig {
        let pass = match &self.identity {
            Some(identity) => identity.pass.clone(),
            None => String::new(),
        };
        let engine = engine.to_owned();
        let extensions = &mut config.options_mut().extensions;
        extensions.insert(TaskPass { pass, engine });
        config
    }

    /// Refuses a task that is not from the engine.
    pub(in crate::cluster) fn check_pass(&self, config: &SessionConfig) -> Result<()> {
        let Some(identity) = &self.identity else {
            return Ok(());
        };
        let pass = config.options().extensions.get::<TaskPass>();
        // The time of comparing hashes says nothing about the pass.
        let is_ours = |pass: &TaskPass| {
            Sha256::digest(pass.pass.as_bytes()) == Sha256::digest(identity.pass.as_bytes())
        };
        if pass.is_some_and(is_ours) {
            return Ok(());
        }
        let message = "a task without the pass of this cluster is refused";
        Err(sql_err(SqlState::NotAllowed, message))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::failure::Refused;
    use super::*;

    const ONE: &str = "vatic 0.1.0 (aaaaaaaa)";
    const OTHER: &str = "vatic 0.1.1 (bbbbbbbb)";

    /// What the executor and the engine get of a connection between them.
    async fn meet(executor: Security, engine: Security) -> [io::Result<SecureStream>; 2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connect = async {
            let stream = TcpStream::connect(address).await.unwrap();
            executor.connect(stream).await
        };
        let accept = async {
            let (stream, peer) = listener.accept().await.unwrap();
            engine.accept(stream, peer).await
        };
        let (connected, accepted) = tokio::join!(connect, accept);
        [connected, accepted]
    }

    async fn check_refusal(executor: Security, engine: Security, expected: [&str; 2]) {
        let met = meet(executor, engine).await;
        for (side, expected) in met.into_iter().zip(expected) {
            let error = side.err().unwrap_or_else(|| panic!("no \"{expected}\""));
            let refused = Refused::of(&error).unwrap_or_else(|| panic!("{error:?}"));
            assert!(refused.to_string().contains(expected), "{refused}");
        }
    }

    fn with(secret: Option<&str>) -> Security {
        Security::of_test(secret, ONE)
    }

    #[tokio::test]
    async fn processes_with_one_secret_meet() {
        for secret in [None, Some("one")] {
            let met = meet(with(secret), with(secret)).await;
            let [mut executor, mut engine] = met.map(io::Result::unwrap);
            executor.write_all(b"hello").await.unwrap();
            executor.flush().await.unwrap();
            let mut received = [0; 5];
            engine.read_exact(&mut received).await.unwrap();
            assert_eq!(&received, b"hello");
        }
    }

    #[tokio::test]
    async fn another_secret_is_refused_by_both() {
        let expected = "has another cluster secret";
        check_refusal(with(Some("one")), with(Some("other")), [expected; 2]).await;
    }

    #[tokio::test]
    async fn a_side_without_a_secret_is_refused_by_both() {
        let (none, one) = (with(None), with(Some("one")));
        let expected = [
            "the engine has a cluster secret",
            "the executor at 127.0.0.1",
        ];
        check_refusal(none.clone(), one.clone(), expected).await;
        let expected = ["the engine has no cluster secret", "has a cluster secret"];
        check_refusal(one, none, expected).await;
    }

    #[tokio::test]
    async fn another_build_is_refused_by_name() {
        for secret in [None, Some("one")] {
            let executor = Security::of_test(secret, ONE);
            let engine = Security::of_test(secret, OTHER);
            let told =
                "this executor is built from vatic 0.1.0 (aaaaaaaa), the engine from vatic 0.1.1";
            let logged = "this engine is built from vatic 0.1.1 (bbbbbbbb), the executor at";
            check_refusal(executor, engine, [told, logged]).await;
        }
    }

    #[tokio::test]
    async fn a_task_needs_the_pass_of_its_cluster() {
        let (one, other, none) = (with(Some("one")), with(Some("other")), with(None));
        let plain = SessionConfig::new();
        let job_of = |security: &Security| security.with_pass(plain.clone(), "engine");
        assert!(one.check_pass(&job_of(&one)).is_ok());
        assert!(one.check_pass(&job_of(&other)).is_err());
        assert!(one.check_pass(&job_of(&none)).is_err());
        assert!(one.check_pass(&plain).is_err());
        assert!(none.check_pass(&plain).is_ok());
        for security in [&one, &none] {
            assert_eq!(TaskPass::engine_of(&job_of(security)), "engine");
        }
        assert_eq!(TaskPass::engine_of(&plain), "");
    }

    #[test]
    fn addresses_beyond_loopback_need_a_secret() {
        let (near, far) = (
            "127.0.0.1:1".parse().unwrap(),
            "192.0.2.1:1".parse().unwrap(),
        );
        assert!(with(None).check("--cluster", near).is_ok());
        assert!(with(Some("one")).check("--cluster", far).is_ok());
        let error = with(None).check("--cluster", far).unwrap_err().to_string();
        assert!(error.contains("--cluster 192.0.2.1:1"), "{error}");
        assert!(error.contains("--cluster-secret-file"), "{error}");
    }
}
