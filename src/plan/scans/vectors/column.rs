//! [`VectorColumn`]: the vectors of a column of a row group, from its pages. A page has the levels of repetition, those of definition,
//! and the numbers. A level of repetition of 0 begins a vector, 1 goes on with it. The highest level of definition says that there is a
//! number; a lower one stands for a NULL or an empty list. The source is the specification of Parquet: "Data Pages", "Nested
//! Encoding" and "Plain" (<https://github.com/apache/parquet-format>).

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, ListArray};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::parquet::basic::{Encoding, Type};
use datafusion::parquet::column::page::{Page, PageReader};
use datafusion::parquet::errors::Result;
use datafusion::parquet::file::metadata::ColumnChunkMetaData;
use datafusion::parquet::file::serialized_reader::SerializedPageReader;
use datafusion::parquet::schema::types::ColumnDescriptor;

use super::chunk::Chunk;
use super::levels::runs;

/// The highest level of definition of a number in a list that is a column: one for an optional list, for its elements, and for optional
/// numbers.
const DEFINED_MAX: i16 = 3;

/// Whether the values of a type are vectors that are read here.
pub(super) fn is_vector(data_type: &DataType) -> bool {
    match data_type {
        DataType::List(item) => *item.data_type() == DataType::Float32,
        DataType::FixedSizeList(item, width) => {
            *item.data_type() == DataType::Float32 && *width > 0
        }
        _ => false,
    }
}

/// Whether a leaf of a file has the numbers of lists that are a column.
pub(super) fn is_of_lists(leaf: &ColumnDescriptor) -> bool {
    leaf.physical_type() == Type::FLOAT
        && leaf.max_rep_level() == 1
        && (1..=DEFINED_MAX).contains(&leaf.max_def_level())
}

/// Whether the numbers of a column of a row group are as they are in memory, without a dictionary or other bytes in between.
pub(super) fn is_plain(chunk: &ColumnChunkMetaData) -> bool {
    let is_other = |encoding: Encoding| {
        matches!(
            encoding,
            Encoding::PLAIN_DICTIONARY | Encoding::RLE_DICTIONARY | Encoding::BYTE_STREAM_SPLIT
        )
    };
    !chunk.encodings().any(is_other)
}

/// The vectors of a column of a row group, of which each is read once.
pub(super) struct VectorColumn {
    data_type: DataType,
    /// The level of definition of a number.
    defined: u8,
    pages: SerializedPageReader<Chunk>,
    is_read: bool,
    /// The numbers of the pages so far that no vector has taken.
    numbers: VecDeque<Bytes>,
    /// The lengths of the vectors of these numbers. The last vector may go on in the next page.
    lengths: VecDeque<usize>,
}

impl VectorColumn {
    /// The vectors of a column of a row group with so many rows. `bytes` has those of the column.
    pub(super) fn try_new(
        data_type: &DataType,
        chunk: &ColumnChunkMetaData,
        rows: usize,
        bytes: Chunk,
    ) -> Result<Self> {
        Ok(Self {
            data_type: data_type.clone(),
            defined: chunk.column_descr().max_def_level() as u8,
            pages: SerializedPageReader::new(Arc::new(bytes), chunk, rows, None)?,
            is_read: false,
            numbers: VecDeque::new(),
            lengths: VecDeque::new(),
        })
    }

    /// The next vectors; `None` if there are fewer, if one is NULL, empty or has a NULL, or if the pages are damaged.
    pub(super) fn next(&mut self, rows: usize) -> Option<ArrayRef> {
        while !self.is_read && self.lengths.len() <= rows {
            self.read_page()?;
        }
        if self.lengths.len() < rows {
            return None;
        }
        let lengths: Vec<usize> = self.lengths.drain(..rows).collect();
        let numbers = self.take(lengths.iter().sum())?;
        vectors(&self.data_type, lengths, numbers)
    }

    /// Whether the pages have vectors that no call of [`Self::next`] has taken, once it took as many as the row group has rows.
    pub(super) fn has_more(&self) -> bool {
        !self.lengths.is_empty()
    }

    fn read_page(&mut self) -> Option<()> {
        let Some(page) = self.pages.get_next_page().ok()? else {
            self.is_read = true;
            return Some(());
        };
        let (repeated, defined, numbers) = parts(&page)?;
        let count = page.num_values() as usize;
        // Also bounds what damaged levels can ask for.
        let bytes = count.checked_mul(size_of::<f32>())?;
        if bytes > numbers.len() {
            return None;
        }
        let width = if self.defined > 1 { 2 } else { 1 };
        runs(&defined, width, count, |level, _| {
            (level == self.defined).then_some(())
        })?;
        let lengths = &mut self.lengths;
        runs(&repeated, 1, count, |level, times| {
            match level {
                0 => lengths.extend(std::iter::repeat_n(1, times)),
                _ => *lengths.back_mut()? += times,
            }
            Some(())
        })?;
        self.numbers.push_back(numbers.slice(..bytes));
        Some(())
    }

