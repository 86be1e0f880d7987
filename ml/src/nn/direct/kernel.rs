//! [`Kernel`]: the kernel of a plan, over channels or over positions, with its weights.

use std::borrow::Cow;

use super::aligned::Aligned;
use super::channels::{ByChannels, Packed, SCRATCH_NUMBERS};
use super::lanes::Instructions;
use super::plan::{Plan, has_position_lanes};
use super::positions::ByPositions;
use crate::Result;
use crate::nn::activation::Fused;

/// The kernel of a plan.
#[derive(Debug)]
pub(super) enum Kernel {
    Channels(ByChannels),
    Positions(ByPositions),
}

/// The weights and the bias of a group of channels, as the kernel reads them.
#[derive(Debug)]
pub(super) enum Weights<'a> {
    Channels(Packed),
    Positions {
        weights: Cow<'a, [f32]>,
        bias: Option<&'a [f32]>,
    },
}

impl Kernel {
    pub(super) fn new(instructions: Instructions, plan: Plan) -> Self {
        match has_position_lanes(plan.lanes) {
            true => Self::Positions(ByPositions::new(instructions, plan)),
            false => Self::Channels(ByChannels::new(instructions, plan)),
        }
    }

    pub(super) fn plan(&self) -> &Plan {
        match self {
            Self::Channels(kernel) => kernel.plan(),
            Self::Positions(kernel) => kernel.plan(),
        }
    }

    /// The weights of a group, and its bias if there is one.
    pub(super) fn pack<'a>(&self, weights: &'a [f32], bias: Option<&'a [f32]>) -> Weights<'a> {
        match self {
            Self::Channels(kernel) => Weights::Channels(kernel.pack(weights, bias)),
            Self::Positions(kernel) => Weights::Positions {
                weights: kernel.pack(weights),
                bias,
            },
        }
    }

    /// The numbers that the kernel works with.
    pub(super) fn scratch_numbers(&self) -> usize {
        match self {
            Self::Channels(_) => SCRATCH_NUMBERS,
            Self::Positions(kernel) => kernel.scratch_numbers(),
        }
    }

    /// Writes a result `[channels, plane]` of the image in `source`.
    pub(super) fn write(
        &self,
        weights: &Weights<'_>,
        source: &[f32],
        activation: Option<Fused>,
        scratch: &mut [f32],
        to: &mut [f32],
    ) -> Result<()> {
        match (self, weights) {
            (Self::Channels(kernel), Weights::Channels(packed)) => {
                kernel.write(packed, source, activation, scratch, to)
            }
            (Self::Positions(kernel), Weights::Positions { weights, bias }) => {
                kernel.write(weights, *bias, source, activation, to)
            }
            _ => unreachable!("a kernel packs its own weights"),
        }
    }

    /// Memory for the slopes of the weights of a group.
    pub(super) fn slopes(&self) -> Aligned {
        match self {
            Self::Channels(kernel) => kernel.slopes(),
            Self::Positions(kernel) => {
                let plan = kernel.plan();
                Aligned::zeros(plan.lanes * plan.terms.len())
            }
        }
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
        match self {
            Self::Channels(kernel) => kernel.add_slopes(source, dz, scratch, to),
            Self::Positions(kernel) => kernel.add_slopes(source, dz, scratch, to),
        }
    }

    /// Writes the slopes of the weights of a group in the order of the weights.
    pub(super) fn unpack(&self, slopes: &[f32], weights: &mut [f32]) {
        match self {
            Self::Channels(kernel) => kernel.unpack(slopes, weights),
            // `[channels, terms]` is the order of the weights.
            Self::Positions(_) => weights.copy_from_slice(slopes),
        }
    }
}
