//! [`Block`]: vectors beside each other, for matrix products; [`Bound`]: which pairs a product lets through.
//!
//! A product of two vectors in single precision, summed in any order, is off by at most `slack` times the lengths of both. So it
//! gives a bound below the distance of the pair. Only pairs whose bound is not above the k-th distance so far are measured.

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float32Type};
use vatic_udfs::vector::products::dot;

use super::spec::Metric;
use crate::error::{Result, SqlState, sql_err};

/// The vectors of a batch that have a distance.
#[derive(Debug, Default)]
pub(super) struct Block {
    /// The numbers of a vector.
    pub(super) width: usize,
    values: Vec<f32>,
    /// The vectors with length 1, for the cosine.
    scaled: Option<Vec<f32>>,
    /// The length of each vector that `factors` gives.
    lengths: Vec<f64>,
    /// The row of each vector in the batch.
    pub(super) rows: Vec<usize>,
}

impl Block {
    /// The vectors of a column but NULL, those with a NULL element, and those without a direction if the cosine needs one. All must
    /// have `width` numbers, or one length if no width is known yet.
    pub(super) fn try_new(column: &ArrayRef, metric: Metric, width: Option<usize>) -> Result<Self> {
        let item = Field::new_list_field(DataType::Float32, true);
        let lists = cast(column, &DataType::LargeList(item.into()))?;
        let lists = lists.as_list::<i64>();
        let numbers = lists.values().as_primitive::<Float32Type>();
        let offsets = lists.value_offsets();
        let mut width = width;
        let mut block = Self {
            scaled: (metric == Metric::Cosine).then(Vec::new),
            ..Self::default()
        };
        for row in 0..lists.len() {
            let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
            let has_null =
                || numbers.null_count() > 0 && (start..end).any(|at| numbers.is_null(at));
            if lists.is_null(row) || has_null() {
                continue;
            }
            let vector = &numbers.values()[start..end];
            check_width(vector.len(), *width.get_or_insert(vector.len()))?;
            block.push(row, vector);
        }
        block.width = width.unwrap_or_default();
        Ok(block)
    }

    fn push(&mut self, row: usize, vector: &[f32]) {
        let mut length = dot(vector, vector).sqrt();
        if let Some(scaled) = &mut self.scaled {
            if length == 0.0 {
                return;
            }
            let scale = 1.0 / length;
            scaled.extend(vector.iter().map(|x| (f64::from(*x) * scale) as f32));
            length = 1.0;
        }
        self.values.extend_from_slice(vector);
        self.lengths.push(length);
        self.rows.push(row);
    }

    /// The number of vectors.
    pub(super) fn count(&self) -> usize {
        self.rows.len()
    }

    /// A vector as it is.
    pub(super) fn vector(&self, at: usize) -> &[f32] {
        &self.values[at * self.width..(at + 1) * self.width]
    }

    /// The vectors from `start` to `end` as factors of products.
    pub(super) fn factors(&self, start: usize, end: usize) -> &[f32] {
        let values = self.scaled.as_ref().unwrap_or(&self.values);
        &values[start * self.width..end * self.width]
    }

    pub(super) fn length(&self, at: usize) -> f64 {
        self.lengths[at]
    }

    /// The memory in bytes.
    pub(super) fn bytes(&self) -> usize {
        let scaled = self.scaled.as_ref().map_or(0, Vec::capacity);
        (self.values.capacity() + scaled) * size_of::<f32>()
            + (self.lengths.capacity() + self.rows.capacity()) * size_of::<f64>()
    }
}

fn check_width(found: usize, expected: usize) -> Result<()> {
    let problem = match found {
        0 => "nearest takes vectors with numbers, found an empty one".to_owned(),
        found if found != expected => {
            format!("nearest takes vectors of one length, found {expected} and {found}")
        }
        _ => return Ok(()),
    };
    Err(sql_err(SqlState::Data, problem))
}

/// Bounds of distances from products of vectors of one width.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    metric: Metric,
    /// The relative error of a product, and that of vectors which were scaled before.
    slack: f64,
    /// The error of products of tiny numbers, which underflow.
    tiny: f64,
}

impl Bound {
    pub(super) fn new(metric: Metric, width: usize) -> Self {
        Self {
            metric,
            slack: (width + 16) as f64 * f64::from(f32::EPSILON),
            tiny: (width + 16) as f64 * f64::from(f32::MIN_POSITIVE),
        }
    }

