//! [`Log`]: the states of one catalog object (a table, a view, a model) as a log of files; the last state is current.
//!
//! A state is published by atomically creating the file with the next number, which fails if another process was first.
//! So readers see whole states only, a crash keeps the last state, and no lock is needed.
//!
//! Old states are removed, so that a log of any age is read by listing a few files. Only the last state counts, but the
//! file of an older state kept a slow writer, who has read state n, from creating number n + 1 a second time. So:
//!
//! * Writers remove states in ascending order, and never the last [`KEPT`]. Each state has an id of its own, and names the
//!   id of the state that it follows.
//! * A writer who has created number n + 1 reads state n again. If it is there, with the id that was read before, then
//!   number n + 1 was never removed, since n goes first; so the creation was the first of its number: published.
//! * If state n was removed, [`KEPT`] states followed it, so some state n + 2 followed the first n + 1. If n + 2 is there,
//!   it names the id of the first n + 1, which tells.
//! * If n + 2 was removed too, then the first n + 1 was removed before. If the writer's file is still there, it was not the
//!   first: it was not published, and the writer removes it and tries again. Nobody has read it: it was not the last.
//! * If the writer's file is gone too, the writer slept right after its creation while others published many states, and
//!   cannot know whether it was first. This is an error, and never a wrong answer.
//!
//! A reader lists the log again after it has read a state, and tries again if [`KEPT`] states follow the state: its file may
//! be that of a slow writer, created after the state of this number was removed.
//!
//! This relies on listings that have each file that exists all the time while they are made; the last state is removed
//! after [`KEPT`] others only, so a listing has it, or a later one. The last two numbers of a listing follow each other;
//! a listing in which they do not is read again, ten times at the most: then the log really has a gap, for example because a
//! file was deleted by hand.
//!
//! Clients of NFS keep listings for up to a minute. Such a listing may end with a state that was removed; a listing that was
//! just made cannot, twice in a row. So a reader waits only in this case, until the listing is another one.

use std::io::ErrorKind;
use std::time::Duration;

use datafusion::common::DataFusionError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vatic_ml::artifact::sha256;

use super::Place;
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::testing::{crash, stall};

/// The last states, which are never removed: as many as others may publish while a writer or a listing takes a step.
const KEPT: u64 = 32;
/// Old states are removed with each state whose number is a multiple of this, since that needs a listing.
const REMOVAL_INTERVAL: u64 = 16;
/// The maximum number of states removed at once, for logs of versions that removed none.
const REMOVED_MAX: usize = 64;
/// How often a reader tries again while states are removed.
const TRIES: u32 = 10;
/// How long a reader waits for a new listing in all, and between two tries.
const OLD_LISTING_MAX: Duration = Duration::from_secs(90);
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The log of one object.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    directory: Place,
}

/// A state that was read, to be followed by another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogPosition {
    number: u64,
    id: String,
}

impl LogPosition {
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    /// The state as JSON text, so that the hash covers exactly these bytes.
    payload: String,
    sha256: String,
    /// The id of the state, which no other file has; states of older versions have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// The id of the state that this one follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    follows: Option<String>,
}

impl Envelope {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.sha256)
    }
}

impl Log {
    /// The log in this directory, which need not exist.
    pub(crate) fn new(directory: Place) -> Self {
        Self { directory }
    }

    /// The last state.
    pub(crate) fn latest<T: DeserializeOwned>(&self) -> Result<Option<(LogPosition, T)>> {
        self.latest_by(|| self.last_number(), std::thread::sleep)
    }

    fn latest_by<T: DeserializeOwned>(
        &self,
        last_number: impl Fn() -> Result<Option<u64>>,
        sleep: impl Fn(Duration),
    ) -> Result<Option<(LogPosition, T)>> {
        let (mut tries, mut missing) = (0, None);
        let mut pauses = pauses();
        while tries < TRIES {
            tries += 1;
            let Some(number) = last_number()? else {
                return Ok(None);
            };
            // A state that was removed after it was listed is not the last any more.
            let Some(envelope) = self.read(number)? else {
                let is_old = missing == Some(number);
                missing = Some(number);
                if is_old && let Some(pause) = pauses.next() {
                    sleep(pause);
                    tries -= 1;
                }
                continue;
            };
            let corrupt = |problem: &str| self.corrupt(number, problem);
            if sha256(envelope.payload.as_bytes()) != envelope.sha256 {
                return Err(corrupt("damaged: its SHA-256 does not match"));
            }
            let state = serde_json::from_str(&envelope.payload)
                .map_err(|error| corrupt(&error.to_string()))?;
            let id = envelope.id().to_owned();
            // The file that was read may be of a slow writer, who will remove it: only where the state of this number was
            // removed before, so that many states follow it.
            let last = last_number()?;
            if last.is_some_and(|last| last >= number + KEPT) {
                continue;
            }
            return Ok(Some((LogPosition { number, id }, state)));
        }
        let message = format!(
            "{}: other processes change it faster than it can be read; try again",
            self.directory
        );
        Err(sql_err(SqlState::LostRace, message))
    }

