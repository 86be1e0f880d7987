//! [`Log`]: the states of one catalog object (a table, a view, a model) as a log of files; the last state is current.
//!
//! A state is published by atomically creating the file with the next number, which fails if another process was first.
//! So readers see whole states only, a crash keeps the last state, and no lock is needed. Numbers are never reused.

use std::io::ErrorKind;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vatic_ml::artifact::sha256;

use super::Place;
use crate::error::{Result, SqlState, io_err, sql_err};

/// The log of one object.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    directory: Place,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    /// The state as JSON text, so that the hash covers exactly these bytes.
    payload: String,
    sha256: String,
}

impl Log {
    /// The log in this directory, which need not exist.
    pub(crate) fn new(directory: Place) -> Self {
        Self { directory }
    }

    /// The last state and its number.
    pub(crate) fn latest<T: DeserializeOwned>(&self) -> Result<Option<(u64, T)>> {
        let Some(number) = self.last_number()? else {
            return Ok(None);
        };
        let place = self.directory.join(&file_name(number));
        let content = place.read().map_err(|error| io_err(&place, &error))?;
        let corrupt = |problem: &str| sql_err(SqlState::Io, format!("{place}: {problem}"));
        let envelope: Envelope =
            serde_json::from_slice(&content).map_err(|_| corrupt("not a state of the catalog"))?;
        if sha256(envelope.payload.as_bytes()) != envelope.sha256 {
            return Err(corrupt("damaged: its SHA-256 does not match"));
        }
        let state =
            serde_json::from_str(&envelope.payload).map_err(|error| corrupt(&error.to_string()))?;
        Ok(Some((number, state)))
    }

    /// Publishes the state that follows number `seen`. `false` if another process published a state first.
    pub(crate) fn commit<T: Serialize>(&self, seen: Option<u64>, state: &T) -> Result<bool> {
        let payload = serde_json::to_string(state).map_err(|error| {
            sql_err(SqlState::Internal, format!("state of the catalog: {error}"))
        })?;
        let envelope = Envelope {
            sha256: sha256(payload.as_bytes()),
            payload,
        };
        let content = serde_json::to_vec(&envelope).map_err(|error| {
            sql_err(SqlState::Internal, format!("state of the catalog: {error}"))
        })?;
        let next = seen.map_or(0, |number| number + 1);
        match self.directory.join(&file_name(next)).create(&content) {
            Ok(()) => {
                crate::testing::crash::point("commit");
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(io_err(format!("publish in {}", self.directory), &error)),
        }
    }

    /// The number of the last state.
    pub(crate) fn last_number(&self) -> Result<Option<u64>> {
        let names = names_in(&self.directory)?;
        Ok(names.iter().filter_map(|name| number_of(name)).max())
    }
}

/// Numbers have twenty digits, so that names sort in numeric order.
fn file_name(number: u64) -> String {
    format!("{number:020}.json")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| digits.parse().ok())?
}

/// The names in a directory, sorted; empty if the directory does not exist.
pub(crate) fn names_in(directory: &Place) -> Result<Vec<String>> {
    let entries = directory.entries();
    let entries = entries.map_err(|error| io_err(directory, &error))?;
    Ok(entries.into_iter().map(|(name, _)| name).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn of_many_writers_one_wins_each_number() {
        let directory = tempfile::tempdir().unwrap();
        let writers: Vec<_> = (0..8)
            .map(|_| {
                let log = Log::new(Place::Local(directory.path().join("log")));
                std::thread::spawn(move || {
                    let mut won = 0;
                    for _ in 0..20 {
                        let seen = log.latest::<u64>().unwrap();
                        let (number, value) =
                            seen.map_or((None, 0), |(number, value)| (Some(number), value));
                        won += u64::from(log.commit(number, &(value + 1)).unwrap());
                    }
                    won
                })
            })
            .collect();
        let won: u64 = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .sum();
        let log = Log::new(Place::Local(directory.path().join("log")));
        assert_eq!(
            log.latest::<u64>().unwrap().unwrap().1,
            won,
            "no increment is lost or counted twice"
        );
    }

    #[test]
    fn strange_names_and_damaged_files_are_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let log = Log::new(Place::Local(directory.path().to_owned()));
        assert_eq!(log.latest::<u64>().unwrap(), None);
        assert!(log.commit(None, &7u64).unwrap());
        assert!(!log.commit(None, &8u64).unwrap());
        for name in ["1.json", "007.json", "x.json", ".tmp"] {
            fs::write(directory.path().join(name), "{}").unwrap();
        }
        assert_eq!(log.latest::<u64>().unwrap(), Some((0, 7)));
        let path = directory.path().join(file_name(0));
        let damaged = fs::read_to_string(&path).unwrap().replace("\"7\"", "\"9\"");
        fs::write(&path, damaged).unwrap();
        assert!(
            log.latest::<u64>()
                .unwrap_err()
                .to_string()
                .contains("SHA-256")
        );
    }
}
