//! Stands for `heads` on processors other than x86-64, with the same names: no value of [`Heads`] exists there.

use super::sequences::Sequences;
use super::sizes::Sizes;

/// An attention that no processor of this architecture has.
#[derive(Debug, Clone, Copy)]
pub(super) enum Heads {}

impl Heads {
    pub(super) fn new(_: &Sizes) -> Option<Self> {
        None
    }

    pub(super) fn forward(
        &self,
        _: &[f32],
        _: Option<&[f32]>,
        _: &Sequences,
    ) -> candle_core::Result<Vec<f32>> {
        match *self {}
    }

    pub(super) fn gradients(
        &self,
        _: &[f32],
        _: Option<&[f32]>,
        _: &[f32],
        _: &Sequences,
    ) -> candle_core::Result<(Vec<f32>, Vec<f32>)> {
        match *self {}
    }
}
