//! [`NewFile`]: a file that is too large to be written at once.

use std::io;
use std::path::PathBuf;

use object_store::buffered::BufWriter;
use tokio::fs::File;
use tokio::io::AsyncWrite;

use super::{Place, local};

/// A new file, which must not be read before it is finished.
#[derive(Debug)]
pub(crate) enum NewFile {
    Local(File, PathBuf),
    /// A file in a store is durable once the upload is complete.
    Remote,
}

impl NewFile {
    /// Creates the file and returns a writer of its content, which must be shut down.
    pub(crate) async fn create(
        place: &Place,
    ) -> io::Result<(Self, Box<dyn AsyncWrite + Send + Unpin>)> {
        match place {
            Place::Local(path) => {
                let file = File::create_new(path).await?;
                let writer = Box::new(file.try_clone().await?);
                Ok((Self::Local(file, path.clone()), writer))
            }
            Place::Remote(remote) => {
                let (store, path) = remote.open()?;
                Ok((Self::Remote, Box::new(BufWriter::new(store, path))))
            }
        }
    }

    /// Waits until the content is durable.
    pub(crate) async fn finish(self) -> io::Result<()> {
        let Self::Local(file, path) = self else {
            return Ok(());
        };
        file.sync_all().await?;
        local::sync_directory(local::parent(&path)?)
    }
}
