//! [`Quotes`]: a check that no file is cut into parts between two quotes.
//!
//! The first reader counts the quotes of a file, once per scan (on a cluster once per task).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::common::DataFusionError;
use futures::TryStreamExt;
use tokio::sync::OnceCell;

use super::bytes::File;
use super::options::ReadOptions;
use crate::error::{Result, SqlState, sql_err};
use crate::own_task::in_own_task;

/// The number of bytes for which the quotes are summed up.
const BLOCK_BYTES: u64 = 1 << 20;

/// For each block of each file: whether the number of quotes before the block is odd.
#[derive(Debug, Default)]
pub(super) struct Quotes {
    files: Mutex<HashMap<String, Blocks>>,
}

type Blocks = Arc<OnceCell<Vec<bool>>>;

impl Quotes {
    /// Refuses a part of a file whose first or last line break is inside a value.
    pub(super) async fn check(
        &self,
        file: &File,
        options: &ReadOptions,
        part: &Range<u64>,
        size: u64,
    ) -> Result<()> {
        // If quotes can be escaped or commented out, their number says nothing.
        if options.escape.is_some() || options.comment.is_some() {
            return Ok(());
        }
        let ends = [part.start, part.end];
        for at in ends.into_iter().filter(|at| *at > 0 && *at < size) {
            if self.is_within(file, options, at).await? {
                return Err(unclosed(file));
            }
        }
        Ok(())
    }

    /// Whether the first line that begins at `at` or later begins between quotes.
    async fn is_within(&self, file: &File, options: &ReadOptions, at: u64) -> Result<bool> {
        let blocks = {
            let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(files.entry(file.path.to_string()).or_default())
        };
        let block = at.saturating_sub(1) / BLOCK_BYTES;
        let (counted, quote) = (file.clone(), options.quote);
        // The readers of other parts wait for the cell.
        let counting = in_own_task(async move {
            let blocks = blocks.get_or_try_init(|| count(&counted, quote)).await?;
            Ok::<_, DataFusionError>(blocks.get(block as usize).copied().unwrap_or(false))
        });
        let mut is_odd = counting.await?;
        let terminator = options.terminator.unwrap_or(b'\n');
        let mut place = block * BLOCK_BYTES;
        let mut bytes = file.raw(place).await?;
        while let Some(piece) = bytes.try_next().await? {
            for byte in piece {
                is_odd ^= byte == options.quote;
                if byte == terminator && place + 1 >= at {
                    return Ok(is_odd);
                }
                place += 1;
            }
        }
        Ok(is_odd)
    }
}

async fn count(file: &File, quote: u8) -> Result<Vec<bool>, DataFusionError> {
    let (mut blocks, mut is_odd, mut left) = (vec![false], false, BLOCK_BYTES as usize);
    let mut bytes = file.raw(0).await?;
    while let Some(mut piece) = bytes.try_next().await? {
        while !piece.is_empty() {
            let within = piece.split_to(left.min(piece.len()));
            is_odd ^= within.iter().filter(|byte| **byte == quote).count() % 2 == 1;
            left -= within.len();
            if left == 0 {
                blocks.push(is_odd);
                left = BLOCK_BYTES as usize;
            }
        }
    }
    Ok(blocks)
}

fn unclosed(file: &File) -> DataFusionError {
    let message = format!(
        "file {}: a quote is not closed on its line, so the file cannot be read in parts; if there are line breaks between quotes, OPTIONS ('format.newlines_in_values' 'true') reads it as a whole",
        file.shown()
    );
    sql_err(SqlState::Data, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use datafusion::execution::object_store::ObjectStoreUrl;
    use datafusion::execution::runtime_env::RuntimeEnv;
    use futures::FutureExt;

    use super::*;
    use crate::storage::StorePath;

    #[tokio::test]
    async fn a_part_that_nobody_looks_at_keeps_no_other_part_waiting() {
        let written = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(written.path(), "1,2\n3,4\n").unwrap();
        let local = ObjectStoreUrl::local_filesystem();
        let file = File {
            store: RuntimeEnv::default().object_store(local).unwrap(),
            path: StorePath::from_absolute_path(written.path()).unwrap(),
        };
        let options = ReadOptions {
            quote: b'"',
            ..ReadOptions::default()
        };
        let quotes = Quotes::default();
        let (first, second) = (0..4, 4..8);
        let mut begun = Box::pin(quotes.check(&file, &options, &first, 8));
        assert!((&mut begun).now_or_never().is_none());
        let other = quotes.check(&file, &options, &second, 8);
        let other = tokio::time::timeout(Duration::from_secs(60), other).await;
        other.unwrap().unwrap();
        drop(begun);
    }
}
