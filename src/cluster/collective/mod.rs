//! [`TcpCollective`]: a collective of ranks on several machines.
//!
//! Each rank is connected to each other rank. An all-reduce is a reduce-scatter, then an all-gather: each rank sums one
//! part of the elements over all shards, in the tree of [`tree_sum`], and sends the sum to all ranks. A rank sends its
//! own shards as whole branches of that tree, already summed. So the bits equal those of one process, and if the number
//! of ranks is a power of two, each rank sends as many elements as the sum has.
//!
//! * `peers` the connections to the other ranks; `message` what is sent on them

mod message;
mod peers;

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::ops::{Add, Range};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use bytemuck::Pod;
use vatic_ml::collective::{Collective, ShardBuffers};
use vatic_ml::collective::{branch, tree_sum};
use vatic_ml::train::shard::owner;
use vatic_ml::{Error, Result};

use self::message::{Counted, Header, Incoming, out_of_step, send};
pub(super) use self::peers::Seat;
use self::peers::{addresses_of, connect};
use super::pulse::{Activity, Pulse};
use super::secure::{PeerStream, Security};
use crate::testing::crash;

/// Longer messages are sent by a separate thread: two ranks that send each other more than the system buffers, before
/// either reads, would wait forever.
const INLINE_BYTES: usize = 16 << 10;

/// One rank's connections to the others.
#[derive(Debug)]
pub(super) struct TcpCollective {
    rank: usize,
    world_size: usize,
    shards: usize,
    /// The connections by rank; `None` for this rank.
    peers: Vec<Option<Arc<PeerStream>>>,
    /// The addresses of the ranks.
    addresses: Vec<SocketAddr>,
    /// The number of exchanges so far.
    round: Mutex<u64>,
    pulse: Arc<Pulse>,
}

/// Ends the connections of a rank from another thread.
#[derive(Debug, Clone)]
pub(super) struct Breaker(Vec<Arc<PeerStream>>);

impl Breaker {
    pub(super) fn disconnect(&self) {
        for peer in &self.0 {
            // The peer may be disconnected already.
            let _ = peer.socket().shutdown(Shutdown::Both);
        }
    }
}

impl TcpCollective {
    /// Connects to the other ranks; `listener` listens at the address of this rank.
    pub(super) fn connect(
        seat: &Seat<'_>,
        listener: &TcpListener,
        security: &Security,
        pulse: Arc<Pulse>,
    ) -> Result<Self> {
        let addresses = addresses_of(seat)?;
        let peers = connect(seat, &addresses, listener, security)?;
        Ok(Self {
            rank: seat.rank,
            world_size: addresses.len(),
            shards: seat.shards,
            peers,
            addresses,
            round: Mutex::new(0),
            pulse,
        })
    }

    /// The other ranks and the connections to them.
    fn links(&self) -> impl Iterator<Item = (usize, Counted<'_>)> {
        let peers = self.peers.iter().enumerate();
        peers.filter_map(move |(rank, stream)| {
            let stream = stream.as_deref()?;
            let pulse = &*self.pulse;
            Some((rank, Counted { stream, pulse }))
        })
    }

    pub(super) fn breaker(&self) -> Breaker {
        Breaker(self.peers.iter().flatten().map(Arc::clone).collect())
    }

    /// Sends a message, as a list of slices, to each other rank, while `take` reads their messages in the order of ranks.
    fn exchange<'a>(
        &self,
        message_for: impl Fn(usize) -> Vec<&'a [u8]>,
        mut take: impl FnMut(usize, Incoming<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut round = self.round.lock().unwrap_or_else(PoisonError::into_inner);
        *round += 1;
        self.pulse.begin_round();
        let exchanged = std::thread::scope(|scope| {
            let mut sending = Vec::new();
            for (rank, peer) in self.links() {
                self.pulse.set(Activity::Waiting { peer: rank });
                let message = message_for(rank);
                let length: usize = message.iter().map(|slice| slice.len()).sum();
                let header = Header {
                    round: *round,
                    length: length as u64,
                };
                let send = move || send(peer, &header, &message);
                if length <= INLINE_BYTES {
                    send()?;
                } else {
                    sending.push((rank, scope.spawn(send)));
                }
            }
            crash::point("reduce");
            for (rank, peer) in self.links() {
                self.pulse.set(Activity::Waiting { peer: rank });
                take(rank, Incoming::announced(peer, *round)?)?;
            }
            for (rank, thread) in sending {
                self.pulse.set(Activity::Waiting { peer: rank });
                thread.join().map_err(|_| Error::Peer)??;
            }
            self.pulse.set(Activity::Computing);
            Ok(())
        });
        // A connection fails because the other side is gone; the coordinator knows the reason.
        exchanged.map_err(|error: Error| match error {
            Error::Io(_) => Error::Peer,
            other => other,
        })
    }

