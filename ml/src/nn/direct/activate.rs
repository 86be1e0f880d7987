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

/// The slopes of the output before its activation.
pub(super) struct OutputSlopes<'a> {
    pub(super) activation: Option<Fused>,
    pub(super) y: &'a [f32],
    pub(super) dy: &'a [f32],
    /// Memory for the slopes, if there is an activation.
    pub(super) dz: &'a mut [f32],
}

impl<'a> Work for OutputSlopes<'a> {
    type Output = &'a [f32];

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) -> &'a [f32] {
        match self.activation {
            None => self.dy,
            Some(Fused::Relu) => self.write(|y, dy| Fused::Relu.slope(y, dy)),
            Some(Fused::Tanh) => self.write(|y, dy| Fused::Tanh.slope(y, dy)),
            Some(Fused::Sigmoid) => self.write(|y, dy| Fused::Sigmoid.slope(y, dy)),
        }
    }
}

impl<'a> OutputSlopes<'a> {
    #[inline(always)]
    fn write(self, slope: impl Fn(f32, f32) -> f32) -> &'a [f32] {
        let pairs = self.y.iter().zip(self.dy);
        let all = self.dz.iter_mut().zip(pairs);
        all.for_each(|(dz, (&y, &dy))| *dz = slope(y, dy));
        self.dz
    }
}

/// Adds the sum of the slopes of each channel to `sums`.
pub(super) struct ChannelSums<'a> {
    pub(super) dz: &'a [f32],
    pub(super) sums: &'a mut [f32],
}

impl Work for ChannelSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _lanes: L) {
        let places = self.dz.len() / self.sums.len();
        for (total, dz) in self.sums.iter_mut().zip(self.dz.chunks_exact(places)) {
            *total += sum(dz, |dz| dz);
        }
    }
}
