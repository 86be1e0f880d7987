//! [`Direct`] on processors for which it has no kernels: there is none.

use super::activation::Fused;
use super::window::Window;
use crate::Result;

/// The sizes of a convolution of one group of channels of one row.
#[derive(Debug, Clone, Copy)]
#[expect(dead_code, reason = "the kernels of other processors read the sizes")]
pub(super) struct Group {
    pub(super) window: Window,
    pub(super) channels: usize,
    pub(super) outputs: usize,
    pub(super) image: [usize; 2],
    pub(super) positions: [usize; 2],
}

/// The slopes of a convolution.
#[derive(Debug)]
pub(super) struct Slopes {
    pub(super) dx: Option<Vec<f32>>,
    pub(super) dw: Vec<f32>,
    pub(super) db: Vec<f32>,
}

/// A convolution that no processor of this architecture has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direct {}

impl Direct {
    pub(super) fn new(_: Group, _: usize, _: Option<Fused>) -> Option<Self> {
        None
    }

    pub(super) fn forward(&self, _: &[f32], _: &[f32], _: &[f32]) -> Result<Vec<f32>> {
        match *self {}
    }

    pub(super) fn slopes(&self, _: [&[f32]; 4], _: bool) -> Result<Slopes> {
        match *self {}
    }

    pub(super) fn scratch_bytes(_: &Group, _: usize) -> usize {
        0
    }
}
