//! [`lock`]: the one way in which the server locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a panic left behind is as good as before: nothing here is changed in several steps.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
