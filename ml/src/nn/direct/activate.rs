//! Activations of what a kernel has summed, and their slopes.

use super::lanes::{Lanes, Work};
use crate::nn::activation::Fused;
use crate::nn::sums::sum;

/// Replaces each `z` by its value.
#[inline(always)]
pub(super) fn activate<L: Lanes>(lanes: L, activation: Fused, z: &mut [f32]) {
    match activation {
        Fused::Relu => {
            let mut vectors = z.chunks_exact_mut(L::COUNT);
            for vector in &mut vectors {
                // SAFETY: each chunk has the numbers of a vector. Compilers make masked stores of a comparison, which are slow
                // on some processors.
                unsafe {
                    let z = lanes.load(vector.as_ptr());
                    lanes.store(vector.as_mut_ptr(), lanes.positive(z));
                }
            }
            let rest = vectors.into_remainder().iter_mut();
            rest.for_each(|z| *z = Fused::Relu.value(*z));
        }
        Fused::Tanh => z.iter_mut().for_each(|z| *z = Fused::Tanh.value(*z)),
        Fused::Sigmoid => z.iter_mut().for_each(|z| *z = Fused::Sigmoid.value(*z)),
    }
}

/// The slopes of the output before its activation, and their sums for each channel.
pub(super) struct OutputSlopes<'a> {
    pub(super) activation: Option<Fused>,
    pub(super) y: &'a [f32],
    pub(super) dy: &'a [f32],
    /// Memory for the slopes, if there is an activation.
    pub(super) dz: &'a mut [f32],
    /// The sums of the channels, to which these are added.
    pub(super) sums: &'a mut [f32],
}

impl<'a> Work for OutputSlopes<'a> {
    type Output = &'a [f32];

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) -> &'a [f32] {
        let Self {
            activation,
            y,
            dy,
            dz,
            sums,
        } = self;
        let dz = match activation {
            None => dy,
            Some(Fused::Relu) => write(dz, y, dy, |y, dy| Fused::Relu.slope(y, dy)),
            Some(Fused::Tanh) => write(dz, y, dy, |y, dy| Fused::Tanh.slope(y, dy)),
            Some(Fused::Sigmoid) => write(dz, y, dy, |y, dy| Fused::Sigmoid.slope(y, dy)),
        };
        let places = dz.len() / sums.len();
        for (total, dz) in sums.iter_mut().zip(dz.chunks_exact(places)) {
            *total += sum(dz, |dz| dz);
        }
        dz
    }
}

#[inline(always)]
fn write<'a>(
    dz: &'a mut [f32],
    y: &[f32],
    dy: &[f32],
    slope: impl Fn(f32, f32) -> f32,
) -> &'a [f32] {
    let pairs = y.iter().zip(dy);
    dz.iter_mut()
        .zip(pairs)
        .for_each(|(dz, (&y, &dy))| *dz = slope(y, dy));
    dz
}
