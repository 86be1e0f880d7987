//! Least squares in closed form: (XᵀX/n + λI) w = Xᵀy/n, in f64.
//!
//! The columns of X are the intercept, which has no penalty, the numbers, and one column per category id. A column that
//! depends on the columns before it (the last category, a repeated feature) gets weight zero. The product XᵀX squares
//! the condition number of X. Iterative refinement with the residuals of the rows recovers the digits that this costs
//! (Björck, "Iterative refinement of linear least squares solutions", 1967).

use candle_core::{DType, Tensor};

use crate::collective::{Collective, ShardBuffers};
use crate::data::encode::shape::InputShape;
use crate::data::encode::tabular::{CATEGORIES, NUMBERS};
use crate::data::rows::Rows;
use crate::device::HOST;
use crate::train::prepare::Shard;
use crate::{Error, Result};

/// Rows multiplied at once.
const CHUNK_ROWS: usize = 2_048;
/// A pivot smaller than this share of its diagonal means a dependent column: rounding leaves about 1e-15 of the diagonal.
const DEPENDENT: f64 = 1e-12;
/// Each step of refinement gains as many digits as the first solution has.
const REFINEMENTS: usize = 3;

/// Memory of a solution with this many weights, in bytes.
pub(crate) fn working_bytes(weights: usize, shards: usize) -> usize {
    let sums = (weights * weights + weights) * (2 * shards + 4);
    (sums + 3 * CHUNK_ROWS * weights) * size_of::<f64>()
}

/// The weights of the numbers, of the category ids, and the intercept, in this order.
pub(crate) fn solve(
    shards: &[Shard],
    shape: &InputShape,
    l2: f64,
    rows: u64,
    collective: &dyn Collective,
    check: &dyn Fn() -> Result<()>,
) -> Result<Vec<f64>> {
    let width = shape.numbers + shape.category_ids + 1;
    let sum = |of: &dyn Fn(&Design, &mut [f64]) -> Result<()>, length: usize| {
        let mut buffers: ShardBuffers<f64> = Vec::with_capacity(shards.len());
        for shard in shards {
            let mut sum = vec![0.0; length];
            for start in (0..shard.train.len()).step_by(CHUNK_ROWS) {
                check()?;
                of(&Design::new(&shard.train, start, shape)?, &mut sum)?;
            }
            buffers.push((shard.number, sum));
        }
        let mut sums = collective.all_reduce_f64(buffers)?;
        sums.iter_mut().for_each(|sum| *sum /= rows as f64);
        Ok::<_, Error>(sums)
    };
    let sums = sum(&Design::add_products, width * width + width)?;
    let (products, right) = sums.split_at(width * width);
    let mut matrix: Vec<Vec<f64>> = products
        .chunks_exact(width)
        .enumerate()
        .map(|(row, products)| products[..=row].to_vec())
        .collect();
    // The intercept comes first and has no penalty.
    (1..width).for_each(|row| matrix[row][row] += l2);
    let factor = Cholesky::of(matrix)?;
    let mut solution = factor.solve(right.to_vec());
    for _ in 0..REFINEMENTS {
        let add_residuals = |design: &Design, sum: &mut [f64]| design.add_residuals(&solution, sum);
        let mut rest = sum(&add_residuals, width)?;
        for (rest, weight) in rest.iter_mut().zip(&solution).skip(1) {
            *rest -= l2 * weight;
        }
        let correction = factor.solve(rest);
        solution
            .iter_mut()
            .zip(correction)
            .for_each(|(weight, correction)| *weight += correction);
    }
    // The first of dependent columns is kept, so the intercept is the first column; it is the last parameter.
    solution.rotate_left(1);
    Ok(solution)
}

/// A chunk of rows as `[rows, width]`: 1, numbers, one-hot categories; and the labels of the rows.
struct Design {
    columns: Tensor,
    labels: Vec<f64>,
}

impl Design {
    fn new(rows: &Rows, start: usize, shape: &InputShape) -> Result<Self> {
        let width = 1 + shape.numbers + shape.category_ids;
        let end = (start + CHUNK_ROWS).min(rows.len());
        let inputs = rows.inputs.narrow(start..end)?;
        let numbers: Vec<f64> = match inputs.get(NUMBERS) {
            Some(numbers) => numbers.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?,
            None => vec![],
        };
        let categories: Vec<u32> = match inputs.get(CATEGORIES) {
            Some(categories) => categories.flatten_all()?.to_vec1()?,
            None => vec![],
        };
        let mut columns = vec![0.0f64; (end - start) * width];
        for (row, design) in columns.chunks_exact_mut(width).enumerate() {
            design[0] = 1.0;
            let numbers = &numbers[row * shape.numbers..][..shape.numbers];
            design[1..][..shape.numbers].copy_from_slice(numbers);
            for &id in &categories[row * shape.categories..][..shape.categories] {
                design[1 + shape.numbers + id as usize] = 1.0;
            }
        }
        Ok(Self {
            columns: Tensor::from_vec(columns, (end - start, width), &HOST)?,
            labels: rows.labels[start..end].to_vec(),
        })
    }

