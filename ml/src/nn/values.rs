//! The numbers of tensors, for layers that compute on slices of the host, or that round to 16 bits.
//!
//! The frame of a layer of the host: [`with_float`] chooses f32 or f64; [`elements`] and [`storage`] lead into and out of its
//! forward pass, [`with_elements`] into its backward pass.

use candle_core::{CpuStorage, DType, Layout, Storage, Tensor, WithDType};

use crate::stop;

/// The numbers that layers compute with on the host.
pub(super) trait Float: WithDType + Into<f64> + Default {
    /// The nearest number of this type.
    fn of(number: f64) -> Self;

    #[inline(always)]
    fn double(self) -> f64 {
        self.into()
    }

    fn is_nan(&self) -> bool;
    fn exp(self) -> Self;
    /// e to this power. In f32 without a call, to about 1e-7 of the result: 0 for powers below -87, and the result of 88 for those
    /// above.
    fn quick_exp(self) -> Self;
    fn tanh(self) -> Self;
    fn erf(self) -> Self;
    /// The distribution function of the standard normal distribution. In f32 without a call, to 1.5e-7.
    fn quick_normal(self) -> Self;
}

// Inlined, unlike candle's conversions: a loop with a call for each number is no loop of vectors.
macro_rules! float {
    (
        $float:ident, $erf:ident, $quick_exp:path, $quick_normal:path,
        $number:ident => $rounded:expr
    ) => {
        impl Float for $float {
            #[inline(always)]
            fn of($number: f64) -> Self {
                $rounded
            }

            #[inline(always)]
            fn is_nan(&self) -> bool {
                $float::is_nan(*self)
            }

            #[inline(always)]
            fn exp(self) -> Self {
                $float::exp(self)
            }

            #[inline(always)]
            fn quick_exp(self) -> Self {
                $quick_exp(self)
            }

            #[inline(always)]
            fn tanh(self) -> Self {
                $float::tanh(self)
            }

            #[inline(always)]
            fn erf(self) -> Self {
                candle_core::cpu::erf::$erf(self)
            }

            #[inline(always)]
            fn quick_normal(self) -> Self {
                $quick_normal(self)
            }
        }
    };
}

float!(f32, erf_f32, quick_exp, quick_normal, number => number as f32);
float!(f64, erf_f64, f64::exp, normal, number => number);

/// 2 to the whole part of the exponent, times a polynomial of the rest.
#[inline(always)]
fn quick_exp(exponent: f32) -> f32 {
    /// Smaller exponents give 0: what they are next to is denormal soon, and products with denormal numbers take a hundred times
    /// as long on some processors.
    const LEAST: f32 = -87.0;
    /// Added to a number, leaves its whole part in the last bits.
    const WHOLE: f32 = 12_582_912.0;
    /// ln 2 in two parts; the first has few bits, so that a multiple of it is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = exponent.clamp(LEAST, 88.0);
    let whole = x * std::f32::consts::LOG2_E + WHOLE;
    let count = whole - WHOLE;
    let rest = x - count * LN_2[0] - count * LN_2[1];
    let mut power: f32 = 1.0 / 5_040.0;
    for coefficient in [
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        power = power * rest + coefficient;
    }
    match exponent < LEAST {
        true => 0.0,
        false => f32::from_bits(power.to_bits().wrapping_add(whole.to_bits() << 23)),
    }
}

/// Abramowitz and Stegun, "Handbook of mathematical functions", 1964, 7.1.26.
#[inline(always)]
fn quick_normal(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let sum = ((1.061_405_4 * t - 1.453_152) * t + 1.421_413_8) * t - 0.284_496_75;
    let rest = (sum * t + 0.254_829_6) * t * quick_exp(-z * z);
    match x < 0.0 {
        true => 0.5 * rest,
        false => 1.0 - 0.5 * rest,
    }
}

#[inline(always)]
fn normal(x: f64) -> f64 {
    0.5 * candle_core::cpu::erf::erf_f64(x * std::f64::consts::FRAC_1_SQRT_2) + 0.5
}

/// `$work` with `$float` as the type of the numbers that `$dtype` names, f32 or f64. Other types end the function, which
/// returns a result of candle, with an error.
macro_rules! with_float {
    ($dtype:expr, $float:ident => $work:expr) => {
        match $dtype {
            ::candle_core::DType::F32 => {
                type $float = f32;
                $work
            }
            ::candle_core::DType::F64 => {
                type $float = f64;
                $work
            }
            other => {
                ::candle_core::bail!("a layer of the host computes in f32 or f64, found {other:?}")
            }
        }
    };
}

pub(super) use with_float;

/// The gradients with respect to three arguments; `None` for an argument that has none.
pub(super) type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

/// The elements of a contiguous tensor.
pub(super) fn elements<'a, T: WithDType>(
    storage: &'a CpuStorage,
    layout: &Layout,
) -> candle_core::Result<&'a [T]> {
    let values = storage.as_slice::<T>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => candle_core::bail!("a layer of the host got a tensor that is not contiguous"),
    }
}

/// The values as candle stores them.
pub(super) fn storage<T: WithDType>(values: Vec<T>) -> CpuStorage {
    T::to_cpu_storage_owned(values)
}

/// `work` on the elements of tensors of the host. The backward passes of all layers of the host begin here, so each of them
/// ends here if it was asked to stop.
pub(super) fn with_elements<T: WithDType, R, const N: usize>(
    tensors: [&Tensor; N],
    work: impl FnOnce([&[T]; N]) -> candle_core::Result<R>,
) -> candle_core::Result<R> {
    stop::check()?;
    let tensors = tensors.iter().map(|tensor| tensor.contiguous());
    let tensors = tensors.collect::<candle_core::Result<Vec<Tensor>>>()?;
    let storages: Vec<_> = tensors.iter().map(Tensor::storage_and_layout).collect();
    let empty: &[T] = &[];
    let mut all = [empty; N];
    for (values, (storage, layout)) in all.iter_mut().zip(&storages) {
        *values = match &**storage {
            Storage::Cpu(storage) => elements(storage, layout)?,
            _ => candle_core::bail!("a layer of the host met a tensor of another device"),
        };
    }
    work(all)
}

/// Whether the elements have 16 bits: layers then compute in f32 what would lose bits at each step, and round once.
pub(super) fn is_half(tensor: &Tensor) -> bool {
    matches!(tensor.dtype(), DType::BF16 | DType::F16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_exponentials_are_those_of_f64() {
        for step in -8_700..=8_800i16 {
            let exponent = f32::from(step) * 0.01;
            let expected = f64::from(exponent).exp();
            let error = (f64::from(quick_exp(exponent)) / expected - 1.0).abs();
            assert!(error < 5e-7, "{exponent}: {error}");
        }
        assert_eq!(quick_exp(88.0), quick_exp(f32::INFINITY));
        assert!(quick_exp(f32::NAN).is_nan());
    }

    #[test]
    fn what_is_almost_nothing_is_nothing() {
        for exponent in [-87.1, -100.0, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(
                quick_exp(exponent).to_bits(),
                0.0f32.to_bits(),
                "{exponent}"
            );
        }
        assert!(quick_exp(-87.0).is_normal());
    }
}
