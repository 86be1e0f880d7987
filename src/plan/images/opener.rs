//! [`ImageOpener`]: reads a file as one row.

use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, BinaryViewArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener};
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::error::{Result, SqlState, sql_err};
use crate::storage::{GetOptions, ObjectMeta, ObjectStore, shown_path};

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Reads the files of one scan.
pub(super) struct ImageOpener {
    store: Arc<dyn ObjectStore>,
    /// The column of the bytes, or no column if they are not used.
    schema: SchemaRef,
}

impl ImageOpener {
    pub(super) fn new(store: Arc<dyn ObjectStore>, schema: SchemaRef) -> Self {
        Self { store, schema }
    }
}

impl FileOpener for ImageOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let (store, schema) = (Arc::clone(&self.store), Arc::clone(&self.schema));
        Ok(Box::pin(rows(store, schema, file.object_meta)))
    }
}

async fn rows(
    store: Arc<dyn ObjectStore>,
    schema: SchemaRef,
    file: ObjectMeta,
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let row = row(store.as_ref(), schema, &file).await;
    Ok(futures::stream::iter([row]).boxed())
}

async fn row(store: &dyn ObjectStore, schema: SchemaRef, file: &ObjectMeta) -> Result<RecordBatch> {
    let mut columns: Vec<ArrayRef> = Vec::new();
    if !schema.fields().is_empty() {
        let bytes = read(store, file).await?;
        columns.push(Arc::new(BinaryViewArray::from_iter_values([bytes])));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(1));
    Ok(RecordBatch::try_new_with_options(
        schema, columns, &options,
    )?)
}

async fn read(store: &dyn ObjectStore, file: &ObjectMeta) -> Result<Bytes> {
    check_size(store, file)?;
    // What has no bytes may be a pipe, which would never end.
    if file.size == 0 {
        return Ok(Bytes::new());
    }
    let found = store
        .get_opts(&file.location, GetOptions::default())
        .await?;
    // The file may have grown since it was listed.
    check_size(store, &found.meta)?;
    Ok(found.bytes().await?)
}

fn check_size(store: &dyn ObjectStore, file: &ObjectMeta) -> Result<()> {
    if file.size <= FILE_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "{} has {} bytes; files of at most {FILE_BYTES_MAX} bytes are read as images",
        shown_path(store, &file.location),
        file.size
    );
    Err(sql_err(SqlState::Data, message))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::execution::object_store::ObjectStoreUrl;
    use datafusion::execution::runtime_env::RuntimeEnv;

    use super::*;
    use crate::error::report;
    use crate::storage::StorePath;

    #[tokio::test]
    async fn a_file_that_has_grown_too_large_is_not_read() {
        let local = ObjectStoreUrl::local_filesystem();
        let store = RuntimeEnv::default().object_store(local).unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        let location = StorePath::from_absolute_path(file.path()).unwrap();
        let options = GetOptions {
            head: true,
            ..GetOptions::default()
        };
        file.as_file().set_len(3).unwrap();
        let listed = store.get_opts(&location, options).await.unwrap().meta;
        assert_eq!(read(store.as_ref(), &listed).await.unwrap().len(), 3);
        file.as_file().set_len(FILE_BYTES_MAX + 1).unwrap();
        let error = read(store.as_ref(), &listed).await.unwrap_err();
        assert_eq!(report(&error).state, SqlState::Data);
    }

    #[tokio::test]
    async fn a_file_whose_bytes_are_not_used_is_not_opened() {
        let local = ObjectStoreUrl::local_filesystem();
        let store = RuntimeEnv::default().object_store(local).unwrap();
        let missing = ObjectMeta {
            location: "nowhere/a.png".into(),
            last_modified: Default::default(),
            size: 1,
            e_tag: None,
            version: None,
        };
        let row_of = |fields: Vec<Field>| {
            let schema = Arc::new(Schema::new(fields));
            row(store.as_ref(), schema, &missing)
        };
        assert_eq!(row_of(vec![]).await.unwrap().num_rows(), 1);
        let bytes = Field::new("bytes", DataType::BinaryView, false);
        assert!(row_of(vec![bytes]).await.is_err());
    }
}