    fn all_reduce<T>(&self, buffers: ShardBuffers<T>) -> Result<Vec<T>>
    where
        T: Pod + Add<Output = T>,
    {
        let buffers: BTreeMap<usize, Vec<T>> = buffers.into_iter().collect();
        let length = buffers.values().next().map_or(0, Vec::len);
        let is_ours = |shard: usize| owner(shard, self.shards, self.world_size) == self.rank;
        let is_complete =
            (0..self.shards).all(|shard| is_ours(shard) == buffers.contains_key(&shard));
        if !is_complete || buffers.values().any(|buffer| buffer.len() != length) {
            return Err(out_of_step());
        }
        let branches: Vec<Vec<T>> = self
            .branches_of(self.rank)
            .into_iter()
            .map(|branch| {
                let parts: Vec<&[T]> = buffers
                    .range(branch)
                    .map(|(_, buffer)| &buffer[..])
                    .collect();
                tree_sum(&parts)
            })
            .collect();
        drop(buffers);
        if self.world_size == 1 {
            return branches.into_iter().next().ok_or_else(out_of_step);
        }
        let part =
            |rank: usize| length * rank / self.world_size..length * (rank + 1) / self.world_size;
        let ours = part(self.rank);
        let mut known: BTreeMap<usize, (usize, Vec<T>)> = self
            .branches_of(self.rank)
            .into_iter()
            .zip(&branches)
            .map(|(at, branch)| (at.start, (at.end, branch[ours.clone()].to_vec())))
            .collect();
        let message_for = |rank: usize| {
            let slices = branches.iter().map(|branch| &branch[part(rank)]);
            slices.map(bytemuck::cast_slice).collect()
        };
        self.exchange(message_for, |rank, mut incoming| {
            for at in self.branches_of(rank) {
                let mut values = vec![T::zeroed(); ours.len()];
                incoming.read(bytemuck::cast_slice_mut(&mut values))?;
                known.insert(at.start, (at.end, values));
            }
            incoming.end()
        })?;
        let sum = grow(0..self.shards, &mut known).ok_or_else(out_of_step)?;
        let mut total = vec![T::zeroed(); length];
        total[ours].copy_from_slice(&sum);
        let message_for = |_| vec![bytemuck::cast_slice(&sum)];
        self.exchange(message_for, |rank, mut incoming| {
            incoming.read(bytemuck::cast_slice_mut(&mut total[part(rank)]))?;
            incoming.end()
        })?;
        Ok(total)
    }

    /// The largest branches of the tree whose shards all belong to this rank.
    fn branches_of(&self, rank: usize) -> Vec<Range<usize>> {
        let mut found = Vec::new();
        let mut open: Vec<Range<usize>> = std::iter::once(0..self.shards).collect();
        while let Some(range) = open.pop() {
            let owners = (range.clone()).map(|shard| owner(shard, self.shards, self.world_size));
            let (mut all, mut any) = (true, false);
            for is_ours in owners.map(|owner| owner == rank) {
                all &= is_ours;
                any |= is_ours;
            }
            if all && any {
                found.push(range);
            } else if any {
                let (left, right) = branch(range);
                open.extend([right, left]);
            }
        }
        found
    }
}

/// Sums the known branches to the branch over `range`.
fn grow<T: Copy + Add<Output = T>>(
    range: Range<usize>,
    known: &mut BTreeMap<usize, (usize, Vec<T>)>,
) -> Option<Vec<T>> {
    if known
        .get(&range.start)
        .is_some_and(|(end, _)| *end == range.end)
    {
        return known.remove(&range.start).map(|(_, values)| values);
    }
    if range.len() < 2 {
        return None;
    }
    let (left, right) = branch(range);
    let (mut left, right) = (grow(left, known)?, grow(right, known)?);
    for (sum, value) in left.iter_mut().zip(right) {
        *sum = *sum + value;
    }
    Some(left)
}

