//! Standardisation: numbers minus their mean, divided by their standard deviation.

use candle_core::WithDType;
use serde::{Deserialize, Serialize};

use crate::simd::simd_fn;

/// `(x - mean) / std`, computed in f64.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Standardiser {
    /// The mean of the training rows; also the imputed value of NULL.
    pub mean: f64,
    /// The standard deviation of the training rows, 1 if they do not vary.
    pub std: f64,
}

impl Standardiser {
    /// Leaves a number as it is.
    pub const IDENTITY: Self = Self {
        mean: 0.0,
        std: 1.0,
    };
}

/// The float type of encoded features.
pub(crate) trait Real: WithDType {
    /// The nearest float of this type.
    fn of(value: f64) -> Self;

    /// Standardises the floats of a column's buffer.
    fn standardise_f32(
        values: &[f32],
        standardisers: &[Standardiser],
        numbers: &mut [Self],
        to: Place,
    );
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }

    fn standardise_f32(
        values: &[f32],
        standardisers: &[Standardiser],
        numbers: &mut [Self],
        to: Place,
    ) {
        standardise_f32(values, standardisers, numbers, to);
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn standardise_f32(
        values: &[f32],
        standardisers: &[Standardiser],
        numbers: &mut [Self],
        to: Place,
    ) {
        standardise(values, standardisers, numbers, to, f64::from);
    }
}

/// The position of a column's numbers in row-major rows.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) stride: usize,
    pub(crate) offset: usize,
}

simd_fn! {
    fn standardise_f32<'a>(
        values: &'a [f32],
        standardisers: &'a [Standardiser],
        numbers: &'a mut [f32],
        to: Place,
    ) {
        standardise(values, standardisers, numbers, to, f64::from);
    }
}

#[inline(always)]
pub(crate) fn standardise<T: Copy, N: Real>(
    values: &[T],
    standardisers: &[Standardiser],
    numbers: &mut [N],
    to: Place,
    to_f64: impl Fn(T) -> f64,
) {
    if let [Standardiser { mean, std }] = *standardisers {
        let scale = 1.0 / std;
        let places = numbers[to.offset..].iter_mut().step_by(to.stride);
        for (number, &value) in places.zip(values) {
            *number = N::of((to_f64(value) - mean) * scale);
        }
        return;
    }
    let rows = numbers.chunks_exact_mut(to.stride);
    for (row, values) in rows.zip(values.chunks_exact(standardisers.len().max(1))) {
        let places = row[to.offset..].iter_mut();
        for ((number, &value), Standardiser { mean, std }) in places.zip(values).zip(standardisers)
        {
            *number = N::of((to_f64(value) - mean) * (1.0 / std));
        }
    }
}
