//! Exchange of copies of equal rows between ranks: each distinct row is sent once, with its number of copies per shard.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};

use crate::collective::Collective;
use crate::data::columns::Columns;
use crate::model::options::{DataSplit, TrainOptions};
use crate::train::raw::RowAt;
use crate::train::shard::Placement;
use crate::{Error, Result};

/// Bytes that a rank sends per round; the other ranks keep the copies for their shards and drop the rest.
const ROUND_BYTES: usize = 4 << 20;
/// The most rows that are encoded at once.
const CHUNK_ROWS_MAX: usize = 1_024;

/// Copies of one row for shards of other ranks.
#[derive(Debug, PartialEq)]
pub(crate) struct Copies {
    pub(crate) placement: Placement,
    /// Shard, training copies, evaluation copies.
    pub(crate) of_shards: Vec<(usize, usize, usize)>,
}

/// Sends the copies of the `away` rows of `batches`, and returns the copies that other ranks sent to shards that are
/// `ours`: batches, with the copies of each row.
pub(crate) fn exchange(
    away: &[(RowAt, Copies)],
    batches: &[RecordBatch],
    columns: &Columns,
    options: &TrainOptions,
    collective: &dyn Collective,
    ours: impl Fn(usize) -> bool,
) -> Result<Vec<(RecordBatch, Vec<Copies>)>> {
    let mut received = Vec::new();
    if collective.world_size() == 1 {
        return Ok(received);
    }
    let schema = match batches.first() {
        Some(batch) => batch.schema(),
        None => schema(columns, options),
    };
    let fields = schema.fields().iter();
    let fields = fields.map(|field| SortField::new(field.data_type().clone()));
    let converter = RowConverter::new(fields.collect())?;
    let chunk_rows = chunk_rows(batches);
    let mut rest = away;
    loop {
        let mut message = vec![0u8];
        while message.len() < ROUND_BYTES && !rest.is_empty() {
            let (chunk, others) = rest.split_at(rest.len().min(chunk_rows));
            rest = others;
            write(chunk, batches, &converter, &mut message)?;
        }
        message[0] = u8::from(!rest.is_empty());
        let mut is_last = true;
        for (rank, message) in collective.all_gather(message)?.iter().enumerate() {
            let (&has_more, content) = message.split_first().ok_or_else(cut_off)?;
            is_last &= has_more == 0;
            if rank != collective.rank() && !content.is_empty() {
                received.extend(read(content, &schema, &converter, &ours)?);
            }
        }
        if is_last {
            return Ok(received);
        }
    }
}

/// The number of rows that take about the bytes of a round.
fn chunk_rows(batches: &[RecordBatch]) -> usize {
    // Columns that came in one message share its buffer, so only the bytes of the values count.
    let columns = batches.iter().flat_map(RecordBatch::columns);
    let bytes = columns.map(|column| column.to_data().get_slice_memory_size().unwrap_or(0));
    let bytes: usize = bytes.sum();
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    (ROUND_BYTES / (bytes / rows.max(1)).max(1)).clamp(1, CHUNK_ROWS_MAX)
}

/// The schema of a rank that has no rows.
fn schema(columns: &Columns, options: &TrainOptions) -> SchemaRef {
    let of_column = |field: &FieldRef| match options.pixels_type(field.data_type()) {
        Some(pixels) => Arc::new(field.as_ref().clone().with_data_type(pixels)),
        None => Arc::clone(field),
    };
    let columns = columns.schema();
    let mut fields: Vec<FieldRef> = columns.fields().iter().map(of_column).collect();
    if let DataSplit::Column { name } = &options.data_split {
        fields.push(Arc::new(Field::new(name, DataType::Boolean, true)));
    }
    Arc::new(Schema::new(fields))
}

fn write(
    chunk: &[(RowAt, Copies)],
    batches: &[RecordBatch],
    converter: &RowConverter,
    message: &mut Vec<u8>,
) -> Result<()> {
    let batches: Vec<&RecordBatch> = batches.iter().collect();
    let indices: Vec<RowAt> = chunk.iter().map(|(at, _)| *at).collect();
    let batch = interleave_record_batch(&batches, &indices)?;
    let rows = converter.convert_columns(batch.columns())?;
    for (row, (_, copies)) in rows.iter().zip(chunk) {
        message.extend(copies.placement.to_bytes());
        write_count(copies.of_shards.len(), message);
        for (shard, train, eval) in &copies.of_shards {
            [*shard, *train, *eval]
                .into_iter()
                .for_each(|count| write_count(count, message));
        }
        write_count(row.as_ref().len(), message);
        message.extend(row.as_ref());
    }
    Ok(())
}

fn write_count(count: usize, message: &mut Vec<u8>) {
    message.extend((count as u64).to_le_bytes());
}

/// The rows with copies for shards that are `ours`, if there are any.
fn read(
    mut content: &[u8],
    schema: &SchemaRef,
    converter: &RowConverter,
    ours: impl Fn(usize) -> bool,
) -> Result<Option<(RecordBatch, Vec<Copies>)>> {
    let parser = converter.parser();
    let (mut rows, mut copies) = (Vec::new(), Vec::new());
    while !content.is_empty() {
        let placement = take(&mut content, 16)?;
        let placement = placement.try_into().map_err(|_| cut_off())?;
        let mut of_shards = Vec::new();
        for _ in 0..read_count(&mut content)? {
            let mut next = || read_count(&mut content);
            let of_shard = (next()?, next()?, next()?);
            of_shards.extend(ours(of_shard.0).then_some(of_shard));
        }
        let length = read_count(&mut content)?;
        let row = take(&mut content, length)?;
        if !of_shards.is_empty() {
            copies.push(Copies {
                placement: Placement::from_bytes(placement),
                of_shards,
            });
            rows.push(parser.parse(row));
        }
    }
    if rows.is_empty() {
        return Ok(None);
    }
    let columns = converter.convert_rows(rows)?;
    let batch = RecordBatch::try_new(Arc::clone(schema), columns)?;
    Ok(Some((batch, copies)))
}

fn take<'a>(content: &mut &'a [u8], bytes: usize) -> Result<&'a [u8]> {
    let (head, tail) = content.split_at_checked(bytes).ok_or_else(cut_off)?;
    *content = tail;
    Ok(head)
}

fn read_count(content: &mut &[u8]) -> Result<usize> {
    let bytes = take(content, 8)?.try_into().map_err(|_| cut_off())?;
    Ok(u64::from_le_bytes(bytes) as usize)
}

fn cut_off() -> Error {
    Error::Internal("message of a worker: its rows are cut off".into())
}
