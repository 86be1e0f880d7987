//! Convolutions whose lanes are positions: for results of few channels, such as the one of each group of a depthwise convolution.
//!
//! A vector has neighbouring positions of a line. Lines end anywhere, so the last vector of a line may be partly beyond it: its
//! other lanes are computed from whatever stands there, and not written.

use std::borrow::Cow;

use super::activate::activate;
use super::lanes::{Instructions, LANES_MAX, Lanes, Work};
use super::places::{Places, SomePlaces};
use super::plan::Plan;
use crate::nn::activation::Fused;
use crate::nn::sums::total;
use crate::{Result, stop};

/// Vectors that are summed together.
const VECTORS_AT_ONCE: usize = 8;
/// Elements of the window whose slopes are summed together.
const ELEMENTS_AT_ONCE: usize = 4;

/// A plan whose lanes are positions.
#[derive(Debug)]
pub(super) struct ByPositions {
    instructions: Instructions,
    plan: Plan,
    /// The lines in vectors of the instruction set.
    vectors: Pieces,
    /// The lines in vectors of [`LANES_MAX`] numbers, in which slopes are summed whatever the instruction set is.
    wide: Pieces,
}

/// Lines in pieces that are at most as long as a vector.
#[derive(Debug)]
struct Pieces {
    /// Their places in the frame.
    from: Places,
    /// Their places in a channel of the result, and their lengths.
    to: Vec<[usize; 2]>,
}

impl Pieces {
    fn of(plan: &Plan, length: usize) -> Self {
        let pieces = plan.lines.iter().flat_map(|[from, to]| {
            let starts = (0..plan.count).step_by(length);
            starts.map(move |start| {
                let at = [
                    from + start * plan.steps[0],
                    to + start * plan.steps[1],
                    length.min(plan.count - start),
                ];
                (at[0], [at[1], at[2]])
            })
        });
        let (from, to) = pieces.unzip();
        Self {
            from: Places::new(from),
            to,
        }
    }
}

impl ByPositions {
    pub(super) fn new(instructions: Instructions, plan: Plan) -> Self {
        let instructions = instructions.for_numbers(plan.count);
        Self {
            vectors: Pieces::of(&plan, instructions.lanes()),
            wide: Pieces::of(&plan, LANES_MAX),
            instructions,
            plan,
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The weights of a group `[channels, terms]`.
    pub(super) fn pack<'a>(&self, weights: &'a [f32]) -> Cow<'a, [f32]> {
        if self.plan.has_weights_in_order() {
            return Cow::Borrowed(weights);
        }
        let lanes = (0..self.plan.lanes).flat_map(|lane| {
            let elements = self.plan.elements.iter();
            elements.map(move |element| weights[element + lane * self.plan.lane_step])
        });
        Cow::Owned(lanes.collect())
    }

    /// Writes a result `[channels, plane]` of the image in `source`, from packed weights.
    pub(super) fn write(
        &self,
        weights: &[f32],
        bias: Option<&[f32]>,
        source: &[f32],
        activation: Option<Fused>,
        to: &mut [f32],
    ) -> Result<()> {
        stop::check()?;
        self.instructions.run(Write {
            kernel: self,
            weights,
            bias,
            source,
            activation,
            to,
        });
        Ok(())
    }

    /// The numbers that [`ByPositions::add_slopes`] works with.
    pub(super) fn scratch_numbers(&self) -> usize {
        self.wide.to.len() * LANES_MAX
    }

    /// Adds the slopes of the weights `[channels, terms]`, of an image in `source` with the slopes `dz` `[channels, plane]` of its
    /// result. The plan is that of the output; `scratch` has [`ByPositions::scratch_numbers`].
    pub(super) fn add_slopes(
        &self,
        source: &[f32],
        dz: &[f32],
        scratch: &mut [f32],
        to: &mut [f32],
    ) -> Result<()> {
        stop::check()?;
        self.instructions.run(AddSlopes {
            kernel: self,
            source,
            dz,
            scratch,
            to,
        });
        Ok(())
    }
}

