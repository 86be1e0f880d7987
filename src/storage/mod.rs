//! Storage of files, on this machine or in an S3-compatible store. A [`Place`] names either kind and travels in plans.
//!
//! ```text
//! local.rs      files of this machine
//! remote.rs     files in a store
//! stores.rs     the stores, for Vatic and for DataFusion; credentials come from each process's environment
//! new_file.rs   files too large to be written at once
//! staged.rs     files for a user, which appear at once
//! identifier.rs checks of names that become file names
//! if_taken.rs   what CREATE does if the name is taken
//! hold.rs       a process's sign of life
//! state_log.rs  the log of an object's states; the last state is the current one
//! data_dir.rs   the data directory: tables, models and records of trainings
//! ```

pub(crate) mod data_dir;
mod hold;
mod identifier;
mod if_taken;
mod local;
mod new_file;
mod remote;
mod staged;
pub(crate) mod state_log;
mod stores;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub(crate) use hold::{Hold, is_held};
pub(crate) use identifier::{
    BUILT_IN_SCHEMAS, DEFAULT_SCHEMA, EXAMPLES_SCHEMA, ML_SCHEMA, check_identifier,
};
pub(crate) use if_taken::{EXCLUSIVE_CLAUSES, IfTaken};
pub(crate) use new_file::NewFile;
// The types that DataFusion passes to file formats.
pub(crate) use object_store::path::Path as StorePath;
pub(crate) use object_store::{GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore};
pub(crate) use remote::RemotePlace;
#[doc(hidden)]
pub use remote::is_remote;
pub(crate) use staged::Staged;
pub(crate) use stores::Stores;

use crate::error::Result;

/// The path of a file listed by DataFusion, in the form that the user knows.
pub(crate) fn shown_path(store: &dyn ObjectStore, path: &StorePath) -> String {
    // object_store omits the leading slash of local paths.
    let is_local = store.to_string().starts_with("LocalFileSystem");
    let root = if is_local { "/" } else { "" };
    format!("{root}{path}")
}

/// The kind of an entry at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    File,
    Directory,
    /// A device, a pipe, or a broken link.
    Other,
}

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Place {
    Local(PathBuf),
    Remote(RemotePlace),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => path.display().fmt(f),
            Self::Remote(place) => place.fmt(f),
        }
    }
}

impl Place {
    /// Parses a user's location: a path, or `s3://bucket/prefix`.
    pub(crate) fn parse(location: &Path) -> Result<Self> {
        match location.to_str().filter(|text| is_remote(text)) {
            Some(url) => Ok(Self::Remote(RemotePlace::parse(url)?)),
            None => Ok(Self::Local(location.to_owned())),
        }
    }

    pub(crate) fn join(&self, name: &str) -> Self {
        match self {
            Self::Local(path) => Self::Local(path.join(name)),
            Self::Remote(place) => Self::Remote(place.join(name)),
        }
    }

