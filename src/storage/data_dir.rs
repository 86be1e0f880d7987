//! [`DataDir`]: the data directory, which stores tables, models and the records of trainings.
//!
//! ```text
//! format.json                              the version of this layout
//! catalog/<schema>/tables/<name>/<n>.json  the log of a table or view
//! catalog/<schema>/models/<name>/<n>.json  the log of a model
//! blobs/<uuid>/                            files of one version of a model, or of one write to a table; immutable
//! blobs/<process>.<uuid>/                  files of one write to a temporary table; the process holds <process>.alive
//!                                          while it lives
//! runs/<uuid>.json                         one training
//! ```

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::identifier::{BUILT_IN_SCHEMAS, DEFAULT_SCHEMA, check_identifier};
use super::state_log::names_in;
use super::{Hold, Place, is_held};
use crate::error::{Result, SqlState, io_err, sql_err, with_cause};

const FORMAT: u32 = 1;
/// Orphaned files are kept this long: a statement that still reads or writes them may be running.
const ORPHAN_AGE: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Serialize, Deserialize)]
struct Format {
    format_version: u32,
}

/// An open data directory.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: Place,
    /// The name of this process and its sign of life, if it has temporary files.
    alive: Mutex<Option<(String, Hold)>>,
    /// Deletes the directory on drop, if it is temporary.
    _temporary: Option<tempfile::TempDir>,
}

