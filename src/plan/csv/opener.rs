//! [`CsvTableOpener`]: opens a file, or a part of a file, as a stream of record batches.

use std::ops::Range;
use std::sync::Arc;

use arrow::csv::reader::Decoder;
use bytes::{Buf, Bytes};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};

use super::bytes::File;
use super::diagnose::{Failed, diagnose, unclosed};
use super::header::{columns, first_record};
use super::options::{ReadOptions, is_data};
use super::quotes::Quotes;
use crate::error::Result;
use crate::storage::ObjectStore;

/// Opens the files of one scan.
pub(super) struct CsvTableOpener {
    pub(super) options: Arc<ReadOptions>,
    /// The columns of the files.
    pub(super) schema: SchemaRef,
    /// The indices of the columns to read.
    pub(super) columns: Vec<usize>,
    pub(super) batch_size: usize,
    pub(super) store: Arc<dyn ObjectStore>,
    pub(super) quotes: Arc<Quotes>,
}

impl FileOpener for CsvTableOpener {
    fn open(&self, file: PartitionedFile) -> Result<FileOpenFuture> {
        let part = file.range.map(|range| {
            let at = |offset: i64| u64::try_from(offset).unwrap_or(0);
            at(range.start)..at(range.end)
        });
        let is_whole = part
            .as_ref()
            .is_none_or(|part| *part == (0..file.object_meta.size));
        let file_size = file.object_meta.size;
        let file = File {
            store: Arc::clone(&self.store),
            path: file.object_meta.location,
        };
        let scan = Scan {
            options: Arc::clone(&self.options),
            schema: Arc::clone(&self.schema),
            wanted: self.columns.clone(),
            batch_size: self.batch_size,
            file,
            part: part.filter(|_| !is_whole),
        };
        let (quotes, size) = (Arc::clone(&self.quotes), file_size);
        Ok(Box::pin(async move {
            let is_compressed = scan.options.compression(scan.file.name()).is_compressed();
            if let Some(part) = scan.part.as_ref().filter(|_| !is_compressed) {
                quotes.check(&scan.file, &scan.options, part, size).await?;
            }
            open(scan).await
        }))
    }
}

/// The scan of one file or of a part of it.
struct Scan {
    options: Arc<ReadOptions>,
    schema: SchemaRef,
    wanted: Vec<usize>,
    batch_size: usize,
    file: File,
    part: Option<Range<u64>>,
}

async fn open(scan: Scan) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let Scan {
        options,
        schema,
        wanted,
        batch_size,
        file,
        part,
    } = scan;
    if !is_data(file.name()) {
        return Ok(futures::stream::empty().boxed());
    }
    let header = match options.has_header {
        true => match first_record(&file, &options).await? {
            Some(record) => Some(record.texts()),
            None => return Ok(futures::stream::empty().boxed()),
        },
        false => None,
    };
    let columns = columns(&file, &options, &schema, header.as_deref())?;
    let places = wanted
        .iter()
        .map(|column| columns.places[*column])
        .collect();
    let is_first = part.as_ref().is_none_or(|part| part.start == 0);
    let builder = options
        .builder(Arc::clone(&columns.schema), batch_size)?
        .with_header(options.has_header && is_first);
    let rows = Rows {
        input: file.lines(&options, part.clone()).await?,
        bytes: Bytes::new(),
        decoder: builder.with_projection(places).build_decoder(),
        is_end: false,
        has_odd_quotes: false,
        count: 0,
        options,
        schema: columns.schema,
        wanted: wanted
            .iter()
            .map(|column| columns.places[*column])
            .collect(),
        file,
        part,
    };
    Ok(futures::stream::try_unfold(rows, Rows::next).boxed())
}

/// The state of a stream of rows.
struct Rows {
    input: BoxStream<'static, Result<Bytes>>,
    bytes: Bytes,
    decoder: Decoder,
    is_end: bool,
    has_odd_quotes: bool,
    /// The number of rows emitted.
    count: usize,
    options: Arc<ReadOptions>,
    schema: SchemaRef,
    wanted: Vec<usize>,
    file: File,
    part: Option<Range<u64>>,
}

impl Rows {
    async fn next(mut self) -> Result<Option<(RecordBatch, Self)>> {
        loop {
            if self.bytes.is_empty() && !self.is_end {
                match self.input.try_next().await? {
                    Some(piece) if piece.is_empty() => continue,
                    Some(piece) => {
                        let quotes = piece.iter().filter(|byte| **byte == self.options.quote);
                        self.has_odd_quotes ^= quotes.count() % 2 == 1;
                        self.bytes = piece;
                    }
                    None => self.is_end = true,
                }
            }
            let taken = match self.decoder.decode(&self.bytes) {
                Ok(taken) => taken,
                Err(error) => return Err(self.failed(error.into()).await),
            };
            self.bytes.advance(taken);
            let is_done = self.is_end && self.bytes.is_empty();
            if self.decoder.capacity() > 0 && !is_done {
                continue;
            }
            match self.decoder.flush() {
                Ok(Some(batch)) => {
                    self.count += batch.num_rows();
                    return Ok(Some((batch, self)));
                }
                Ok(None) if is_done => return self.end().await,
                Ok(None) => {}
                Err(error) => return Err(self.failed(error.into()).await),
            }
        }
    }

    /// Fails if a quote is not closed, because its value then contains all rows after it.
    async fn end(self) -> Result<Option<(RecordBatch, Self)>> {
        let are_paired = self.options.escape.is_none() && self.options.comment.is_none();
        if self.has_odd_quotes
            && are_paired
            && let Some(error) = unclosed(&self.file, &self.options).await?
        {
            return Err(error);
        }
        Ok(None)
    }

    async fn failed(self, error: DataFusionError) -> DataFusionError {
        let failed = Failed {
            file: &self.file,
            options: &self.options,
            schema: &self.schema,
            columns: &self.wanted,
            part: self.part.clone(),
            rows: self.count,
        };
        match diagnose(failed).await {
            Ok(Some(found)) => found,
            // The file may have changed since; the error of arrow is the only information.
            Ok(None) | Err(_) => error.context(format!("file {}", self.file.shown())),
        }
    }
}
