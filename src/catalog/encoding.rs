//! The Parquet encoding of managed tables, chosen for fast reads.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, GenericListArray, OffsetSizeTrait};
use datafusion::arrow::datatypes::{ArrowNativeType, DataType, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::hash_utils::{RandomState, create_hashes};
use datafusion::parquet::arrow::ArrowSchemaConverter;
use datafusion::parquet::basic::{Compression, Encoding, Type, ZstdLevel};
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};

use crate::error::Result;
use crate::storage::Place;

/// The sample that shows which columns repeat their values: this many rows, or fewer if the rows are large.
pub(crate) const SAMPLE_ROWS: usize = 32_768;
pub(crate) const SAMPLE_BYTES: usize = 64 << 20;
/// Rows of a row group. On a disk, few enough rows for the processor's caches and for several readers per file; in a
/// store, enough rows to be worth a request.
const LOCAL_GROUP_ROWS: usize = 128 << 10;
const REMOTE_GROUP_ROWS: usize = 1 << 20;
/// The maximum bytes of a row group, which stays in memory until it is written.
const GROUP_BYTES: usize = 256 << 20;
/// A scan splits a file only between its row groups. So the first rows of a file on a disk are in short row groups: a table that
/// would have a single one keeps all cores busy. Further rows are enough for that in groups of the usual length.
pub(super) const SHORT_GROUP_ROWS: usize = 16 << 10;

/// The first rows of a file at `place` that are in row groups of [`SHORT_GROUP_ROWS`].
pub(super) fn rows_in_short_groups(place: &Place) -> usize {
    match place {
        Place::Local(_) => LOCAL_GROUP_ROWS,
        Place::Remote(_) => 0,
    }
}

/// The writer properties of a file at `place` that begins with the rows of `sample`.
pub(crate) fn properties(
    schema: &SchemaRef,
    place: &Place,
    sample: &[RecordBatch],
) -> Result<WriterProperties> {
    let (compression, group_rows) = match place {
        // A disk is faster than zstd, a network is slower.
        Place::Local(_) => (Compression::LZ4_RAW, LOCAL_GROUP_ROWS),
        Place::Remote(_) => (Compression::ZSTD(ZstdLevel::try_new(3)?), REMOTE_GROUP_ROWS),
    };
    let mut properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(group_rows))
        .set_max_row_group_bytes(Some(GROUP_BYTES));
    let parquet = ArrowSchemaConverter::new().convert(schema)?;
    let repeating = repeating(sample);
    for (index, column) in parquet.columns().iter().enumerate() {
        let path = column.path().clone();
        let is_repeating = repeating.get(index) != Some(&false);
        if !is_repeating {
            // A dictionary without repeated values would only cost reads.
            properties = properties.set_column_dictionary_enabled(path.clone(), false);
        }
        let has_vectors = column.max_rep_level() > 0 && column.physical_type() == Type::FLOAT;
        if has_vectors && !is_repeating && matches!(place, Place::Local(_)) {
            // Their bits are as good as random, so they do not get shorter.
            properties = properties.set_column_compression(path.clone(), Compression::UNCOMPRESSED);
        }
        // For columns without a dictionary, or with a full one: smaller than plain values, so less to decompress.
        properties = match column.physical_type() {
            Type::INT32 | Type::INT64 => {
                properties.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            Type::BYTE_ARRAY => {
                properties.set_column_encoding(path, Encoding::DELTA_LENGTH_BYTE_ARRAY)
            }
            // Bounds ignore NaN, so a filter would skip pages with NaN values.
            Type::FLOAT | Type::DOUBLE | Type::FIXED_LEN_BYTE_ARRAY => {
                properties.set_column_statistics_enabled(path, EnabledStatistics::None)
            }
            Type::BOOLEAN | Type::INT96 => properties,
        };
    }
    Ok(properties.build())
}

