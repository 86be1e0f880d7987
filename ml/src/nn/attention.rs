//! Attention of several heads: each query takes the mean of the values, weighted by how well their keys fit.
//!
//! ```text
//! forward   y = P V      P = softmax(Q Kᵀ / √width + mask)     for each row and head; P is not kept
//! backward  dV = Pᵀ dy   dS = P * (dy Vᵀ - Σ P * dy Vᵀ) / √width   dQ = dS K   dK = dSᵀ Q
//! ```
//! A head is some columns of the queries, keys and values, so that nothing is copied. On a GPU attention is made of operations of
//! candle.
//!
//! Vaswani et al., "Attention is all you need", 2017.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, D, Layout, Shape, Tensor};

use super::product::{Matrix, MatrixMut, write_product};
use super::values::{Float, Gradients, elements, storage, with_elements, with_float};
use crate::simd::simd_fn;
use crate::{Result, stop};

/// How queries attend to keys.
#[derive(Debug, Clone)]
pub struct Attention {
    /// The parts of the queries, keys and values that do not see each other; they have the same width.
    pub heads: usize,
    /// Added to the scores of all heads, `[rows or 1, queries or 1, keys]`: 0, or -∞ for a key that a query must not see. Each
    /// query sees a key. It has no gradient.
    pub mask: Option<Tensor>,
}

/// The mean value for each query: from `query` `[rows, queries, width]`, and `key` and `value` `[rows, keys, width]`, a tensor
/// `[rows, queries, width]`.
pub fn attention(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    attention: Attention,
) -> Result<Tensor> {
    if !query.device().is_cpu() {
        return of_tensors(query, key, value, &attention);
    }
    let mask = attention.mask;
    let operation = Attend {
        heads: attention.heads,
        mask: mask.map(|mask| mask.contiguous()).transpose()?,
    };
    let (key, value) = (key.contiguous()?, value.contiguous()?);
    Ok(query.contiguous()?.apply_op3(&key, &value, operation)?)
}

/// Attention by operations that every device has.
fn of_tensors(
    query: &Tensor,
    key: &Tensor,
    value: &Tensor,
    attention: &Attention,
) -> Result<Tensor> {
    let (rows, queries, width) = query.dims3()?;
    let heads = attention.heads;
    let of_head = width / heads.max(1);
    let split = |x: &Tensor| -> Result<Tensor> {
        let (rows, tokens, _) = x.dims3()?;
        let heads = x.reshape((rows, tokens, heads, of_head))?;
        Ok(heads.transpose(1, 2)?.contiguous()?)
    };
    let (query, key, value) = (split(query)?, split(key)?, split(value)?);
    let mut scores = (query.matmul(&key.t()?.contiguous()?)? * scale_of(of_head))?;
    if let Some(mask) = &attention.mask {
        scores = scores.broadcast_add(&mask.unsqueeze(1)?)?;
    }
    let scores = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?;
    let powers = scores.exp()?;
    let weights = powers.broadcast_div(&powers.sum_keepdim(D::Minus1)?)?;
    let means = weights.matmul(&value)?.transpose(1, 2)?;
    Ok(means.reshape((rows, queries, width))?)
}

fn scale_of(width: usize) -> f64 {
    1.0 / (width as f64).sqrt()
}

#[derive(Debug)]
struct Attend {
    heads: usize,
    mask: Option<Tensor>,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    rows: usize,
    queries: usize,
    keys: usize,
    /// The width of all heads together.
    width: usize,
    heads: usize,
}

impl Sizes {
    /// The columns of a head.
    fn head(&self, head: usize) -> Range<usize> {
        let width = self.width / self.heads;
        head * width..(head + 1) * width
    }

    fn scale<T: Float>(&self) -> T {
        T::of(scale_of(self.width / self.heads))
    }

    /// The queries of a row.
    fn queries<'a, T>(&self, all: &'a [T], row: usize) -> Matrix<'a, T> {
        matrix(all, row, self.queries, self.width)
    }

    /// The keys or values of a row.
    fn keys<'a, T>(&self, all: &'a [T], row: usize) -> Matrix<'a, T> {
        matrix(all, row, self.keys, self.width)
    }
}

fn matrix<T>(all: &[T], row: usize, tokens: usize, width: usize) -> Matrix<'_, T> {
    let count = tokens * width;
    Matrix::new(&all[row * count..][..count], tokens, width)
}

fn matrix_mut<T>(all: &mut [T], row: usize, tokens: usize, width: usize) -> MatrixMut<'_, T> {
    let count = tokens * width;
    MatrixMut::new(&mut all[row * count..][..count], tokens, width)
}

/// The part of a mask for a row.
#[derive(Debug, Clone, Copy)]
struct Mask<'a, T> {
    values: &'a [T],
    keys: usize,
}

