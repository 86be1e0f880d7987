//! Options of the connections between machines, so that the kernel notices a machine or a path that is gone.

use std::io;
use std::net::TcpStream as StdStream;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A connection to the engine fails when bytes are not acknowledged for this long.
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);
const IDLE: Duration = Duration::from_secs(5);
const IDLE_BETWEEN_RANKS: Duration = Duration::from_secs(30);
const PROBE_INTERVAL: Duration = Duration::from_secs(5);
const PROBES: u32 = 6;

/// For a connection between the engine and a rank or an executor: both sides read at once what the other sends.
pub(super) fn detect_lost_engine(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive(IDLE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(())
}

/// For a connection between ranks. A rank that computes for long reads nothing, and its receive buffer fills up. Linux
/// would count that towards TCP_USER_TIMEOUT (tcp(7): "or buffered data may remain untransmitted"), and so end the
/// training of a slow rank. Bytes on a dark path are noticed by the coordinator instead, which knows who computes.
pub(super) fn detect_lost_rank(stream: &StdStream) -> io::Result<()> {
    SockRef::from(stream).set_tcp_keepalive(&keepalive(IDLE_BETWEEN_RANKS))
}

fn keepalive(idle: Duration) -> TcpKeepalive {
    TcpKeepalive::new()
        .with_time(idle)
        .with_interval(PROBE_INTERVAL)
        .with_retries(PROBES)
}
