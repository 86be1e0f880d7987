//! [`declared`]: files whose batches have the schema that their scan declares. DataFusion replaces a column that is known of a
//! file by its value, which makes a batch's column not nullable where the scan's is; operators on a cluster compare both.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::projection::ProjectionExprs;
use futures::StreamExt;

use crate::error::Result;

struct Declared {
    inner: Arc<dyn FileOpener>,
    schema: SchemaRef,
}

/// An opener of files whose batches have the schema of this projection of a table.
///
/// # Errors
/// If the projection does not fit the table.
pub(crate) fn declared(
    inner: Arc<dyn FileOpener>,
    table: &TableSchema,
    projection: &ProjectionExprs,
) -> Result<Arc<dyn FileOpener>> {
    let schema = Arc::new(projection.project_schema(table.table_schema())?);
    Ok(Arc::new(Declared { inner, schema }))
}

impl FileOpener for Declared {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let (opening, schema) = (self.inner.open(file)?, Arc::clone(&self.schema));
        Ok(Box::pin(async move {
            let batches = opening.await?;
            let batches = batches.map(move |batch| Ok(batch?.with_schema(Arc::clone(&schema))?));
            Ok(batches.boxed())
        }))
    }
}