impl<'a, T> Mask<'a, T> {
    fn row(self, query: usize) -> &'a [T] {
        // A mask of one row holds for all queries.
        let query = query.min(self.values.len() / self.keys - 1);
        &self.values[query * self.keys..][..self.keys]
    }
}

impl Attend {
    fn sizes(&self, query: &Shape, key: &Shape, value: &Shape) -> candle_core::Result<Sizes> {
        let (rows, queries, width) = query.dims3()?;
        let (_, keys, _) = key.dims3()?;
        let mask_fits = self.mask.as_ref().is_none_or(|mask| {
            let fits = |size: usize, of_mask: usize| of_mask == size || of_mask == 1;
            let dims = mask.dims();
            dims.len() == 3 && fits(rows, dims[0]) && fits(queries, dims[1]) && dims[2] == keys
        });
        let fits = key.dims() == [rows, keys, width]
            && value.dims() == key.dims()
            && self.heads > 0
            && width.is_multiple_of(self.heads)
            && mask_fits;
        match fits && rows * queries * keys * width > 0 {
            true => Ok(Sizes {
                rows,
                queries,
                keys,
                width,
                heads: self.heads,
            }),
            false => candle_core::bail!(
                "attention {self:?}: query {query:?}, key {key:?}, value {value:?}"
            ),
        }
    }

    /// Calls `each` with the weights of each row and head, `[queries, keys]`.
    fn each_weights<T: Float>(
        &self,
        sizes: &Sizes,
        query: &[T],
        key: &[T],
        mut each: impl FnMut(usize, Range<usize>, &[T]) -> candle_core::Result<()>,
    ) -> candle_core::Result<()> {
        let mut all = |mask: Option<&[T]>| -> candle_core::Result<()> {
            let mut weights = vec![T::zero(); sizes.queries * sizes.keys];
            for row in 0..sizes.rows {
                stop::check()?;
                let mask = mask.map(|mask| self.mask_of(mask, sizes, row));
                for head in 0..sizes.heads {
                    let columns = sizes.head(head);
                    let queries = sizes.queries(query, row).columns(columns.clone());
                    let keys = sizes.keys(key, row).columns(columns.clone());
                    let to = MatrixMut::new(&mut weights, sizes.queries, sizes.keys);
                    write_product(queries, keys.transposed(), to);
                    let rows = weights.chunks_exact_mut(sizes.keys);
                    for (query, scores) in rows.enumerate() {
                        weigh(scores, sizes.scale(), mask.map(|mask| mask.row(query)));
                    }
                    each(row, columns, &weights)?;
                }
            }
            Ok(())
        };
        match &self.mask {
            None => all(None),
            Some(mask) => with_elements([mask], |[mask]: [&[T]; 1]| all(Some(mask))),
        }
    }

    fn mask_of<'a, T>(&self, mask: &'a [T], sizes: &Sizes, row: usize) -> Mask<'a, T> {
        let dims = self
            .mask
            .as_ref()
            .map_or(&[1, 1, 1][..], |mask| mask.dims());
        let count = dims[1] * sizes.keys;
        // A mask of one row of the batch holds for all.
        let row = row.min(dims[0] - 1);
        Mask {
            values: &mask[row * count..][..count],
            keys: sizes.keys,
        }
    }

    fn forward<T: Float>(
        &self,
        sizes: &Sizes,
        query: &[T],
        key: &[T],
        value: &[T],
    ) -> candle_core::Result<Vec<T>> {
        let mut y = vec![T::zero(); query.len()];
        self.each_weights(sizes, query, key, |row, columns, weights| {
            let weights = Matrix::new(weights, sizes.queries, sizes.keys);
            let values = sizes.keys(value, row).columns(columns.clone());
            let to = matrix_mut(&mut y, row, sizes.queries, sizes.width);
            write_product(weights, values, to.columns(columns));
            Ok(())
        })?;
        Ok(y)
    }

    /// The gradients with respect to the queries, keys and values.
    fn gradients<T: Float>(
        &self,
        sizes: &Sizes,
        [query, key, value, dy]: [&[T]; 4],
    ) -> candle_core::Result<[Vec<T>; 3]> {
        let Sizes {
            queries,
            keys,
            width,
            ..
        } = *sizes;
        let mut dq = vec![T::zero(); query.len()];
        let mut dk = vec![T::zero(); key.len()];
        let mut dv = vec![T::zero(); value.len()];
        let mut slopes = vec![T::zero(); queries * keys];
        self.each_weights(sizes, query, key, |row, columns, weights| {
            let dy = sizes.queries(dy, row).columns(columns.clone());
            let values = sizes.keys(value, row).columns(columns.clone());
            write_product(
                dy,
                values.transposed(),
                MatrixMut::new(&mut slopes, queries, keys),
            );
            let of_weights = Matrix::new(weights, queries, keys);
            let to = matrix_mut(&mut dv, row, keys, width);
            write_product(of_weights.transposed(), dy, to.columns(columns.clone()));
            let pairs = slopes
                .chunks_exact_mut(keys)
                .zip(weights.chunks_exact(keys));
            for (slopes, weights) in pairs {
                let both = slopes.iter().zip(weights);
                let sum = both.fold(T::zero(), |sum, (&slope, &weight)| sum + slope * weight);
                let scale = sizes.scale::<T>();
                for (slope, &weight) in slopes.iter_mut().zip(weights) {
                    *slope = weight * (*slope - sum) * scale;
                }
            }
            let slopes = Matrix::new(&slopes, queries, keys);
            let of_keys = sizes.keys(key, row).columns(columns.clone());
            let to = matrix_mut(&mut dq, row, queries, width);
            write_product(slopes, of_keys, to.columns(columns.clone()));
            let of_queries = sizes.queries(query, row).columns(columns.clone());
            let to = matrix_mut(&mut dk, row, keys, width);
            write_product(slopes.transposed(), of_queries, to.columns(columns));
            Ok(())
        })?;
        Ok([dq, dk, dv])
    }
}

