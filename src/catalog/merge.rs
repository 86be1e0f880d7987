//! Merges small files of a managed table when rows are inserted, so that a table of many small INSERTs has few files.
//!
//! A file is rewritten together with all files behind it once those have [`GROWTH`] times its rows. So a list of n rows in
//! small files has at most about log(n) · [`GROWTH`] files, whatever the sizes of the INSERTs, and n INSERTs of one row
//! write each row log(n) / log([`GROWTH`] + 1) times. Rows keep their order.

use std::ops::Range;

use bytes::Bytes;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::SpawnedTask;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{Stream, StreamExt, TryStreamExt};

use super::files::{FILE, ManagedFile, Written};
use super::write::write_rows;
use crate::error::{Result, SqlState, io_err, sql_err};
use crate::storage::Place;
use crate::storage::data_dir::DataDir;

/// Larger files stay as they are: an INSERT would wait for their rows, and they are few. A small file fits in memory.
const SMALL_BYTES: u64 = 8 << 20;
const SMALL_ROWS: u64 = 1 << 20;
/// How many times the rows of a file are behind it when it is merged with them. More makes reads slower, which open each
/// file; less makes INSERTs slower, which write each row more often.
const GROWTH: u64 = 15;
/// Rows of a batch.
const BATCH_ROWS: usize = 8_192;

/// Files at the end of a table that were merged into one.
#[derive(Debug)]
pub(super) struct Merged {
    /// The files that the table had.
    pub(super) of: Vec<ManagedFile>,
    /// Whether the rows of the INSERT are in the merged file too.
    pub(super) has_new: bool,
    pub(super) written: Written,
}

impl Merged {
    /// The files of a table with `current` files, to which `new` files are appended; `None` if the table does not have the
    /// merged files any more.
    pub(super) fn applied(
        &self,
        current: &[ManagedFile],
        new: &[ManagedFile],
    ) -> Option<Vec<ManagedFile>> {
        let mut parts = current.windows(self.of.len());
        let at = parts.position(|part| part == self.of)?;
        let (before, after) = (&current[..at], &current[at + self.of.len()..]);
        let new = if self.has_new { &[][..] } else { new };
        Some([before, self.written.files.as_slice(), after, new].concat())
    }
}

/// Merges the files that have become too many with `new` ones; `None` if there are few.
pub(super) async fn merge(
    data: &DataDir,
    schema: &SchemaRef,
    current: &[ManagedFile],
    new: &[ManagedFile],
) -> Result<Option<Merged>> {
    let files = [current, new].concat();
    let Some(range) = to_merge(&files) else {
        return Ok(None);
    };
    let has_new = range.end > current.len();
    if range.start >= current.len() {
        return Ok(None);
    }
    let of = current[range.start..range.end.min(current.len())].to_vec();
    let written = rewrite(data, schema, &files[range]).await?;
    Ok(Some(Merged {
        of,
        has_new,
        written,
    }))
}

fn is_small(file: &ManagedFile) -> bool {
    file.rows < SMALL_ROWS && file.bytes.is_some_and(|bytes| bytes < SMALL_BYTES)
}

/// The files of a list that become one, the last of which was just appended.
fn to_merge(files: &[ManagedFile]) -> Option<Range<usize>> {
    let is_ended = files.last().is_some_and(|last| !is_small(last));
    let end = files.len() - usize::from(is_ended);
    let large = files[..end].iter().rposition(|file| !is_small(file));
    let begin = large.map_or(0, |large| large + 1);
    if is_ended {
        // The small files before a large one get no more neighbours.
        return (end - begin > 1).then_some(begin..end);
    }
    let (mut rows_behind, mut found) = (0, None);
    for at in (begin..end).rev() {
        // An empty file takes a place in the list too.
        let rows = files[at].rows.max(1);
        if rows_behind >= GROWTH * rows {
            found = Some(at..end);
        }
        rows_behind += rows;
    }
    found
}

/// Writes the rows of files to one file, in the same order.
async fn rewrite(data: &DataDir, schema: &SchemaRef, files: &[ManagedFile]) -> Result<Written> {
    let places: Vec<(Place, ManagedFile)> = files
        .iter()
        .map(|file| {
            let place = data.blobs().join(&file.directory).join(FILE);
            (place, file.clone())
        })
        .collect();
    let rows = futures::stream::iter(places)
        .then(|(place, file)| read(place, file))
        .try_flatten();
    let rows = RecordBatchStreamAdapter::new(SchemaRef::clone(schema), rows);
    let written = write_rows(data, schema, Box::pin(rows), false).await?;
    let expected: u64 = files.iter().map(|file| file.rows).sum();
    match written.rows() == expected {
        true => Ok(written),
        false => {
            let message = format!("{} rows were read, not {expected}", written.rows());
            Err(sql_err(SqlState::Io, message))
        }
    }
}

