//! TCP connections: their maximum number, and timeouts for silent ones.
//!
//! HTTP/2 pings find a dead peer only after the HTTP/2 connection is established; the timeouts here also end a connection
//! that never starts or stops during its start.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::codegen::http::Extensions;
use tonic::transport::server::Connected;

use super::users::new_token;
use crate::access::{Admitted, Places};

/// The deadline for the first bytes of HTTP/2 or TLS.
const BEGIN_TIME: Duration = Duration::from_secs(10);
/// The size of the HTTP/2 preface and the next frame's header; a TLS client sends more than that at once.
const BEGIN_BYTES: usize = 24 + 9;
/// A client answers a ping every 20 s, so a connection that is silent for this long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a shutdown waits for the client to close its side.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// A stream of connections, of which there are never more than `connections_max` at once.
pub(super) fn incoming(
    listener: TcpListener,
    connections_max: usize,
) -> impl Stream<Item = Result<Connection>> {
    let refusal = "there are too many connections; some are refused";
    let places = Places::new(connections_max, refusal);
    futures::stream::unfold((listener, places), |(listener, places)| async move {
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                // A failed connection or too many open files must not end the server.
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            if let Some(place) = places.admit(address.ip()) {
                // Small replies must not wait for more data (Nagle's algorithm).
                let _ = stream.set_nodelay(true);
                let connection = Connection::new(stream, place);
                return Some((Ok(connection), (listener, places)));
            }
        }
    })
}

/// The data of a connection that its calls can read. It is dropped with the connection's last call.
#[derive(Debug)]
pub(super) struct Link {
    /// Distinguishes clients of this connection from those of others, if they keep no cookies.
    pub(super) cookie: String,
}

/// The connection of a call, with or without TLS.
pub(super) fn link(extensions: &Extensions) -> Option<&Arc<Link>> {
    extensions.get::<Arc<Link>>()
}

/// A connection with a deadline for its next bytes.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    link: Arc<Link>,
    read_bytes: usize,
    is_shut: bool,
    deadline: Pin<Box<Sleep>>,
    _place: Admitted,
}

impl Connection {
    fn new(stream: TcpStream, place: Admitted) -> Self {
        let cookie = new_token();
        Self {
            stream,
            link: Arc::new(Link { cookie }),
            read_bytes: 0,
            is_shut: false,
            deadline: Box::pin(sleep_until(Instant::now() + BEGIN_TIME)),
            _place: place,
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_ready() {
            this.read_bytes = this
                .read_bytes
                .saturating_add(buffer.filled().len() - before);
            // Bytes that trickle in do not extend the deadline until the start is complete.
            if this.read_bytes >= BEGIN_BYTES {
                this.deadline.as_mut().reset(Instant::now() + SILENCE_MAX);
            }
            return read;
        }
        match this.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(
                ErrorKind::TimedOut,
                "the client sent nothing in time",
            ))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Closes the sending side, then waits for the client to close its own: closing a socket with unread bytes resets the
    /// connection, and data still on its way to the client would be lost.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        let this = &mut *self;
        if !this.is_shut {
            std::task::ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            this.is_shut = true;
            this.deadline.as_mut().reset(Instant::now() + LINGER_TIME);
        }
        let mut bytes = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut this.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return this.deadline.as_mut().poll(context).map(Ok),
            }
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Arc<Link>;

    fn connect_info(&self) -> Arc<Link> {
        Arc::clone(&self.link)
    }
}
