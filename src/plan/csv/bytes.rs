//! The decompressed bytes of a file: all of them, or those of the lines that begin in a part of the file.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::common::DataFusionError;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::options::ReadOptions;
use crate::error::{Result, io_err};
use crate::storage::{GetOptions, GetRange, GetResultPayload, ObjectStore, StorePath, shown_path};

/// The number of bytes to read at once.
const PIECE_BYTES: usize = 256 << 10;

/// A file of an object store. It may be opened several times.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) path: StorePath,
}

impl File {
    /// The last segment of the path.
    pub(super) fn name(&self) -> &str {
        self.path.filename().unwrap_or_default()
    }

    /// The path as the user knows it.
    pub(super) fn shown(&self) -> String {
        shown_path(self.store.as_ref(), &self.path)
    }

    /// All bytes, decompressed.
    pub(super) async fn all(
        &self,
        options: &ReadOptions,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let bytes = self.raw(0).await?;
        options.compression(self.name()).convert_stream(bytes)
    }

    /// The bytes of the lines that begin in this part. All lines of a compressed file belong to its first part.
    pub(super) async fn lines(
        &self,
        options: &ReadOptions,
        part: Option<Range<u64>>,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let is_compressed = options.compression(self.name()).is_compressed();
        match part {
            None => self.all(options).await,
            Some(part) if is_compressed => match part.start {
                0 => self.all(options).await,
                _ => Ok(futures::stream::empty().boxed()),
            },
            Some(part) => {
                // The byte before the part tells whether a line begins at the start of the part.
                let from = part.start.saturating_sub(1);
                let lines = Lines::new(part, from, options.terminator.unwrap_or(b'\n'));
                let bytes = self.raw(from).await?;
                let lines = futures::stream::try_unfold((bytes, lines), next_lines);
                Ok(lines.boxed())
            }
        }
    }

    /// The number of the first line that begins at `start` or later.
    pub(super) async fn first_line(&self, start: u64) -> Result<u64> {
        let (mut line, mut at) = (1, 0);
        if start == 0 {
            return Ok(line);
        }
        let mut bytes = self.raw(0).await?;
        while let Some(piece) = bytes.try_next().await? {
            for byte in piece {
                line += u64::from(byte == b'\n');
                if byte == b'\n' && at >= start - 1 {
                    return Ok(line);
                }
                at += 1;
            }
        }
        Ok(line)
    }

    /// The bytes from this offset on, without decompression.
    pub(super) async fn raw(&self, from: u64) -> Result<BoxStream<'static, Result<Bytes>>> {
        let options = GetOptions {
            range: (from > 0).then_some(GetRange::Offset(from)),
            ..GetOptions::default()
        };
        let found = self.store.get_opts(&self.path, options).await?;
        Ok(match found.payload {
            GetResultPayload::File(mut file, path) => {
                let failed = move |error: std::io::Error| io_err(path.display(), &error);
                file.seek(SeekFrom::Start(from)).map_err(&failed)?;
                let pieces = std::iter::from_fn(move || {
                    let mut piece = Vec::with_capacity(PIECE_BYTES);
                    match (&mut file).take(PIECE_BYTES as u64).read_to_end(&mut piece) {
                        Ok(0) => None,
                        Ok(_) => Some(Ok(Bytes::from(piece))),
                        Err(error) => Some(Err(failed(error))),
                    }
                });
                futures::stream::iter(pieces).boxed()
            }
            GetResultPayload::Stream(bytes) => bytes.map_err(DataFusionError::from).boxed(),
        })
    }
}

type Pieces = BoxStream<'static, Result<Bytes>>;

async fn next_lines(
    (mut bytes, mut lines): (Pieces, Lines),
) -> Result<Option<(Bytes, (Pieces, Lines))>> {
    while !lines.is_done {
        let Some(piece) = bytes.try_next().await? else {
            break;
        };
        let piece = lines.cut(piece);
        if !piece.is_empty() {
            return Ok(Some((piece, (bytes, lines))));
        }
    }
    Ok(None)
}

/// Cuts pieces down to the lines that begin in a part.
#[derive(Debug)]
struct Lines {
    part: Range<u64>,
    /// The offset of the next piece in the file.
    at: u64,
    /// Whether the first line of the part has not begun yet.
    is_before: bool,
    is_done: bool,
    terminator: u8,
}

impl Lines {
    fn new(part: Range<u64>, at: u64, terminator: u8) -> Self {
        Self {
            is_before: part.start > 0,
            is_done: part.is_empty(),
            part,
            at,
            terminator,
        }
    }

    fn cut(&mut self, piece: Bytes) -> Bytes {
        let begin = self.at;
        self.at += piece.len() as u64;
        let end_of_line = |from: usize| {
            let rest = piece.get(from..).unwrap_or_default();
            let found = rest.iter().position(|byte| *byte == self.terminator);
            found.map(|index| from + index + 1)
        };
        let mut from = 0;
        if self.is_before {
            match end_of_line(0) {
                Some(next) => from = next,
                None => return Bytes::new(),
            }
            self.is_before = false;
            if begin + from as u64 >= self.part.end {
                self.is_done = true;
                return Bytes::new();
            }
        }
        // The line that contains the last byte of the part is the last line.
        let last = (self.part.end - 1).saturating_sub(begin) as usize;
        let to = match begin + piece.len() as u64 >= self.part.end {
            true => end_of_line(last.max(from)),
            false => None,
        };
        self.is_done = to.is_some();
        piece.slice(from..to.unwrap_or(piece.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However a file is cut into parts and pieces, each line is in one part.
    #[test]
    fn every_line_is_in_one_part() {
        let text = "one\ntwo\n\nthree\nfour\nfive";
        let bytes = Bytes::from(text);
        for size in 1..=text.len() {
            for piece in [1, 2, 5, 100] {
                let mut found = String::new();
                for start in (0..text.len()).step_by(size) {
                    let part = start as u64..(start + size).min(text.len()) as u64;
                    let from = part.start.saturating_sub(1);
                    let mut lines = Lines::new(part, from, b'\n');
                    for chunk in bytes[from as usize..].chunks(piece) {
                        if lines.is_done {
                            break;
                        }
                        let cut = lines.cut(Bytes::copy_from_slice(chunk));
                        found.push_str(std::str::from_utf8(&cut).unwrap());
                    }
                }
                assert_eq!(found, text, "parts of {size} in pieces of {piece}");
            }
        }
    }
}
