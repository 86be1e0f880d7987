//! Writes rows to a new file of a managed table.

use std::sync::Arc;

use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::parquet::arrow::AsyncArrowWriter;
use futures::{Stream, StreamExt};

use super::encoding::{SAMPLE_BYTES, SAMPLE_ROWS, properties};
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
    let mut writer = AsyncArrowWriter::try_new(writer, Arc::clone(schema), Some(properties))?;
    let mut count = 0;
    for batch in first {
        count += batch.num_rows();
        writer.write(&batch).await?;
    }
    while let Some(batch) = rows.next().await.transpose()? {
        count += batch.num_rows();
        writer.write(&batch).await?;
    }
    writer.finish().await?;
    let bytes = writer.bytes_written() as u64;
    file.finish().await.map_err(failed)?;
    written.files.push(ManagedFile {
        directory: name,
        rows: count as u64,
        bytes: Some(bytes),
    });
    Ok(written)
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
    use datafusion::arrow::array::{ArrayRef, BinaryViewArray};

    use super::*;

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
