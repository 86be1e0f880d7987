//! [`TlsProxy`]: accepts encrypted connections at an address, and passes their bytes on to a server on this machine.

use std::convert::Infallible;
use std::io::Result;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::identity::Identity;
use super::stream::SecureStream;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);

/// The encrypted way to a server that cannot encrypt.
pub(in crate::cluster) struct TlsProxy {
    pub(super) identity: Arc<Identity>,
    pub(super) listener: TcpListener,
    /// The address of the server.
    pub(super) server: SocketAddr,
}

impl TlsProxy {
    /// Passes connections on forever. They end when this future is dropped.
    pub(in crate::cluster) async fn serve(self) -> Infallible {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = open.join_next() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let passing = pass_on(Arc::clone(&self.identity), stream, self.server);
                        open.spawn(async move {
                            if let Err(error) = passing.await {
                                // The scheduler tries each new executor with a plain connection, which fails here.
                                tracing::debug!(%peer, %error, "a connection for tasks ended");
                            }
                        });
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection for tasks cannot be accepted");
                        // For example too many open files: an immediate retry would fail again.
                        tokio::time::sleep(RETRY).await;
                    }
                },
            }
        }
    }
}

async fn pass_on(identity: Arc<Identity>, stream: TcpStream, server: SocketAddr) -> Result<()> {
    let accepting = SecureStream::accept(Some(&identity), stream);
    let mut outside = timeout(HANDSHAKE_TIMEOUT, accepting).await??;
    let mut inside = TcpStream::connect(server).await?;
    inside.set_nodelay(true)?;
    copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}
