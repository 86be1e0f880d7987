//! A sign that its process still lives: a lock on a file, or a file in a store that is written again and again.

use std::fs::{File, TryLockError};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, SystemTime};

use super::Place;

/// How often a sign in a store is renewed.
const BEAT: Duration = Duration::from_secs(20);
/// A sign in a store that is older is of a process that ended. The clocks of machines and stores may differ by seconds.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// A sign that goes with this, or with the process.
#[derive(Debug)]
pub(crate) struct Hold {
    place: Place,
    _kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Closing the file ends the lock.
    Lock { _file: File },
    /// Dropping the channel ends the thread that renews the sign.
    Beat { _stop: mpsc::Sender<()> },
}

impl Hold {
    /// Gives the sign at a new place.
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
            // One that is lost is made good by the next.
            if let Err(error) = place.replace(&[]) {
                tracing::warn!(%place, %error, "a sign of life cannot be written");
            }
        }
        // Again: a beat may have come after the sign was taken back.
        let _ = place.remove_file();
    };
    std::thread::Builder::new()
        .name("vatic-alive".into())
        .spawn(beats)?;
    Ok(stop)
}

impl Drop for Hold {
    fn drop(&mut self) {
        // A sign that stays is harmless: it is not locked, or grows old.
        let _ = self.place.remove_file();
    }
}

/// Whether a process holds the sign at a place.
pub(crate) fn is_held(place: &Place) -> bool {
    match place {
        Place::Local(path) => match File::open(path) {
            Ok(file) => matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)),
            Err(_) => false,
        },
        Place::Remote(_) => match place.modified() {
            // A sign from the future is of a store whose clock is fast.
            Ok(at) => SystemTime::now()
                .duration_since(at)
                .map_or(true, |age| age < SILENCE_MAX),
            // Of one that cannot be looked at nothing is known.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        },
    }
}