struct Write<'a> {
    kernel: &'a ByPositions,
    weights: &'a [f32],
    bias: Option<&'a [f32]>,
    source: &'a [f32],
    activation: Option<Fused>,
    to: &'a mut [f32],
}

impl Work for Write<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let plan = &self.kernel.plan;
        let weights = self.weights.chunks_exact(plan.terms.len());
        let channels = self.to.chunks_exact_mut(plan.plane).zip(weights);
        for (channel, (to, weights)) in channels.enumerate() {
            let bias = self.bias.map_or(0.0, |bias| bias[channel]);
            let from = self.kernel.vectors.from.all();
            let mut targets = self.kernel.vectors.to.iter();
            let mut write = |sums: &[[f32; LANES_MAX]]| {
                for (sums, &[at, length]) in sums.iter().zip(targets.by_ref()) {
                    let to = &mut to[at..];
                    match (plan.steps[1], length == L::COUNT) {
                        (1, true) => to[..L::COUNT].copy_from_slice(&sums[..L::COUNT]),
                        (1, false) => to[..length].copy_from_slice(&sums[..length]),
                        (step, _) => {
                            let to = to.iter_mut().step_by(step);
                            to.zip(&sums[..length]).for_each(|(to, &sum)| *to = sum);
                        }
                    }
                }
            };
            let image = Image {
                source: self.source,
                terms: plan.terms.all(),
                weights,
                bias,
            };
            for vectors in from.chunks(VECTORS_AT_ONCE) {
                match vectors.values().len() {
                    1 => write(&image.sums::<L, 1>(lanes, vectors)),
                    2 => write(&image.sums::<L, 2>(lanes, vectors)),
                    3 => write(&image.sums::<L, 3>(lanes, vectors)),
                    4 => write(&image.sums::<L, 4>(lanes, vectors)),
                    5 => write(&image.sums::<L, 5>(lanes, vectors)),
                    6 => write(&image.sums::<L, 6>(lanes, vectors)),
                    7 => write(&image.sums::<L, 7>(lanes, vectors)),
                    _ => write(&image.sums::<L, 8>(lanes, vectors)),
                }
            }
            // Only outputs have an activation, and their plan has all positions.
            if let Some(activation) = self.activation {
                activate(lanes, activation, to);
            }
        }
    }
}

/// What the positions of a channel are summed from.
#[derive(Clone, Copy)]
struct Image<'a> {
    source: &'a [f32],
    terms: SomePlaces<'a>,
    weights: &'a [f32],
    bias: f32,
}

impl Image<'_> {
    /// The sums of `V` vectors of positions.
    ///
    /// # Panics
    /// If there are not so many, or if one is not within the source.
    #[inline(always)]
    fn sums<L: Lanes, const V: usize>(
        self,
        lanes: L,
        vectors: SomePlaces<'_>,
    ) -> [[f32; LANES_MAX]; V] {
        let (places, terms) = (vectors.values(), self.terms.values());
        let last = vectors.max() + self.terms.max();
        assert!(places.len() == V && last + L::COUNT <= self.source.len());
        let mut sums = [lanes.splat(0.0); V];
        for (&term, &weight) in terms.iter().zip(self.weights) {
            let weight = lanes.splat(weight);
            for (sum, place) in sums.iter_mut().zip(places) {
                // SAFETY: a place and a term are at most their maxima, from whose sum on a vector is in the source, as checked
                // above.
                let numbers = unsafe { lanes.load(self.source.as_ptr().add(place + term)) };
                *sum = lanes.mul_add(weight, numbers, *sum);
            }
        }
        let bias = lanes.splat(self.bias);
        let mut found = [[0.0; LANES_MAX]; V];
        for (found, sum) in found.iter_mut().zip(sums) {
            // SAFETY: no vector has more than `LANES_MAX` numbers.
            unsafe { lanes.store(found.as_mut_ptr(), lanes.add(sum, bias)) };
        }
        found
    }
}

