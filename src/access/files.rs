//! [`FileAccess`]: the files that statements may access, either all or only those below given roots.
//!
//! A local process may access every file that its operating-system user may. A server's clients may access only files
//! below its roots, after links are resolved, and never the data directory.

use std::collections::HashSet;
use std::fmt::Display;
use std::path::{Component, Path, PathBuf};

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use crate::error::{Result, SqlState, io_err, sql_err};
use crate::storage::{Kind, Place, RemotePlace, is_remote};

/// The maximum number of directory entries that are checked before a directory is read.
const ENTRIES_MAX: usize = 100_000;

/// The files that statements may access.
#[derive(Debug, Default)]
pub(crate) enum FileAccess {
    /// Any file that the process may access.
    #[default]
    All,
    /// Files below the roots, except for the data directory.
    Below { roots: Vec<Place>, data: Place },
}

/// What was checked of a directory and of those that links in it lead to.
#[derive(Debug, Default)]
struct Checked {
    entries: usize,
    directories: HashSet<PathBuf>,
}

impl FileAccess {
    /// Access to files below `roots`; `data` must have its links resolved.
    ///
    /// # Errors
    /// If a root is not a directory.
    pub(crate) fn below(roots: &[PathBuf], data: &Place) -> Result<Self> {
        let resolve = |path: &PathBuf| {
            let path = match Place::parse(path)? {
                Place::Local(path) => path,
                remote => return Ok(remote),
            };
            let failed = |error: std::io::Error| io_err(path.display(), &error);
            let resolved = path.canonicalize().map_err(failed)?;
            match resolved.is_dir() {
                true => Ok(Place::Local(resolved)),
                false => Err(failed(std::io::ErrorKind::NotADirectory.into())),
            }
        };
        Ok(Self::Below {
            roots: roots.iter().map(resolve).collect::<Result<_>>()?,
            data: data.clone(),
        })
    }

    /// Checks that a file, a directory or a pattern may be read, with all that is below it.
    pub(crate) fn check_read(&self, location: &str) -> Result<()> {
        if matches!(self, Self::All) {
            return Ok(());
        }
        if is_remote(location) {
            let place = self.remote(location)?;
            return match self.is_above_data(&place) {
                true => Err(holds_closed(location, "the data directory")),
                false => Ok(()),
            };
        }
        let path = self.local(location)?;
        let fixed: PathBuf = path
            .components()
            .take_while(|part| !part.as_os_str().to_string_lossy().contains(['*', '?', '[']))
            .collect();
        let resolved = self.resolved(&fixed, location)?;
        self.check_entries(&resolved, location, &mut Checked::default())
    }

    /// Checks that a location may be written and no file exists there.
    pub(crate) fn check_write(&self, location: &str) -> Result<()> {
        if matches!(self, Self::All) {
            return Ok(());
        }
        let exists = || {
            let message = format!("{location} exists; COPY on a server replaces no file");
            Err(sql_err(SqlState::NotAllowed, message))
        };
        if is_remote(location) {
            let place = self.remote(location)?;
            let found = place.kind().map_err(|error| io_err(location, &error))?;
            return match found {
                Some(Kind::File) => exists(),
                _ => Ok(()),
            };
        }
        let path = self.local(location)?;
        if std::fs::symlink_metadata(&path).is_ok_and(|found| !found.is_dir()) {
            return exists();
        }
        self.check_parents(&path, location)
    }

    /// Checks that no link leads a path outside, as far as the path exists.
    fn check_parents(&self, path: &Path, location: &str) -> Result<()> {
        let existing = path.ancestors().find(|ancestor| ancestor.exists());
        self.resolved(existing.unwrap_or(path), location).map(drop)
    }

    /// The place of a location that may be written: an absolute path without `.` and `..`, or a place in a store. Something may
    /// be there.
    pub(crate) fn place_to_write(&self, location: &str) -> Result<Place> {
        if is_remote(location) {
            return self.remote(location);
        }
        let path = self.local(location)?;
        self.check_parents(&path, location)?;
        Ok(Place::Local(path))
    }

