//! Stands for the folder `direct` on processors other than x86-64, with the same names: no value of [`Direct`] exists there.

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

/// The arguments of a convolution.
#[derive(Debug, Clone, Copy)]
#[expect(
    dead_code,
    reason = "the kernels of other processors read the arguments"
)]
pub(super) struct Arguments<'a> {
    pub(super) x: &'a [f32],
    pub(super) weight: &'a [f32],
    pub(super) bias: &'a [f32],
}

/// The slopes of the arguments.
#[derive(Debug)]
pub(super) struct Slopes {
    pub(super) dx: Option<Vec<f32>>,
    pub(super) dw: Vec<f32>,
    pub(super) db: Vec<f32>,
}

/// The greatest elements of squares.
#[derive(Debug)]
pub(super) struct Squares {
    pub(super) y: Vec<f32>,
    pub(super) places: Vec<u8>,
}

/// A convolution that no processor of this architecture has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Direct {}

impl Direct {
    pub(super) fn new(_: Group, _: Option<Fused>) -> Option<Self> {
        None
    }

    pub(super) fn forward(&self, _: Arguments<'_>) -> Result<Vec<f32>> {
        match *self {}
    }

    pub(super) fn slopes(&self, _: Arguments<'_>, _: [&[f32]; 2], _: bool) -> Result<Slopes> {
        match *self {}
    }

    pub(super) fn forward_squares(&self, _: Arguments<'_>, _: bool) -> Result<Squares> {
        match *self {}
    }

    pub(super) fn slopes_of_squares(
        &self,
        _: Arguments<'_>,
        _: (&[f32], &[u8]),
        _: &[f32],
        _: bool,
    ) -> Result<Slopes> {
        match *self {}
    }

    pub(super) fn scratch_bytes(_: &Group, _: usize) -> usize {
        0
    }
}
