//! [`Scan`]: what all files of a scan share, and how their bytes are reached.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::apply_file_schema_type_coercions;
use datafusion::datasource::physical_plan::{ParquetFileMetrics, ParquetFileReaderFactory};
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::file::metadata::PageIndexPolicy;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;

use super::chunk::Chunk;
use crate::error::Result;
use crate::storage::{GetOptions, GetResultPayload, ObjectStore};

pub(super) struct Scan {
    pub(super) readers: Arc<dyn ParquetFileReaderFactory>,
    /// The files, if these are of this machine.
    pub(super) local: Option<Arc<dyn ObjectStore>>,
    pub(super) partition: usize,
    pub(super) batch_rows: usize,
    pub(super) metadata_bytes: Option<usize>,
    pub(super) metrics: ExecutionPlanMetricsSet,
    /// The columns of the table that are in files.
    pub(super) table: SchemaRef,
    /// Those that the scan reads.
    pub(super) schema: SchemaRef,
}

impl Scan {
    pub(super) fn reader(&self, file: &PartitionedFile) -> Result<Box<dyn AsyncFileReader>> {
        let metadata_bytes = file.metadata_size_hint.or(self.metadata_bytes);
        let readers = &self.readers;
        let reader =
            readers.create_reader(self.partition, file.clone(), metadata_bytes, &self.metrics)?;
        Ok(reader)
    }

    /// What the file tells of itself, with the types that DataFusion reads strings as.
    pub(super) async fn metadata(&self, file: &PartitionedFile) -> Result<ArrowReaderMetadata> {
        let mut options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Skip);
        if let Some(schema) = &file.arrow_schema {
            options = options.with_schema(Arc::clone(schema));
        }
        let mut reader = self.reader(file)?;
        let metadata = reader.get_metadata(Some(&options)).await?;
        let found = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options.clone())?;
        match apply_file_schema_type_coercions(&self.table, found.schema()) {
            Some(schema) => {
                let options = options.with_schema(Arc::new(schema));
                Ok(ArrowReaderMetadata::try_new(metadata, options)?)
            }
            None => Ok(found),
        }
    }

    /// A part of a file, which is not yet read if the file is of this machine.
    ///
    /// # Errors
    /// If a file of this machine is another one than when it was listed.
    pub(super) async fn chunk(&self, file: &PartitionedFile, part: Range<u64>) -> Result<Chunk> {
        let place = &file.object_meta.location;
        if let Some(store) = &self.local {
            let options = GetOptions {
                head: true,
                if_match: file.object_meta.e_tag.clone(),
                ..GetOptions::default()
            };
            let found = store.get_opts(place, options).await?;
            if let GetResultPayload::File(opened, _) = found.payload {
                let metrics =
                    ParquetFileMetrics::new(self.partition, place.as_ref(), &self.metrics);
                let bytes = (part.end - part.start) as usize;
                metrics.bytes_scanned.add(bytes);
                metrics.scan_efficiency_ratio.add_part(bytes);
                let size = file.object_meta.size as usize;
                metrics.scan_efficiency_ratio.set_total(size);
                return Ok(Chunk::File(opened));
            }
        }
        let mut reader = self.reader(file)?;
        let bytes = reader.get_bytes(part.clone()).await?;
        Ok(Chunk::Memory {
            start: part.start,
            bytes,
        })
    }
}
