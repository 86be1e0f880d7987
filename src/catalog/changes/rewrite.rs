//! [`Rewriting`]: the rows of the files that have changed rows, with the changes.
//!
//! Files are read in the order of the table, batch by batch; the changed rows come in the same order, so neither is held in memory.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray};
use datafusion::arrow::compute::{cast_with_options, filter_record_batch, interleave};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfig, FileScanConfigBuilder};
use datafusion::datasource::source::DataSourceExec;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use futures::{Stream, StreamExt};

use super::super::files::ManagedFile;
use super::change::Change;
use super::changed_rows::{ChangedRows, rows_of};
use crate::error::{Result, SqlState, sql_err};
use crate::plan::functions::STRICT;
use crate::plan::scans::file_scan;

/// What was changed until now.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) rows: u64,
    /// The numbers of the files that were read.
    pub(super) files: BTreeSet<usize>,
}

pub(super) struct Rewriting {
    pub(super) changed: ChangedRows,
    pub(super) change: Change,
    /// The files of the table.
    pub(super) files: Vec<ManagedFile>,
    /// The scan of all of them.
    pub(super) scan: Arc<dyn ExecutionPlan>,
    pub(super) context: Arc<TaskContext>,
    pub(super) done: Arc<Mutex<Done>>,
}

/// A file that is being read.
struct OpenFile {
    number: i32,
    /// The rows that the table wrote.
    expected: u64,
    rows: SendableRecordBatchStream,
    /// The number of rows that were read.
    read: i64,
}

impl Rewriting {
    /// The rows of the new file.
    pub(super) fn rows(self) -> impl Stream<Item = Result<RecordBatch>> + Send {
        let first: Option<OpenFile> = None;
        futures::stream::try_unfold((self, first), |(mut work, mut file)| async move {
            let batch = work.next(&mut file).await?;
            Ok(batch.map(|batch| (batch, (work, file))))
        })
    }

    async fn next(&mut self, open: &mut Option<OpenFile>) -> Result<Option<RecordBatch>> {
        loop {
            let Some(file) = open else {
                match self.changed.next_place().await? {
                    Some((number, _)) => *open = Some(self.open(number)?),
                    None => return Ok(None),
                }
                continue;
            };
            let Some(batch) = file.rows.next().await.transpose()? else {
                if file.expected != file.read as u64 {
                    let message = format!("{} rows were read, not {}", file.read, file.expected);
                    return Err(sql_err(SqlState::Io, message));
                }
                *open = None;
                continue;
            };
            let begin = file.read;
            file.read += batch.num_rows() as i64;
            let taken = self.changed.take(file.number, file.read).await?;
            let batch = self.changed_batch(batch, begin, &taken)?;
            if batch.num_rows() > 0 {
                return Ok(Some(batch));
            }
        }
    }

    /// Begins to read a file, each of which is read once.
    fn open(&self, number: i32) -> Result<OpenFile> {
        let at = usize::try_from(number).ok();
        let Some((at, file)) = at.and_then(|at| Some((at, self.files.get(at)?))) else {
            return Err(unknown_file(number));
        };
        let scan = file_scan(self.scan.as_ref()).ok_or_else(|| unknown_file(number))?;
        let rows = whole_file(scan, &file.directory).ok_or_else(|| unknown_file(number))?;
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if !done.files.insert(at) {
            return Err(unknown_file(number));
        }
        Ok(OpenFile {
            number,
            expected: file.rows,
            rows: rows.execute(0, Arc::clone(&self.context))?,
            read: 0,
        })
    }

    /// A batch, whose first row has the number `begin` in its file, with its changed rows.
    fn changed_batch(
        &self,
        batch: RecordBatch,
        begin: i64,
        taken: &[RecordBatch],
    ) -> Result<RecordBatch> {
        let count: usize = taken.iter().map(RecordBatch::num_rows).sum();
        if count == 0 {
            return Ok(batch);
        }
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.rows += count as u64;
        drop(done);
        match &self.change {
            Change::Clear => Ok(batch.slice(0, 0)),
            Change::Delete => remaining(&batch, begin, taken),
            Change::Update(columns) => updated(&batch, begin, taken, columns),
        }
    }
}

/// The operator that reads one file of a scan, in its order.
fn whole_file(scan: &FileScanConfig, directory: &str) -> Option<Arc<dyn ExecutionPlan>> {
    let is_wanted = |file: &&PartitionedFile| {
        let path: &str = file.object_meta.location.as_ref();
        path.rsplit('/').nth(1) == Some(directory)
    };
    let mut files = scan.file_groups.iter().flat_map(|group| group.iter());
    let mut file = files.find(is_wanted)?.clone();
    file.range = None;
    let scan = FileScanConfigBuilder::from(scan.clone())
        .with_file_groups(vec![FileGroup::new(vec![file])])
        .with_output_partitioning(None)
        .with_preserve_order(true)
        .build();
    Some(DataSourceExec::from_data_source(scan))
}

