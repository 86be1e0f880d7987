//! [`Chunk`]: the bytes of a column of a row group: in memory, or in a file of this machine, which is read page by page. The reader of
//! pages asks for places of the file, so the bytes in memory know where they begin.

use std::fs::File;
use std::io::Read;

use bytes::{Buf, Bytes};
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::reader::{ChunkReader, Length};

pub(super) enum Chunk {
    /// The bytes of a file from `start` on.
    Memory {
        start: u64,
        bytes: Bytes,
    },
    File(File),
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        match self {
            Self::Memory { start, bytes } => start + bytes.len() as u64,
            Self::File(file) => Length::len(file),
        }
    }
}

impl ChunkReader for Chunk {
    type T = Box<dyn Read>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        match self {
            Self::Memory {
                start: first,
                bytes,
            } => Ok(Box::new(rest(*first, bytes, start)?.reader())),
            Self::File(file) => Ok(Box::new(file.get_read(start)?)),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        match self {
            Self::Memory {
                start: first,
                bytes,
            } => {
                let bytes = rest(*first, bytes, start)?;
                match length <= bytes.len() {
                    true => Ok(bytes.slice(..length)),
                    false => Err(outside()),
                }
            }
            Self::File(file) => file.get_bytes(start, length),
        }
    }
}

/// Of bytes of a file from `first` on, those from `start` on.
fn rest(first: u64, bytes: &Bytes, start: u64) -> Result<Bytes> {
    let skipped = start.checked_sub(first);
    match skipped.and_then(|skipped| usize::try_from(skipped).ok()) {
        Some(skipped) if skipped <= bytes.len() => Ok(bytes.slice(skipped..)),
        _ => Err(outside()),
    }
}

fn outside() -> ParquetError {
    ParquetError::EOF("a page is not inside its column".to_owned())
}
