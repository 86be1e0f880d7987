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
use crate::access::{Admitted, Places};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);

/// The encrypted way to a server that cannot encrypt.
pub(in crate::cluster) struct TlsProxy {
    pub(super) identity: Arc<Identity>,
    pub(super) listener: TcpListener,
    /// The address of the server.
    pub(super) server: SocketAddr,
    /// The connections before the end of their handshake.
    pub(super) doorway: Arc<Places>,
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
                        let Some(place) = self.doorway.admit(peer.ip()) else {
                            continue;
                        };
                        let identity = Arc::clone(&self.identity);
                        let passing = pass_on(identity, (stream, place), self.server);
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

async fn pass_on(
    identity: Arc<Identity>,
    (stream, place): (TcpStream, Admitted),
    server: SocketAddr,
) -> Result<()> {
    let accepting = SecureStream::accept(Some(&identity), stream);
    let mut outside = timeout(HANDSHAKE_TIMEOUT, accepting).await??;
    drop(place);
    let mut inside = TcpStream::connect(server).await?;
    inside.set_nodelay(true)?;
    copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use datafusion::common::runtime::SpawnedTask;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::doorway::new_doorway;
    use super::super::secret::Secret;
    use super::*;

    #[tokio::test]
    async fn connections_beyond_the_maximum_wait_for_no_handshake() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let identity = Arc::new(Identity::new(&Secret::new(b"one")).unwrap());
        let proxy = TlsProxy {
            identity: Arc::clone(&identity),
            listener,
            server: server.local_addr().unwrap(),
            doorway: new_doorway(2),
        };
        let _serving = SpawnedTask::spawn(proxy.serve());
        let _silent = TcpStream::connect(address).await.unwrap();
        let known = TcpStream::connect(address).await.unwrap();
        let mut late = TcpStream::connect(address).await.unwrap();
        let mut bytes = [0; 5];
        let closed = timeout(HANDSHAKE_TIMEOUT / 2, late.read(&mut bytes)).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
        // A connection after its handshake takes no place: another one can follow.
        let mut first = Some(known);
        for _ in 0..2 {
            let stream = match first.take() {
                Some(known) => known,
                None => TcpStream::connect(address).await.unwrap(),
            };
            let connecting = SecureStream::connect(Some(&identity), stream);
            let mut stream = connecting.await.unwrap();
            stream.write_all(b"hello").await.unwrap();
            stream.flush().await.unwrap();
            let (mut inside, _) = server.accept().await.unwrap();
            inside.read_exact(&mut bytes).await.unwrap();
            assert_eq!(&bytes, b"hello");
        }
    }
}
