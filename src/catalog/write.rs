//! Writes rows to a new file of a managed table.

use std::sync::Arc;

use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::arrow::AsyncArrowWriter;
use datafusion::parquet::arrow::async_writer::AsyncFileWriter;
use futures::{Stream, StreamExt};

use super::encoding::{
    SAMPLE_BYTES, SAMPLE_ROWS, SHORT_GROUP_ROWS, properties, rows_in_short_groups,
};
use super::files::{FILE, ManagedFile, Written};
use crate::error::{Result, io_err};
use crate::memory::Buffers;
use crate::storage::NewFile;
use crate::storage::data_dir::DataDir;

/// Writes rows to a new file and waits until it is durable.
pub(crate) async fn write_rows(
    data: &DataDir,
    schema: &SchemaRef,
    rows: SendableRecordBatchStream,
    is_temporary: bool,
) -> Result<Written> {
    let (name, directory) = match is_temporary {
        true => data.create_temporary_blob()?,
        false => data.create_blob()?,
    };
    let mut written = Written {
        files: vec![],
        directory: directory.clone(),
        is_kept: false.into(),
    };
    let place = directory.join(FILE);
    let failed = |error: std::io::Error| io_err(&place, &error);
    let (file, writer) = NewFile::create(&place).await.map_err(failed)?;
    let mut rows = rows.map(|batch| typed(&batch?, schema));
    let first = sample(&mut rows).await?;
    let properties = properties(schema, &place, &first)?;
    let writer = AsyncArrowWriter::try_new(writer, Arc::clone(schema), Some(properties))?;
    let mut groups = RowGroups::new(writer, rows_in_short_groups(&place));
    let mut count = 0;
    for batch in first {
        count += batch.num_rows();
        groups.write(batch).await?;
    }
    while let Some(batch) = rows.next().await.transpose()? {
        count += batch.num_rows();
        groups.write(batch).await?;
    }
    let bytes = groups.finish().await?;
    file.finish().await.map_err(failed)?;
    written.files.push(ManagedFile {
        directory: name,
        rows: count as u64,
        bytes: Some(bytes),
    });
    Ok(written)
}

/// Writes batches to row groups, the first of which are short.
struct RowGroups<W> {
    writer: AsyncArrowWriter<W>,
    /// The rows to come that are in short row groups.
    short_rows: usize,
}

impl<W: AsyncFileWriter> RowGroups<W> {
    fn new(writer: AsyncArrowWriter<W>, short_rows: usize) -> Self {
        Self { writer, short_rows }
    }

    async fn write(&mut self, mut rest: RecordBatch) -> Result<()> {
        while self.short_rows > 0 && rest.num_rows() > 0 {
            // A row group of large rows may have ended sooner.
            let room = SHORT_GROUP_ROWS - self.writer.in_progress_rows();
            let rows = room.min(rest.num_rows());
            self.writer.write(&rest.slice(0, rows)).await?;
            if rows == room {
                self.writer.flush().await?;
            }
            self.short_rows = self.short_rows.saturating_sub(rows);
            rest = rest.slice(rows, rest.num_rows() - rows);
        }
        if rest.num_rows() > 0 {
            self.writer.write(&rest).await?;
        }
        Ok(())
    }

    /// Completes the file, and returns its length in bytes.
    async fn finish(&mut self) -> Result<u64> {
        self.writer.finish().await?;
        Ok(self.writer.bytes_written() as u64)
    }
}

/// The first rows, which show how the columns are best encoded.
async fn sample(
    rows: &mut (impl Stream<Item = Result<RecordBatch>> + Unpin),
) -> Result<Vec<RecordBatch>> {
    let (mut first, mut count, mut bytes) = (Vec::new(), 0, 0);
    // What the batches hold in memory: the values of views, such as the files of `read_images`, are in buffers of their own.
    let mut buffers = Buffers::default();
    while count < SAMPLE_ROWS
        && bytes < SAMPLE_BYTES
        && let Some(batch) = rows.next().await.transpose()?
    {
        count += batch.num_rows();
        bytes += buffers.add(&batch);
        first.push(batch);
    }
    Ok(first)
}

