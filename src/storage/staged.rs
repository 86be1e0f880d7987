//! [`Staged`]: files for a user, which are written under another name beside their place and then put there at once.

use std::io;
use std::path::PathBuf;

use tokio::io::AsyncWriteExt;

use super::{NewFile, Place, local};

/// A file or a directory that is written and not in its place yet. It is removed on drop unless it is put there.
///
/// A store has no names to exchange. There a file appears when its upload is complete, and the files of a directory appear
/// one by one.
#[derive(Debug)]
pub(crate) struct Staged {
    place: Place,
    /// What is removed on drop.
    written: Option<Written>,
}

#[derive(Debug)]
enum Written {
    /// A file or a directory beside the place.
    Beside(PathBuf),
    /// A directory of a store, in its place.
    Inside,
}

impl Staged {
    /// Writes a file.
    pub(crate) async fn file(place: &Place, content: &[u8]) -> io::Result<Self> {
        let staged = Self::begin(place, None)?;
        write(&staged.at(), content).await?;
        Ok(staged)
    }

    /// Writes the files of a directory in this order. The name of a file may begin with that of a folder. With `replaces`, a directory
    /// of a store loses what it held before.
    pub(crate) async fn directory(
        place: &Place,
        files: &[(String, Vec<u8>)],
        replaces: bool,
    ) -> io::Result<Self> {
        if replaces && matches!(place, Place::Remote(_)) {
            place.remove_directory()?;
        }
        let staged = Self::begin(place, Some(Written::Inside))?;
        let directory = staged.at();
        if let Place::Local(path) = &directory {
            local::create_shared_directory(path)?;
        }
        for (name, content) in files {
            let file = directory.join(name);
            if let Place::Local(path) = &file {
                local::create_shared_directory(local::parent(path)?)?;
            }
            write(&file, content).await?;
        }
        Ok(staged)
    }

    /// Nothing written yet; `in_store` is what a store has to remove on drop.
    fn begin(place: &Place, in_store: Option<Written>) -> io::Result<Self> {
        let written = match place {
            Place::Local(path) => {
                let parent = local::parent(path)?;
                local::create_shared_directory(parent)?;
                let name = format!(".{}", uuid::Uuid::new_v4());
                Some(Written::Beside(parent.join(name)))
            }
            Place::Remote(_) => in_store,
        };
        Ok(Self {
            place: place.clone(),
            written,
        })
    }

    /// Where the content is written.
    fn at(&self) -> Place {
        match &self.written {
            Some(Written::Beside(path)) => Place::Local(path.clone()),
            Some(Written::Inside) | None => self.place.clone(),
        }
    }

    /// Puts the file or the directory in its place, without waiting for anything else. With `replaces`, it takes the place of
    /// another file, or of a directory.
    ///
    /// # Errors
    /// If something is there that it does not replace.
    pub(crate) fn put(mut self, replaces: bool) -> io::Result<()> {
        if let (Some(Written::Beside(from)), Place::Local(to)) = (&self.written, &self.place) {
            local::put(from, to, replaces)?;
        }
        self.written = None;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // What cannot be removed has a hidden name, or is a directory without its last file.
        let _ = match self.written.take() {
            Some(Written::Beside(path)) if path.is_dir() => std::fs::remove_dir_all(path),
            Some(Written::Beside(path)) => std::fs::remove_file(path),
            Some(Written::Inside) => self.place.remove_directory(),
            None => Ok(()),
        };
    }
}

/// Writes a new file, and waits until it is durable.
async fn write(place: &Place, content: &[u8]) -> io::Result<()> {
    let (file, mut writer) = NewFile::create(place).await?;
    writer.write_all(content).await?;
    writer.shutdown().await?;
    file.finish().await
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let place = Place::Local(directory.to_owned());
        let entries = place.entries().unwrap().into_iter();
        entries.map(|(name, _)| name).collect()
    }

    #[tokio::test]
    async fn a_file_appears_at_once_and_replaces_another_only_if_it_may() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/m.onnx");
        let place = Place::Local(path.clone());
        let staged = Staged::file(&place, b"one").await.unwrap();
        assert!(!path.exists());
        staged.put(false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let staged = Staged::file(&place, b"two").await.unwrap();
        let error = staged.put(false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        let staged = Staged::file(&place, b"three").await.unwrap();
        staged.put(true).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        drop(Staged::file(&place, b"never").await.unwrap());
        assert_eq!(names(&directory.path().join("new")), ["m.onnx"]);
    }

    #[tokio::test]
    async fn a_directory_takes_the_place_of_an_empty_one_or_of_one_that_it_replaces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("m");
        let place = Place::Local(path.clone());
        let stage = async |content: &str| {
            let files = ["a", "c/d"].map(|name| (name.to_owned(), content.as_bytes().to_vec()));
            Staged::directory(&place, &files, true).await.unwrap()
        };
        fs::create_dir(&path).unwrap();
        stage("one").await.put(false).unwrap();
        assert_eq!(fs::read(path.join("a")).unwrap(), b"one");
        fs::write(path.join("b"), "").unwrap();
        stage("two").await.put(false).unwrap_err();
        assert_eq!(names(&path), ["a", "b", "c"]);
        stage("three").await.put(true).unwrap();
        assert_eq!(names(&path), ["a", "c"]);
        assert_eq!(fs::read(path.join("a")).unwrap(), b"three");
        assert_eq!(fs::read(path.join("c/d")).unwrap(), b"three");
        assert_eq!(names(directory.path()), ["m"]);
    }
}
