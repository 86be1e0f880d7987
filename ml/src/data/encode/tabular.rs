//! [`Encoder`]: record batches → tensors of standardised numbers and category ids.
//!
//! ```text
//! column ──coerce, parts──▶ numbers f64 ──(x - mean) / std──▶ f32 or f64 [rows, numbers]; ids stay as they are
//!                           categories  ──vocabulary───────▶ u32 [rows, categories]
//! ```
//!
//! An image becomes a tensor of its own ([`PIXELS`]).
//!
//! Category ids are numbered across all vocabularies of a model, so that one table holds the weights of all categories.
//! The first id of each vocabulary stands for values that training did not see; its weight stays zero.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use candle_core::Tensor;

use crate::Result;
use crate::data::apart::parts;
use crate::data::coerce::coerced;
use crate::data::columns::Column;
use crate::data::encode::column::ColumnEncoder;
use crate::data::encode::ids::rows_without_ids;
use crate::data::encode::lookup::Lookup;
use crate::data::encode::plain::{PlainColumn, PlainValues, encode_plain};
use crate::data::encode::shape::InputShape;
use crate::data::encode::standardise::{Real, Standardiser};
use crate::data::image::PIXELS;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::parts::{CategoryPart, Parts};
use crate::data::precision::Precision;
use crate::device::HOST;

/// Standardised numbers, row-major `[rows, numbers]`.
pub const NUMBERS: &str = "numbers";
/// Category ids, row-major `[rows, categories]`.
pub const CATEGORIES: &str = "categories";

/// Encodes batches as inputs of a trained model.
#[derive(Debug)]
pub struct Encoder {
    columns: Vec<ColumnEncoder>,
    lookups: Vec<Vec<Lookup>>,
    shape: InputShape,
    precision: Precision,
    /// The number of ids of each column that holds ids.
    ids: Vec<Option<usize>>,
}

impl Encoder {
    /// An encoder from the learnt encodings, for a model of this precision.
    pub fn new(columns: Vec<ColumnEncoder>, precision: Precision) -> Self {
        let mut shape = InputShape::default();
        let mut lookups = Vec::with_capacity(columns.len());
        for column in &columns {
            shape.add(column);
            let of_column = column.lookups(shape.category_ids);
            for lookup in &of_column {
                shape.unseen_ids.push(shape.category_ids);
                shape.category_ids += lookup.length();
            }
            lookups.push(of_column);
        }
        Self {
            ids: vec![None; columns.len()],
            columns,
            lookups,
            shape,
            precision,
        }
    }

    /// Where `ids` says how many ids there are, the numbers of the column are not standardised, and must be whole numbers from 0
    /// to below; a row with another number is a failure. A NULL becomes 0.
    pub fn with_ids(mut self, ids: impl Fn(&Column) -> Option<usize>) -> Self {
        for (encoder, of_column) in self.columns.iter_mut().zip(&mut self.ids) {
            *of_column = ids(&encoder.column);
            if of_column.is_some() {
                encoder.numbers.fill(Standardiser::IDENTITY);
            }
        }
        self
    }

    /// An encoder of some of the columns, whose categories have the ids that they have here.
    pub(crate) fn part(&self, columns: &[usize]) -> Self {
        let mut shape = InputShape {
            category_ids: self.shape.category_ids,
            unseen_ids: self.shape.unseen_ids.clone(),
            ..InputShape::default()
        };
        columns.iter().for_each(|at| shape.add(&self.columns[*at]));
        let lookups = columns.iter().map(|at| self.lookups[*at].clone());
        Self {
            columns: columns.iter().map(|at| self.columns[*at].clone()).collect(),
            lookups: lookups.collect(),
            shape,
            precision: self.precision,
            ids: columns.iter().map(|at| self.ids[*at]).collect(),
        }
    }

    /// The id of unseen values of the first category of a column.
    pub(crate) fn first_id(&self, column: usize) -> u32 {
        let lookup = self.lookups[column].first();
        lookup.map_or(0, |lookup| lookup.id(None))
    }

    /// Whether some numbers are ids.
    pub(crate) fn has_ids(&self) -> bool {
        self.ids.iter().any(Option::is_some)
    }

    /// The widths of the tensors that [`Encoder::encode`] returns.
    pub fn shape(&self) -> &InputShape {
        &self.shape
    }

    /// For each id of the categories, the id of the same value in an encoder of the same columns; `None` for a value that it does
    /// not know.
    pub(crate) fn ids_in(&self, other: &Self) -> Vec<Option<u32>> {
        let mut ids = Vec::with_capacity(self.shape.category_ids);
        let theirs = other.lookups.iter().flatten();
        for (ours, theirs) in self.lookups.iter().flatten().zip(theirs) {
            ours.add_ids_in(theirs, &mut ids);
        }
        ids
    }

