//! [`Stop`]: asks work to end before it is done.
//!
//! Layers have no argument for it: they [`check`] the request that their thread watches. So the backward pass, which candle
//! runs, ends early too.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result};

thread_local! {
    static WATCHED: RefCell<Option<Stop>> = const { RefCell::new(None) };
}

/// A request to end some work. Clones are the same request.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks the work to end.
    pub fn ask(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work was asked to end.
    pub fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Ends work that was asked to end.
    ///
    /// # Errors
    /// [`Error::Cancelled`] if it was.
    pub fn check(&self) -> Result<()> {
        match self.is_asked() {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    /// Runs `work`, in which [`check`] looks at this request. Afterwards the thread watches what it watched before, also after a
    /// panic.
    pub fn watch<T>(&self, work: impl FnOnce() -> T) -> T {
        let _before = Before(WATCHED.replace(Some(self.clone())));
        work()
    }

    /// Asks the work to end when the result is dropped.
    pub fn on_drop(&self) -> StopOnDrop {
        StopOnDrop(self.clone())
    }
}

/// Ends the work of this thread if it was asked to end. Whatever computes for long calls this now and then.
///
/// # Errors
/// [`Error::Cancelled`] if it was.
pub fn check() -> Result<()> {
    WATCHED.with_borrow(|stop| stop.as_ref().map_or(Ok(()), Stop::check))
}

/// The request that this thread watches, for work of other threads that it waits for.
#[cfg(any(feature = "onnx", test))]
pub(crate) fn watched() -> Option<Stop> {
    WATCHED.with_borrow(Clone::clone)
}

/// Asks work to end when it is dropped.
#[derive(Debug)]
pub struct StopOnDrop(Stop);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.ask();
    }
}

/// The request that the thread watches again when the value is dropped.
struct Before(Option<Stop>);

impl Drop for Before {
    fn drop(&mut self) {
        WATCHED.set(self.0.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_looks_at_the_request_that_it_watches() {
        let (outer, inner) = (Stop::default(), Stop::default());
        inner.ask();
        assert!(check().is_ok());
        outer.watch(|| {
            assert!(check().is_ok());
            assert!(matches!(inner.watch(check), Err(Error::Cancelled)));
            let failed = std::panic::catch_unwind(|| inner.watch::<()>(|| panic!("on purpose")));
            assert!(failed.is_err());
            assert!(check().is_ok());
            outer.clone().ask();
            assert!(matches!(check(), Err(Error::Cancelled)));
        });
        assert!(check().is_ok());
    }

    #[test]
    fn another_thread_looks_at_the_request_that_a_thread_watches() {
        assert!(watched().is_none());
        let stop = Stop::default();
        let seen = stop.watch(|| {
            let watched = watched().unwrap();
            stop.ask();
            std::thread::spawn(move || watched.is_asked())
        });
        assert!(seen.join().unwrap());
        assert!(watched().is_none());
    }

    #[test]
    fn a_dropped_owner_asks_to_stop() {
        let stop = Stop::default();
        let owner = stop.on_drop();
        assert!(!stop.is_asked());
        drop(owner);
        assert!(stop.is_asked());
    }

    #[test]
    fn the_request_comes_back_from_candle() {
        let through = candle_core::Error::from(Error::Cancelled);
        assert!(matches!(Error::from(through), Error::Cancelled));
        let within = candle_core::Error::from(Error::Cancelled).context("a layer");
        assert!(matches!(Error::from(within), Error::Cancelled));
    }
}