impl DataDir {
    /// Opens a directory, a path or `s3://bucket/prefix`, and creates it if it does not exist.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        let root = match Place::parse(root)? {
            Place::Local(path) => Place::Local(local_root(path)?),
            remote => remote,
        };
        let failed = |error: std::io::Error| io_err(format!("data directory {root}"), &error);
        let format = root.join("format.json");
        match format.read() {
            Ok(content) => check_format(&content, &root)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let content = serde_json::json!(Format {
                    format_version: FORMAT
                });
                match format.create(content.to_string().as_bytes()) {
                    // Another process created the file first.
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    result => result.map_err(failed)?,
                }
            }
            Err(error) => return Err(failed(error)),
        }
        Ok(Self {
            root,
            alive: Mutex::default(),
            _temporary: None,
        })
    }

    /// Creates a directory that is deleted when the process ends.
    pub(crate) fn temporary() -> Result<Self> {
        let failed = |error: std::io::Error| io_err("temporary data directory", &error);
        let temporary = tempfile::Builder::new()
            .prefix("vatic-")
            .tempdir()
            .map_err(failed)?;
        let opened = Self::open(temporary.path())?;
        Ok(Self {
            _temporary: Some(temporary),
            ..opened
        })
    }

    pub(crate) fn root(&self) -> &Place {
        &self.root
    }

    pub(crate) fn blobs(&self) -> Place {
        self.root.join("blobs")
    }

    pub(crate) fn runs(&self) -> Place {
        self.root.join("runs")
    }

    /// The checkpoint of a training, beside its record.
    pub(crate) fn checkpoint(&self, run_id: &str) -> Result<Place> {
        let runs = self.runs();
        create_directory(&runs)?;
        Ok(runs.join(&format!("{run_id}.checkpoint")))
    }

    pub(crate) fn models(&self, schema: &str) -> Place {
        self.root.join("catalog").join(schema).join("models")
    }

    pub(crate) fn tables(&self, schema: &str) -> Place {
        self.root.join("catalog").join(schema).join("tables")
    }

    /// The log of grants.
    pub(crate) fn grants(&self) -> Place {
        self.root.join("grants")
    }

    /// The directory of a server's logins, if the data directory is on this machine.
    pub(crate) fn logins(&self) -> Option<Place> {
        self.root.as_local().map(|_| self.root.join("logins"))
    }

    /// Creates a directory for new files, and returns its name and place.
    pub(crate) fn create_blob(&self) -> Result<(String, Place)> {
        let name = uuid::Uuid::new_v4().to_string();
        let place = self.blobs().join(&name);
        create_directory(&place)?;
        Ok((name, place))
    }

    /// Creates a directory for temporary files, which only this process uses.
    pub(crate) fn create_temporary_blob(&self) -> Result<(String, Place)> {
        let blobs = self.blobs();
        create_directory(&blobs)?;
        let mut alive = self.alive.lock().unwrap_or_else(PoisonError::into_inner);
        let owner = match &*alive {
            Some((owner, _)) => owner.clone(),
            None => {
                let owner = uuid::Uuid::new_v4().to_string();
                let sign = blobs.join(&format!("{owner}{ALIVE}"));
                let hold = Hold::begin(sign.clone()).map_err(|error| io_err(&sign, &error))?;
                *alive = Some((owner.clone(), hold));
                owner
            }
        };
        let name = format!("{owner}.{}", uuid::Uuid::new_v4());
        let place = blobs.join(&name);
        create_directory(&place)?;
        Ok((name, place))
    }

    /// The names of all schemas.
    pub(crate) fn schema_names(&self) -> Result<Vec<String>> {
        let mut names = names_in(&self.root.join("catalog"))?;
        names.retain(|name| check_identifier("schema", name).is_ok());
        if !names.iter().any(|name| name == DEFAULT_SCHEMA) {
            names.push(DEFAULT_SCHEMA.into());
        }
        names.sort();
        Ok(names)
    }

    /// Checks that a schema exists and is not one that only the program has.
    pub(crate) fn check_schema(&self, schema: &str) -> Result<()> {
        let known = self.schema_names()?;
        if known.iter().any(|name| name == schema) {
            return Ok(());
        }
        if BUILT_IN_SCHEMAS.contains(&schema) {
            let message = format!("schema \"{schema}\" is read-only");
            return Err(sql_err(SqlState::Unsupported, message));
        }
        let message = with_cause(
            format!("schema \"{schema}\" does not exist; CREATE SCHEMA makes it"),
            schema,
            known.iter().map(String::as_str),
        );
        Err(sql_err(SqlState::NoSuchModel, message))
    }

    pub(crate) fn create_schema(&self, schema: &str) -> Result<()> {
        check_identifier("schema", schema)?;
        create_directory(&self.tables(schema))
    }

    pub(crate) fn drop_schema(&self, schema: &str) -> Result<()> {
        let place = self.root.join("catalog").join(schema);
        let removed = place.remove_directory();
        removed.map_err(|error| io_err(&place, &error))
    }

    /// Removes files that no state has named for a day, such as the files of a killed training or of a dropped version.
    /// The day begins when the files are first found unnamed: a statement may have pinned them until then.
    pub(crate) fn remove_orphans(&self, used: &HashSet<String>) -> Result<usize> {
        let names: HashSet<String> = names_in(&self.blobs())?.into_iter().collect();
        let mut removed = 0;
        // A name that begins with a dot is a temporary file of a mark.
        let is_blob = |name: &&String| {
            !name.ends_with(MARK) && !name.ends_with(ALIVE) && !name.starts_with('.')
        };
        let sign = |owner: &str| self.blobs().join(&format!("{owner}{ALIVE}"));
        let owners = names.iter().filter_map(|name| name.strip_suffix(ALIVE));
        let (living, gone): (HashSet<&str>, HashSet<&str>) =
            owners.partition(|owner| is_held(&sign(owner)));
        let lives = |name: &str| {
            let owner = name.split_once('.');
            owner.is_some_and(|(owner, _)| living.contains(owner))
        };
        for name in names.iter().filter(is_blob) {
            let mark_name = format!("{name}{MARK}");
            let mark = self.blobs().join(&mark_name);
            let is_marked = names.contains(&mark_name);
            // If a mark cannot be written or removed, the removal of the files is only delayed.
            if used.contains(name) || lives(name) {
                if is_marked {
                    let _ = mark.remove_file();
                }
            } else if !is_marked {
                let _ = mark.create(&[]);
            } else if is_old(&mark) && self.blobs().join(name).remove_directory().is_ok() {
                let _ = mark.remove_file();
                removed += 1;
            }
        }
        // Signs of life of killed processes.
        for sign in gone.into_iter().map(sign) {
            if is_old(&sign) {
                let _ = sign.remove_file();
            }
        }
        // A directory may have been removed by its creator after it was marked.
        for mark in names.iter().filter(|name| name.ends_with(MARK)) {
            let marked = self.blobs().join(mark.trim_end_matches(MARK));
            if marked.kind().is_ok_and(|kind| kind.is_none()) {
                let _ = self.blobs().join(mark).remove_file();
            }
        }
        Ok(removed)
    }
}

