//! [`ChangedRows`]: the rows that a statement changes, in the order of their places.

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{Int32Type, Int64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use crate::error::{Result, SqlState, sql_err};

/// The place of a row: the number of its file among those of the table, and its number in the file.
pub(super) type Place = (i32, i64);

/// A stream of changed rows: file, row, new values.
pub(super) struct ChangedRows {
    rows: SendableRecordBatchStream,
    batch: Option<RecordBatch>,
    /// The first row of the batch that was not taken.
    at: usize,
    /// The place of the last row that was taken.
    last: Option<Place>,
}

impl ChangedRows {
    pub(super) fn new(rows: SendableRecordBatchStream) -> Self {
        Self {
            rows,
            batch: None,
            at: 0,
            last: None,
        }
    }

    /// The place of the next changed row.
    pub(super) async fn next_place(&mut self) -> Result<Option<Place>> {
        while self
            .batch
            .as_ref()
            .is_none_or(|batch| self.at >= batch.num_rows())
        {
            self.batch = self.rows.next().await.transpose()?;
            self.at = 0;
            if self.batch.is_none() {
                return Ok(None);
            }
        }
        let Some(batch) = &self.batch else {
            return Ok(None);
        };
        let places = Places::of(batch)?;
        Ok(Some(places.at(self.at)))
    }

    /// Takes the next rows that are in this file and before the row `end`.
    ///
    /// # Errors
    /// If a row comes twice or too late.
    pub(super) async fn take(&mut self, file: i32, end: i64) -> Result<Vec<RecordBatch>> {
        let mut taken = Vec::new();
        while let Some((of, row)) = self.next_place().await?
            && of == file
            && row < end
        {
            let Some(batch) = &self.batch else { break };
            let places = Places::of(batch)?;
            let from = self.at;
            while self.at < batch.num_rows() {
                let place = places.at(self.at);
                if place.0 != file || place.1 >= end {
                    break;
                }
                if self.last.is_some_and(|last| last >= place) {
                    return Err(out_of_order());
                }
                self.last = Some(place);
                self.at += 1;
            }
            taken.push(batch.slice(from, self.at - from));
        }
        Ok(taken)
    }
}

/// The numbers of the rows of a batch in their file.
pub(super) fn rows_of(batch: &RecordBatch) -> Result<&[i64]> {
    let places = Places::of(batch)?;
    Ok(places.rows)
}

struct Places<'a> {
    files: &'a [i32],
    rows: &'a [i64],
}

impl<'a> Places<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self> {
        let [files, rows, ..] = batch.columns() else {
            return Err(no_places());
        };
        if files.null_count() + rows.null_count() > 0 {
            return Err(no_places());
        }
        let files = files.as_primitive_opt::<Int32Type>();
        let rows = rows.as_primitive_opt::<Int64Type>();
        match (files, rows) {
            (Some(files), Some(rows)) => Ok(Self {
                files: files.values(),
                rows: rows.values(),
            }),
            _ => Err(no_places()),
        }
    }

    fn at(&self, at: usize) -> Place {
        (self.files[at], self.rows[at])
    }
}

fn no_places() -> DataFusionError {
    sql_err(SqlState::Internal, "changed rows have no places")
}

fn out_of_order() -> DataFusionError {
    let message = "a row is to be changed twice, or too late";
    sql_err(SqlState::Internal, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array};
    use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

    use super::*;

    fn batch(places: &[Place]) -> RecordBatch {
        let files: ArrayRef = Arc::new(Int32Array::from_iter_values(places.iter().map(|at| at.0)));
        let rows: ArrayRef = Arc::new(Int64Array::from_iter_values(places.iter().map(|at| at.1)));
        RecordBatch::try_from_iter([("file", files), ("row", rows)]).unwrap()
    }

    fn changed(batches: &[&[Place]]) -> ChangedRows {
        let batches: Vec<RecordBatch> = batches.iter().map(|places| batch(places)).collect();
        let schema = batch(&[]).schema();
        let rows = futures::stream::iter(batches.into_iter().map(Ok));
        ChangedRows::new(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }

    async fn taken(changed: &mut ChangedRows, file: i32, end: i64) -> Vec<i64> {
        let batches = changed.take(file, end).await.unwrap();
        let rows = batches.iter().flat_map(|batch| rows_of(batch).unwrap());
        rows.copied().collect()
    }

    #[tokio::test]
    async fn rows_are_taken_by_file_up_to_an_end() {
        let mut changed = changed(&[&[], &[(0, 1), (0, 5)], &[(0, 7), (2, 0)], &[(2, 9)]]);
        assert_eq!(changed.next_place().await.unwrap(), Some((0, 1)));
        assert_eq!(taken(&mut changed, 0, 6).await, [1, 5]);
        assert!(taken(&mut changed, 0, 7).await.is_empty());
        assert_eq!(taken(&mut changed, 0, 8).await, [7]);
        assert!(taken(&mut changed, 1, 8).await.is_empty());
        assert_eq!(changed.next_place().await.unwrap(), Some((2, 0)));
        assert_eq!(taken(&mut changed, 2, 100).await, [0, 9]);
        assert_eq!(changed.next_place().await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_row_that_comes_twice_or_too_late_is_an_error() {
        for places in [&[(0, 1), (0, 1)], &[(0, 2), (0, 1)]] {
            let mut changed = changed(&[places]);
            changed.take(0, 10).await.unwrap_err();
        }
        let schema = batch(&[]).schema();
        let column: ArrayRef = Arc::new(Int32Array::from_iter_values([0]));
        let other = RecordBatch::try_from_iter([("file", column)]).unwrap();
        let rows = futures::stream::iter([Ok(other)]);
        let rows = RecordBatchStreamAdapter::new(schema, rows);
        let mut changed = ChangedRows::new(Box::pin(rows));
        changed.next_place().await.unwrap_err();
    }
}
