//! Activation functions, alone and behind the bias of a layer.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
use candle_core::{CudaStorage, Result, Tensor};

use super::numbers::{Numbers, tensor, with_numbers};
use crate::device::kernels::{KernelActivation, strided};

/// `y = activation(y + bias)`, in place; the numbers of a channel, `positions` many, follow each other.
pub(crate) fn bias_activation(
    y: &mut CudaStorage,
    bias: Numbers<'_>,
    (elements, positions): (usize, usize),
    activation: KernelActivation,
) -> Result<()> {
    let y = Numbers::all(y, elements)?;
    y.check_same(&bias)?;
    let (count, positions, channels) = (elements as u64, positions as u32, bias.count as u32);
    let activation = activation as i32;
    let kernel = y.kernel("bias_activation")?;
    let mut launch = kernel.builder();
    launch.arg(&y.address).arg(&bias.address).arg(&count);
    launch.arg(&positions).arg(&channels).arg(&activation);
    // SAFETY: the arguments are those of the kernel, and every index is below the counts.
    unsafe { launch.launch(strided(elements)) }.w()?;
    Ok(())
}

/// The activation of each element.
pub(crate) fn activation(x: Numbers<'_>, activation: KernelActivation) -> Result<CudaStorage> {
    let y = x.alloc(x.count)?;
    let to = Numbers::all(&y, x.count)?.address;
    let (count, activation) = (x.count as u64, activation as i32);
    let kernel = x.kernel("activation")?;
    let mut launch = kernel.builder();
    launch.arg(&x.address).arg(&to).arg(&count).arg(&activation);
    // SAFETY: the arguments are those of the kernel, and every index is below `count`.
    unsafe { launch.launch(strided(x.count)) }.w()?;
    Ok(y)
}

/// `dy` times the slopes of an activation: at `x`, or where its value is `x`.
pub(crate) fn activation_slopes(
    x: &Tensor,
    dy: &Tensor,
    activation: KernelActivation,
    is_value: bool,
) -> Result<Tensor> {
    with_numbers(x, |x_numbers| {
        with_numbers(dy, |dy| {
            let dx = x_numbers.alloc(x_numbers.count)?;
            let to = Numbers::all(&dx, x_numbers.count)?.address;
            let (count, activation) = (x_numbers.count as u64, activation as i32);
            let kernel =
                x_numbers.kernel_of_f32(if is_value { "slopes_of" } else { "slopes_at" })?;
            let mut launch = kernel.builder();
            launch.arg(&x_numbers.address).arg(&dy.address).arg(&to);
            launch.arg(&count).arg(&activation);
            // SAFETY: the arguments are those of the kernel, and every index is below `count`.
            unsafe { launch.launch(strided(x_numbers.count)) }.w()?;
            Ok(tensor(dx, x.shape()))
        })
    })
}
