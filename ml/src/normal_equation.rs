//! Least squares in closed form: (XᵀX/n + λI) w = Xᵀy/n, in f64.
//!
//! Columns of X are numbers, one for each category id, and the intercept, which bears no penalty. A column that
//! depends on those before it (the last category, a repeated feature) gets weight zero.

use candle_core::{DType, Device, Tensor};

use crate::collective::{Collective, ShardBuffers};
use crate::features::InputShape;
use crate::prepare::Shard;
use crate::rows::Rows;
use crate::{Error, Result};

/// Rows multiplied at once.
const CHUNK_ROWS: usize = 2_048;
/// A pivot smaller than this share of its diagonal means a dependent column.
const DEPENDENT: f64 = 1e-10;

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
    let mut buffers: ShardBuffers<f64> = Vec::with_capacity(shards.len());
    for shard in shards {
        buffers.push((shard.number, gram(&shard.train, shape, check)?));
    }
    let mut sums = collective.all_reduce_f64(buffers)?;
    sums.iter_mut().for_each(|sum| *sum /= rows as f64);
    // The intercept comes first, so that of dependent columns it is the one kept.
    let order: Vec<usize> = std::iter::once(width - 1).chain(0..width - 1).collect();
    let at = |row: usize, column: usize| sums[order[row] * (width + 1) + order[column]];
    let mut matrix: Vec<Vec<f64>> = (0..width)
        .map(|row| (0..=row).map(|column| at(row, column)).collect())
        .collect();
    (1..width).for_each(|row| matrix[row][row] += l2);
    let right = (0..width)
        .map(|row| sums[order[row] * (width + 1) + width])
        .collect();
    let mut solution = solve_cholesky(matrix, right)?;
    let intercept = solution.remove(0);
    solution.push(intercept);
    Ok(solution)
}

/// AᵀA of A = [numbers, one-hot categories, 1, label], row-major.
fn gram(rows: &Rows, shape: &InputShape, check: &dyn Fn() -> Result<()>) -> Result<Vec<f64>> {
    let width = shape.numbers + shape.category_ids + 2;
    let mut sum: Option<Tensor> = None;
    for start in (0..rows.labels.len()).step_by(CHUNK_ROWS) {
        check()?;
        let end = (start + CHUNK_ROWS).min(rows.labels.len());
        let mut design = vec![0.0f64; (end - start) * width];
        for (row, design) in (start..end).zip(design.chunks_exact_mut(width)) {
            let numbers = &rows.features.numbers[row * shape.numbers..][..shape.numbers];
            design
                .iter_mut()
                .zip(numbers)
                .for_each(|(cell, &number)| *cell = number.into());
            for &id in &rows.features.categories[row * shape.categories..][..shape.categories] {
                design[shape.numbers + id as usize] = 1.0;
            }
            design[width - 2] = 1.0;
            design[width - 1] = rows.labels[row];
        }
        let design = Tensor::from_vec(design, (end - start, width), &Device::Cpu)?;
        let product = design.t()?.contiguous()?.matmul(&design)?;
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    match sum {
        Some(sum) => Ok(sum.to_dtype(DType::F64)?.flatten_all()?.to_vec1()?),
        None => Ok(vec![0.0; width * width]),
    }
}

/// Solves a symmetric positive semi-definite system given by its lower triangle.
fn solve_cholesky(mut lower: Vec<Vec<f64>>, mut right: Vec<f64>) -> Result<Vec<f64>> {
    let width = right.len();
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
    Ok(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solves_a_system_and_drops_a_dependent_column() {
        let solution = solve_cholesky(vec![vec![4.0], vec![2.0, 3.0]], vec![8.0, 8.0]).unwrap();
        assert!((solution[0] - 1.0).abs() < 1e-12 && (solution[1] - 2.0).abs() < 1e-12);
        let twice = vec![vec![2.0], vec![2.0, 2.0], vec![0.0, 0.0, 1.0]];
        let solution = solve_cholesky(twice, vec![6.0, 6.0, 5.0]).unwrap();
        assert!((solution[0] - 3.0).abs() < 1e-12 && (solution[2] - 5.0).abs() < 1e-12);
        assert_eq!(solution[1], 0.0);
    }
}