/// The rows that are not removed.
fn remaining(batch: &RecordBatch, begin: i64, taken: &[RecordBatch]) -> Result<RecordBatch> {
    let mut stays = vec![true; batch.num_rows()];
    for removed in taken {
        for row in rows_of(removed)? {
            *place_in(&mut stays, row - begin)? = false;
        }
    }
    Ok(filter_record_batch(batch, &BooleanArray::from(stays))?)
}

/// The rows with new values in these columns.
fn updated(
    batch: &RecordBatch,
    begin: i64,
    taken: &[RecordBatch],
    columns: &[usize],
) -> Result<RecordBatch> {
    // Of each row, the array that has its value, 0 being the file, and the place in the array.
    let mut sources: Vec<(usize, usize)> = (0..batch.num_rows()).map(|row| (0, row)).collect();
    for (at, changed) in taken.iter().enumerate() {
        for (from, row) in rows_of(changed)?.iter().enumerate() {
            *place_in(&mut sources, row - begin)? = (at + 1, from);
        }
    }
    let mut arrays = batch.columns().to_vec();
    for (new, column) in columns.iter().enumerate() {
        let Some(old) = arrays.get_mut(*column) else {
            let message = format!("the file has no column {column}");
            return Err(sql_err(SqlState::Internal, message));
        };
        let mut values: Vec<ArrayRef> = vec![Arc::clone(old)];
        for changed in taken {
            // The plan may return texts in another layout than the file.
            let value = changed.column(new + 2);
            values.push(cast_with_options(value, old.data_type(), &STRICT)?);
        }
        let values: Vec<&dyn Array> = values.iter().map(AsRef::as_ref).collect();
        *old = interleave(&values, &sources)?;
    }
    Ok(RecordBatch::try_new(batch.schema(), arrays)?)
}

fn place_in<T>(of: &mut [T], row: i64) -> Result<&mut T> {
    let place = usize::try_from(row).ok().and_then(|row| of.get_mut(row));
    place.ok_or_else(|| {
        let message = "a changed row is not in its batch";
        sql_err(SqlState::Internal, message)
    })
}

fn unknown_file(number: i32) -> DataFusionError {
    let message = format!("file {number} of a table cannot be read for a change");
    sql_err(SqlState::Internal, message)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{AsArray, Int32Array, Int64Array, StringArray, StringViewArray};
    use datafusion::arrow::datatypes::Int64Type;

    use super::*;

    fn file() -> RecordBatch {
        let a: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
        let b: ArrayRef = Arc::new(StringViewArray::from_iter_values(["a", "b", "c", "d"]));
        RecordBatch::try_from_iter([("a", a), ("b", b)]).unwrap()
    }

    /// Changed rows of the file 0 with these numbers and texts.
    fn changed(rows: &[i64], texts: &[Option<&str>]) -> RecordBatch {
        let files: ArrayRef = Arc::new(Int32Array::from(vec![0; rows.len()]));
        let rows: ArrayRef = Arc::new(Int64Array::from(rows.to_vec()));
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let columns = [
            ("file", files, false),
            ("row", rows, false),
            ("b", texts, true),
        ];
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    #[test]
    fn removed_rows_are_those_with_the_numbers() {
        let taken = [changed(&[10], &[None]), changed(&[13], &[None])];
        let left = remaining(&file(), 10, &taken).unwrap();
        let left = left.column(0).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(left, [1, 2]);
        remaining(&file(), 11, &taken).unwrap_err();
        remaining(&file(), 9, &taken).unwrap_err();
    }

    #[test]
    fn new_values_take_the_place_of_old_ones() {
        let taken = [
            changed(&[1], &[Some("x")]),
            changed(&[2, 3], &[Some("y"), Some("z")]),
        ];
        let new = updated(&file(), 0, &taken, &[1]).unwrap();
        assert_eq!(new.column(0), file().column(0));
        let texts: Vec<_> = new.column(1).as_string_view().iter().flatten().collect();
        assert_eq!(texts, ["a", "x", "y", "z"]);
    }

    #[test]
    fn a_null_does_not_get_into_a_column_without_nulls() {
        // The columns of `file` allow no NULLs, as try_from_iter sees none.
        updated(&file(), 0, &[changed(&[0], &[None])], &[1]).unwrap_err();
        assert_eq!(updated(&file(), 0, &[], &[1]).unwrap(), file());
    }
}