    /// The learnt encodings, column by column.
    pub fn columns(&self) -> &[ColumnEncoder] {
        &self.columns
    }

    /// Memory of `rows` encoded rows in bytes.
    pub fn bytes(&self, rows: usize) -> usize {
        let number = self.precision.dtype().size_in_bytes();
        let images = self.columns.iter().filter_map(|of| of.image.as_ref());
        let pixels: usize = images.map(|image| image.reader.numbers()).sum();
        rows * (self.shape.numbers * number + self.shape.categories * size_of::<u32>() + pixels)
    }

    /// The most memory that an image of `batch` takes while it is decoded, in bytes.
    pub fn decoding_bytes(&self, batch: &RecordBatch) -> usize {
        let columns = self.columns.iter().zip(batch.columns());
        let images = columns.filter_map(|(encoder, array)| {
            let image = encoder.image.as_ref()?;
            Some(image.decoding_bytes(array))
        });
        images.max().unwrap_or(0)
    }

    /// Encodes `batch` as [`NUMBERS`], [`CATEGORIES`] and [`PIXELS`], as far as the model has them. Its columns are the
    /// features in the order of the signature, in the types of the signature or in types that hold the same values.
    ///
    /// A NULL number becomes the mean. A NULL category becomes `frequent[column][category]`; if that is `None`, or without
    /// `frequent`, it gets the id of unseen values.
    ///
    /// A value that does not fit the type of training, an array of another length, or a file that is no image is a failure
    /// of its row.
    pub fn encode(
        &self,
        batch: &RecordBatch,
        frequent: Option<&[Vec<Option<u32>>]>,
    ) -> Result<Inputs> {
        match self.precision {
            Precision::Single => self.encode_as::<f32>(batch, frequent),
            Precision::Double => self.encode_as::<f64>(batch, frequent),
        }
    }

    fn encode_as<T: Real>(
        &self,
        batch: &RecordBatch,
        frequent: Option<&[Vec<Option<u32>>]>,
    ) -> Result<Inputs> {
        let rows = batch.num_rows();
        let mut numbers = vec![T::zero(); rows * self.shape.numbers];
        let mut categories = vec![0; rows * self.shape.categories];
        let mut report = RowReport::default();
        let columns = self
            .columns
            .iter()
            .zip(batch.columns())
            .map(|(encoder, array)| match encoder.image {
                Some(_) => Ok((Arc::clone(array), vec![])),
                None => coerced(&encoder.column.name, array, &encoder.column.data_type),
            })
            .collect::<Result<Vec<_>>>()?;
        let (mut number, mut category) = (0, 0);
        let mut pixels = None;
        let mut plain = Vec::with_capacity(self.columns.len());
        for (index, (encoder, (array, failures))) in self.columns.iter().zip(&columns).enumerate() {
            let name = &encoder.column.name;
            if let Some(image) = &encoder.image {
                let images = image.encode(name, array)?;
                report.add(name, images.valid.as_ref(), images.failures);
                pixels = Some(images.pixels);
                continue;
            }
            if let Some(keys) = &encoder.keys {
                let found = Parts {
                    valid: array.logical_nulls(),
                    ..Parts::default()
                };
                let found = found.failing(failures, rows);
                let positions = keys.positions(array)?;
                let lookup = &self.lookups[index][0];
                let ids = categories
                    .iter_mut()
                    .skip(category)
                    .step_by(self.shape.categories);
                for (row, (id, position)) in ids.zip(&positions).enumerate() {
                    *id = lookup.id(*position);
                    report.unseen += usize::from(position.is_none() && found.is_valid(row));
                }
                report.add(name, found.valid.as_ref(), found.failures);
                category += 1;
                continue;
            }
            let width = encoder.numbers.len();
            let values = PlainValues::of(array, width);
            let ids = self.ids[index];
            let is_plain = failures.is_empty() && ids.is_none();
            if let Some(values) = values.filter(|_| is_plain) {
                plain.push(PlainColumn {
                    values,
                    standardisers: &encoder.numbers,
                    offset: number,
                });
                number += width;
                continue;
            }
            let parts = parts(name, array, Some(width))?;
            let mut parts = parts.failing(failures, rows);
            if let Some(count) = ids {
                let others = rows_without_ids(name, &parts, count);
                parts = parts.failing(&others, rows);
            }
            self.encode_numbers(encoder, &parts, number, &mut numbers);
            let frequent = frequent.map(|frequent| frequent[index].as_slice());
            report.unseen +=
                self.encode_categories(index, &parts, frequent, category, &mut categories);
            report.add(name, parts.valid.as_ref(), parts.failures);
            number += width;
            category += encoder.vocabularies.len();
        }
        encode_plain(&plain, self.shape.numbers, &mut numbers);
        report.failures.sort();
        report.failures.dedup_by_key(|(row, _)| *row);
        let mut inputs = Inputs::new(rows);
        if self.shape.numbers > 0 {
            let shape = (rows, self.shape.numbers);
            inputs = inputs.with(NUMBERS, Tensor::from_vec(numbers, shape, &HOST)?)?;
        }
        if self.shape.categories > 0 {
            let shape = (rows, self.shape.categories);
            inputs = inputs.with(CATEGORIES, Tensor::from_vec(categories, shape, &HOST)?)?;
        }
        if let Some(pixels) = pixels {
            inputs = inputs.with(PIXELS, pixels)?;
        }
        inputs.report = report;
        Ok(inputs)
    }

