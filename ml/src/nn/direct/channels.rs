//! Convolutions whose lanes are channels of the result: the kernel of `tile` over the positions, in blocks that stay in the cache.
//!
//! ```text
//! block of positions × panel of channels   sums in scratch memory [positions, channels], which is transposed into the result
//! ```

use super::activate::activate;
use super::aligned::Aligned;
use super::lanes::{Instructions, LANES_MAX, Lanes, Work};
use super::places::Places;
use super::plan::Plan;
use super::tile::{Start, Terms, write_sums};
use super::transpose::{Rows, transpose};
use crate::nn::activation::Fused;
use crate::{Result, stop};

/// Positions of a block.
const PLACES_AT_ONCE: usize = 192;
/// Terms of a sum in registers; sums of more terms are sums of such sums. Their weights fit into the cache of a core.
const TERMS_AT_ONCE: usize = 288;
/// The most vectors of a panel.
const VECTORS_MAX: usize = 2;
/// The numbers of the scratch memory.
pub(super) const SCRATCH_NUMBERS: usize = PLACES_AT_ONCE * VECTORS_MAX * LANES_MAX;

/// Channels of the result that are summed together.
#[derive(Debug, Clone, Copy)]
struct Panel {
    first: usize,
    channels: usize,
    vectors: usize,
    /// The lanes of its vectors.
    width: usize,
}

/// A plan whose lanes are channels.
#[derive(Debug)]
pub(super) struct ByChannels {
    instructions: Instructions,
    plan: Plan,
    panels: Vec<Panel>,
    /// The places of all positions in the frame.
    rows: Places,
    /// The places of all positions in a channel of the result, unless they are in order.
    targets: Option<Vec<usize>>,
}

/// The weights of a group of channels as the kernel reads them, `[panels, terms, lanes]`, and what its sums start from.
#[derive(Debug)]
pub(super) struct Packed {
    weights: Aligned,
    starts: Vec<f32>,
}

impl ByChannels {
    pub(super) fn new(instructions: Instructions, plan: Plan) -> Self {
        let instructions = instructions.for_numbers(plan.lanes);
        let positions = |side: usize| {
            let (step, count) = (plan.steps[side], plan.count);
            let lines = plan.lines.iter();
            let all = lines.flat_map(move |line| (0..count).map(move |n| line[side] + n * step));
            all.collect::<Vec<usize>>()
        };
        let rows = Places::new(positions(0));
        let targets = (!plan.is_in_order()).then(|| positions(1));
        Self {
            panels: panels(plan.lanes, instructions.lanes()),
            instructions,
            plan,
            rows,
            targets,
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The lanes of all panels.
    fn width(&self) -> usize {
        self.panels.iter().map(|panel| panel.width).sum()
    }

    /// The weights of a group, and its bias if there is one.
    pub(super) fn pack(&self, weights: &[f32], bias: Option<&[f32]>) -> Packed {
        let mut packed = self.slopes();
        self.instructions.run(Pack {
            kernel: self,
            weights,
            packed: &mut packed,
        });
        let mut starts = bias.unwrap_or_default().to_vec();
        starts.resize(self.width(), 0.0);
        Packed {
            weights: packed,
            starts,
        }
    }

    /// Writes a result `[channels, plane]` of the image in `source`. `scratch` has [`SCRATCH_NUMBERS`].
    pub(super) fn write(
        &self,
        packed: &Packed,
        source: &[f32],
        activation: Option<Fused>,
        scratch: &mut [f32],
        to: &mut [f32],
    ) -> Result<()> {
        self.instructions.run(Write {
            kernel: self,
            packed,
            source,
            activation,
            scratch,
            to,
        })
    }

    /// Memory for the slopes of the weights of a group.
    pub(super) fn slopes(&self) -> Aligned {
        Aligned::zeros(self.width() * self.plan.elements.len())
    }

    /// Adds the slopes of the weights, of an image in `source` with the slopes `dz` `[channels, plane]` of its result. The plan is
    /// that of the output.
    pub(super) fn add_slopes(
        &self,
        source: &[f32],
        dz: &[f32],
        scratch: &mut [f32],
        to: &mut [f32],
    ) -> Result<()> {
        self.instructions.run(AddSlopes {
            kernel: self,
            source,
            dz,
            scratch,
            to,
        })
    }

    /// Writes the slopes of the weights of a group in the order of the weights. The plan is that of the output.
    pub(super) fn unpack(&self, slopes: &[f32], weights: &mut [f32]) {
        self.instructions.run(Unpack {
            kernel: self,
            slopes,
            weights,
        });
    }
}

/// Panels of two vectors, and one of a single vector if it has room for the rest.
fn panels(channels: usize, lanes: usize) -> Vec<Panel> {
    let panel = |first: usize| {
        let rest = channels - first;
        let vectors = rest.div_ceil(lanes).min(VECTORS_MAX);
        let width = vectors * lanes;
        Panel {
            first,
            channels: rest.min(width),
            vectors,
            width,
        }
    };
    let firsts = (0..channels).step_by(VECTORS_MAX * lanes);
    firsts.map(panel).collect()
}

struct Pack<'a> {
    kernel: &'a ByChannels,
    weights: &'a [f32],
    packed: &'a mut [f32],
}

impl Work for Pack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let plan = &self.kernel.plan;
        let terms = plan.elements.len();
        let is_in_order = plan.has_weights_in_order();
        for panel in &self.kernel.panels {
            let to = &mut self.packed[panel.first * terms..][..panel.width * terms];
            let weights = &self.weights[panel.first * plan.lane_step..];
            if is_in_order {
                let weights = Rows {
                    values: weights,
                    step: terms,
                    size: [panel.channels, terms],
                };
                transpose(lanes, weights, to, panel.width);
                continue;
            }
            for (to, element) in to.chunks_exact_mut(panel.width).zip(&plan.elements) {
                let weights = weights[*element..].iter().step_by(plan.lane_step);
                let pairs = to[..panel.channels].iter_mut().zip(weights);
                pairs.for_each(|(to, &weight)| *to = weight);
            }
        }
    }
}

