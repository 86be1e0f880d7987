//! Storage of logins that outlive the server: one file per token in the data directory, with the user, a proof of the
//! password and the time of last use; the file's name is the token's hash.
//!
//! A driver logs in only when it connects; if a restarted server had no tokens, every connection of a pool would break.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::storage::Place;

/// A use is stored when the last stored use is older than the idle limit divided by this number.
const WRITES: u32 = 24;

/// The directory of logins; none if the data directory is not on this machine.
#[derive(Debug)]
pub(super) struct Logins {
    directory: Option<Place>,
    idle_max: Duration,
}

/// The length of a token's hash, which names the token's file.
const KEY_DIGITS: usize = 64;

/// The content of a login's file.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Login {
    pub(super) user: String,
    /// A proof of the user's password at the time of the login: the login is invalid after a change of password, or for
    /// another user of the same name.
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

    /// How long a token stays valid without use.
    pub(super) fn idle_max(&self) -> Duration {
        self.idle_max
    }

    /// Every valid login, with the hash of its token. Files of other logins are removed.
    pub(super) fn all(&self) -> Vec<(String, Login)> {
        let Some(directory) = &self.directory else {
            return vec![];
        };
        let entries = directory.entries().unwrap_or_else(|error| {
            tracing::warn!(%error, "the stored logins cannot be read");
            vec![]
        });
        let entries = entries.into_iter().filter_map(|(key, _)| {
            let is_key =
                key.len() == KEY_DIGITS && key.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !is_key {
                // Another server may be writing this file.
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

    /// Whether a use must be stored if the last stored use has this age.
    pub(super) fn is_due(&self, age: Duration) -> bool {
        self.directory.is_some() && age >= self.idle_max / WRITES
    }

    /// Stores the use of a token. A login that cannot be stored stays valid until the server stops.
    pub(super) fn keep(&self, key: &str, login: &Login) {
        let Some(directory) = &self.directory else {
            return;
        };
        if let Err(error) = login.write(directory, key) {
            tracing::warn!(%error, "a login cannot be stored and ends with the server");
        }
    }

    pub(super) fn forget(&self, key: &str) {
        if let Some(directory) = &self.directory {
            // The login may never have been stored.
            let _ = directory.join(key).remove_file();
        }
    }

    /// Forgets a login that was idle here for too long, unless another server on the same data directory used it later.
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
    /// A login that is used now.
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

    /// The time since the last use; zero if the clock went back.
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