    /// Adds XᵀX, row-major, and then Xᵀy.
    fn add_products(&self, sum: &mut [f64]) -> Result<()> {
        let transposed = self.columns.t()?.contiguous()?;
        let products = transposed.matmul(&self.columns)?;
        let products: Vec<f64> = products.flatten_all()?.to_vec1()?;
        let right = self.times(&transposed, &self.labels)?;
        let all = products.into_iter().chain(right);
        sum.iter_mut()
            .zip(all)
            .for_each(|(sum, value)| *sum += value);
        Ok(())
    }

    /// Adds Xᵀ(y - X w).
    fn add_residuals(&self, weights: &[f64], sum: &mut [f64]) -> Result<()> {
        let predicted = self.times(&self.columns, weights)?;
        let labels = self.labels.iter().zip(predicted);
        let residuals: Vec<f64> = labels.map(|(label, predicted)| label - predicted).collect();
        let products = self.times(&self.columns.t()?.contiguous()?, &residuals)?;
        sum.iter_mut()
            .zip(products)
            .for_each(|(sum, value)| *sum += value);
        Ok(())
    }

    fn times(&self, matrix: &Tensor, vector: &[f64]) -> Result<Vec<f64>> {
        let vector = Tensor::from_slice(vector, (vector.len(), 1), &HOST)?;
        Ok(matrix.matmul(&vector)?.flatten_all()?.to_vec1()?)
    }
}

/// The Cholesky factor of a symmetric positive semi-definite matrix.
struct Cholesky {
    lower: Vec<Vec<f64>>,
    is_dependent: Vec<bool>,
}

impl Cholesky {
    /// Factors a matrix given by its lower triangle.
    fn of(mut lower: Vec<Vec<f64>>) -> Result<Self> {
        let width = lower.len();
        let mut is_dependent = vec![false; width];
        for row in 0..width {
            let diagonal = lower[row][row];
            for column in 0..=row {
                let (head, tail) = lower.split_at_mut(row);
                let current = &mut tail[0];
                let known: f64 = match column < row {
                    true => head[column][..column]
                        .iter()
                        .zip(&current[..column])
                        .map(|(a, b)| a * b)
                        .sum(),
                    false => current[..column].iter().map(|a| a * a).sum(),
                };
                let rest = current[column] - known;
                if column < row {
                    current[column] = if is_dependent[column] {
                        0.0
                    } else {
                        rest / head[column][column]
                    };
                } else if !rest.is_finite() {
                    return Err(Error::Invalid(
                        "the features are too large to solve for; scale them in the query".into(),
                    ));
                } else {
                    is_dependent[row] = rest <= DEPENDENT * diagonal;
                    current[row] = if is_dependent[row] { 1.0 } else { rest.sqrt() };
                }
            }
            if is_dependent[row] {
                lower[row][..row].fill(0.0);
            }
        }
        Ok(Self {
            lower,
            is_dependent,
        })
    }

    /// The solution for this right-hand side; zero for a dependent column.
    fn solve(&self, mut right: Vec<f64>) -> Vec<f64> {
        let Self {
            lower,
            is_dependent,
        } = self;
        let width = right.len();
        for row in 0..width {
            let known: f64 = lower[row][..row]
                .iter()
                .zip(&right)
                .map(|(a, b)| a * b)
                .sum();
            right[row] = if is_dependent[row] {
                0.0
            } else {
                (right[row] - known) / lower[row][row]
            };
        }
        for row in (0..width).rev() {
            let known: f64 = (row + 1..width)
                .map(|below| lower[below][row] * right[below])
                .sum();
            right[row] = if is_dependent[row] {
                0.0
            } else {
                (right[row] - known) / lower[row][row]
            };
        }
        right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_system_and_drops_a_dependent_column() {
        let solve = |matrix, right| Cholesky::of(matrix).unwrap().solve(right);
        let solution = solve(vec![vec![4.0], vec![2.0, 3.0]], vec![8.0, 8.0]);
        assert!((solution[0] - 1.0).abs() < 1e-12 && (solution[1] - 2.0).abs() < 1e-12);
        let twice = vec![vec![2.0], vec![2.0, 2.0], vec![0.0, 0.0, 1.0]];
        let solution = solve(twice, vec![6.0, 6.0, 5.0]);
        assert!((solution[0] - 3.0).abs() < 1e-12 && (solution[2] - 5.0).abs() < 1e-12);
        assert_eq!(solution[1], 0.0);
    }
}