    /// The next numbers.
    fn take(&mut self, count: usize) -> Option<Vec<f32>> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let page = self.numbers.front_mut()?;
            let bytes = page.len().min((count - taken.len()) * size_of::<f32>());
            let bytes = page.split_to(bytes);
            let (numbers, _) = bytes.as_chunks::<{ size_of::<f32>() }>();
            taken.extend(numbers.iter().map(|number| f32::from_le_bytes(*number)));
            if page.is_empty() {
                self.numbers.pop_front();
            }
        }
        Some(taken)
    }
}

/// The levels of repetition, those of definition, and the numbers of a page.
fn parts(page: &Page) -> Option<(Bytes, Bytes, Bytes)> {
    match page {
        Page::DataPage {
            buf,
            encoding: Encoding::PLAIN,
            rep_level_encoding: Encoding::RLE,
            def_level_encoding: Encoding::RLE,
            ..
        } => {
            let (repeated, rest) = behind_length(buf)?;
            let (defined, numbers) = behind_length(&rest)?;
            Some((repeated, defined, numbers))
        }
        Page::DataPageV2 {
            buf,
            encoding: Encoding::PLAIN,
            rep_levels_byte_len,
            def_levels_byte_len,
            ..
        } => {
            let first = *rep_levels_byte_len as usize;
            let second = first.checked_add(*def_levels_byte_len as usize)?;
            let is_whole = second <= buf.len();
            is_whole.then(|| {
                (
                    buf.slice(..first),
                    buf.slice(first..second),
                    buf.slice(second..),
                )
            })
        }
        _ => None,
    }
}

/// The bytes behind their length, and the rest.
fn behind_length(bytes: &Bytes) -> Option<(Bytes, Bytes)> {
    let length = u32::from_le_bytes(*bytes.first_chunk()?);
    let end = size_of::<u32>().checked_add(length as usize)?;
    let is_whole = end <= bytes.len();
    is_whole.then(|| (bytes.slice(size_of::<u32>()..end), bytes.slice(end..)))
}

