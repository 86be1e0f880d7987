//! Calls of the GPU kernels in `layers.cu`, and products of many matrices.
//!
//! Forward, tensors have type f32, f16 or bf16, all of one call the same. Backward they have type f32.
//!
//! * `numbers` contiguous numbers in the memory of a GPU; `window` a window over an image
//! * `product` products of matrices; `sums` sums of columns and of channels
//! * `activation`, `convolution`, `norm`, `pool` the layers, forward and backward

mod activation;
mod convolution;
mod norm;
mod numbers;
mod pool;
mod product;
mod sums;
mod window;

pub(crate) use self::activation::{activation, activation_slopes, bias_activation};
pub(crate) use self::convolution::{KernelGroups, convolution, convolution_slopes};
pub(crate) use self::norm::{normalise, normalise_slopes, scale, scale_slopes};
pub(crate) use self::numbers::Numbers;
pub(crate) use self::pool::{pool, pool_slopes};
pub(crate) use self::product::product;
pub(crate) use self::sums::channel_sums;
pub(crate) use self::window::KernelWindow;
