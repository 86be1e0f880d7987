//! [`Places`]: the connections that a listener has at once, in total and from one address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The places of a listener, some of which are taken.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    /// What the log says about connections without a place.
    refusal: &'static str,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    by_address: HashMap<IpAddr, usize>,
    warned_at: Option<Instant>,
}

impl Places {
    pub(crate) fn new(max: usize, refusal: &'static str) -> Arc<Self> {
        Arc::new(Self {
            max,
            refusal,
            taken: Mutex::default(),
        })
    }

    /// A place for a connection from this address, until the result is dropped; `None`, and now and then a warning, if there
    /// is none. One address gets at most a quarter of all places, loopback addresses get all.
    pub(crate) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Admitted> {
        let mut taken = self.lock();
        let all: usize = taken.by_address.values().sum();
        let own = taken.by_address.get(&address).copied().unwrap_or(0);
        let own_max = match address.is_loopback() {
            true => self.max,
            false => self.max.div_ceil(4),
        };
        if all >= self.max || own >= own_max {
            let last = taken.warned_at;
            if last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL) {
                taken.warned_at = Some(Instant::now());
                tracing::warn!(%address, "{}", self.refusal);
            }
            return None;
        }
        taken.by_address.insert(address, own + 1);
        Some(Admitted {
            places: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection with a place.
#[derive(Debug)]
pub(crate) struct Admitted {
    places: Arc<Places>,
    address: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut taken = self.places.lock();
        if let Some(count) = taken.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                taken.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_a_quarter_of_the_places_and_loopback_all() {
        let places = Places::new(8, "too many");
        let admit = |address: &str| places.admit(address.parse().unwrap());
        let far: Vec<Admitted> = (0..2).map(|_| admit("192.0.2.1").unwrap()).collect();
        assert!(admit("192.0.2.1").is_none());
        let other = admit("192.0.2.2").unwrap();
        let near: Vec<Admitted> = (0..5).map(|_| admit("127.0.0.1").unwrap()).collect();
        assert!(admit("127.0.0.1").is_none());
        assert!(admit("192.0.2.2").is_none());
        drop(far);
        assert!(admit("192.0.2.1").is_some());
        drop((other, near));
        assert!(places.lock().by_address.is_empty());
    }
}