/// For each leaf column of the file, from left to right, whether each distinct value of the sample occurs at least
/// twice on average.
fn repeating(sample: &[RecordBatch]) -> Vec<bool> {
    let leaves_of = |batch: &RecordBatch| batch.columns().iter().flat_map(leaves).collect();
    let parts: Vec<Vec<ArrayRef>> = sample.iter().map(leaves_of).collect();
    let columns = parts.first().map_or(0, Vec::len);
    (0..columns)
        .map(|column| repeats(parts.iter().map(|part| &part[column])))
        .collect()
}

fn repeats<'a>(parts: impl Iterator<Item = &'a ArrayRef>) -> bool {
    let state = RandomState::with_seed(0);
    let (mut distinct, mut count) = (HashSet::new(), 0);
    for part in parts {
        let part = part.slice(0, part.len().min(SAMPLE_ROWS));
        let mut hashes = vec![0; part.len()];
        if create_hashes([&part], &state, &mut hashes).is_err() {
            // The type cannot be hashed, so nothing is known about its values.
            return false;
        }
        count += part.len() - part.null_count();
        let values = hashes.into_iter().enumerate();
        distinct.extend(values.filter_map(|(row, hash)| part.is_valid(row).then_some(hash)));
    }
    distinct.len() * 2 <= count
}

/// The leaf arrays of an array, from left to right.
fn leaves(array: &ArrayRef) -> Vec<ArrayRef> {
    match array.data_type() {
        DataType::Struct(_) => array
            .as_struct()
            .columns()
            .iter()
            .flat_map(leaves)
            .collect(),
        DataType::List(_) => leaves(&items(array.as_list::<i32>())),
        DataType::LargeList(_) => leaves(&items(array.as_list::<i64>())),
        DataType::FixedSizeList(..) => leaves(array.as_fixed_size_list().values()),
        DataType::ListView(_) => leaves(array.as_list_view::<i32>().values()),
        DataType::LargeListView(_) => leaves(array.as_list_view::<i64>().values()),
        DataType::Map(..) => {
            let map = array.as_map();
            let (first, last) = (
                map.offsets()[0].as_usize(),
                map.offsets()[map.len()].as_usize(),
            );
            [map.keys(), map.values()]
                .into_iter()
                .flat_map(|entries| leaves(&entries.slice(first, last - first)))
                .collect()
        }
        _ => vec![Arc::clone(array)],
    }
}

/// The items of the lists, without the items outside of a slice.
fn items<O: OffsetSizeTrait>(lists: &GenericListArray<O>) -> ArrayRef {
    let offsets = lists.offsets();
    let (first, last) = (offsets[0].as_usize(), offsets[lists.len()].as_usize());
    lists.values().slice(first, last - first)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        Float64Array, Int64Array, Int64Builder, ListBuilder, StringArray, StructArray,
    };
    use datafusion::arrow::datatypes::Field;

    use super::*;

    #[test]
    fn columns_whose_values_repeat_are_found_below_lists_and_structures() {
        let mut lists = ListBuilder::new(Int64Builder::new());
        for row in 0..100 {
            lists.append_value([Some(row % 3), None, Some(1)]);
        }
        let unique: ArrayRef = Arc::new(Float64Array::from_iter_values((0..100).map(f64::from)));
        let words: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..100).map(|row| format!("word {}", row % 7)),
        ));
        let fields = [("f", &unique), ("s", &words)].map(|(name, array)| {
            let field = Field::new(name, array.data_type().clone(), true);
            (Arc::new(field), Arc::clone(array))
        });
        let few: ArrayRef = Arc::new(Int64Array::from_iter(
            (0..100).map(|row| (row % 2 == 0).then_some(row)),
        ));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("lists", Arc::new(lists.finish())),
            ("both", Arc::new(StructArray::from(fields.to_vec()))),
            ("none", Arc::new(Int64Array::from(vec![None; 100]))),
            ("few", few),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let halves = [batch.slice(0, 50), batch.slice(50, 50)];
        assert_eq!(repeating(&halves), [true, false, true, true, false]);
        assert_eq!(repeating(&[]), [false; 0]);
    }
}
