//! Sums of columns and of channels, in an order that follows from the shape.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{LaunchConfig, PushKernelArg};
use candle_core::{CudaStorage, Result, Tensor};

use super::numbers::{Numbers, blocks, tensor, with_numbers};

/// The sums of the columns of `x` `[rows, columns]`.
pub(super) fn column_sums(x: Numbers<'_>, rows: usize, columns: usize) -> Result<CudaStorage> {
    let blocks = (rows / 64).clamp(1, 256);
    let sums = column_sums_of_blocks(x, rows, columns, blocks)?;
    match blocks {
        1 => Ok(sums),
        _ => column_sums_of_blocks(Numbers::all(&sums, blocks * columns)?, blocks, columns, 1),
    }
}

/// The sums of the columns of `x` in each of `blocks` blocks of rows: `[blocks, columns]`.
fn column_sums_of_blocks(
    x: Numbers<'_>,
    rows: usize,
    columns: usize,
    blocks: usize,
) -> Result<CudaStorage> {
    let sums = x.alloc(blocks * columns)?;
    let to = Numbers::all(&sums, blocks * columns)?.address;
    let sizes = [rows, columns, rows.div_ceil(blocks)].map(|size| size as u32);
    let kernel = x.kernel_of_f32("sum_columns")?;
    let mut launch = kernel.builder();
    launch.arg(&x.address).arg(&to);
    launch.arg(&sizes[0]).arg(&sizes[1]).arg(&sizes[2]);
    let config = LaunchConfig {
        grid_dim: (sizes[1].div_ceil(32), blocks as u32, 1),
        block_dim: (32, 8, 1),
        shared_mem_bytes: 0,
    };
    // SAFETY: the arguments are those of the kernel, whose threads stay within rows and columns.
    unsafe { launch.launch(config) }.w()?;
    Ok(sums)
}

/// The sum of each channel of `x` `[rows, channels, positions]`, or of `x` times `factors`.
pub(super) fn channel_sums_of(
    x: Numbers<'_>,
    factors: Option<Numbers<'_>>,
    channels: usize,
    positions: usize,
) -> Result<CudaStorage> {
    let runs = x.count / positions.max(1);
    let sums = x.alloc(runs)?;
    let of_runs = Numbers::all(&sums, runs)?;
    let (count, width) = (runs as u64, positions as u32);
    let factors = factors.map_or(0, |factors| factors.address);
    let kernel = x.kernel_of_f32("sum_runs")?;
    let mut launch = kernel.builder();
    launch.arg(&x.address).arg(&factors).arg(&of_runs.address);
    launch.arg(&count).arg(&width);
    // SAFETY: the arguments are those of the kernel; the address 0 stands for no factors.
    unsafe { launch.launch(blocks(runs.div_ceil(8))) }.w()?;
    column_sums(of_runs, runs / channels.max(1), channels)
}

/// The sum of each channel of `x` `[rows, channels, …]`.
pub(crate) fn channel_sums(x: &Tensor, channels: usize) -> Result<Tensor> {
    let positions = x.elem_count() / x.dim(0)?.max(1) / channels.max(1);
    with_numbers(x, |x| {
        Ok(tensor(
            channel_sums_of(x, None, channels, positions)?,
            channels,
        ))
    })
}