/// The rows of a file, if it is as it was written.
async fn read(
    place: Place,
    file: ManagedFile,
) -> Result<impl Stream<Item = Result<RecordBatch>> + Send> {
    let failed = |what: String| sql_err(SqlState::Io, format!("{place}: {what}"));
    let source = place.clone();
    let content = SpawnedTask::spawn_blocking(move || source.read())
        .join()
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(|error| io_err(&place, &error))?;
    if file.bytes != Some(content.len() as u64) {
        return Err(failed(format!("it has {} bytes", content.len())));
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(content))?
        .with_batch_size(BATCH_ROWS)
        .build()?;
    let batches = reader.map(|batch| batch.map_err(DataFusionError::from));
    Ok(futures::stream::iter(batches))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringViewArray};
    use datafusion::arrow::compute::concat_batches;

    use super::*;

    /// A small file with these rows.
    fn file(rows: u64) -> ManagedFile {
        ManagedFile {
            directory: rows.to_string(),
            rows,
            bytes: Some(1_000),
        }
    }

    /// Appends files of these rows; returns the final list, its greatest length, and the rows written by merges.
    fn appended(rows: impl Iterator<Item = u64>) -> (Vec<ManagedFile>, usize, u64) {
        let (mut files, mut longest, mut rewritten) = (Vec::new(), 0, 0);
        for rows in rows {
            files.push(file(rows));
            if let Some(range) = to_merge(&files) {
                let rows: u64 = files[range.clone()].iter().map(|file| file.rows).sum();
                rewritten += rows;
                drop(files.splice(range, [file(rows)]));
            }
            longest = longest.max(files.len());
        }
        (files, longest, rewritten)
    }

    #[test]
    fn many_small_inserts_leave_few_files_and_write_each_row_seldom() {
        let inserts = 100_000;
        let (files, longest, rewritten) = appended((0..inserts).map(|_| 1));
        assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), inserts);
        assert!(longest <= 80, "{longest} files");
        assert!(rewritten <= 5 * inserts, "{rewritten} rows");
    }

    #[test]
    fn inserts_of_any_sizes_leave_few_files() {
        let mut random = 1u64;
        let sizes = (0..20_000).map(|_| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // 0, or from 1 to 1,024, small sizes more often.
            (1u64 << ((random >> 33) % 12)) >> 1
        });
        let sizes: Vec<u64> = sizes.collect();
        let rows: u64 = sizes.iter().sum();
        let (files, longest, rewritten) = appended(sizes.into_iter());
        assert_eq!(files.iter().map(|file| file.rows).sum::<u64>(), rows);
        assert!(longest <= 250, "{longest} files");
        assert!(rewritten <= 20 * rows, "{rewritten} of {rows} rows");
    }

    #[test]
    fn large_files_stay_and_end_a_run_of_small_ones() {
        let large = |rows| ManagedFile {
            bytes: Some(SMALL_BYTES),
            ..file(rows)
        };
        let old = ManagedFile {
            bytes: None,
            ..file(1)
        };
        assert_eq!(to_merge(&[]), None);
        assert_eq!(to_merge(&[large(1)]), None);
        assert_eq!(to_merge(&[file(1), large(1_000)]), None);
        assert_eq!(to_merge(&[file(1), file(1), large(1_000)]), Some(0..2));
        assert_eq!(
            to_merge(&[large(1), file(1), file(2), large(1)]),
            Some(1..3)
        );
        assert_eq!(to_merge(&[large(1), file(1), file(14)]), None);
        assert_eq!(to_merge(&[large(1), file(1), file(15)]), Some(1..3));
        assert_eq!(to_merge(&[old, file(100)]), None);
        assert_eq!(to_merge(&[file(SMALL_ROWS), file(1)]), None);
    }

    #[test]
    fn a_merge_takes_the_place_of_its_files() {
        let data = DataDir::temporary().unwrap();
        let merged = |has_new| Merged {
            of: vec![file(2), file(3)],
            has_new,
            written: Written {
                files: vec![file(9)],
                directory: data.root().join("none"),
                is_kept: true.into(),
            },
        };
        let current = [file(1), file(2), file(3), file(5)];
        let new = [file(4)];
        let rows = |files: Option<Vec<ManagedFile>>| -> Option<Vec<u64>> {
            Some(files?.iter().map(|file| file.rows).collect())
        };
        // Another process appended a file in between.
        let applied = merged(true).applied(&current, &new);
        assert_eq!(rows(applied), Some(vec![1, 9, 5]));
        let applied = merged(false).applied(&current, &new);
        assert_eq!(rows(applied), Some(vec![1, 9, 5, 4]));
        // Another process merged the files, or replaced the table.
        assert_eq!(rows(merged(true).applied(&[file(1), file(8)], &new)), None);
        assert_eq!(rows(merged(true).applied(&[], &new)), None);
    }

    fn batch(first: i64, count: i64) -> RecordBatch {
        let range = first..first + count;
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter(
            range.clone().map(|row| (row % 7 > 0).then_some(row)),
        ));
        let floats: ArrayRef =
            Arc::new(Float64Array::from_iter_values(range.clone().map(
                |row| match row % 3 {
                    0 => f64::NAN,
                    1 => -0.0,
                    _ => row as f64 / 3.0,
                },
            )));
        let texts: ArrayRef =
            Arc::new(StringViewArray::from_iter_values(range.map(|row| {
                format!("a text that is longer than twelve bytes {row}")
            })));
        RecordBatch::try_from_iter_with_nullable([
            ("number", numbers, true),
            ("float", floats, true),
            ("text", texts, true),
        ])
        .unwrap()
    }

    async fn write(data: &DataDir, batch: RecordBatch) -> Written {
        let schema = batch.schema();
        let rows = futures::stream::iter([Ok(batch)]);
        let rows = RecordBatchStreamAdapter::new(SchemaRef::clone(&schema), rows);
        write_rows(data, &schema, Box::pin(rows), false)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn merged_files_have_the_same_rows_in_the_same_order() {
        let data = DataDir::temporary().unwrap();
        let batches = [batch(0, 1), batch(1, 5), batch(6, 0), batch(6, 20_000)];
        let mut written = Vec::new();
        for batch in &batches {
            written.push(write(&data, batch.clone()).await);
        }
        let files: Vec<ManagedFile> = written
            .iter()
            .flat_map(|written| written.files.clone())
            .collect();
        let schema = batches[0].schema();
        let (current, new) = files.split_at(3);
        let merged = merge(&data, &schema, current, new).await.unwrap().unwrap();
        assert_eq!((merged.of.as_slice(), merged.has_new), (current, true));
        let file = merged.written.files[0].clone();
        assert_eq!(file.rows, 20_006);
        let place = data.blobs().join(&file.directory).join(FILE);
        let read: Vec<RecordBatch> = read(place, file)
            .await
            .unwrap()
            .try_collect()
            .await
            .unwrap();
        let read = concat_batches(&read[0].schema(), &read).unwrap();
        let before = concat_batches(&schema, &batches).unwrap();
        assert_eq!(read.schema(), schema);
        assert_eq!(read.column(0), before.column(0));
        assert_eq!(read.column(2), before.column(2));
        let floats = |batch: &RecordBatch| -> Vec<u64> {
            let column = batch.column(1).as_any().downcast_ref::<Float64Array>();
            let values = column.unwrap().values().iter();
            values.map(|value| value.to_bits()).collect()
        };
        assert_eq!(floats(&read), floats(&before));
    }

    #[tokio::test]
    async fn a_file_that_was_changed_is_not_merged() {
        let data = DataDir::temporary().unwrap();
        let (one, two) = (
            write(&data, batch(0, 1)).await,
            write(&data, batch(1, 15)).await,
        );
        let schema = batch(0, 1).schema();
        let mut damaged = one.files.clone();
        damaged[0].bytes = damaged[0].bytes.map(|bytes| bytes + 1);
        assert!(merge(&data, &schema, &damaged, &two.files).await.is_err());
        let mut short = one.files.clone();
        short[0].rows = 0;
        assert!(merge(&data, &schema, &short, &two.files).await.is_err());
        let merged = merge(&data, &schema, &one.files, &two.files).await;
        assert_eq!(merged.unwrap().unwrap().written.rows(), 16);
    }
}
