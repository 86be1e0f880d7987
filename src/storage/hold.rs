//! [`Hold`]: a process's sign of life, either a lock on a local file or a file in a store that is rewritten regularly.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use super::Place;

/// The interval at which a sign in a store is renewed.
const BEAT: Duration = Duration::from_secs(20);
/// An older sign in a store belongs to an ended process. The clocks of machines and stores may differ by seconds.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// A sign of life, which ends when this is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Hold {
    place: Place,
    _kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Closing the file releases the lock.
    Lock { _file: File },
    /// Dropping the channel ends the thread that renews the sign.
    Beat { _stop: mpsc::Sender<()> },
}

impl Hold {
    /// Creates the sign at a new place.
    pub(crate) fn begin(place: Place) -> io::Result<Self> {
        let kind = match &place {
            Place::Local(path) => {
                let file = File::create_new(path)?;
                file.lock()?;
                Kind::Lock { _file: file }
            }
            Place::Remote(_) => {
                place.create(&[])?;
                Kind::Beat {
                    _stop: renew(place.clone())?,
                }
            }
        };
        Ok(Self { place, _kind: kind })
    }
}

fn renew(place: Place) -> io::Result<mpsc::Sender<()>> {
    let (stop, stopped) = mpsc::channel();
    let beats = move || {
        while stopped.recv_timeout(BEAT) == Err(RecvTimeoutError::Timeout) {
            // If a beat fails, the next one renews the sign.
            if let Err(error) = place.replace(&[]) {
                tracing::warn!(%place, %error, "a sign of life cannot be written");
            }
        }
        // The last beat may have written the file again after the drop removed it.
        let _ = place.remove_file();
    };
    std::thread::Builder::new()
        .name("vatic-alive".into())
        .spawn(beats)?;
    Ok(stop)
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A file that stays is harmless: it is not locked, or its age exceeds the limit.
        let _ = self.place.remove_file();
    }
}

/// Whether a live process holds the sign at a place.
pub(crate) fn is_held(place: &Place) -> bool {
    match place {
        Place::Local(path) => match File::open(path) {
            Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        },
        Place::Remote(_) => match place.modified() {
            // A time in the future means that the store's clock is fast.
            Ok(at) => SystemTime::now()
                .duration_since(at)
                .map_or(true, |age| age < SILENCE_MAX),
            // If the sign cannot be read, the process may still live.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        },
    }
}