/// A column of vectors; `None` if their lengths are not those of the type.
fn vectors(data_type: &DataType, lengths: Vec<usize>, numbers: Vec<f32>) -> Option<ArrayRef> {
    if i32::try_from(numbers.len()).is_err() {
        return None;
    }
    let numbers = Arc::new(Float32Array::from(numbers));
    match data_type {
        DataType::List(item) => {
            let offsets = OffsetBuffer::from_lengths(lengths);
            let lists = ListArray::try_new(Arc::clone(item), offsets, numbers, None);
            Some(Arc::new(lists.ok()?))
        }
        DataType::FixedSizeList(item, width) => {
            let is_same = |length: &usize| i32::try_from(*length) == Ok(*width);
            if !lengths.iter().all(is_same) {
                return None;
            }
            let lists = FixedSizeListArray::try_new(Arc::clone(item), *width, numbers, None);
            Some(Arc::new(lists.ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use datafusion::arrow::array::Array;
    use datafusion::arrow::datatypes::{Field, Float32Type};
    use datafusion::arrow::record_batch::RecordBatch;
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::basic::Compression;
    use datafusion::parquet::file::properties::{
        WriterProperties, WriterPropertiesBuilder, WriterVersion,
    };
    use datafusion::parquet::file::reader::FileReader;
    use datafusion::parquet::file::serialized_reader::SerializedFileReader;

    use super::*;

    /// A column of a file of one row group, with pages of some rows: from memory, and from the file.
    fn columns(
        lists: &ArrayRef,
        version: WriterVersion,
        compression: Compression,
    ) -> [VectorColumn; 2] {
        let properties = plain()
            .set_writer_version(version)
            .set_compression(compression)
            .set_data_page_row_count_limit(7)
            .set_write_batch_size(3);
        columns_of(lists, Bytes::from(file(lists, properties)))
    }

    fn plain() -> WriterPropertiesBuilder {
        WriterProperties::builder().set_dictionary_enabled(false)
    }

    /// The bytes of a file of one column and one row group.
    fn file(lists: &ArrayRef, properties: WriterPropertiesBuilder) -> Vec<u8> {
        let batch = RecordBatch::try_from_iter([("v", Arc::clone(lists))]).unwrap();
        let mut file = Vec::new();
        let mut writer =
            ArrowWriter::try_new(&mut file, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        file
    }

    fn columns_of(lists: &ArrayRef, file: Bytes) -> [VectorColumn; 2] {
        let reader = SerializedFileReader::new(file.clone()).unwrap();
        let chunk = reader.metadata().row_group(0).column(0);
        assert!(is_plain(chunk) && is_of_lists(chunk.column_descr()));
        let (start, length) = chunk.byte_range();
        let bytes = file.slice(start as usize..(start + length) as usize);
        let mut copy = tempfile::tempfile().unwrap();
        copy.write_all(&file).unwrap();
        [Chunk::Memory { start, bytes }, Chunk::File(copy)].map(|bytes| {
            VectorColumn::try_new(lists.data_type(), chunk, lists.len(), bytes).unwrap()
        })
    }

    /// Vectors of these lengths.
    fn lists(lengths: impl Iterator<Item = usize>) -> ListArray {
        let vectors = lengths.enumerate().map(|(row, length)| {
            Some((0..length).map(move |at| Some((row * 10 + at) as f32 / 8.0)))
        });
        ListArray::from_iter_primitive::<Float32Type, _, _>(vectors)
    }

    fn fixed(rows: usize) -> ArrayRef {
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let numbers = Arc::clone(lists(std::iter::repeat_n(5, rows)).values());
        Arc::new(FixedSizeListArray::new(item, 5, numbers, None))
    }

    #[test]
    fn vectors_are_read_whole_from_pages_of_each_kind() {
        let all: [ArrayRef; 3] = [
            fixed(40),
            Arc::new(lists((0..40).map(|row| 1 + row % 4))),
            Arc::new(lists(std::iter::repeat_n(1, 40))),
        ];
        for lists in &all {
            assert!(is_vector(lists.data_type()));
            for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
                for compression in [Compression::UNCOMPRESSED, Compression::LZ4_RAW] {
                    for mut column in columns(lists, version, compression) {
                        for (start, rows) in [(0, 3), (3, 16), (19, 0), (19, 20), (39, 1)] {
                            let found = column.next(rows).unwrap();
                            assert_eq!(&found, &lists.slice(start, rows), "{version:?} {start}");
                            assert_eq!(column.has_more(), start + rows < 40);
                        }
                        assert!(column.next(1).is_none());
                    }
                }
            }
        }
    }

    #[test]
    fn vectors_with_gaps_are_left_to_the_usual_reader() {
        let whole = |row: usize| Some(vec![Some(row as f32), Some(0.5)]);
        for gap in [None, Some(vec![]), Some(vec![Some(1.0), None])] {
            let vectors = (0..40).map(|row| match row {
                30 => gap.clone(),
                _ => whole(row),
            });
            let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
            let lists: ArrayRef = Arc::new(lists);
            for mut column in columns(&lists, WriterVersion::PARQUET_1_0, Compression::SNAPPY) {
                let found = column.next(10).unwrap();
                assert_eq!(&found, &lists.slice(0, 10));
                assert!(column.next(30).is_none());
            }
        }
    }

    #[test]
    fn damaged_levels_are_left_to_the_usual_reader() {
        let pairs: ArrayRef = Arc::new(lists(std::iter::repeat_n(2, 8)));
        let properties = plain().set_writer_version(WriterVersion::PARQUET_1_0);
        let whole = file(&pairs, properties);
        // The levels of repetition 0, 1, 0, 1 … in two groups of bits, and a run of 16 levels of definition, each behind its length.
        let levels: [u8; 13] = [3, 0, 0, 0, 0x05, 0xaa, 0xaa, 2, 0, 0, 0, 0x20, 2];
        let mut places = whole.windows(levels.len());
        let start = places.position(|bytes| bytes == levels).unwrap();
        let next =
            |file: Vec<u8>| columns_of(&pairs, Bytes::from(file)).map(|mut column| column.next(8));
        assert_eq!(
            next(whole.clone()),
            [Some(Arc::clone(&pairs)), Some(Arc::clone(&pairs))]
        );
        for (place, byte) in [
            // A length beyond the page.
            (3, 0xff),
            // Fewer groups than levels.
            (4, 0x03),
            // A page whose first number begins no vector.
            (5, 0xab),
            // Fewer vectors than rows.
            (5, 0xae),
            // A length whose levels end early.
            (7, 1),
            // A vector with a NULL.
            (12, 1),
        ] {
            let mut file = whole.clone();
            assert_ne!(file[start + place], byte);
            file[start + place] = byte;
            assert_eq!(next(file), [None, None], "byte {place}");
        }
    }

    #[test]
    fn other_types_and_encodings_are_left_to_the_usual_reader() {
        let numbers = fixed(40);
        let split = plain().set_encoding(Encoding::BYTE_STREAM_SPLIT);
        for properties in [WriterProperties::builder(), split] {
            let file = Bytes::from(file(&numbers, properties));
            let reader = SerializedFileReader::new(file).unwrap();
            assert!(!is_plain(reader.metadata().row_group(0).column(0)));
        }
        let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        for other in [
            DataType::Float32,
            list(DataType::Float64),
            list(list(DataType::Float32)),
            DataType::LargeList(Arc::clone(&item)),
            DataType::FixedSizeList(item, 0),
        ] {
            assert!(!is_vector(&other), "{other}");
        }
        let nested: ArrayRef = Arc::new(ListArray::new(
            Arc::new(Field::new_list_field(numbers.data_type().clone(), true)),
            OffsetBuffer::from_lengths([40]),
            numbers,
            None,
        ));
        let file = Bytes::from(file(&nested, plain()));
        let reader = SerializedFileReader::new(file).unwrap();
        let leaf = reader.metadata().row_group(0).column(0).column_descr();
        assert!(!is_of_lists(leaf));
    }
}