impl Collective for TcpCollective {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn rank_label(&self, rank: usize) -> String {
        match self.addresses.get(rank) {
            Some(address) => format!("worker {rank} at {}", address.ip()),
            None => format!("worker {rank}"),
        }
    }

    fn barrier(&self) -> Result<()> {
        self.exchange(|_| Vec::new(), |_, incoming| incoming.end())
    }

    fn all_gather(&self, message: Vec<u8>) -> Result<Vec<Arc<Vec<u8>>>> {
        let mut gathered = Vec::with_capacity(self.world_size);
        let message = Arc::new(message);
        gathered.resize(self.world_size, Arc::clone(&message));
        self.exchange(
            |_| vec![&message[..]],
            |rank, incoming| {
                gathered[rank] = Arc::new(incoming.read_all()?);
                Ok(())
            },
        )?;
        Ok(gathered)
    }

    fn all_reduce_f32(&self, shards: ShardBuffers<f32>) -> Result<Vec<f32>> {
        crash::point("between-steps");
        self.all_reduce(shards)
    }

    fn all_reduce_f64(&self, shards: ShardBuffers<f64>) -> Result<Vec<f64>> {
        self.all_reduce(shards)
    }
}

impl Drop for TcpCollective {
    fn drop(&mut self) {
        // Other ranks must not wait for a rank that is gone, even if its connections are still held elsewhere.
        self.breaker().disconnect();
    }
}

/// Times all-reduces of `elements` `f32` over the loopback device: the seconds of each round, after an uncounted one.
pub(crate) fn time_all_reduce(ranks: usize, elements: usize, rounds: usize) -> Result<Vec<f64>> {
    let listeners = (0..ranks).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners: Vec<TcpListener> = listeners.collect::<std::io::Result<_>>()?;
    let addresses = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.to_string()));
    let addresses: Vec<String> = addresses.collect::<std::io::Result<_>>()?;
    let work = |rank: usize, listener: &TcpListener| {
        let security = Security::default();
        let seat = Seat {
            run_id: "benchmark",
            rank,
            addresses: &addresses,
            shards: ranks,
        };
        let ours = TcpCollective::connect(&seat, listener, &security, Arc::default())?;
        let mut seconds = Vec::new();
        for _ in 0..=rounds {
            let buffers = vec![(rank, vec![1.0f32; elements])];
            ours.barrier()?;
            let began = Instant::now();
            ours.all_reduce_f32(buffers)?;
            ours.barrier()?;
            seconds.push(began.elapsed().as_secs_f64());
        }
        Ok(seconds[1..].to_vec())
    };
    std::thread::scope(|scope| {
        let work = &work;
        let threads: Vec<_> = listeners
            .iter()
            .enumerate()
            .map(|(rank, listener)| scope.spawn(move || work(rank, listener)))
            .collect();
        let seconds = threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(Err(Error::Peer)));
        let seconds: Result<Vec<Vec<f64>>> = seconds.collect();
        seconds?.into_iter().next().ok_or(Error::Peer)
    })
}

#[cfg(test)]
mod tests {
    use vatic_ml::collective::LocalCollective;

    use super::peers::CONNECT_TIMEOUT;
    use super::*;
    use crate::cluster::pulse::Vitals;

    fn group(world_size: usize, shards: usize) -> Vec<TcpCollective> {
        group_with(&Security::default(), world_size, shards)
    }

