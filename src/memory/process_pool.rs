//! [`ProcessPool`]: the pool of the process, in which a [`Cache`] makes room.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};

use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::error::Result;

/// Whether at least half of a pool is free.
pub(crate) fn is_half_free(pool: &dyn MemoryPool) -> bool {
    match pool.memory_limit() {
        MemoryLimit::Finite(bytes) => pool.reserved() <= bytes / 2,
        MemoryLimit::Infinite | MemoryLimit::Unknown => true,
    }
}

/// Whether this much of a pool is free.
pub(crate) fn has_free(pool: &dyn MemoryPool, bytes: usize) -> bool {
    match pool.memory_limit() {
        MemoryLimit::Finite(limit) => bytes <= limit.saturating_sub(pool.reserved()),
        MemoryLimit::Infinite | MemoryLimit::Unknown => true,
    }
}

/// A cache of things that can be made again.
pub(crate) trait Cache: fmt::Debug + Send + Sync {
    /// Drops something that nobody uses; `false` if there is nothing.
    fn shrink(&self) -> bool;
}

/// The pool of the process. A request that does not fit is tried again while the cache can give memory back.
#[derive(Debug)]
pub(super) struct ProcessPool {
    inner: Arc<dyn MemoryPool>,
    cache: OnceLock<Weak<dyn Cache>>,
}

impl ProcessPool {
    pub(super) fn new(inner: Arc<dyn MemoryPool>) -> Self {
        let cache = OnceLock::new();
        Self { inner, cache }
    }

    /// From now on, this cache gives memory back when operators need it.
    pub(super) fn take_from(&self, cache: Weak<dyn Cache>) {
        // A process has one cache.
        let _ = self.cache.set(cache);
    }
}

impl fmt::Display for ProcessPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl MemoryPool for ProcessPool {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.inner.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.inner.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.inner.grow(reservation, additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.inner.shrink(reservation, shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        loop {
            let grown = self.inner.try_grow(reservation, additional);
            let cache = self.cache.get().and_then(Weak::upgrade);
            if grown.is_ok() || !cache.is_some_and(|cache| cache.shrink()) {
                return grown;
            }
        }
    }

    fn reserved(&self) -> usize {
        self.inner.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.inner.memory_limit()
    }
}