    fn encode_numbers<T: Real>(
        &self,
        encoder: &ColumnEncoder,
        parts: &Parts,
        offset: usize,
        numbers: &mut [T],
    ) {
        let (width, stride) = (encoder.numbers.len(), self.shape.numbers);
        if width == 0 {
            return;
        }
        for (row, numbers) in numbers.chunks_exact_mut(stride).enumerate() {
            if !parts.is_valid(row) {
                continue;
            }
            let values = &parts.numbers[row * width..][..width];
            let places = numbers[offset..].iter_mut();
            for ((number, &value), Standardiser { mean, std }) in
                places.zip(values).zip(&encoder.numbers)
            {
                *number = T::of((value - mean) * (1.0 / std));
            }
        }
    }

    /// Writes the category ids of a column, and counts the values that training did not see.
    fn encode_categories(
        &self,
        column: usize,
        parts: &Parts,
        frequent: Option<&[Option<u32>]>,
        offset: usize,
        categories: &mut [u32],
    ) -> usize {
        let stride = self.shape.categories;
        let mut unseen = 0;
        for (position, (part, lookup)) in parts
            .categories
            .iter()
            .zip(&self.lookups[column])
            .enumerate()
        {
            // A column without any value, or with values that nobody counted, has no most frequent value.
            let imputed = frequent.and_then(|frequent| frequent[position]);
            // The position of each name of a fixed vocabulary, if training saw it.
            let known: Vec<Option<u32>> = match part {
                CategoryPart::Coded(_, names, _) => {
                    names.iter().map(|name| lookup.position(name)).collect()
                }
                CategoryPart::Text(_) => Vec::new(),
            };
            for (row, ids) in categories.chunks_exact_mut(stride).enumerate() {
                let found = match part {
                    _ if !parts.is_valid(row) => imputed,
                    CategoryPart::Coded(codes, ..) => known[codes[row] as usize],
                    CategoryPart::Text(values) => lookup.position(values.value(row)),
                };
                unseen += usize::from(found.is_none() && parts.is_valid(row));
                ids[offset + position] = lookup.id(found);
            }
        }
        unseen
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Date32Array, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field};

    use super::*;
    use crate::data::encode::column::Vocabulary;

    fn encoded_numbers(inputs: &Inputs) -> Vec<f32> {
        let numbers = inputs.get(NUMBERS).unwrap().flatten_all().unwrap();
        numbers.to_vec1().unwrap()
    }

    fn categories(inputs: &Inputs) -> Vec<u32> {
        let categories = inputs.get(CATEGORIES).unwrap().flatten_all().unwrap();
        categories.to_vec1().unwrap()
    }

    #[test]
    fn an_unseen_value_gets_the_reserved_id() {
        let column = Column {
            name: "colour".into(),
            data_type: DataType::Utf8,
        };
        let vocabulary = Vocabulary {
            part: String::new(),
            values: vec!["blue".into(), "red".into()],
            buckets: None,
        };
        let encoder = Encoder::new(
            vec![ColumnEncoder {
                column,
                numbers: vec![],
                vocabularies: vec![vocabulary],
                image: None,
                keys: None,
            }],
            Precision::Single,
        );
        let colours: ArrayRef = Arc::new(StringArray::from(vec![
            Some("red"),
            Some("green"),
            None,
            Some("blue"),
        ]));
        let features = encoder
            .encode(
                &RecordBatch::try_from_iter([("colour", colours)]).unwrap(),
                None,
            )
            .unwrap();
        assert_eq!(categories(&features), [2, 0, 0, 1]);
        assert_eq!(features.report.unseen, 1);
        assert_eq!(features.report.valid.unwrap().null_count(), 1);
    }

