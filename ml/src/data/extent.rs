//! [`Extent`]: which elements of a tensor belong to which row.

use std::ops::Range;
use std::sync::Arc;

use candle_core::Tensor;

use crate::{Error, Result};

/// How the first dimension of a tensor belongs to rows.
#[derive(Debug, Clone)]
pub(crate) enum Extent {
    /// It is the rows.
    Whole,
    /// It is the rows, which differ in length in the second dimension: `[rows]` (u32). Elements beyond are padding.
    Padded(Tensor),
    /// It is the elements of one row after the other: where each begins, and the end of the last.
    Packed(Arc<[usize]>),
}

impl Extent {
    /// That of rows with so many elements, one row after the other.
    pub(crate) fn packed(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        starts.extend(lengths.into_iter().map(|length| {
            end += length;
            end
        }));
        Self::Packed(starts.into())
    }

    /// The range of the first dimension that has these rows.
    pub(crate) fn elements(&self, rows: &Range<usize>) -> Range<usize> {
        match self {
            Self::Whole | Self::Padded(_) => rows.clone(),
            Self::Packed(starts) => starts[rows.start]..starts[rows.end],
        }
    }

    /// That of these rows alone.
    pub(crate) fn narrow(&self, rows: &Range<usize>) -> Result<Self> {
        Ok(match self {
            Self::Whole => Self::Whole,
            Self::Padded(lengths) => Self::Padded(lengths.narrow(0, rows.start, rows.len())?),
            Self::Packed(starts) => {
                let first = starts[rows.start];
                let starts = starts[rows.start..=rows.end].iter();
                Self::Packed(starts.map(|start| start - first).collect())
            }
        })
    }

    /// The elements of `values` of the rows at the positions in `order` `[rows]` (u32), and their extent.
    pub(crate) fn pick(&self, values: &Tensor, order: &Tensor) -> Result<(Tensor, Self)> {
        let starts = match self {
            Self::Whole => return Ok((values.index_select(order, 0)?, Self::Whole)),
            Self::Padded(lengths) => {
                let lengths = lengths.index_select(order, 0)?;
                return Ok((values.index_select(order, 0)?, Self::Padded(lengths)));
            }
            Self::Packed(starts) => starts,
        };
        let order: Vec<u32> = order.to_vec1()?;
        let range = |row: u32| starts[row as usize]..starts[row as usize + 1];
        let extent = Self::packed(order.iter().map(|row| range(*row).len()));
        let elements = order.iter().flat_map(|row| range(*row));
        let elements: Result<Vec<u32>, _> = elements.map(u32::try_from).collect();
        let too_many = |_| {
            let message = "a shard of the rows has over 4294967295 elements; raise shards";
            Error::Invalid(message.into())
        };
        let elements = elements.map_err(too_many)?;
        let count = elements.len();
        if count == 0 {
            return Ok((values.narrow(0, 0, 0)?, extent));
        }
        let elements = Tensor::from_vec(elements, count, values.device())?;
        Ok((values.index_select(&elements, 0)?, extent))
    }
}
