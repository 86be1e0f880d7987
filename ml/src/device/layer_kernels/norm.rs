//! Normalisation of runs of numbers, and the factor and summand of each channel.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
use candle_core::{CudaStorage, Result, Tensor};

use super::numbers::{Numbers, blocks, tensor, with_numbers};
use super::sums::channel_sums_of;
use crate::device::kernels::strided;

/// Each run of `width` numbers with mean 0 and variance 1.
pub(crate) fn normalise(x: Numbers<'_>, width: usize) -> Result<CudaStorage> {
    let y = x.alloc(x.count)?;
    let to = Numbers::all(&y, x.count)?.address;
    let (runs, width) = ((x.count / width.max(1)) as u64, width as u32);
    let kernel = x.kernel("normalise")?;
    let mut launch = kernel.builder();
    launch.arg(&x.address).arg(&to).arg(&runs).arg(&width);
    // SAFETY: the arguments are those of the kernel, whose runs are parts of the tensors.
    unsafe { launch.launch(blocks(runs as usize)) }.w()?;
    Ok(y)
}

/// The gradient of [`normalise`], whose result is `y`.
pub(crate) fn normalise_slopes(
    x: &Tensor,
    y: &Tensor,
    dy: &Tensor,
    width: usize,
) -> Result<Tensor> {
    with_numbers(x, |numbers| {
        with_numbers(y, |y| {
            with_numbers(dy, |dy| {
                let dx = numbers.alloc(numbers.count)?;
                let to = Numbers::all(&dx, numbers.count)?.address;
                let (runs, width) = ((numbers.count / width.max(1)) as u64, width as u32);
                let kernel = numbers.kernel_of_f32("normalise_slopes")?;
                let mut launch = kernel.builder();
                launch
                    .arg(&numbers.address)
                    .arg(&y.address)
                    .arg(&dy.address);
                launch.arg(&to).arg(&runs).arg(&width);
                // SAFETY: the arguments are those of the kernel, whose runs are parts of the tensors.
                unsafe { launch.launch(blocks(runs as usize)) }.w()?;
                Ok(tensor(dx, x.shape()))
            })
        })
    })
}

/// `x * weight + bias`, with a factor and a summand for each channel of `positions` numbers.
pub(crate) fn scale(
    x: Numbers<'_>,
    weight: Numbers<'_>,
    bias: Numbers<'_>,
    positions: usize,
) -> Result<CudaStorage> {
    x.check_same(&weight)?;
    x.check_same(&bias)?;
    let y = x.alloc(x.count)?;
    let to = Numbers::all(&y, x.count)?.address;
    let (count, positions, channels) = (x.count as u64, positions as u32, weight.count as u32);
    let kernel = x.kernel("scale")?;
    let mut launch = kernel.builder();
    launch
        .arg(&x.address)
        .arg(&weight.address)
        .arg(&bias.address)
        .arg(&to);
    launch.arg(&count).arg(&positions).arg(&channels);
    // SAFETY: the arguments are those of the kernel, and every index is below the counts.
    unsafe { launch.launch(strided(x.count)) }.w()?;
    Ok(y)
}

/// The gradients of [`scale`] with respect to x, the factors and the summands.
pub(crate) fn scale_slopes(
    x: &Tensor,
    weight: &Tensor,
    dy: &Tensor,
    positions: usize,
) -> Result<(Tensor, Tensor, Tensor)> {
    let channels = weight.elem_count();
    with_numbers(x, |numbers| {
        with_numbers(weight, |weights| {
            with_numbers(dy, |dy| {
                let dx = numbers.alloc(numbers.count)?;
                let to = Numbers::all(&dx, numbers.count)?.address;
                let (count, width) = (numbers.count as u64, positions as u32);
                let of_channels = channels as u32;
                let kernel = numbers.kernel_of_f32("scale_slopes")?;
                let mut launch = kernel.builder();
                launch.arg(&dy.address).arg(&weights.address).arg(&to);
                launch.arg(&count).arg(&width).arg(&of_channels);
                // SAFETY: the arguments are those of the kernel, and every index is below the counts.
                unsafe { launch.launch(strided(numbers.count)) }.w()?;
                let dw = channel_sums_of(dy, Some(numbers), channels, positions)?;
                let db = channel_sums_of(dy, None, channels, positions)?;
                Ok((
                    tensor(dx, x.shape()),
                    tensor(dw, weight.shape()),
                    tensor(db, weight.shape()),
                ))
            })
        })
    })
}
