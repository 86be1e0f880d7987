//! Convolutions of f32 on x86-64, whose kernels read the images where they are: nothing is copied but the zeros around them.
//!
//! ```text
//! forward    y  = activation(Σ W x + b)        for each image: sums in registers, then activation, then y
//! backward   dz = dy · activation'(y), db      for each image, while it is in the cache
//!            dW = Σ dz x
//!            dx = Σ W dz                       the same sums, with the window turned around
//! ```
//! `images` is a convolution of a batch, `squares` the same with a pool behind it; `arguments` are its arguments, and `passes` go
//! over its images, forward and backward. `plan` says what is summed: `frame` is an image with zeros around it, `places` are
//! places in it. `kernel` chooses between two kernels: in `channels` the lanes of a vector are channels, with the sums of `tile`
//! and the transposes of `transpose`; in `positions` they are positions, for depthwise convolutions. `activate` has activations
//! and their slopes, `aligned` memory for vectors, `lanes` the vectors of AVX2 and AVX-512.
//!
//! The order of each sum follows from the sizes of the layer alone, and multiplications are fused with additions on every
//! processor that has these kernels: so their results are the same bits, whatever the instruction set, the threads and the
//! other rows are. Other processors, f64, and windows for which these kernels are wasteful use products of matrices instead
//! (`convolution`).

mod activate;
mod aligned;
mod arguments;
mod channels;
mod frame;
mod images;
mod kernel;
mod lanes;
mod passes;
mod places;
mod plan;
mod positions;
mod squares;
#[cfg(test)]
mod tests;
mod tile;
mod transpose;

pub(super) use aligned::Aligned;
pub(super) use arguments::Arguments;
pub(super) use images::Direct;
pub(super) use lanes::{Instructions, Lanes, Work};
pub(super) use plan::Group;
