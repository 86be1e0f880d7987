//! [`LocalCollective`]: a collective of ranks that are threads of this process.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::{Collective, ShardBuffers, tree_sum};
use crate::{Error, Result};

/// Checks of the round before a rank sleeps: some tens of microseconds.
const SPINS: usize = 2_000;

/// One rank of a group of threads of this process.
#[derive(Debug)]
pub struct LocalCollective {
    rank: usize,
    group: Arc<Group>,
}

#[derive(Debug)]
struct Group {
    world_size: usize,
    round: Mutex<Round>,
    changed: Condvar,
    /// The number of rounds plus the number of ranks that left, readable without the lock.
    events: AtomicU64,
}

/// The current exchange: all ranks deposit, the last rank publishes, all ranks take.
#[derive(Debug, Default)]
struct Round {
    number: u64,
    deposits: Vec<Option<Message>>,
    arrived: usize,
    published: Arc<Vec<Message>>,
    a_rank_left: bool,
}

type Message = Arc<dyn Any + Send + Sync>;

impl LocalCollective {
    /// The members of a group of `world_size` ranks.
    pub fn group(world_size: usize) -> Vec<Self> {
        let group = Arc::new(Group {
            world_size,
            round: Mutex::new(Round {
                deposits: vec![None; world_size],
                ..Default::default()
            }),
            changed: Condvar::new(),
            events: AtomicU64::new(0),
        });
        (0..world_size)
            .map(|rank| Self {
                rank,
                group: Arc::clone(&group),
            })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Round> {
        // A poisoned lock is usable: the lock guards plain data, and a rank that panicked has set `a_rank_left`.
        self.group
            .round
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Spins briefly for the next event: the other ranks usually arrive soon, and waking a thread takes longer.
    fn spin(&self, events: u64) {
        for _ in 0..SPINS {
            if self.group.events.load(Ordering::Acquire) != events {
                return;
            }
            std::hint::spin_loop();
        }
    }

    fn exchange(&self, message: Message) -> Result<Arc<Vec<Message>>> {
        let mut round = self.lock();
        if round.a_rank_left {
            return Err(Error::Peer);
        }
        let number = round.number;
        round.deposits[self.rank] = Some(message);
        round.arrived += 1;
        if round.arrived == self.group.world_size {
            round.published =
                Arc::new(round.deposits.iter_mut().filter_map(Option::take).collect());
            round.arrived = 0;
            round.number += 1;
            self.group.events.fetch_add(1, Ordering::Release);
            self.group.changed.notify_all();
        } else {
            let events = self.group.events.load(Ordering::Acquire);
            drop(round);
            self.spin(events);
            round = self.lock();
        }
        while round.number == number && !round.a_rank_left {
            round = self
                .group
                .changed
                .wait(round)
                .unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if round.number == number {
            return Err(Error::Peer);
        }
        Ok(Arc::clone(&round.published))
    }

    /// Each rank sums its part of the elements over all shards; then every rank collects the parts of all ranks.
    fn all_reduce<T>(&self, shards: ShardBuffers<T>) -> Result<Vec<T>>
    where
        T: Copy + std::ops::Add<Output = T> + Send + Sync + 'static,
    {
        let published = self.exchange(Arc::new(shards))?;
        let mut all: Vec<&(usize, Vec<T>)> = Vec::new();
        for message in published.iter() {
            let theirs = message
                .downcast_ref::<ShardBuffers<T>>()
                .ok_or_else(out_of_step)?;
            all.extend(theirs);
        }
        all.sort_by_key(|(shard, _)| *shard);
        let length = all.first().map_or(0, |(_, buffer)| buffer.len());
        if all.iter().any(|(_, buffer)| buffer.len() != length) {
            return Err(out_of_step());
        }
        let world_size = self.group.world_size;
        let part = length * self.rank / world_size..length * (self.rank + 1) / world_size;
        let parts: Vec<&[T]> = all
            .iter()
            .map(|(_, buffer)| &buffer[part.clone()])
            .collect();
        let sum = tree_sum(&parts);
        if world_size == 1 {
            return Ok(sum);
        }
        let mut total = Vec::with_capacity(length);
        for message in self.exchange(Arc::new(sum))?.iter() {
            total.extend(message.downcast_ref::<Vec<T>>().ok_or_else(out_of_step)?);
        }
        Ok(total)
    }
}

fn out_of_step() -> Error {
    Error::Internal("the workers of a training are out of step".into())
}

impl Collective for LocalCollective {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.group.world_size
    }

    fn barrier(&self) -> Result<()> {
        self.exchange(Arc::new(())).map(|_| ())
    }

    fn all_gather(&self, message: Vec<u8>) -> Result<Vec<Arc<Vec<u8>>>> {
        let published = self.exchange(Arc::new(message))?;
        published
            .iter()
            .map(|message| Arc::clone(message).downcast().map_err(|_| out_of_step()))
            .collect()
    }

    fn all_reduce_f32(&self, shards: ShardBuffers<f32>) -> Result<Vec<f32>> {
        self.all_reduce(shards)
    }

    fn all_reduce_f64(&self, shards: ShardBuffers<f64>) -> Result<Vec<f64>> {
        self.all_reduce(shards)
    }
}

impl Drop for LocalCollective {
    fn drop(&mut self) {
        self.lock().a_rank_left = true;
        self.group.events.fetch_add(1, Ordering::Release);
        self.group.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::train::shard::owner;

    #[test]
    fn a_sum_does_not_depend_on_who_owns_a_shard() {
        let buffer = |shard: usize| vec![0.1f32 * (shard as f32 + 1.0), 1e8 / (shard as f32 + 3.0)];
        let sum_with = |world_size: usize| {
            let ranks: Vec<_> = LocalCollective::group(world_size)
                .into_iter()
                .map(|ours| {
                    let shards = (0..8).filter(|&shard| owner(shard, 8, world_size) == ours.rank());
                    let shards = shards.map(|shard| (shard, buffer(shard))).collect();
                    thread::spawn(move || ours.all_reduce_f32(shards).unwrap())
                })
                .collect();
            let sums: Vec<Vec<f32>> = ranks.into_iter().map(|rank| rank.join().unwrap()).collect();
            assert!(sums.iter().all(|sum| sum == &sums[0]));
            sums[0].clone()
        };
        let alone = sum_with(1);
        for world_size in [2, 3, 5, 8] {
            assert_eq!(sum_with(world_size), alone);
        }
    }

    #[test]
    fn a_rank_that_leaves_wakes_the_others_with_an_error() {
        let mut group = LocalCollective::group(2);
        let leaver = group.pop().unwrap();
        let waiter = group.pop().unwrap();
        let waiting = thread::spawn(move || waiter.barrier());
        drop(leaver);
        assert!(matches!(waiting.join().unwrap(), Err(Error::Peer)));
    }
}