/// The suffix of a mark, whose time of creation is when the directory was first found orphaned.
const MARK: &str = ".orphan";
/// The suffix of a process's sign of life; the process's temporary directories start with the same name.
const ALIVE: &str = ".alive";

fn is_old(mark: &Place) -> bool {
    mark.modified().is_ok_and(|at| {
        SystemTime::now()
            .duration_since(at)
            .is_ok_and(|age| age > ORPHAN_AGE)
    })
}

/// Resolves the links of a local directory, which is created if it does not exist.
fn local_root(path: PathBuf) -> Result<PathBuf> {
    if path.exists() && !path.is_dir() {
        let message = format!(
            "data directory {}: it is a file; choose another --data-dir",
            path.display()
        );
        return Err(sql_err(SqlState::Io, message));
    }
    let failed =
        |error: std::io::Error| io_err(format!("data directory {}", path.display()), &error);
    let place = Place::Local(path.clone());
    place.create_directory().map_err(failed)?;
    path.canonicalize().map_err(failed)
}

fn create_directory(place: &Place) -> Result<()> {
    let created = place.create_directory();
    created.map_err(|error| io_err(place, &error))
}

fn check_format(content: &[u8], root: &Place) -> Result<()> {
    let wrong = |problem: String| {
        Err(sql_err(
            SqlState::Io,
            format!("data directory {root}: {problem}"),
        ))
    };
    match serde_json::from_slice::<Format>(content) {
        Ok(Format { format_version }) if format_version <= FORMAT => Ok(()),
        Ok(Format { format_version }) => wrong(format!(
            "layout {format_version}, this build reads up to {FORMAT}; upgrade vatic"
        )),
        Err(error) => wrong(format!("format.json: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    /// Sets the time of a file in `blobs` beyond the age of orphans.
    fn age(root: &Path, file: &str) {
        let file = File::options()
            .write(true)
            .open(root.join("blobs").join(file));
        let at = SystemTime::now() - 2 * ORPHAN_AGE;
        file.unwrap().set_modified(at).unwrap();
    }

    #[test]
    fn files_of_a_process_stay_as_long_as_it_lives() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let (name, place) = data.create_temporary_blob().unwrap();
        let (_, other) = data.create_temporary_blob().unwrap();
        let next = DataDir::open(root.path()).unwrap();
        let sweep = || next.remove_orphans(&HashSet::new()).unwrap();
        let age = |file: &str| age(root.path(), file);
        let mark = format!("{name}{MARK}");
        next.blobs().join(&mark).create(&[]).unwrap();
        age(&mark);
        assert_eq!(sweep(), 0);
        assert!(place.kind().unwrap().is_some() && other.kind().unwrap().is_some());
        // A killed process leaves its sign of life behind.
        let owner = name.split_once('.').unwrap().0;
        drop(data);
        std::fs::write(root.path().join(format!("blobs/{owner}{ALIVE}")), "").unwrap();
        sweep();
        age(&mark);
        age(&format!("{owner}{ALIVE}"));
        assert_eq!(sweep(), 1);
        assert!(place.kind().unwrap().is_none() && other.kind().unwrap().is_some());
        assert!(
            !names_in(&next.blobs())
                .unwrap()
                .iter()
                .any(|name| name.ends_with(ALIVE))
        );
    }

    #[test]
    fn orphans_go_a_day_after_they_were_found() {
        let root = tempfile::tempdir().unwrap();
        let data = DataDir::open(root.path()).unwrap();
        let (used, used_path) = data.create_blob().unwrap();
        let (orphan, orphan_path) = data.create_blob().unwrap();
        let names = HashSet::from([used]);
        let sweep = || data.remove_orphans(&names).unwrap();
        assert_eq!((sweep(), sweep()), (0, 0), "found, but not for long");
        age(root.path(), &format!("{orphan}{MARK}"));
        assert_eq!(sweep(), 1);
        assert!(used_path.kind().unwrap().is_some());
        assert!(orphan_path.kind().unwrap().is_none());
        assert_eq!(names_in(&data.blobs()).unwrap().len(), 1, "no mark is left");
        let (_, cancelled) = data.create_blob().unwrap();
        sweep();
        cancelled.remove_directory().unwrap();
        assert_eq!(names_in(&data.blobs()).unwrap().len(), 2, "its mark");
        sweep();
        assert_eq!(names_in(&data.blobs()).unwrap().len(), 1, "nor that one");
    }
}
