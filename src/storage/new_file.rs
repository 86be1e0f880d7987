//! A file that is too large to be written at once.

use std::io;

use object_store::buffered::BufWriter;
use tokio::fs::File;
use tokio::io::AsyncWrite;

use super::{Place, local};

/// A new file. Nobody may look at it before it is finished.
#[derive(Debug)]
pub(crate) struct NewFile {
    place: Place,
    local: Option<File>,
}

impl NewFile {
    /// The file, and where its content goes. The writer must be shut down.
    pub(crate) async fn create(
        place: &Place,
    ) -> io::Result<(Self, Box<dyn AsyncWrite + Send + Unpin>)> {
        let place = place.clone();
        match &place {
            Place::Local(path) => {
                let file = File::create_new(path).await?;
                let writer = Box::new(file.try_clone().await?);
                let local = Some(file);
                Ok((Self { place, local }, writer))
            }
            Place::Remote(remote) => {
                let (store, path) = remote.open()?;
                let writer = Box::new(BufWriter::new(store, path));
                Ok((Self { place, local: None }, writer))
            }
        }
    }

    /// Waits until what was written lasts.
    pub(crate) async fn finish(self) -> io::Result<()> {
        let (Some(file), Place::Local(path)) = (self.local, &self.place) else {
            // A store that took all of a file keeps it.
            return Ok(());
        };
        file.sync_all().await?;
        match path.parent() {
            Some(directory) => local::sync_directory(directory),
            None => Ok(()),
        }
    }
}
