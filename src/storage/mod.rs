//! Where files lie: on this machine, or in a store that speaks S3's protocol. A [`Place`] is either, and travels in plans.
//!
//! ```text
//! local.rs      files of this machine
//! remote.rs     files in a store
//! stores.rs     the stores, for us and for DataFusion; credentials come from the environment of each process
//! new_file.rs   files too large to be written at once
//! identifier.rs names that become names of files
//! hold.rs       a sign that its process still lives
//! state_log.rs  the states of one object, of which the last counts
//! data_dir.rs   where tables, models and records of trainings last
//! ```

pub(crate) mod data_dir;
mod hold;
mod identifier;
mod local;
mod new_file;
mod remote;
pub(crate) mod state_log;
mod stores;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

pub(crate) use hold::{Hold, is_held};
pub(crate) use identifier::{DEFAULT_SCHEMA, check_identifier};
pub(crate) use new_file::NewFile;
// What DataFusion's formats of files are given.
pub(crate) use object_store::path::Path as StorePath;
pub(crate) use object_store::{GetOptions, GetRange, GetResultPayload, ObjectMeta, ObjectStore};
pub(crate) use remote::RemotePlace;
#[doc(hidden)]
pub use remote::is_remote;
pub(crate) use stores::Stores;

use crate::error::Result;

/// The path of a file that DataFusion lists, as its user knows it.
pub(crate) fn shown_path(store: &dyn ObjectStore, path: &StorePath) -> String {
    // It leaves out what all paths of a machine begin with.
    let is_local = store.to_string().starts_with("LocalFileSystem");
    let root = if is_local { "/" } else { "" };
    format!("{root}{path}")
}

/// What there is at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    File,
    Directory,
    /// A device, a pipe, or a link to nothing.
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
    /// The place that a user means: a path, or `s3://bucket/prefix`.
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

    /// Writes a new file, which others see whole or not at all, and waits until it lasts.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one: of several writers one succeeds.
    pub(crate) fn create(&self, content: &[u8]) -> io::Result<()> {
        match self {
            Self::Local(path) => local::create(path, content),
            Self::Remote(place) => place.create(content),
        }
    }

    /// Writes a file, which others see as it was or as it is now.
    pub(crate) fn replace(&self, content: &[u8]) -> io::Result<()> {
        match self {
            Self::Local(path) => local::replace(path, content),
            Self::Remote(place) => place.replace(content),
        }
    }

    /// What is in a directory, by name; nothing if it does not exist.
    pub(crate) fn entries(&self) -> io::Result<Vec<(String, Kind)>> {
        let mut entries = match self {
            Self::Local(path) => local::entries(path)?,
            Self::Remote(place) => place.entries()?,
        };
        entries.sort();
        Ok(entries)
    }

    /// What is there, if anything.
    pub(crate) fn kind(&self) -> io::Result<Option<Kind>> {
        match self {
            Self::Local(path) => match path.try_exists()? {
                true => Ok(Some(local::kind(path))),
                false => Ok(None),
            },
            Self::Remote(place) => place.kind(),
        }
    }

    /// When a file was last written.
    pub(crate) fn modified(&self) -> io::Result<SystemTime> {
        match self {
            Self::Local(path) => std::fs::metadata(path)?.modified(),
            Self::Remote(place) => place.modified(),
        }
    }

    /// How large a file is.
    pub(crate) fn bytes(&self) -> io::Result<u64> {
        match self {
            Self::Local(path) => Ok(std::fs::metadata(path)?.len()),
            Self::Remote(place) => place.bytes(),
        }
    }

    /// Creates a directory and its parents for this user only.
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

    /// Removes a directory with all that is in it.
    pub(crate) fn remove_directory(&self) -> io::Result<()> {
        match self {
            Self::Local(path) => std::fs::remove_dir_all(path),
            Self::Remote(place) => place.remove_directory(),
        }
    }

    /// The directory of a file, and its name in it.
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

    /// A directory of this machine to write files into, for [`Place::take_in`].
    pub(crate) fn stage(&self) -> io::Result<LocalFiles> {
        match self {
            Self::Local(path) => Ok(LocalFiles::Own(path.clone())),
            Self::Remote(_) => Ok(LocalFiles::Copy(tempfile::tempdir()?)),
        }
    }

    /// Takes the files of a [`Place::stage`] in. They may be seen one by one; what names them comes later.
    pub(crate) fn take_in(&self, staged: &LocalFiles) -> io::Result<()> {
        let Self::Remote(place) = self else {
            return Ok(());
        };
        for (name, _) in local::entries(staged.path())? {
            let content = std::fs::read(staged.path().join(&name))?;
            place.join(&name).replace(&content)?;
        }
        Ok(())
    }

    /// Files of a directory, where this machine can read them.
    pub(crate) fn fetch<'a>(&self, names: impl Iterator<Item = &'a str>) -> io::Result<LocalFiles> {
        let Self::Remote(place) = self else {
            return self.stage();
        };
        let copy = tempfile::tempdir()?;
        for name in names {
            std::fs::write(copy.path().join(name), place.join(name).read()?)?;
        }
        Ok(LocalFiles::Copy(copy))
    }
}

/// A directory of this machine: the place itself, or a copy that goes with this.
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