    /// Publishes the state that follows `seen`. `false` if another process published a state first.
    ///
    /// # Errors
    /// If the state cannot be written; if it is not known whether it was published.
    pub(crate) fn commit<T: Serialize>(
        &self,
        seen: Option<&LogPosition>,
        state: &T,
    ) -> Result<bool> {
        let number = seen.map_or(0, |seen| seen.number + 1);
        let Some(id) = self.create(number, seen, state)? else {
            return Ok(false);
        };
        crash::point("commit");
        stall::point("commit");
        if !self.is_first(seen, number, &id)? {
            // A file that stays is never read, since it is not the last.
            let _ = self.place(number).remove_file();
            return Ok(false);
        }
        if number.is_multiple_of(REMOVAL_INTERVAL) {
            self.remove_old(number);
        }
        Ok(true)
    }

    /// The number of the last state.
    pub(crate) fn last_number(&self) -> Result<Option<u64>> {
        let mut last = None;
        for _ in 0..TRIES {
            let numbers = self.numbers()?;
            last = numbers.last().copied();
            let has_gap = match numbers.as_slice() {
                [] => false,
                [only] => *only > 0,
                [.., before, last] => before + 1 < *last,
            };
            if !has_gap {
                break;
            }
        }
        Ok(last)
    }

    /// Creates the file of a state and returns the state's id; `None` if the file exists.
    fn create<T: Serialize>(
        &self,
        number: u64,
        seen: Option<&LogPosition>,
        state: &T,
    ) -> Result<Option<String>> {
        let failed = |error: serde_json::Error| {
            sql_err(SqlState::Internal, format!("state of the catalog: {error}"))
        };
        let payload = serde_json::to_string(state).map_err(failed)?;
        let id = uuid::Uuid::new_v4().to_string();
        let envelope = Envelope {
            sha256: sha256(payload.as_bytes()),
            payload,
            id: Some(id.clone()),
            follows: seen.map(|seen| seen.id.clone()),
        };
        let content = serde_json::to_vec(&envelope).map_err(failed)?;
        match self.place(number).create(&content) {
            Ok(()) => Ok(Some(id)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(io_err(format!("publish in {}", self.directory), &error)),
        }
    }

    /// Whether the file that this writer created is the first of its number. The module's text says why.
    fn is_first(&self, seen: Option<&LogPosition>, number: u64, id: &str) -> Result<bool> {
        let was_never_removed = match seen {
            Some(seen) => {
                let again = self.read(seen.number)?;
                again.is_some_and(|again| again.id() == seen.id)
            }
            // The last state is never removed, so a log that had states before has a higher number.
            None => self.last_number()? == Some(number),
        };
        if was_never_removed {
            return Ok(true);
        }
        if let Some(next) = self.read(number + 1)? {
            // A state of an older version, which shares the directory, names none.
            let follows = next.follows.ok_or_else(|| self.unknown())?;
            return Ok(follows == id);
        }
        let is_there = self.read(number)?.is_some_and(|file| file.id() == id);
        match is_there {
            true => Ok(false),
            false => Err(self.unknown()),
        }
    }

    /// Removes states that nobody needs. Those that cannot be removed now are removed later.
    fn remove_old(&self, published: u64) {
        let Some(last) = published.checked_sub(KEPT) else {
            return;
        };
        let numbers = match self.numbers() {
            Ok(numbers) => numbers,
            Err(error) => {
                tracing::debug!(log = %self.directory, %error, "old states cannot be listed");
                return;
            }
        };
        // A file below a gap was created by a slow writer, who looks for it.
        let gap = numbers.windows(2).rposition(|two| two[0] + 1 < two[1]);
        let first = gap.map_or(0, |gap| gap + 1);
        let old = numbers[first..].iter().filter(|number| **number <= last);
        for &number in old.take(REMOVED_MAX) {
            match self.place(number).remove_file() {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::debug!(log = %self.directory, number, %error, "an old state cannot be removed");
                    // No state goes before a lower one.
                    return;
                }
            }
        }
    }

    fn place(&self, number: u64) -> Place {
        self.directory.join(&file_name(number))
    }

    /// The content of a state's file; `None` if there is none.
    fn read(&self, number: u64) -> Result<Option<Envelope>> {
        let place = self.place(number);
        let content = match place.read() {
            Ok(content) => content,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_err(&place, &error)),
        };
        match serde_json::from_slice(&content) {
            Ok(envelope) => Ok(Some(envelope)),
            Err(_) => Err(self.corrupt(number, "not a state of the catalog")),
        }
    }

    /// The numbers of all states, in ascending order.
    fn numbers(&self) -> Result<Vec<u64>> {
        let names = names_in(&self.directory)?;
        Ok(names.iter().filter_map(|name| number_of(name)).collect())
    }

    fn corrupt(&self, number: u64, problem: &str) -> DataFusionError {
        sql_err(SqlState::Io, format!("{}: {problem}", self.place(number)))
    }

    fn unknown(&self) -> DataFusionError {
        let message = format!(
            "{}: it is not known whether the change was published, since others published many at that moment; look \
             before you try again",
            self.directory
        );
        sql_err(SqlState::Io, message)
    }
}

/// The pauses of a reader who waits for a new listing.
fn pauses() -> impl Iterator<Item = Duration> {
    let longer = |pause: &Duration| Some((*pause * 2).min(PAUSE_MAX));
    let pauses = std::iter::successors(Some(PAUSE_MIN), longer);
    let mut total = Duration::ZERO;
    pauses.take_while(move |pause| {
        total += *pause;
        total <= OLD_LISTING_MAX
    })
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
#[path = "state_log_tests.rs"]
mod tests;