simd_fn! {
    /// Scores become weights, which add up to 1. The sum is in the order of the scores.
    fn weigh<'a, T: Float>(scores: &'a mut [T], scale: T, mask: Option<&'a [T]>) {
        scores.iter_mut().for_each(|score| *score *= scale);
        if let Some(mask) = mask {
            let pairs = scores.iter_mut().zip(mask);
            pairs.for_each(|(score, &mask)| *score += mask);
        }
        let greater = |most: T, &score: &T| match score > most || score.is_nan() {
            true => score,
            false => most,
        };
        let most = scores.iter().fold(T::of(f64::NEG_INFINITY), greater);
        scores.iter_mut().for_each(|score| *score = (*score - most).quick_exp());
        let sum = scores.iter().fold(T::zero(), |sum, &power| sum + power);
        scores.iter_mut().for_each(|power| *power /= sum);
    }
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        query: &CpuStorage,
        query_layout: &Layout,
        key: &CpuStorage,
        key_layout: &Layout,
        value: &CpuStorage,
        value_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (queries, keys) = (query_layout.shape(), key_layout.shape());
        let sizes = self.sizes(queries, keys, value_layout.shape())?;
        let y = with_float!(query.dtype(), T => {
            let query = elements::<T>(query, query_layout)?;
            let (key, value) = (elements(key, key_layout)?, elements(value, value_layout)?);
            storage(self.forward(&sizes, query, key, value)?)
        });
        Ok((y, queries.clone()))
    }

    fn bwd(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let sizes = self.sizes(query.shape(), key.shape(), value.shape())?;
        with_float!(query.dtype(), T => {
            let all = [query, key, value, dy];
            let [dq, dk, dv] = with_elements(all, |all: [&[T]; 4]| self.gradients(&sizes, all))?;
            let tensor = |values, of: &Tensor| Tensor::from_vec(values, of.shape(), of.device());
            let (dq, dk, dv) = (tensor(dq, query)?, tensor(dk, key)?, tensor(dv, value)?);
            Ok((Some(dq), Some(dk), Some(dv)))
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn numbers(shape: [usize; 3], step: f64) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count).map(|n| (n as f64 * step).sin()).collect();
        Tensor::from_vec(values, shape.to_vec(), &Device::Cpu).unwrap()
    }

    #[test]
    fn heads_without_copies_are_those_of_tensors() {
        let (query, key, value) = (
            numbers([2, 3, 8], 0.7),
            numbers([2, 5, 8], 1.3),
            numbers([2, 5, 8], 0.4),
        );
        let hidden = |mask: &[f64], shape: [usize; 3]| {
            let mask = mask
                .iter()
                .map(|seen| if *seen > 0.0 { 0.0 } else { f64::NEG_INFINITY });
            Some(Tensor::from_vec(mask.collect::<Vec<_>>(), shape.to_vec(), &Device::Cpu).unwrap())
        };
        let causal = [
            1.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0,
        ];
        let padded = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0];
        for heads in [1, 2, 4] {
            for mask in [None, hidden(&causal, [1, 3, 5]), hidden(&padded, [2, 1, 5])] {
                let how = Attention { heads, mask };
                let expected = of_tensors(&query, &key, &value, &how).unwrap();
                let found = attention(&query, &key, &value, how).unwrap();
                let error = (found - expected).unwrap().abs().unwrap();
                let error = error.max_all().unwrap().to_scalar::<f64>().unwrap();
                assert!(error < 1e-12, "{heads} heads: {error}");
            }
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let x = numbers([2, 3, 8], 1.0);
        let how = |heads, mask| Attention { heads, mask };
        assert!(attention(&x, &x, &x, how(3, None)).is_err());
        assert!(attention(&x, &numbers([2, 3, 4], 1.0), &x, how(2, None)).is_err());
        let mask = Some(numbers([2, 3, 4], 1.0));
        assert!(attention(&x, &x, &x, how(2, mask)).is_err());
    }
}
