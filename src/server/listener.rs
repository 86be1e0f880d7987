//! Connections: how many there may be, and how long one may stay silent.
//!
//! HTTP/2 finds out by pings who is gone, but only after a connection has begun; who never begins, or stops in the middle
//! of it, is found here.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::codegen::http::Extensions;
use tonic::transport::server::Connected;

use super::users::new_token;

/// By then the first bytes of HTTP/2, or of TLS, are there.
const BEGIN_TIME: Duration = Duration::from_secs(10);
/// The preface of HTTP/2 and the head of the frame after it; a TLS client says more than that at once.
const BEGIN_BYTES: usize = 24 + 9;
/// Pings go out every 20 s and are answered, so who says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long the end of a connection waits for that of its client.
const LINGER_TIME: Duration = Duration::from_secs(1);

/// How many connections there are, in all and by address.
#[derive(Debug)]
pub(super) struct Connections {
    max: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl Connections {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            open: Mutex::default(),
        })
    }

    /// A place for a connection. One address gets a quarter of all, so that others get some; this machine gets all.
    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut open = self.lock();
        let all: usize = open.values().sum();
        let own = open.get(&address).copied().unwrap_or(0);
        let own_max = match address.is_loopback() {
            true => self.max,
            false => self.max.div_ceil(4),
        };
        if all >= self.max || own >= own_max {
            return None;
        }
        open.insert(address, own + 1);
        Some(Place {
            connections: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
struct Place {
    connections: Arc<Connections>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.lock();
        if let Some(count) = open.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.address);
            }
        }
    }
}

/// The connections that come and are admitted.
pub(super) fn incoming(
    listener: TcpListener,
    connections: Arc<Connections>,
) -> impl Stream<Item = Result<Connection>> {
    let state = (
        listener,
        connections,
        Instant::now() - Duration::from_secs(60),
    );
    futures::stream::unfold(state, |(listener, connections, mut warned_at)| async move {
        loop {
            let (stream, address) = match listener.accept().await {
                Ok(accepted) => accepted,
                // One connection that failed, or too many open files: neither may end the server.
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            match connections.admit(address.ip()) {
                Some(place) => {
                    // Small answers must not wait for more to send.
                    let _ = stream.set_nodelay(true);
                    let connection = Connection::new(stream, place);
                    return Some((Ok(connection), (listener, connections, warned_at)));
                }
                None if warned_at.elapsed() > Duration::from_secs(10) => {
                    warned_at = Instant::now();
                    tracing::warn!(%address, "there are too many connections; some are refused");
                }
                None => {}
            }
        }
    })
}

/// What calls know of the connection that they come by. It ends with the last of them.
#[derive(Debug)]
pub(super) struct Link {
    /// Tells its clients from those of other connections, if they keep no cookies.
    pub(super) cookie: String,
}

/// The connection of a call, encrypted or not.
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
    _place: Place,
}

impl Connection {
    fn new(stream: TcpStream, place: Place) -> Self {
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
            // Drop by drop does not count as a beginning.
            if this.read_bytes >= BEGIN_BYTES {
                this.deadline.as_mut().reset(Instant::now() + SILENCE_MAX);
            }
            return read;
        }
        match this.deadline.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(Error::new(ErrorKind::TimedOut, "silent"))),
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

    /// Says the end, then waits for that of the client: closing a socket with bytes that nobody read resets the connection,
    /// and what is still on its way to the client would be lost.
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