    #[test]
    fn large_integers_keep_their_differences() {
        let column = Column {
            name: "id".into(),
            data_type: DataType::Int64,
        };
        let numbers = vec![Standardiser {
            mean: 1e15 + 0.5,
            std: 0.5,
        }];
        let encoder = Encoder::new(
            vec![ColumnEncoder {
                column,
                numbers,
                vocabularies: vec![],
                image: None,
                keys: None,
            }],
            Precision::Single,
        );
        let ids: ArrayRef = Arc::new(Int64Array::from(vec![
            1_000_000_000_000_000,
            1_000_000_000_000_001,
        ]));
        let features = encoder
            .encode(&RecordBatch::try_from_iter([("id", ids)]).unwrap(), None)
            .unwrap();
        assert_eq!(encoded_numbers(&features), [-1.0, 1.0]);
    }

    #[test]
    fn columns_are_encoded_the_same_with_and_without_nulls() {
        let standardiser = |mean: f64| Standardiser { mean, std: 0.3 };
        let column = |name: &str, data_type: &DataType, numbers: usize| ColumnEncoder {
            column: Column {
                name: name.into(),
                data_type: data_type.clone(),
            },
            numbers: (0..numbers).map(|n| standardiser(n as f64)).collect(),
            vocabularies: vec![],
            image: None,
            keys: None,
        };
        let count = 700;
        let values: Vec<f32> = (0..count * 3).map(|n| n as f32 / 7.0 - 90.0).collect();
        let one = arrow::array::Float32Array::from(values[..count].to_vec());
        let item = Arc::new(Field::new_list_field(DataType::Float32, true));
        let flat: ArrayRef = Arc::new(arrow::array::Float32Array::from(values));
        let lists = arrow::array::FixedSizeListArray::new(item, 3, flat, None);
        let with_null = |array: &dyn Array| {
            let null = arrow::array::new_null_array(array.data_type(), 1);
            arrow::compute::concat(&[array, null.as_ref()]).unwrap()
        };
        let encoder = Encoder::new(
            vec![
                column("lists", lists.data_type(), 3),
                column("numbers", &DataType::Float32, 1),
                column("integers", &DataType::Int64, 1),
            ],
            Precision::Single,
        );
        let integers = Int64Array::from_iter_values(0..count as i64);
        let plain: [ArrayRef; 3] = [Arc::new(lists), Arc::new(one), Arc::new(integers)];
        let apart: [ArrayRef; 3] = plain.each_ref().map(|array| with_null(array.as_ref()));
        let encode = |[lists, numbers, integers]: [ArrayRef; 3]| {
            let columns = [
                ("lists", lists),
                ("numbers", numbers),
                ("integers", integers),
            ];
            let batch =
                RecordBatch::try_from_iter_with_nullable(columns.map(|(n, c)| (n, c, true)));
            // Slices begin within a block, and their arrays have an offset.
            encoder
                .encode(&batch.unwrap().slice(5, count - 5), None)
                .unwrap()
        };
        assert_eq!(
            encoded_numbers(&encode(plain)),
            encoded_numbers(&encode(apart))
        );
    }

    #[test]
    fn a_month_that_training_did_not_see_is_unseen() {
        let column = Column {
            name: "d".into(),
            data_type: DataType::Date32,
        };
        let standardiser = Standardiser {
            mean: 0.0,
            std: 1.0,
        };
        let month = Vocabulary {
            part: "month".into(),
            values: vec!["1".into(), "10".into()],
            buckets: None,
        };
        let weekday = Vocabulary {
            part: "day_of_week".into(),
            values: vec!["thursday".into()],
            buckets: None,
        };
        let numbers = vec![standardiser, standardiser];
        let vocabularies = vec![month, weekday];
        let encoder = Encoder::new(
            vec![ColumnEncoder {
                column,
                numbers,
                vocabularies,
                image: None,
                keys: None,
            }],
            Precision::Single,
        );
        // Thursdays: 1970-01-01, 1970-10-01, 1970-02-05; then Friday 1970-01-02.
        let days: ArrayRef = Arc::new(Date32Array::from(vec![0, 273, 35, 1]));
        let features = encoder
            .encode(&RecordBatch::try_from_iter([("d", days)]).unwrap(), None)
            .unwrap();
        assert_eq!(categories(&features), [1, 4, 2, 4, 0, 4, 1, 3]);
        assert_eq!(features.report.unseen, 2);
    }
}
