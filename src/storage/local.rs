//! Durable operations on local files: each waits until its change is on the disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use super::Kind;

/// Links a finished and synced file to its name; fails if the name exists.
pub(super) fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = parent(path)?;
    create_directory(directory)?;
    let temporary = directory.join(format!(".{}", uuid::Uuid::new_v4()));
    let linked = write_synced(&temporary, content).and_then(|()| fs::hard_link(&temporary, path));
    // Only the link matters; a leftover temporary file is never read.
    let _ = fs::remove_file(&temporary);
    linked?;
    sync_directory(directory)
}

pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(parent(path)?)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
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

pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)?;
    match directory.parent() {
        Some(parent) => sync_directory(parent),
        None => Ok(()),
    }
}

pub(super) fn parent(path: &Path) -> io::Result<&Path> {
    path.parent().ok_or_else(|| ErrorKind::InvalidInput.into())
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Waits until the directory's entries are on the disk.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
