//! [`Doorway`]: the accepted connections that have not shown yet that they are of this cluster, and the most there may be.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The most connections in the doorway of a listener. Each takes an open file until it is over or its time is.
const STRANGERS_MAX: usize = 256;
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The strangers at a listener, in total and by address.
#[derive(Debug)]
pub(in crate::cluster) struct Doorway {
    max: usize,
    strangers: Mutex<Strangers>,
}

#[derive(Debug, Default)]
struct Strangers {
    by_address: HashMap<IpAddr, usize>,
    warned_at: Option<Instant>,
}

impl Default for Doorway {
    fn default() -> Self {
        Self::new(STRANGERS_MAX)
    }
}

impl Doorway {
    pub(in crate::cluster) fn new(max: usize) -> Self {
        let strangers = Mutex::default();
        Self { max, strangers }
    }

    /// A place for a connection from this address, until the place is dropped; `None`, and now and then a warning, if there is
    /// none. One address gets at most a quarter of all places, loopback addresses get all.
    pub(in crate::cluster) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut strangers = self.lock();
        let all: usize = strangers.by_address.values().sum();
        let own = strangers.by_address.get(&address).copied().unwrap_or(0);
        let own_max = match address.is_loopback() {
            true => self.max,
            false => self.max.div_ceil(4),
        };
        if all >= self.max || own >= own_max {
            let last = strangers.warned_at;
            if last.is_none_or(|last| last.elapsed() >= WARNING_INTERVAL) {
                strangers.warned_at = Some(Instant::now());
                tracing::warn!(%address, "too many connections at once do not say who they are; some are closed");
            }
            return None;
        }
        strangers.by_address.insert(address, own + 1);
        Some(Place {
            doorway: Arc::clone(self),
            address,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Strangers> {
        self.strangers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection in the doorway.
#[derive(Debug)]
pub(in crate::cluster) struct Place {
    doorway: Arc<Doorway>,
    address: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut strangers = self.doorway.lock();
        if let Some(count) = strangers.by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                strangers.by_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_gets_a_quarter_of_the_places_and_loopback_all() {
        let doorway = Arc::new(Doorway::new(8));
        let admit = |address: &str| doorway.admit(address.parse().unwrap());
        let far: Vec<Place> = (0..2).map(|_| admit("192.0.2.1").unwrap()).collect();
        assert!(admit("192.0.2.1").is_none());
        let other = admit("192.0.2.2").unwrap();
        let near: Vec<Place> = (0..5).map(|_| admit("127.0.0.1").unwrap()).collect();
        assert!(admit("127.0.0.1").is_none());
        assert!(admit("192.0.2.2").is_none());
        drop(far);
        assert!(admit("192.0.2.1").is_some());
        drop((other, near));
        assert!(doorway.lock().by_address.is_empty());
    }
}