    /// Whether statements may replace files.
    pub(crate) fn may_replace(&self) -> bool {
        match self {
            Self::All => true,
            Self::Below { .. } => false,
        }
    }

    /// Checks the output locations of COPY statements in a plan.
    pub(crate) fn check_plan(&self, plan: &LogicalPlan) -> Result<()> {
        if matches!(self, Self::All) {
            return Ok(());
        }
        plan.apply_with_subqueries(|node| {
            if let LogicalPlan::Copy(copy) = node {
                self.check_write(&copy.output_url)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
        Ok(())
    }

    /// The place in a store, if it is below a root.
    fn remote(&self, location: &str) -> Result<Place> {
        let place = RemotePlace::parse(location).map_err(|_| self.refused(location))?;
        let is_below =
            |other: &Place| matches!(other, Place::Remote(other) if place.is_below(other));
        match self {
            Self::Below { roots, data } if !roots.iter().any(is_below) || is_below(data) => {
                Err(self.refused(location))
            }
            _ => Ok(Place::Remote(place)),
        }
    }

    /// The path without `.` and `..`, if it is lexically below a root.
    fn local(&self, location: &str) -> Result<PathBuf> {
        let path = plain_path(location).ok_or_else(|| self.refused(location))?;
        let absolute = std::path::absolute(path).map_err(|_| self.refused(location))?;
        let mut plain = PathBuf::new();
        for part in absolute.components() {
            match part {
                Component::ParentDir => {
                    plain.pop();
                }
                Component::CurDir => {}
                part => plain.push(part),
            }
        }
        match self.is_open(&plain) {
            true => Ok(plain),
            false => Err(self.refused(location)),
        }
    }

    /// The path with links resolved. Only for a path below a root does an error reveal that a file is missing.
    fn resolved(&self, path: &Path, location: &str) -> Result<PathBuf> {
        let resolved = path
            .canonicalize()
            .map_err(|error| io_err(location, &error))?;
        match self.is_open(&resolved) {
            true => Ok(resolved),
            false => Err(self.refused(location)),
        }
    }

    /// Checks that nothing below a directory is closed: neither what links lead to, nor the data directory.
    fn check_entries(&self, directory: &Path, location: &str, checked: &mut Checked) -> Result<()> {
        // A link may lead back to a directory above it.
        if !directory.is_dir() || !checked.directories.insert(directory.to_owned()) {
            return Ok(());
        }
        let failed = |error: std::io::Error| io_err(location, &error);
        for entry in std::fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            checked.entries += 1;
            if checked.entries >= ENTRIES_MAX {
                let message = format!("{location} has over {ENTRIES_MAX} entries");
                return Err(sql_err(SqlState::TooComplex, message));
            }
            let (path, kind) = (entry.path(), entry.file_type().map_err(failed)?);
            let resolved = match kind.is_symlink() {
                true => path.canonicalize().map_err(failed)?,
                false if kind.is_dir() => path.clone(),
                false => continue,
            };
            if !self.is_open(&resolved) {
                return Err(holds_closed(location, path.display()));
            }
            self.check_entries(&resolved, location, checked)?;
        }
        Ok(())
    }

    /// Whether the data directory is below a place in a store.
    fn is_above_data(&self, place: &Place) -> bool {
        match (self, place) {
            (Self::Below { data, .. }, Place::Remote(place)) => {
                matches!(data, Place::Remote(data) if data.is_below(place))
            }
            _ => false,
        }
    }

    fn is_open(&self, path: &Path) -> bool {
        match self {
            Self::All => true,
            Self::Below { roots, data } => {
                let is_below = |other: &Place| {
                    other
                        .as_local()
                        .is_some_and(|other| path.starts_with(other))
                };
                roots.iter().any(is_below) && !is_below(data)
            }
        }
    }

    fn refused(&self, location: &str) -> DataFusionError {
        match self {
            Self::All => {
                let message =
                    format!("{location} is neither a path of this machine nor s3://bucket/key");
                sql_err(SqlState::Unsupported, message)
            }
            Self::Below { .. } => {
                let message = format!(
                    "{location} is not open to SQL on this server; start the server with --root for its directory"
                );
                sql_err(SqlState::NotAllowed, message)
            }
        }
    }
}

/// The error for a location below a root with something closed below it.
fn holds_closed(location: &str, closed: impl Display) -> DataFusionError {
    let message = format!(
        "{location} holds {closed}, which is not open to SQL on this server; name files or folders beside it"
    );
    sql_err(SqlState::NotAllowed, message)
}

/// The path of a location. A location that DataFusion would read as a URL is not a path: DataFusion's parser drops spaces
/// around it and tabs in it, accepts `file:` without slashes, and decodes percent signs, including encoded dots.
fn plain_path(location: &str) -> Option<&str> {
    let path = match location.strip_prefix("file://") {
        Some(path) => {
            Some(path).filter(|path| path.starts_with('/') && !path.contains(['%', '?', '#', '\\']))
        }
        None => Some(location),
    }?;
    let is_odd = path.trim() != path || path.contains(char::is_control);
    let begins_with_scheme = path.split_once(':').is_some_and(|(scheme, _)| {
        let may_be = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(may_be)
    });
    (!is_odd && !begins_with_scheme && !path.is_empty()).then_some(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn is_refused(result: Result<()>) -> bool {
        result.is_err_and(|error| crate::report(&error).state == SqlState::NotAllowed)
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_is_closed_if_something_in_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        for name in ["other", "a/sub", "a/data/blobs", "b/sub", "c", "d/sub"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        let link = |to: &str, from: &str| {
            std::os::unix::fs::symlink(base.join(to), base.join(from)).unwrap();
        };
        link("other", "b/sub/out");
        link("b/sub", "c/indirect");
        link("d", "d/sub/back");
        let roots = ["a", "b", "c", "d"].map(|name| base.join(name));
        let files = FileAccess::below(&roots, &Place::Local(base.join("a/data"))).unwrap();
        let read = |path: &str| files.check_read(&base.join(path).to_string_lossy());
        for closed in ["a", "a/", "a/*.csv", "a/**", "b", "c", "c/indirect"] {
            assert!(is_refused(read(closed)), "{closed}");
        }
        for open in ["a/sub", "a/sub/*.csv", "d", "d/sub"] {
            read(open).unwrap();
        }
        let named = crate::report(&read("c").unwrap_err()).message;
        assert!(named.contains("/b/sub/out, which is"), "{named}");
    }

    #[test]
    fn a_folder_of_a_store_is_closed_if_the_data_directory_is_in_it() {
        let place = |location: &str| Place::parse(location.as_ref()).unwrap();
        let roots = [PathBuf::from("s3://lake/open")];
        let files = FileAccess::below(&roots, &place("s3://lake/open/some/data")).unwrap();
        for closed in [
            "s3://lake/open",
            "s3://lake/open/",
            "s3://lake/open/some/",
            "s3://lake/open/some/data/blobs/a.png",
        ] {
            assert!(is_refused(files.check_read(closed)), "{closed}");
        }
        for open in ["s3://lake/open/a.png", "s3://lake/open/some/database/"] {
            files.check_read(open).unwrap();
        }
    }

    #[cfg(unix)]
    #[test]
    fn only_what_is_below_a_root_is_open() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().canonicalize().unwrap();
        for name in ["root", "root/sub", "root/data", "other", "rooted", "links"] {
            fs::create_dir(base.join(name)).unwrap();
        }
        fs::write(base.join("root/a.csv"), "a\n1\n").unwrap();
        fs::write(base.join("other/secret.csv"), "a\n1\n").unwrap();
        std::os::unix::fs::symlink(base.join("other"), base.join("links/out")).unwrap();
        std::os::unix::fs::symlink(base.join("other/secret.csv"), base.join("root/link.csv"))
            .unwrap();
        let roots = [base.join("root"), base.join("links")];
        let files = FileAccess::below(&roots, &Place::Local(base.join("root/data"))).unwrap();
        let at = |path: &str| base.join(path).to_string_lossy().into_owned();
        for open in [
            "root/a.csv",
            "root/sub/",
            "root/sub/../a.csv",
            "root/sub/*.csv",
        ] {
            files.check_read(&at(open)).unwrap();
        }
        files
            .check_read(&format!("file://{}", at("root/a.csv")))
            .unwrap();
        files.check_write(&at("root/new.csv")).unwrap();
        files.check_write(&at("root/sub/new/")).unwrap();
        for closed in [
            "other/secret.csv",
            "other/not-there.csv",
            "root/../other/secret.csv",
            "root/link.csv",
            "root/*.csv",
            "root",
            "links",
            "links/out/secret.csv",
            "rooted",
            "root/data",
        ] {
            assert!(is_refused(files.check_read(&at(closed))), "{closed}");
        }
        for closed in [
            "/etc/passwd",
            "FILE:///etc/passwd",
            "s3://b/k",
            "http://169.254.169.254/",
            "~",
            "",
            "a\0b",
        ] {
            assert!(is_refused(files.check_read(closed)), "{closed}");
        }
        let here = FileAccess::below(&[PathBuf::from(".")], &Place::Local(base.clone())).unwrap();
        here.check_write("new.csv").unwrap();
        for closed in [
            "file:/etc/x",
            "file:etc/x",
            " file:/etc/x",
            "fi\tle:/etc/x",
            "file://./x",
            "file:///../etc/x",
            "s3:x",
            "new.csv\n",
            "../new.csv",
        ] {
            assert!(is_refused(here.check_write(closed)), "{closed:?}");
            assert!(is_refused(here.check_read(closed)), "{closed:?}");
        }
        let encoded = format!("file://{}/%2e%2e/other/x.csv", at("root"));
        assert!(is_refused(files.check_write(&encoded)));
        for closed in [
            "root/a.csv",
            "root/link.csv",
            "links/out/new.csv",
            "root/data/new",
            "other/new",
        ] {
            assert!(is_refused(files.check_write(&at(closed))), "{closed}");
        }
        // A place to write may hold a file; whoever writes decides about it.
        let place = |path: &str| files.place_to_write(&at(path));
        let plain = Place::Local(base.join("root/a.csv"));
        assert_eq!(place("root/sub/../a.csv").unwrap(), plain);
        for closed in [
            "root/link.csv",
            "links/out/new",
            "root/data/new",
            "other/new",
        ] {
            assert!(is_refused(place(closed).map(drop)), "{closed}");
        }
    }

    #[test]
    fn without_roots_every_path_and_store_is_open_and_nothing_else() {
        let place = |location: &str| FileAccess::All.place_to_write(location);
        let path = std::env::temp_dir().join("m.onnx");
        let expected = Place::Local(path.clone());
        assert_eq!(place(&path.to_string_lossy()).unwrap(), expected);
        assert_eq!(
            place(&format!("file://{}", path.display())).unwrap(),
            expected
        );
        assert!(place("m.onnx").unwrap().as_local().unwrap().is_absolute());
        assert!(matches!(
            place("s3://bucket/m.onnx").unwrap(),
            Place::Remote(_)
        ));
        for odd in ["http://host/m.onnx", "", " m.onnx", "s3://bucket/%2e%2e/m"] {
            let error = crate::report(&place(odd).unwrap_err());
            assert_eq!(error.state, SqlState::Unsupported, "{odd}");
        }
    }
}
