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

#[cfg(test)]
mod tests {
    use candle_core::{DType, Var};

    use super::*;

    fn numbers(shape: [usize; 2], step: f64) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count).map(|n| (n as f64 * step).sin()).collect();
        Tensor::from_vec(values, shape.to_vec(), &Device::Cpu).unwrap()
    }

    fn worst(found: &Tensor, expected: &Tensor) -> f64 {
        let wide = |tensor: &Tensor| tensor.to_dtype(DType::F64).unwrap();
        let error = (wide(found) - wide(expected)).unwrap().abs().unwrap();
        error.max_all().unwrap().to_scalar().unwrap()
    }

    /// `apply_rotary_pos_emb` of transformers 5.24 for Llama, with base 10, on the first 8 of 10 columns.
    #[test]
    fn rotations_are_those_of_transformers() {
        let x = numbers([4, 10], 0.9).to_dtype(DType::F32).unwrap();
        let sequences = Sequences::of_lengths([1, 3]);
        let rotary = Rotary::new(4, 3, 10.0, &Device::Cpu).unwrap();
        let expected: [f32; 40] = [
            0.000_000, 0.783_327, 0.973_848, 0.427_380, -0.442_520, -0.977_530, -0.772_764,
            0.016_814, 0.793_668, 0.969_890, 0.412_118, -0.457_536, -0.980_936, -0.761_984,
            0.033_623, 0.803_784, 0.965_658, 0.396_741, -0.472_422, -0.984_065, -1.090_443,
            -0.250_980, -0.192_304, 0.929_175, 1.036_451, -0.232_959, -0.212_422, -0.854_600,
            0.067_208, 0.823_333, 0.058_283, 0.879_840, 1.078_448, -0.581_952, -0.454_121,
            -0.494_624, -1.008_847, 0.816_961, 0.349_951, -0.516_262,
        ];
        let expected = Tensor::from_slice(&expected, (4, 10), &Device::Cpu).unwrap();
        let found = rotary.forward(&x, 2, &sequences).unwrap();
        assert!(worst(&found, &expected) < 2e-6);
        let found = rotary.of_tensors(&x, 2, &sequences).unwrap();
        assert!(worst(&found, &expected) < 2e-6);
    }

    #[test]
    fn rotations_on_the_host_are_those_of_tensors_and_turn_back() {
        let sequences = Sequences::of_lengths([1, 300, 0, 2, 17]);
        let rotary = Rotary::new(6, 300, 10_000.0, &Device::Cpu).unwrap();
        let x = Var::from_tensor(&numbers([320, 25], 0.7)).unwrap();
        let found = rotary.forward(&x, 4, &sequences).unwrap();
        let expected = rotary.of_tensors(&x, 4, &sequences).unwrap();
        assert!(worst(&found, &expected) < 1e-14);
        assert!(worst(&found, &x) > 0.1);
        let factors = numbers([320, 25], 1.9);
        let slopes = |y: &Tensor| {
            let sum = (y * &factors).unwrap().sum_all().unwrap();
            sum.backward().unwrap().get(&x).unwrap().clone()
        };
        assert!(worst(&slopes(&found), &slopes(&expected)) < 1e-14);
        // A rotation of a rotation's slopes is what they were.
        let again = rotary.forward(&slopes(&found), 4, &sequences).unwrap();
        assert!(worst(&again, &factors) < 1e-6);
    }

    #[test]
    fn no_token_and_sizes_that_do_not_fit() {
        let rotary = Rotary::new(4, 3, 10.0, &Device::Cpu).unwrap();
        let none = Sequences::of_lengths([]);
        let found = rotary.forward(&numbers([0, 8], 1.0), 2, &none).unwrap();
        assert_eq!(found.dims(), [0, 8]);
        let x = numbers([4, 8], 1.0);
        let rotate =
            |heads, lengths: [usize; 2]| rotary.forward(&x, heads, &Sequences::of_lengths(lengths));
        assert!(rotate(2, [3, 1]).is_ok());
        assert!(rotate(3, [3, 1]).is_err());
        assert!(rotate(2, [2, 1]).is_err());
        let error = rotate(2, [4, 0]).unwrap_err().to_string();
        assert!(
            error.contains("4 tokens is longer than the 3 positions"),
            "{error}"
        );
        for head_width in [0, 5] {
            assert!(Rotary::new(head_width, 3, 10.0, &Device::Cpu).is_err());
        }
    }
}
