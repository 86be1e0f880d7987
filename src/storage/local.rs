//! Durable operations on local files: each waits until its change is on the disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::Kind;

/// Links a finished and synced file to its name; fails if the name exists.
pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    create_by(path, content, |from, to| fs::hard_link(from, to))
}

fn create_by(
    path: &Path,
    content: &[u8],
    link: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let directory = parent(path)?;
    create_directory(directory)?;
    let temporary = directory.join(format!(".{}", uuid::Uuid::new_v4()));
    let linked =
        write_synced(&temporary, SHARED, content).and_then(|()| link_by(&temporary, path, link));
    // Only the link matters; a leftover temporary file is never read.
    let _ = fs::remove_file(&temporary);
    linked?;
    sync_directory(directory)
}

/// Replaces a file by a finished and synced one, which only its owner can read.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    replace_by(path, content, |from, to| fs::rename(from, to))
}

fn replace_by(
    path: &Path,
    content: &[u8],
    rename: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let directory = parent(path)?;
    let temporary = directory.join(format!(".{}", uuid::Uuid::new_v4()));
    let renamed = write_synced(&temporary, PRIVATE, content)
        .and_then(|()| rename_by(&temporary, path, rename));
    if renamed.is_err() {
        // The error above counts; a leftover temporary file is never read.
        let _ = fs::remove_file(&temporary);
    }
    renamed?;
    sync_directory(directory)
}

/// Gives a file a second name. If the reply of an NFS server is lost, its client tries again and finds the link that its
/// first try made.
fn link_by(
    from: &Path,
    to: &Path,
    link: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    match link(from, to) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => match is_same_file(from, to) {
            Ok(true) => Ok(()),
            Ok(false) => Err(error),
            // The link may be ours; to report AlreadyExists could make the caller apply a change twice.
            Err(unknown) => Err(io::Error::other(unknown)),
        },
        linked => linked,
    }
}

/// Gives a file or a directory another name. The second try of an NFS client finds nothing to rename: its first try
/// renamed it.
fn rename_by(
    from: &Path,
    to: &Path,
    rename: impl Fn(&Path, &Path) -> io::Result<()>,
) -> io::Result<()> {
    let before = fs::metadata(from)?;
    match rename(from, to) {
        Err(error) if error.kind() == ErrorKind::NotFound => match fs::metadata(to) {
            Ok(found) if is_same(&found, &before) => Ok(()),
            _ => Err(error),
        },
        renamed => renamed,
    }
}

fn link(from: &Path, to: &Path) -> io::Result<()> {
    link_by(from, to, |from, to| fs::hard_link(from, to))
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    rename_by(from, to, |from, to| fs::rename(from, to))
}

/// Gives a finished and synced file or directory another name in its directory. With `replaces`, it takes the place of
/// a file, or of a directory with its content; without, at most that of an empty directory.
pub(super) fn put(from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
    match from.is_dir() {
        true => put_directory(from, to, replaces)?,
        false if replaces => rename(from, to)?,
        false => put_file(from, to)?,
    }
    sync_directory(parent(to)?)
}

fn put_file(from: &Path, to: &Path) -> io::Result<()> {
    match link(from, to) {
        // A leftover has a hidden name.
        Ok(()) => {
            let _ = fs::remove_file(from);
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(error),
        // Some file systems of removable disks have no links.
        Err(_) if to.symlink_metadata().is_ok() => Err(ErrorKind::AlreadyExists.into()),
        Err(_) => rename(from, to),
    }
}

fn put_directory(from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
    // A directory takes the place of none, or of an empty one.
    let renamed = rename(from, to);
    if renamed.is_ok() || !replaces || !to.is_dir() {
        return renamed;
    }
    let before = parent(to)?.join(format!(".{}", uuid::Uuid::new_v4()));
    rename(to, &before)?;
    if let Err(error) = rename(from, to) {
        rename(&before, to)?;
        return Err(error);
    }
    // A leftover has a hidden name.
    let _ = fs::remove_dir_all(before);
    Ok(())
}

fn is_same_file(one: &Path, other: &Path) -> io::Result<bool> {
    Ok(is_same(&fs::metadata(one)?, &fs::metadata(other)?))
}

/// Whether both are of one file, under whatever names.
fn is_same(one: &fs::Metadata, other: &fs::Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

pub(super) fn entries(directory: &Path) -> io::Result<Vec<(String, Kind)>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Ok(name) = entry.file_name().into_string() {
            all.push((name, kind(&entry.path())));
        }
    }
    Ok(all)
}

/// The kind of an entry; links are followed.
pub(super) fn kind(path: &Path) -> Kind {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => Kind::Directory,
        Ok(found) if found.is_file() => Kind::File,
        _ => Kind::Other,
    }
}

/// Creates a directory and its parents, accessible to this user only.
pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    create_directories(directory, 0o700)
}

/// The same with the usual permissions, for files of a user.
pub(super) fn create_shared_directory(directory: &Path) -> io::Result<()> {
    create_directories(directory, 0o777)
}

fn create_directories(directory: &Path, permissions: u32) -> io::Result<()> {
    // The parents of all directories that are new.
    let missing = directory.ancestors().take_while(|path| !path.is_dir());
    let parents: Vec<&Path> = missing.filter_map(Path::parent).collect();
    if parents.is_empty() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder
        .recursive(true)
        .mode(permissions)
        .create(directory)?;
    parents
        .into_iter()
        .try_for_each(|parent| match parent.as_os_str().is_empty() {
            true => sync_directory(Path::new(".")),
            false => sync_directory(parent),
        })
}

pub(super) fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| ErrorKind::InvalidInput.into())
}

/// The permissions of a new file, of which the process's umask takes some away.
const SHARED: u32 = 0o666;
/// The permissions of a file for its owner alone.
const PRIVATE: u32 = 0o600;

fn write_synced(path: &Path, permissions: u32, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(permissions);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Waits until the directory's entries are on the disk.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exists() -> io::Result<()> {
        Err(ErrorKind::AlreadyExists.into())
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = entries(directory).unwrap();
        entries.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_link_whose_reply_was_lost_is_a_success_and_another_s_link_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let lost = |from: &Path, to: &Path| fs::hard_link(from, to).and_then(|()| exists());
        create_by(&path, b"ours", lost).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"ours");
        // The same content from another process is another file.
        let taken = create_by(&path, b"ours", |_, _| exists());
        assert_eq!(taken.unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(
            create(&path, b"x").unwrap_err().kind(),
            ErrorKind::AlreadyExists
        );
        // What cannot be told apart is no AlreadyExists, at which callers delete their files.
        let unknown = directory.path().join("unknown");
        let error = create_by(&unknown, b"ours", |_, _| exists()).unwrap_err();
        assert_ne!(error.kind(), ErrorKind::AlreadyExists);
        assert_eq!(names(directory.path()), ["state"]);
    }

    #[test]
    fn a_rename_whose_reply_was_lost_is_a_success() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("record");
        replace(&path, b"old").unwrap();
        let missing = || Err(ErrorKind::NotFound.into());
        let lost = |from: &Path, to: &Path| fs::rename(from, to).and_then(|()| missing());
        replace_by(&path, b"new", lost).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        // Records hold statements and hashes of tokens.
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, PRIVATE);
        let failed = replace_by(&path, b"other", |_, _| missing());
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["record"]);
    }
}