struct AddSlopes<'a> {
    kernel: &'a ByPositions,
    source: &'a [f32],
    dz: &'a [f32],
    scratch: &'a mut [f32],
    to: &'a mut [f32],
}

impl Work for AddSlopes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let (plan, wide) = (&self.kernel.plan, &self.kernel.wide);
        let channels = self.dz.chunks_exact(plan.plane);
        let slopes = self.to.chunks_exact_mut(plan.terms.len());
        for (dz, to) in channels.zip(slopes) {
            // Zeros behind the end of a line, so that what stands there in the image counts for nothing.
            let (padded, _) = self.scratch.as_chunks_mut::<LANES_MAX>();
            for (padded, &[at, length]) in padded.iter_mut().zip(&wide.to) {
                padded[..length].copy_from_slice(&dz[at..][..length]);
                padded[length..].fill(0.0);
            }
            let image = Slopes {
                source: self.source,
                places: wide.from.all(),
                dz: &padded[..wide.to.len()],
            };
            let terms = plan.terms.all().chunks(ELEMENTS_AT_ONCE);
            for (to, terms) in to.chunks_mut(ELEMENTS_AT_ONCE).zip(terms) {
                match terms.values().len() {
                    4 => add(to, image.sums::<L, 4>(lanes, terms)),
                    3 => add(to, image.sums::<L, 3>(lanes, terms)),
                    2 => add(to, image.sums::<L, 2>(lanes, terms)),
                    _ => add(to, image.sums::<L, 1>(lanes, terms)),
                }
            }
        }
    }
}

#[inline(always)]
fn add<const T: usize>(to: &mut [f32], sums: [f32; T]) {
    to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
}

/// What the slopes of a channel's weights are summed from.
#[derive(Clone, Copy)]
struct Slopes<'a> {
    source: &'a [f32],
    places: SomePlaces<'a>,
    dz: &'a [[f32; LANES_MAX]],
}

impl Slopes<'_> {
    /// The slopes of the weights of `T` elements of the window.
    ///
    /// # Panics
    /// If there are not so many, or if one is not within the source.
    #[inline(always)]
    fn sums<L: Lanes, const T: usize>(self, lanes: L, terms: SomePlaces<'_>) -> [f32; T] {
        let last = self.places.max() + terms.max();
        let terms = terms.values();
        assert!(terms.len() == T && last + LANES_MAX <= self.source.len());
        // The parts of a piece in vectors of the instruction set: one of AVX-512, two of AVX2.
        let parts = LANES_MAX / L::COUNT;
        let mut sums = [[lanes.splat(0.0); LANES_MAX / 8]; T];
        for (place, dz) in self.places.values().iter().zip(self.dz) {
            for part in 0..parts {
                let start = part * L::COUNT;
                // SAFETY: `start` and a vector are within `LANES_MAX` numbers, which `dz` has.
                let dz = unsafe { lanes.load(dz.as_ptr().add(start)) };
                for (sums, term) in sums.iter_mut().zip(terms) {
                    // SAFETY: a place and a term are at most their maxima, from whose sum on `LANES_MAX` numbers are in the
                    // source, as checked above.
                    let numbers =
                        unsafe { lanes.load(self.source.as_ptr().add(place + term + start)) };
                    sums[part] = lanes.mul_add(dz, numbers, sums[part]);
                }
            }
        }
        let mut found = [0.0; T];
        for (found, sums) in found.iter_mut().zip(sums) {
            let mut numbers = [0.0; LANES_MAX];
            for (part, sum) in sums.into_iter().take(parts).enumerate() {
                // SAFETY: `parts` vectors have `LANES_MAX` numbers together.
                unsafe { lanes.store(numbers.as_mut_ptr().add(part * L::COUNT), sum) };
            }
            *found = total(numbers);
        }
        found
    }
}