    /// What a bound is compared with, for the k-th distance so far.
    pub(super) fn limit(&self, distance: f64) -> f64 {
        match self.metric {
            Metric::Cosine | Metric::InnerProduct => distance,
            Metric::L2 => distance * distance,
        }
    }

    /// Whether a pair with this product and these lengths may be within the limit. A product that overflowed tells nothing.
    pub(super) fn lets_through(&self, product: f32, query: f64, item: f64, limit: f64) -> bool {
        if !product.is_finite() {
            return true;
        }
        let product = f64::from(product) + self.slack * query * item + self.tiny;
        let bound = match self.metric {
            Metric::Cosine => 1.0 - product,
            Metric::InnerProduct => -product,
            // The squares are rounded too.
            Metric::L2 => (query * query + item * item) * (1.0 - 1e-12) - 2.0 * product,
        };
        // Not `bound <= limit`: NaN tells nothing.
        bound.partial_cmp(&limit) != Some(std::cmp::Ordering::Greater)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{FixedSizeListArray, ListArray};
    use datafusion::arrow::datatypes::Float64Type;
    use vatic_ml::nn::inner_products;

    use super::*;

    fn lists(vectors: Vec<Option<Vec<Option<f64>>>>) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(vectors))
    }

    #[test]
    fn vectors_without_a_distance_are_left_out() {
        let column = lists(vec![
            Some(vec![Some(3.0), Some(4.0)]),
            None,
            Some(vec![Some(1.0), None]),
            Some(vec![Some(0.0), Some(0.0)]),
        ]);
        let block = Block::try_new(&column, Metric::Cosine, None).unwrap();
        assert_eq!((block.rows.as_slice(), block.width), ([0].as_slice(), 2));
        assert_eq!(block.vector(0), [3.0, 4.0]);
        assert_eq!(block.factors(0, 1), [0.6, 0.8]);
        let block = Block::try_new(&column, Metric::L2, Some(2)).unwrap();
        assert_eq!(block.rows, [0, 3]);
        let error = Block::try_new(&column, Metric::L2, Some(3)).unwrap_err();
        assert!(error.to_string().contains("found 3 and 2"), "{error}");
    }

    #[test]
    fn fixed_lists_that_are_slices_keep_their_rows() {
        let vectors = (0..5).map(|k| Some(vec![Some(k as f32), Some(1.0)]));
        let column = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(vectors, 2);
        let column: ArrayRef = Arc::new(column.slice(3, 2));
        let block = Block::try_new(&column, Metric::InnerProduct, None).unwrap();
        assert_eq!(
            (block.vector(0), block.vector(1)),
            (&[3.0, 1.0][..], &[4.0, 1.0][..])
        );
    }

    /// A bound above a distance would lose neighbours.
    #[test]
    fn no_bound_is_above_the_distance() {
        // Numbers of very different sizes, some equal up to their last bits.
        let number = |at: u32| {
            let bits = at.wrapping_mul(2_654_435_761) >> 8;
            let size = [1e-30, 1e-3, 1.0, 1e6][(bits % 4) as usize];
            (f64::from(bits % 1_009) - 504.0) * size
        };
        let vector = |from: u32| {
            Some(
                (from..from + 37)
                    .map(|at| Some(number(at)))
                    .collect::<Vec<_>>(),
            )
        };
        let column = lists((0..60).map(|k| vector(k * 7)).collect());
        for metric in Metric::ALL {
            let block = Block::try_new(&column, metric, None).unwrap();
            let (count, width) = (block.count(), block.width);
            let mut products = vec![0.0; count * count];
            let factors = block.factors(0, count);
            inner_products(factors, factors, width, &mut products);
            let bound = Bound::new(metric, width);
            for (at, product) in products.iter().enumerate() {
                let (query, item) = (at / count, at % count);
                let exact = metric
                    .distance(block.vector(query), block.vector(item))
                    .unwrap();
                let limit = bound.limit(exact);
                let (of_query, of_item) = (block.length(query), block.length(item));
                let passes = bound.lets_through(*product, of_query, of_item, limit);
                assert!(passes, "{metric:?} {query} {item}: {exact}");
            }
        }
    }
}