    pub(crate) fn as_local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            Self::Remote(_) => None,
        }
    }

    pub(crate) fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Local(path) => std::fs::read(path),
            Self::Remote(place) => place.read(),
        }
    }

    /// Writes a new file atomically, and waits until it is durable.
    ///
    /// # Errors
    /// `AlreadyExists` if the file exists: of several writers, one succeeds.
    pub(crate) fn create(&self, content: &[u8]) -> io::Result<()> {
        match self {
            Self::Local(path) => local::create(path, content),
            Self::Remote(place) => place.create(content),
        }
    }

    /// Replaces a file atomically: readers see the old content or the new content.
    pub(crate) fn replace(&self, content: &[u8]) -> io::Result<()> {
        match self {
            Self::Local(path) => local::replace(path, content),
            Self::Remote(place) => place.replace(content),
        }
    }

    /// The entries of a directory, sorted by name; empty if the directory does not exist.
    pub(crate) fn entries(&self) -> io::Result<Vec<(String, Kind)>> {
        let mut entries = match self {
            Self::Local(path) => local::entries(path)?,
            Self::Remote(place) => place.entries()?,
        };
        entries.sort();
        Ok(entries)
    }

    /// The kind of the entry, if it exists.
    pub(crate) fn kind(&self) -> io::Result<Option<Kind>> {
        match self {
            Self::Local(path) => match path.try_exists()? {
                true => Ok(Some(local::kind(path))),
                false => Ok(None),
            },
            Self::Remote(place) => place.kind(),
        }
    }

    /// The time of the last write to a file.
    pub(crate) fn modified(&self) -> io::Result<SystemTime> {
        match self {
            Self::Local(path) => std::fs::metadata(path)?.modified(),
            Self::Remote(place) => place.modified(),
        }
    }

    /// The size of a file in bytes.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        match self {
            Self::Local(path) => Ok(std::fs::metadata(path)?.len()),
            Self::Remote(place) => place.bytes(),
        }
    }

    /// Creates a directory and its parents, accessible to this user only.
    pub(crate) fn create_directory(&self) -> io::Result<()> {
        match self {
            Self::Local(path) => local::create_directory(path),
            Self::Remote(place) => place.create_directory(),
        }
    }

    pub(crate) fn remove_file(&self) -> io::Result<()> {
        match self {
            Self::Local(path) => std::fs::remove_file(path),
            Self::Remote(place) => place.remove_file(),
        }
    }

    /// Removes a directory with its content.
    pub(crate) fn remove_directory(&self) -> io::Result<()> {
        match self {
            Self::Local(path) => std::fs::remove_dir_all(path),
            Self::Remote(place) => place.remove_directory(),
        }
    }

    /// The directory of a file, and the file's name.
    pub(crate) fn split(&self) -> Option<(Self, String)> {
        match self {
            Self::Local(path) => {
                let name = path.file_name()?.to_str()?.to_owned();
                Some((Self::Local(path.parent()?.to_owned()), name))
            }
            Self::Remote(place) => place
                .split()
                .map(|(place, name)| (Self::Remote(place), name)),
        }
    }

    /// A local directory to write files into, for [`Place::take_in`].
    pub(crate) fn stage(&self) -> io::Result<LocalFiles> {
        match self {
            Self::Local(path) => Ok(LocalFiles::Own(path.clone())),
            Self::Remote(_) => Ok(LocalFiles::Copy(tempfile::tempdir()?)),
        }
    }

    /// Uploads the files of a [`Place::stage`]. They appear one by one; a state names them later.
    pub(crate) fn take_in(&self, staged: &LocalFiles) -> io::Result<()> {
        let Self::Remote(place) = self else {
            return Ok(());
        };
        upload(staged.path(), place)
    }

    /// Makes files of a directory, and of its folders, readable on this machine.
    pub(crate) fn fetch<'a>(&self, names: impl Iterator<Item = &'a str>) -> io::Result<LocalFiles> {
        let Self::Remote(place) = self else {
            return self.stage();
        };
        let copy = tempfile::tempdir()?;
        for name in names {
            let to = copy.path().join(name);
            std::fs::create_dir_all(local::parent(&to)?)?;
            std::fs::write(to, place.join(name).read()?)?;
        }
        Ok(LocalFiles::Copy(copy))
    }
}

/// Uploads the files of a directory and of its folders.
fn upload(from: &Path, to: &RemotePlace) -> io::Result<()> {
    for (name, kind) in local::entries(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        match kind {
            Kind::Directory => upload(&from, &to)?,
            Kind::File | Kind::Other => to.replace(&std::fs::read(from)?)?,
        }
    }
    Ok(())
}

/// A local directory: the place itself, or a copy that is deleted on drop.
#[derive(Debug)]
pub(crate) enum LocalFiles {
    Own(PathBuf),
    Copy(tempfile::TempDir),
}

impl LocalFiles {
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Own(path) => path,
            Self::Copy(directory) => directory.path(),
        }
    }
}
