//! The connections of a rank to the others: each rank connects to the lower ranks and accepts the higher ones.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use vatic_ml::{Error, Result};

use crate::cluster::link::detect_lost_rank;
use crate::cluster::secure::{PeerStream, Security};

pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The first bytes of a connection.
const INTRODUCTION: &[u8; 8] = b"vaticrk1";
const RUN_ID_BYTES: usize = 64;
/// Connections beyond these are closed: ranks, and strangers who find the port.
const CONNECTIONS_MAX: usize = 4_096;

/// A run, and a rank of it.
#[derive(Debug, Clone, Copy)]
pub(in crate::cluster) struct Seat<'a> {
    pub(in crate::cluster) run_id: &'a str,
    pub(in crate::cluster) rank: usize,
    /// The addresses of all ranks, in their order.
    pub(in crate::cluster) addresses: &'a [String],
    pub(in crate::cluster) shards: usize,
}

/// The addresses of all ranks, in their order.
pub(super) fn addresses_of(seat: &Seat<'_>) -> Result<Vec<SocketAddr>> {
    let addresses = seat.addresses.iter().enumerate().map(|(peer, address)| {
        let unknown = |_| Error::Internal(format!("worker {peer} is at \"{address}\""));
        address.parse::<SocketAddr>().map_err(unknown)
    });
    addresses.collect()
}

/// Connects to the other ranks; the result has the connections by rank, `None` for this rank. The connecting side sends
/// its run id, so that a rank of an older attempt is not accepted.
pub(super) fn connect(
    seat: &Seat<'_>,
    addresses: &[SocketAddr],
    listener: &TcpListener,
    security: &Security,
) -> Result<Vec<Option<Arc<PeerStream>>>> {
    let deadline = Instant::now() + CONNECT_TIMEOUT;
    let mut peers: Vec<Option<Arc<PeerStream>>> = vec![None; addresses.len()];
    for (peer, address) in addresses.iter().enumerate().take(seat.rank) {
        let reached = reach(seat, address, security).map_err(|error| {
            let (rank, host) = (seat.rank, address.ip());
            Error::Io(format!(
                "worker {rank} cannot reach worker {peer} at {host}: {error}"
            ))
        });
        peers[peer] = Some(Arc::new(reached?));
    }
    accept_peers(listener, seat, deadline, security, &mut peers)?;
    for peer in peers.iter().flatten() {
        peer.socket().set_nodelay(true)?;
        detect_lost_rank(peer.socket())?;
    }
    Ok(peers)
}

/// Connects to a lower rank.
fn reach(seat: &Seat<'_>, address: &SocketAddr, security: &Security) -> io::Result<PeerStream> {
    let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    let stream = security.connect_peer(stream)?;
    stream.socket().set_read_timeout(None)?;
    (&stream).write_all(&introduction(seat.run_id, seat.rank))?;
    Ok(stream)
}

fn introduction(run_id: &str, rank: usize) -> Vec<u8> {
    let mut introduction = INTRODUCTION.to_vec();
    introduction.extend((rank as u64).to_le_bytes());
    let mut run = [0; RUN_ID_BYTES];
    let id = run_id.as_bytes();
    let length = id.len().min(RUN_ID_BYTES);
    run[..length].copy_from_slice(&id[..length]);
    introduction.extend(run);
    introduction
}

/// Accepts the connections of the higher ranks. Each connection has its own thread, so that one that sends nothing, or
/// little, keeps no other one waiting.
fn accept_peers(
    listener: &TcpListener,
    seat: &Seat<'_>,
    deadline: Instant,
    security: &Security,
    peers: &mut [Option<Arc<PeerStream>>],
) -> Result<()> {
    listener.set_nonblocking(true)?;
    let (sender, introduced_peers) = mpsc::channel();
    let mut accepted = Vec::new();
    std::thread::scope(|scope| {
        let outcome = loop {
            while let Ok((peer, stream)) = introduced_peers.try_recv() {
                let place: &mut Option<Arc<PeerStream>> = &mut peers[peer];
                *place = Some(Arc::new(stream));
            }
            let higher = &peers[seat.rank + 1..];
            let Some(missing) = higher.iter().position(Option::is_none) else {
                break Ok(());
            };
            match listener.accept() {
                Ok((stream, _)) if accepted.len() < CONNECTIONS_MAX => {
                    accepted.push(stream.try_clone()?);
                    let sender = sender.clone();
                    scope.spawn(move || {
                        if let Some(found) = introduced(stream, seat, deadline, security) {
                            // The receiver is gone once all ranks are connected.
                            let _ = sender.send(found);
                        }
                    });
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if Instant::now() > deadline {
                        let (rank, missing) = (seat.rank, seat.rank + 1 + missing);
                        let seconds = CONNECT_TIMEOUT.as_secs();
                        break Err(Error::Io(format!(
                            "worker {missing} cannot reach worker {rank}: it did not connect within {seconds} s"
                        )));
                    }
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => break Err(error.into()),
            }
        };
        // The threads of connections that nobody waits for end.
        let used: Vec<SocketAddr> = peers
            .iter()
            .flatten()
            .filter_map(|peer| peer.socket().peer_addr().ok())
            .collect();
        for stream in &accepted {
            if stream.peer_addr().is_ok_and(|peer| !used.contains(&peer)) {
                // The connection may have ended already.
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
        outcome
    })
}

/// The rank of a connection; `None` if the connection is of another run, or sent no introduction in time.
fn introduced(
    stream: TcpStream,
    seat: &Seat<'_>,
    deadline: Instant,
    security: &Security,
) -> Option<(usize, PeerStream)> {
    stream.set_nonblocking(false).ok()?;
    let left = deadline.saturating_duration_since(Instant::now());
    let left = left.max(Duration::from_millis(1));
    stream.set_read_timeout(Some(left)).ok()?;
    let stream = security.accept_peer(stream).ok()?;
    let mut found = vec![0; introduction(seat.run_id, 0).len()];
    (&stream).read_exact(&mut found).ok()?;
    stream.socket().set_read_timeout(None).ok()?;
    (seat.rank + 1..seat.addresses.len())
        .find(|peer| found == introduction(seat.run_id, *peer))
        .map(|peer| (peer, stream))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(rank: usize) -> Seat<'static> {
        static ADDRESSES: [String; 2] = [String::new(), String::new()];
        Seat {
            run_id: "run",
            rank,
            addresses: &ADDRESSES,
            shards: 2,
        }
    }

    #[test]
    fn an_error_names_the_ranks_that_do_not_reach_each_other() {
        let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = listen();
        let here = listener.local_addr().unwrap();
        // Nobody listens there any more.
        let gone = listen().local_addr().unwrap();
        let security = Security::default();
        let error = connect(&seat(1), &[gone, here], &listener, &security).unwrap_err();
        let expected = "worker 1 cannot reach worker 0 at 127.0.0.1: ";
        assert!(error.to_string().starts_with(expected), "{error}");
        let mut peers = vec![None, None];
        let now = Instant::now();
        let error = accept_peers(&listener, &seat(0), now, &security, &mut peers).unwrap_err();
        let expected = "worker 1 cannot reach worker 0: ";
        assert!(error.to_string().starts_with(expected), "{error}");
    }

    #[test]
    fn a_connection_of_another_run_is_not_taken() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(&introduction("older", 1)).unwrap();
        let (taken, _) = listener.accept().unwrap();
        let deadline = Instant::now() + CONNECT_TIMEOUT;
        assert!(introduced(taken, &seat(0), deadline, &Security::default()).is_none());
    }
}
