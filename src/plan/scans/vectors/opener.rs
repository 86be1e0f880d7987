//! [`VectorOpener`]: opens a file here if it has vectors, and by the usual source otherwise.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener};
use datafusion::physical_expr::projection::{ProjectionExprs, Projector};
use datafusion::physical_expr::utils::reassign_expr_columns;
use futures::StreamExt;

use super::file::VectorFile;
use super::scan::Scan;
use crate::error::Result;

/// Opens a file by the usual source.
pub(super) type Usual = Arc<dyn Fn(PartitionedFile) -> Result<FileOpenFuture> + Send + Sync>;

pub(super) struct VectorOpener {
    scan: Arc<Scan>,
    expressions: Arc<Expressions>,
    usual: Usual,
}

impl VectorOpener {
    /// An opener of files whose batches have the expressions of `projection`, with `declared` as their schema.
    pub(super) fn try_new(
        scan: Scan,
        projection: &ProjectionExprs,
        declared: SchemaRef,
        usual: Usual,
    ) -> Result<Self> {
        let read = projection
            .clone()
            .try_map_exprs(|expression| reassign_expr_columns(expression, &scan.schema))?;
        let projector = read.make_projector(&scan.schema)?;
        Ok(Self {
            scan: Arc::new(scan),
            expressions: Arc::new(Expressions {
                projector,
                declared,
            }),
            usual,
        })
    }
}

impl FileOpener for VectorOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let (scan, usual) = (Arc::clone(&self.scan), Arc::clone(&self.usual));
        let expressions = Arc::clone(&self.expressions);
        Ok(Box::pin(async move {
            let Some(found) = VectorFile::open(&scan, &file).await else {
                return usual(file)?.await;
            };
            let batches = found.batches();
            let batches = batches.map(move |batch| expressions.of(&batch?));
            Ok(batches.boxed())
        }))
    }
}

/// The expressions of a scan.
struct Expressions {
    projector: Projector,
    declared: SchemaRef,
}

impl Expressions {
    fn of(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let batch = self.projector.project_batch(batch)?;
        Ok(batch.with_schema(Arc::clone(&self.declared))?)
    }
}
