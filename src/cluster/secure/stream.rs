//! [`SecureStream`]: a connection of a task of tokio, with or without TLS.

use std::io::{IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsStream;

use super::identity::Identity;
use crate::cluster::link::detect_lost_engine;

pub(in crate::cluster) enum SecureStream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl SecureStream {
    /// Encrypts the connecting side, if there is a secret.
    pub(super) async fn connect(identity: Option<&Identity>, stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        detect_lost_engine(&stream)?;
        let Some(identity) = identity else {
            return Ok(Self::Plain(stream));
        };
        let connecting = identity.connector().connect(identity.name(), stream);
        let stream = TlsStream::from(connecting.await?);
        Ok(Self::Tls(Box::new(stream)))
    }

    /// Encrypts the accepting side, if there is a secret.
    pub(super) async fn accept(identity: Option<&Identity>, stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        detect_lost_engine(&stream)?;
        let Some(identity) = identity else {
            return Ok(Self::Plain(stream));
        };
        let stream = TlsStream::from(identity.acceptor().accept(stream).await?);
        Ok(Self::Tls(Box::new(stream)))
    }

    pub(in crate::cluster) fn local_addr(&self) -> Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.local_addr(),
            Self::Tls(stream) => stream.get_ref().0.local_addr(),
        }
    }
}

impl AsyncRead for SecureStream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for SecureStream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn both_sides_notice_that_nobody_acknowledges_their_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        for side in [
            SecureStream::connect(None, stream).await,
            SecureStream::accept(None, accepted).await,
        ] {
            let SecureStream::Plain(stream) = side.unwrap() else {
                panic!("TLS without a secret");
            };
            let socket = socket2::SockRef::from(&stream);
            assert!(socket.tcp_user_timeout().unwrap().is_some());
            assert!(socket.keepalive().unwrap());
        }
    }
}
