//! Rotary positions: pairs of numbers of a query or a key are rotated by angles that grow with the position, so that a product of
//! both depends on their distance.
//!
//! Su et al., "RoFormer: enhanced transformer with rotary position embedding", 2021.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor};

use super::packed::Sequences;
use super::values::{Float, elements, storage, with_elements, with_float};
use crate::simd::simd_fn;
use crate::{Error, Result};

/// The rotations of positions. A clone is cheap.
#[derive(Debug, Clone)]
pub struct Rotary {
    /// `[positions, head width / 2]`, in f32.
    cosines: Tensor,
    sines: Tensor,
}

impl Rotary {
    /// The rotations of the first `positions_max` positions. The pair `j` of a head turns by `base` to the power of
    /// `-2 j / head_width` at each position.
    ///
    /// # Errors
    /// [`Error::Invalid`] unless `head_width` is even and above 0.
    pub fn new(
        head_width: usize,
        positions_max: usize,
        base: f64,
        device: &Device,
    ) -> Result<Self> {
        if head_width == 0 || !head_width.is_multiple_of(2) {
            return Err(Error::Invalid(format!(
                "rotary positions need heads of an even width, found {head_width}"
            )));
        }
        // The angles are rounded to f32, as those with which the models were trained.
        let speeds = (0..head_width / 2).map(|pair| {
            let exponent = (2 * pair) as f32 / head_width as f32;
            1.0 / (base.powf(f64::from(exponent)) as f32)
        });
        let speeds: Vec<f32> = speeds.collect();
        let table = |of: fn(f64) -> f64| -> Result<Tensor> {
            let angles = (0..positions_max)
                .flat_map(|position| speeds.iter().map(move |speed| position as f32 * speed));
            let values: Vec<f32> = angles.map(|angle| of(f64::from(angle)) as f32).collect();
            Ok(Tensor::from_vec(
                values,
                (positions_max, head_width / 2),
                device,
            )?)
        };
        Ok(Self {
            cosines: table(f64::cos)?,
            sines: table(f64::sin)?,
        })
    }

    /// Rotates the pairs of `x` `[tokens, columns]`: those of the first `heads` heads, `j` and `j + head width / 2` of each, by the
    /// position of their token in its sequence. What stands behind these heads stays as it is, so that the queries and keys of
    /// [`packed_attention`](super::packed_attention) are rotated where they are, with twice its heads.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a sequence with more positions than there are; [`Error::Internal`] for sizes that do not fit.
    pub fn forward(&self, x: &Tensor, heads: usize, sequences: &Sequences) -> Result<Tensor> {
        let (positions_max, half) = self.cosines.dims2()?;
        let (tokens, columns) = x.dims2()?;
        let longest = sequences.longest();
        if longest > positions_max {
            return Err(Error::Invalid(format!(
                "a sequence of {longest} tokens is longer than the {positions_max} positions of the model"
            )));
        }
        if tokens != sequences.tokens() || 2 * half * heads > columns {
            return Err(Error::Internal(format!(
                "rotary positions of {heads} heads of {}: {:?}, {} tokens",
                2 * half,
                x.shape(),
                sequences.tokens()
            )));
        }
        if !x.device().is_cpu() {
            return self.of_tensors(x, heads, sequences);
        }
        let rotate = Rotate {
            rotary: self.clone(),
            heads,
            sequences: sequences.clone(),
            is_backward: false,
        };
        Ok(x.contiguous()?.apply_op1(rotate)?)
    }

    /// The rotation by operations that every device has.
    fn of_tensors(&self, x: &Tensor, heads: usize, sequences: &Sequences) -> Result<Tensor> {
        let (tokens, columns) = x.dims2()?;
        let (_, half) = self.cosines.dims2()?;
        let positions = Tensor::from_vec(sequences.positions(), tokens, x.device())?;
        let of_tokens = |table: &Tensor| -> Result<Tensor> {
            let of_tokens = table.index_select(&positions, 0)?.unsqueeze(1)?;
            Ok(of_tokens.to_dtype(x.dtype())?)
        };
        let (cosines, sines) = (of_tokens(&self.cosines)?, of_tokens(&self.sines)?);
        let width = 2 * half * heads;
        let pairs = x.narrow(1, 0, width)?.contiguous()?;
        let pairs = pairs.reshape((tokens, heads, 2 * half))?;
        let (left, right) = (pairs.narrow(2, 0, half)?, pairs.narrow(2, half, half)?);
        let first = (left.broadcast_mul(&cosines)? - right.broadcast_mul(&sines)?)?;
        let second = (right.broadcast_mul(&cosines)? + left.broadcast_mul(&sines)?)?;
        let rotated = Tensor::cat(&[first, second], 2)?.reshape((tokens, width))?;
        match columns - width {
            0 => Ok(rotated),
            rest => Ok(Tensor::cat(&[rotated, x.narrow(1, width, rest)?], 1)?),
        }
    }
}

#[derive(Debug, Clone)]
struct Rotate {
    rotary: Rotary,
    heads: usize,
    sequences: Sequences,
    /// By the negative angles: a rotation's slopes turn back.
    is_backward: bool,
}

impl Rotate {
    fn forward<T: Float>(&self, x: &[T], columns: usize) -> candle_core::Result<Vec<T>> {
        let half = self.rotary.cosines.dim(1)?;
        let tables = [&self.rotary.cosines, &self.rotary.sines];
        with_elements(tables, |[cosines, sines]: [&[f32]; 2]| {
            let mut y = x.to_vec();
            let sign = if self.is_backward { -1.0 } else { 1.0 };
            let width = 2 * half * self.heads;
            for tokens in self.sequences.ranges() {
                let rows = &mut y[tokens.start * columns..tokens.end * columns];
                let (cosines, sines) = (
                    &cosines[..tokens.len() * half],
                    &sines[..tokens.len() * half],
                );
                rotate_rows(
                    rows,
                    (columns, width),
                    (cosines, sines),
                    (half, T::of(sign)),
                );
            }
            Ok(y)
        })
    }
}

simd_fn! {
    /// Rotates the first `width` numbers of each row of a sequence, which has so many columns.
    fn rotate_rows<'a, T: Float>(
        rows: &'a mut [T],
        sizes: (usize, usize),
        tables: (&'a [f32], &'a [f32]),
        turn: (usize, T),
    ) {
        let ((columns, width), (cosines, sines), (half, sign)) = (sizes, tables, turn);
        let angles = cosines.chunks_exact(half).zip(sines.chunks_exact(half));
        for (row, (cosines, sines)) in rows.chunks_exact_mut(columns.max(1)).zip(angles) {
            for head in row[..width].chunks_exact_mut(2 * half) {
                let (left, right) = head.split_at_mut(half);
                let pairs = left.iter_mut().zip(right.iter_mut());
                for ((left, right), (&cosine, &sine)) in pairs.zip(cosines.iter().zip(sines)) {
                    let (cosine, sine) = (T::of(f64::from(cosine)), sign * T::of(f64::from(sine)));
                    let (x, y) = (*left, *right);
                    *left = x * cosine - y * sine;
                    *right = y * cosine + x * sine;
                }
            }
        }
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let (_, columns) = layout.shape().dims2()?;
        let y = with_float!(x.dtype(), T => {
            storage(self.forward(elements::<T>(x, layout)?, columns)?)
        });
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, _x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let back = Self {
            is_backward: !self.is_backward,
            ..self.clone()
        };
        Ok(Some(dy.contiguous()?.apply_op1_no_bwd(&back)?))
    }
}
