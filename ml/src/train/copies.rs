//! Exchange of copies of equal rows between ranks: each distinct row is sent once, with its number of copies per shard.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::interleave_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};

use crate::collective::Collective;
use crate::data::columns::Columns;
use crate::model::options::{DataSplit, TrainOptions};
use crate::train::raw::{RowAt, divide};
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
    let order: Vec<RowAt> = away.iter().map(|(at, _)| *at).collect();
    let mut chunks = chunks(&order, batches);
    let mut rest = away;
    loop {
        let mut message = vec![0u8];
        while message.len() < ROUND_BYTES
            && let Some(chunk) = chunks.next()
        {
            let (chunk, others) = rest.split_at(chunk.len());
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

/// The rows in chunks of at most about the bytes of a round, however much the rows differ in length.
fn chunks<'a>(
    order: &'a [RowAt],
    batches: &[RecordBatch],
) -> impl Iterator<Item = &'a [RowAt]> + use<'a> {
    let parts = divide(order, batches, ROUND_BYTES).into_iter();
    parts.flat_map(|part| part.chunks(CHUNK_ROWS_MAX))
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

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, StringArray};

    use super::*;

    #[test]
    fn long_rows_are_not_sent_together() {
        let mut texts = vec!["short".to_owned(); 3_000];
        for long in [10, 11, 12, 2_500] {
            texts[long] = "x".repeat(ROUND_BYTES / 2 + 1);
        }
        let column: ArrayRef = Arc::new(StringArray::from(texts));
        let batches = [RecordBatch::try_from_iter([("text", column)]).unwrap()];
        let order: Vec<RowAt> = (0..3_000).map(|row| (0, row)).collect();
        let lengths: Vec<usize> = chunks(&order, &batches).map(<[RowAt]>::len).collect();
        // Each chunk ends before a second long row, or when it has the most rows.
        assert_eq!(lengths, [11, 1, 1_024, 1_024, 440, 500]);
        assert_eq!(chunks(&[], &[]).count(), 0);
    }
}