struct Unpack<'a> {
    kernel: &'a ByChannels,
    slopes: &'a [f32],
    weights: &'a mut [f32],
}

impl Work for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let terms = self.kernel.plan.elements.len();
        for panel in &self.kernel.panels {
            let slopes = Rows {
                values: &self.slopes[panel.first * terms..],
                step: panel.width,
                size: [terms, panel.channels],
            };
            transpose(
                lanes,
                slopes,
                &mut self.weights[panel.first * terms..],
                terms,
            );
        }
    }
}

struct Write<'a> {
    kernel: &'a ByChannels,
    packed: &'a Packed,
    source: &'a [f32],
    activation: Option<Fused>,
    scratch: &'a mut [f32],
    to: &'a mut [f32],
}

impl Work for Write<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) -> Result<()> {
        let places = self.kernel.rows.len();
        for first in (0..places).step_by(PLACES_AT_ONCE) {
            stop::check()?;
            let end = places.min(first + PLACES_AT_ONCE);
            for panel in &self.kernel.panels {
                self.write_block(lanes, panel, first, end);
            }
        }
        Ok(())
    }
}

impl Write<'_> {
    #[inline(always)]
    fn write_block<L: Lanes>(&mut self, lanes: L, panel: &Panel, first: usize, end: usize) {
        let (kernel, plan) = (self.kernel, &self.kernel.plan);
        let terms = plan.terms.len();
        let weights = &self.packed.weights[panel.first * terms..][..panel.width * terms];
        let sums = &mut self.scratch[..(end - first) * panel.width];
        let mut start = Start::Row(&self.packed.starts[panel.first..]);
        for term in (0..terms).step_by(TERMS_AT_ONCE) {
            let factors = Terms {
                source: self.source,
                rows: kernel.rows.part(first..end),
                terms: plan.terms.part(term..terms.min(term + TERMS_AT_ONCE)),
                factors: &weights[term * panel.width..],
            };
            write_sums(lanes, panel.vectors, factors, start, sums);
            start = Start::Result;
        }
        if let Some(activation) = self.activation {
            activate(lanes, activation, sums);
        }
        let to = &mut self.to[panel.first * plan.plane..][..panel.channels * plan.plane];
        match &kernel.targets {
            None => {
                let block = Rows {
                    values: sums,
                    step: panel.width,
                    size: [end - first, panel.channels],
                };
                transpose(lanes, block, &mut to[first..], plan.plane);
            }
            Some(targets) => {
                for (lane, to) in to.chunks_exact_mut(plan.plane).enumerate() {
                    let sums = sums.iter().skip(lane).step_by(panel.width);
                    let targets = targets[first..end].iter();
                    targets.zip(sums).for_each(|(&at, &sum)| to[at] = sum);
                }
            }
        }
    }
}

struct AddSlopes<'a> {
    kernel: &'a ByChannels,
    source: &'a [f32],
    dz: &'a [f32],
    scratch: &'a mut [f32],
    to: &'a mut [f32],
}

impl Work for AddSlopes<'_> {
    type Output = Result<()>;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> Result<()> {
        let (plan, rows) = (&self.kernel.plan, &self.kernel.rows);
        let (terms, places) = (plan.terms.len(), rows.len());
        for panel in &self.kernel.panels {
            let to = &mut self.to[panel.first * terms..][..panel.width * terms];
            for first in (0..places).step_by(PLACES_AT_ONCE) {
                stop::check()?;
                let end = places.min(first + PLACES_AT_ONCE);
                let slopes = &mut self.scratch[..(end - first) * panel.width];
                if panel.channels < panel.width {
                    slopes.fill(0.0);
                }
                let block = Rows {
                    values: &self.dz[panel.first * places + first..],
                    step: places,
                    size: [panel.channels, end - first],
                };
                transpose(lanes, block, slopes, panel.width);
                let factors = Terms {
                    source: self.source,
                    rows: plan.terms.all(),
                    terms: rows.part(first..end),
                    factors: slopes,
                };
                write_sums(lanes, panel.vectors, factors, Start::Result, to);
            }
        }
        Ok(())
    }
}
