//! [`Arguments`] of a convolution of a batch, and their [`Slopes`].

/// The arguments of a convolution.
#[derive(Debug, Clone, Copy)]
pub(in crate::nn) struct Arguments<'a> {
    /// `[rows, channels, height, width]`
    pub(in crate::nn) x: &'a [f32],
    /// `[outputs, channels of a group, height and width of the window]`
    pub(in crate::nn) weight: &'a [f32],
    /// `[outputs]`
    pub(in crate::nn) bias: &'a [f32],
}

/// The slopes of the arguments.
#[derive(Debug)]
pub(in crate::nn) struct Slopes {
    /// If they were wanted.
    pub(in crate::nn) dx: Option<Vec<f32>>,
    pub(in crate::nn) dw: Vec<f32>,
    pub(in crate::nn) db: Vec<f32>,
}
