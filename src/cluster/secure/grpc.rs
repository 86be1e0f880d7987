//! gRPC with the certificate of a cluster: its clients, the server of the scheduler, and the servers of rows.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use axum::extract::ConnectInfo;
use ballista_core::error::BallistaError;
use ballista_core::serde::protobuf::scheduler_grpc_server::{SchedulerGrpc, SchedulerGrpcServer};
use ballista_core::utils::{GrpcServerConfig, create_grpc_server};
use ballista_executor::ArrowFlightServerProvider;
use ballista_executor::flight_service::BallistaFlightService;
use ballista_executor::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{
    Certificate, ClientTlsConfig, Endpoint, Identity as PemIdentity, Server, ServerTlsConfig,
};
use tonic::{Request, Status};

use super::identity::{Identity, NAME};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings find a machine that is gone; a call has no deadline of its own.
const PING_INTERVAL: Duration = Duration::from_secs(5);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// The kernel finds a machine that is gone before its first ping.
const IDLE: Duration = Duration::from_secs(30);
/// Bytes in transit that nobody has read, as Ballista's clients have them.
const STREAM_WINDOW_BYTES: u32 = 16 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 64 << 20;

/// A client of the same host as `plain`, with TLS. Ballista writes `http` into its addresses, so the endpoint is made
/// anew. An endpoint that is made of `https` would load the certificates that this machine trusts, or fail without any.
pub(super) fn endpoint(
    identity: &Identity,
    plain: &Endpoint,
) -> Result<Endpoint, Box<dyn Error + Send + Sync>> {
    let host = plain.uri().authority().ok_or("an address without a host")?;
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(&identity.certificate_pem))
        .identity(pem(identity))
        .domain_name(NAME)
        .timeout(HANDSHAKE_TIMEOUT);
    let endpoint = Endpoint::from_shared(format!("https://{host}"))?
        .tls_config(tls)?
        .tcp_nodelay(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    Ok(endpoint)
}

/// Serves a scheduler at a listener.
pub(super) async fn serve_scheduler<S: SchedulerGrpc>(
    identity: &Identity,
    listener: TcpListener,
    scheduler: SchedulerGrpcServer<S>,
) -> Result<(), BallistaError> {
    // The scheduler looks for the address of an executor where its own server, axum, would leave it.
    let with_address = |mut request: Request<()>| -> Result<Request<()>, Status> {
        if let Some(address) = request.remote_addr() {
            request.extensions_mut().insert(ConnectInfo(address));
        }
        Ok(request)
    };
    pinging(Server::builder(), PING_INTERVAL, PING_TIMEOUT)
        .tls_config(server_tls(identity))?
        .add_service(InterceptedService::new(scheduler, with_address))
        .serve_with_incoming(incoming(listener))
        .await?;
    Ok(())
}

/// The server of an executor's rows at a listener.
pub(super) fn flight_provider(
    identity: &Identity,
    listener: TcpListener,
    message_bytes_max: usize,
) -> Arc<ArrowFlightServerProvider> {
    let tls = server_tls(identity);
    // Ballista asks for one server.
    let listener = Mutex::new(Some(listener));
    let provider = move |work_dir: String,
                         _address: SocketAddr,
                         mut shutdown: Shutdown,
                         config: GrpcServerConfig|
          -> JoinHandle<Result<(), BallistaError>> {
        let mut listener = listener.lock().unwrap_or_else(PoisonError::into_inner);
        let (listener, tls) = (listener.take(), tls.clone());
        Handle::current().spawn(async move {
            let none = || BallistaError::General("the server of rows was started twice".into());
            let listener = listener.ok_or_else(none)?;
            let service = FlightServiceServer::new(BallistaFlightService::new(work_dir))
                .max_decoding_message_size(message_bytes_max)
                .max_encoding_message_size(message_bytes_max);
            create_grpc_server(&config)
                .tls_config(tls)?
                .add_service(service)
                .serve_with_incoming_shutdown(incoming(listener), shutdown.recv())
                .await?;
            Ok(())
        })
    };
    Arc::new(provider)
}

/// A server that closes a connection whose client does not answer pings: the connection of a machine that is gone.
fn pinging(server: Server, interval: Duration, timeout: Duration) -> Server {
    server
        .http2_keepalive_interval(Some(interval))
        .http2_keepalive_timeout(Some(timeout))
}

fn server_tls(identity: &Identity) -> ServerTlsConfig {
    ServerTlsConfig::new()
        .identity(pem(identity))
        .client_ca_root(Certificate::from_pem(&identity.certificate_pem))
        .timeout(HANDSHAKE_TIMEOUT)
}

fn pem(identity: &Identity) -> PemIdentity {
    PemIdentity::from_pem(&identity.certificate_pem, &identity.key_pem)
}

fn incoming(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener)
        .with_nodelay(Some(true))
        .with_keepalive(Some(IDLE))
}

#[cfg(test)]
mod tests {
    use datafusion::common::runtime::SpawnedTask;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::super::secret::Secret;
    use super::*;

    #[tokio::test]
    async fn a_client_that_answers_no_pings_is_closed() {
        let identity = Identity::new(&Secret::new(b"one")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let brief = Duration::from_millis(20);
        let rows = FlightServiceServer::new(BallistaFlightService::new(String::new()));
        let serving = pinging(Server::builder(), brief, brief)
            .tls_config(server_tls(&identity))
            .unwrap()
            .add_service(rows)
            .serve_with_incoming(incoming(listener));
        let _serving = SpawnedTask::spawn(serving);
        let stream = TcpStream::connect(address).await.unwrap();
        let connecting = identity.connector().connect(identity.name(), stream);
        let mut client = connecting.await.unwrap();
        // The beginning of HTTP/2, with a frame of settings that has none (RFC 9113, 3.4).
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings = [0_u8, 0, 0, 4, 0, 0, 0, 0, 0];
        client.write_all(preface).await.unwrap();
        client.write_all(&settings).await.unwrap();
        client.flush().await.unwrap();
        // Whether the end is orderly does not matter.
        let mut received = Vec::new();
        let reading = client.read_to_end(&mut received);
        let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
        assert!(read.is_ok(), "the connection stays open");
    }
}