    fn group_with(security: &Security, world_size: usize, shards: usize) -> Vec<TcpCollective> {
        let listeners: Vec<TcpListener> = (0..world_size)
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addresses: Vec<String> = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().to_string())
            .collect();
        let ranks = listeners.into_iter().enumerate().map(|(rank, listener)| {
            let (addresses, security) = (addresses.clone(), security.clone());
            std::thread::spawn(move || {
                let seat = Seat {
                    run_id: "run",
                    rank,
                    addresses: &addresses,
                    shards,
                };
                TcpCollective::connect(&seat, &listener, &security, Arc::default()).unwrap()
            })
        });
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    }

    fn sums<C: Collective + 'static>(ranks: Vec<C>, shards: usize, length: usize) -> Vec<Vec<u32>> {
        let ranks = ranks.into_iter().map(|ours| {
            std::thread::spawn(move || {
                let value = |shard: usize, at: usize| {
                    1e8f32 / (shard as f32 + 3.0) + 0.1 * (at as f32 + shard as f32)
                };
                let buffers = (0..shards)
                    .filter(|&shard| owner(shard, shards, ours.world_size()) == ours.rank())
                    .map(|shard| (shard, (0..length).map(|at| value(shard, at)).collect()))
                    .collect();
                let sum = ours.all_reduce_f32(buffers).unwrap();
                ours.barrier().unwrap();
                sum.into_iter().map(f32::to_bits).collect::<Vec<u32>>()
            })
        });
        let ranks: Vec<_> = ranks.collect();
        ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
    }

    #[test]
    fn sums_have_the_bits_of_one_process() {
        for (shards, length) in [(8, 5), (8, 100_003), (5, 17), (16, 1_000)] {
            let expected = sums(LocalCollective::group(1), shards, length).remove(0);
            for world_size in [1, 2, 3, 5].into_iter().filter(|size| *size <= shards) {
                for sum in sums(group(world_size, shards), shards, length) {
                    assert!(sum == expected, "{shards} shards, {world_size} ranks");
                }
            }
        }
    }

    #[test]
    fn sums_of_encrypted_connections_have_the_same_bits() {
        let security = Security::of_test(Some("one"), "a build");
        let expected = sums(LocalCollective::group(1), 8, 200_003).remove(0);
        for sum in sums(group_with(&security, 3, 8), 8, 200_003) {
            assert!(sum == expected);
        }
    }

    #[test]
    fn messages_come_from_every_rank_in_order() {
        let ranks = group(3, 8).into_iter().map(|ours| {
            std::thread::spawn(move || ours.all_gather(vec![ours.rank() as u8; 40_000]).unwrap())
        });
        for gathered in ranks.collect::<Vec<_>>() {
            let gathered = gathered.join().unwrap();
            let ranks: Vec<u8> = gathered.iter().map(|message| message[39_999]).collect();
            assert_eq!(ranks, [0, 1, 2]);
        }
    }

    #[test]
    fn a_rank_that_leaves_ends_the_others() {
        let mut ranks = group(3, 8);
        drop(ranks.remove(1));
        for ours in ranks {
            let result = std::thread::spawn(move || ours.barrier()).join().unwrap();
            assert!(matches!(result, Err(Error::Peer)));
        }
    }

    #[test]
    fn the_system_asks_for_signs_of_life_between_ranks_and_lets_a_slow_one_be() {
        for ours in group(2, 8) {
            for (_, link) in ours.links() {
                let socket = socket2::SockRef::from(link.stream.socket());
                assert!(socket.keepalive().unwrap());
                #[cfg(target_os = "linux")]
                assert_eq!(socket.tcp_user_timeout().unwrap(), None);
            }
        }
    }

    #[test]
    fn a_rank_in_an_exchange_shows_for_whom_it_waits_and_what_has_moved() {
        let mut ranks = group(2, 8);
        let (other, ours) = (ranks.pop().unwrap(), ranks.pop().unwrap());
        assert_eq!(ours.rank_label(1), "worker 1 at 127.0.0.1");
        let pulse = Arc::clone(&ours.pulse);
        assert_eq!(pulse.vitals().round, 0);
        let waiting = std::thread::spawn(move || ours.all_gather(vec![7; 5]).map(|_| ours));
        let header = size_of::<Header>() as u64;
        let is_waiting = |vitals: Vitals| {
            vitals.activity == Activity::Waiting { peer: 1 } && vitals.moved == header + 5
        };
        let began = Instant::now();
        while !is_waiting(pulse.vitals()) {
            assert!(began.elapsed() < CONNECT_TIMEOUT, "{:?}", pulse.vitals());
            std::thread::yield_now();
        }
        other.all_gather(vec![8; 3]).unwrap();
        let ours = waiting.join().unwrap().unwrap();
        let expected = Vitals {
            activity: Activity::Computing,
            round: 1,
            moved: 2 * header + 8,
        };
        assert_eq!(ours.pulse.vitals(), expected);
    }
}