/// Casts a batch to the types of the table.
fn typed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let columns = batch.columns().iter().zip(schema.fields());
    // The query's plan may return strings in another layout than its schema says.
    let options = CastOptions {
        // A value that does not fit is an error and not NULL.
        safe: false,
        ..CastOptions::default()
    };
    let columns =
        columns.map(|(column, field)| cast_with_options(column, field.data_type(), &options));
    let columns = columns.collect::<Result<_, _>>()?;
    // The batch may allow NULLs where the table does not; this fails if there are any.
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, BinaryViewArray, Int64Array};
    use datafusion::parquet::file::properties::WriterProperties;
    use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
    use futures::TryStreamExt;

    use super::*;
    use crate::Engine;

    /// The rows of each row group of a file that is written in batches of these rows.
    async fn row_groups(batches: &[i64], properties: WriterProperties) -> Vec<i64> {
        let batch = |rows: &i64| {
            let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..*rows));
            RecordBatch::try_from_iter([("a", column)]).unwrap()
        };
        let schema = batch(&0).schema();
        let writer = AsyncArrowWriter::try_new(Vec::<u8>::new(), schema, Some(properties)).unwrap();
        let mut groups = RowGroups::new(writer, 50_000);
        for rows in batches {
            groups.write(batch(rows)).await.unwrap();
        }
        groups.writer.flush().await.unwrap();
        let written = groups.writer.flushed_row_groups().iter();
        written.map(|group| group.num_rows()).collect()
    }

    #[tokio::test]
    async fn the_first_row_groups_of_a_file_are_short() {
        let usual = || {
            let properties = WriterProperties::builder();
            properties
                .set_max_row_group_row_count(Some(100_000))
                .build()
        };
        let short = 16_384;
        let cases: [(&[i64], &[i64]); 5] = [
            (&[0, 10], &[10]),
            (&[10_000; 4], &[short, short, 40_000 - 2 * short]),
            (&[short, short], &[short, short]),
            (&[60_000], &[short, short, short, 60_000 - 3 * short]),
            (
                &[8_192; 25],
                &[
                    short,
                    short,
                    short,
                    100_000,
                    25 * 8_192 - 3 * short - 100_000,
                ],
            ),
        ];
        for (batches, expected) in cases {
            assert_eq!(row_groups(batches, usual()).await, expected, "{batches:?}");
        }
        // Groups that end before they are full, because their rows are large.
        let large = WriterProperties::builder().set_max_row_group_bytes(Some(1 << 12));
        let groups = row_groups(&[60_000], large.build()).await;
        assert_eq!(groups.iter().sum::<i64>(), 60_000);
        assert!(groups.iter().all(|rows| *rows <= short), "{groups:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_table_of_some_10_000_rows_is_read_side_by_side() {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        for statement in [
            "CREATE TABLE t AS SELECT sin(value) AS a FROM generate_series(1, 60000)",
            "SET datafusion.execution.target_partitions = 2",
            "SET datafusion.optimizer.repartition_file_min_size = 0",
            // The first partition that is read would also take the rows of the other.
            "SET datafusion.execution.enable_file_stream_work_stealing = false",
        ] {
            let rows = session.sql(statement).await.unwrap();
            rows.try_collect::<Vec<_>>().await.unwrap();
        }
        let plan = session.plan_query("SELECT sum(a) FROM t").await.unwrap();
        let scan = leaf(&session.physical_plan(&plan).await.unwrap());
        let mut counts = Vec::new();
        for partition in 0..scan.output_partitioning().partition_count() {
            let rows = scan.execute(partition, session.context().task_ctx());
            let rows: Vec<RecordBatch> = rows.unwrap().try_collect().await.unwrap();
            counts.push(rows.iter().map(RecordBatch::num_rows).sum::<usize>());
        }
        let first = 2 * SHORT_GROUP_ROWS;
        assert_eq!(counts, [first, 60_000 - first]);
    }

    fn leaf(plan: &Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        match plan.children().first() {
            Some(input) => leaf(input),
            None => Arc::clone(plan),
        }
    }

    #[tokio::test]
    async fn a_sample_of_large_files_is_a_few_files() {
        let file = |_: usize| -> Result<RecordBatch> {
            let bytes = vec![7_u8; 1 << 20];
            let column: ArrayRef = Arc::new(BinaryViewArray::from_iter_values([bytes]));
            Ok(RecordBatch::try_from_iter([("bytes", column)])?)
        };
        let mut files = futures::stream::iter((0..200).map(file));
        let first = sample(&mut files).await.unwrap();
        assert!((60..=64).contains(&first.len()), "{}", first.len());
        assert_eq!(first.len() + files.count().await, 200);
    }
}
