//! Logins that outlive the server: of each token its hash, its user, a proof of the password and when it was used, in a file of
//! the data directory.
//!
//! Drivers log in once and never again, so that a server that forgets its tokens ends every connection of a pool.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::storage::Place;

/// A use is written down if the last one that was is so long ago, as a share of the time that a token lives without use.
const WRITES: u32 = 24;

/// Where logins are kept; nowhere for a data directory that is not on this machine.
#[derive(Debug)]
pub(super) struct Logins {
    directory: Option<Place>,
    idle_max: Duration,
}

/// Digits of the hash of a token, which names its file.
const KEY_DIGITS: usize = 64;

/// A login as its file has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) user: String,
    /// Of what the users file had for the user then: with another password, or for another user of this name, the login
    /// does not hold.
    pub(super) proof: String,
    pub(super) used: SystemTime,
}

impl Logins {
    pub(super) fn new(directory: Option<Place>, idle_max: Duration) -> Self {
        Self {
            directory,
            idle_max,
        }
    }

    /// How long a token lives without use.
    pub(super) fn idle_max(&self) -> Duration {
        self.idle_max
    }

    /// Every login that still holds, with the hash of its token. The files of the others are removed.
    pub(super) fn all(&self) -> Vec<(String, Login)> {
        let Some(directory) = &self.directory else {
            return vec![];
        };
        let entries = directory.entries().unwrap_or_else(|error| {
            tracing::warn!(%error, "the logins of before cannot be read");
            vec![]
        });
        let entries = entries.into_iter().filter_map(|(key, _)| {
            let is_key =
                key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_key {
                // It may be a file that another server is about to write.
                return None;
            }
            let login = Login::read(directory, &key);
            let login = login.filter(|login| login.age() < self.idle_max);
            if login.is_none() {
                self.forget(&key);
            }
            Some((key, login?))
        });
        entries.collect()
    }

    /// Whether a use at this age of the last one that was written down is to be written.
    pub(super) fn is_due(&self, age: Duration) -> bool {
        self.directory.is_some() && age >= self.idle_max / WRITES
    }

    /// Writes down a token that was used. A login that cannot be kept ends with the server, and no sooner.
    pub(super) fn keep(&self, key: &str, login: &Login) {
        let Some(directory) = &self.directory else {
            return;
        };
        if let Err(error) = login.write(directory, key) {
            tracing::warn!(%error, "a login ends with the server, as it cannot be kept");
        }
    }

    pub(super) fn forget(&self, key: &str) {
        if let Some(directory) = &self.directory {
            // It may never have been kept.
            let _ = directory.join(key).remove_file();
        }
    }

    /// Forgets a login that was not used here for too long, unless it was at another server on the same data directory.
    pub(super) fn forget_idle(&self, key: &str) {
        let Some(directory) = &self.directory else {
            return;
        };
        let login = Login::read(directory, key);
        if login.is_none_or(|login| login.age() >= self.idle_max) {
            self.forget(key);
        }
    }
}

impl Login {
    /// One that is used now.
    pub(super) fn now(user: String, proof: String) -> Self {
        let used = SystemTime::now();
        Self { user, proof, used }
    }

    fn read(directory: &Place, key: &str) -> Option<Self> {
        let content = directory.join(key).read().ok()?;
        serde_json::from_slice(&content).ok()
    }

    fn write(&self, directory: &Place, key: &str) -> std::io::Result<()> {
        directory.create_directory()?;
        directory.join(key).replace(&serde_json::to_vec(self)?)
    }

    /// Since it was used. A clock that went back makes it young, and no older than it is.
    pub(super) fn age(&self) -> Duration {
        self.used.elapsed().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logins_are_kept_until_they_are_idle_or_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("logins");
        let hour = Duration::from_secs(3600);
        let place = Place::Local(path.clone());
        let logins = Logins::new(Some(place.clone()), hour);
        assert!(logins.all().is_empty());
        let [one, two, old, damaged] = ["1", "2", "3", "4"].map(|digit| digit.repeat(KEY_DIGITS));
        let login = Login::now("ada".into(), "proof".into());
        for key in [&one, &two, &old] {
            logins.keep(key, &login);
        }
        let used = SystemTime::now() - 2 * hour;
        logins.keep(&old, &Login { used, ..login });
        std::fs::write(path.join(damaged), b"{").unwrap();
        std::fs::write(path.join("1.of another server"), b"{").unwrap();
        logins.forget(&two);
        logins.forget_idle(&one);
        let found = Logins::new(Some(place), hour).all();
        assert_eq!(found.len(), 1);
        assert_eq!((&found[0].0, found[0].1.user.as_str()), (&one, "ada"));
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 2);
        assert!(logins.is_due(hour / 2) && !logins.is_due(hour / 100));
        assert!(Logins::new(None, hour).all().is_empty());
    }
}
