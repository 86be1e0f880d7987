//! [`Table`]: the place of the vector of each user and each item among the weights of a factorization.
//!
//! ```text
//! weights   vectors [ids, width], then biases [ids] if the feedback is explicit
//! ids       0 other users, users, other items, items      (or items first, as the columns stand)
//! ```

use std::ops::Range;

use crate::data::encode::tabular::CATEGORIES;
use crate::data::rows::Rows;
use crate::train::training::Training;
use crate::{Error, Result};

/// The layout of the weights.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// The length of a vector without the bias.
    pub(super) width: usize,
    /// The number of all ids.
    pub(super) ids: usize,
    /// The first id of the second column, which stands for values that training did not see.
    pub(super) second: usize,
    pub(super) has_biases: bool,
}

impl Table {
    pub(super) fn of(training: &Training<'_>) -> Result<Self> {
        let shape = training.prepared.encoder.shape();
        let specs = training.network.parameters();
        let found = (shape.unseen_ids.as_slice(), specs.first());
        let (&[_, second], Some(factors)) = found else {
            let message = "the columns of a factorization are not one of users and one of items";
            return Err(Error::Internal(message.into()));
        };
        Ok(Self {
            width: factors.shape.last().copied().unwrap_or(0),
            ids: shape.category_ids,
            second,
            has_biases: specs.len() > 1,
        })
    }

    /// The ids of the known values of the first or the second column.
    pub(super) fn known(&self, is_first: bool) -> Range<usize> {
        match is_first {
            true => 1..self.second,
            false => self.second + 1..self.ids,
        }
    }

    /// The numbers that are found for an id: its vector, and its bias.
    pub(super) fn numbers(&self) -> usize {
        self.width + usize::from(self.has_biases)
    }

    pub(super) fn vector<'w>(&self, weights: &'w [f32], id: usize) -> &'w [f32] {
        &weights[id * self.width..][..self.width]
    }

    pub(super) fn bias(&self, weights: &[f32], id: usize) -> f32 {
        match self.has_biases {
            true => weights[self.ids * self.width + id],
            false => 0.0,
        }
    }

    /// Sets the vector of an id, and its bias, which comes last.
    pub(super) fn set(&self, weights: &mut [f32], id: usize, numbers: &[f32]) {
        let (vector, bias) = numbers.split_at(self.width);
        weights[id * self.width..][..self.width].copy_from_slice(vector);
        if let [bias] = bias {
            weights[self.ids * self.width + id] = *bias;
        }
    }

    /// The vector of an id, and its bias.
    pub(super) fn get(&self, weights: &[f32], id: usize) -> Vec<f32> {
        let mut numbers = self.vector(weights, id).to_vec();
        numbers.extend(self.has_biases.then(|| self.bias(weights, id)));
        numbers
    }

    /// The product of the vectors of two ids.
    pub(super) fn product(&self, weights: &[f32], ids: [u32; 2]) -> f64 {
        let [first, second] = ids.map(|id| self.vector(weights, id as usize));
        let pairs = first.iter().zip(second);
        pairs.map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    /// The sum of the outer products of the vectors of these ids: `[width, width]`, row-major.
    pub(super) fn gram(&self, weights: &[f32], ids: Range<usize>) -> Vec<f64> {
        let mut sum = vec![0.0; self.width * self.width];
        for id in ids {
            let vector = self.vector(weights, id);
            for (row, a) in sum.chunks_exact_mut(self.width).zip(vector) {
                let a = f64::from(*a);
                row.iter_mut()
                    .zip(vector)
                    .for_each(|(sum, b)| *sum += a * f64::from(*b));
            }
        }
        sum
    }
}

/// The ids of both columns in each row, and its label.
pub(super) fn pairs(rows: &Rows) -> Result<Vec<([u32; 2], f64)>> {
    if rows.is_empty() {
        return Ok(vec![]);
    }
    let ids = rows.inputs.get(CATEGORIES);
    let ids = ids.ok_or_else(|| Error::Internal("rows without users and items".into()))?;
    let ids: Vec<u32> = ids.flatten_all()?.to_vec1()?;
    let ids = ids.as_chunks::<2>().0.iter().copied();
    Ok(ids.zip(rows.labels.iter().copied()).collect())
}
