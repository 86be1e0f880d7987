//! Pooling: the maximum or the mean under each window.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, DevicePtr, PushKernelArg};
use candle_core::{CudaStorage, Result, Tensor};

use super::numbers::{Numbers, tensor, with_numbers};
use super::window::KernelWindow;
use crate::device::kernels::strided;

/// The maximum or the mean under each window, `[images, places]`.
pub(crate) fn pool(x: Numbers<'_>, window: KernelWindow, is_max: bool) -> Result<CudaStorage> {
    let count = x.count / window.pixels() * window.places();
    let y = x.alloc(count)?;
    let to = Numbers::all(&y, count)?.address;
    let (elements, is_max) = (count as u64, i32::from(is_max));
    let kernel = x.kernel("pool")?;
    let mut launch = kernel.builder();
    launch.arg(&x.address).arg(&to).arg(&elements);
    launch.arg(&window).arg(&is_max);
    // SAFETY: the arguments are those of the kernel; every window has a pixel in its image.
    unsafe { launch.launch(strided(count)) }.w()?;
    Ok(y)
}

/// The gradient of [`pool`] with respect to x.
pub(crate) fn pool_slopes(
    x: &Tensor,
    dy: &Tensor,
    window: KernelWindow,
    is_max: bool,
) -> Result<Tensor> {
    with_numbers(x, |numbers| {
        with_numbers(dy, |dy| {
            let greatest = match is_max {
                true => Some(greatest(numbers, dy.count, window)?),
                false => None,
            };
            let stream = numbers.device.cuda_stream();
            let greatest = greatest.as_ref();
            let greatest = greatest.map_or(0, |greatest| greatest.device_ptr(&stream).0);
            let dx = numbers.alloc(numbers.count)?;
            let to = Numbers::all(&dx, numbers.count)?.address;
            let count = numbers.count as u64;
            let kernel = numbers.kernel_of_f32("pool_slopes")?;
            let mut launch = kernel.builder();
            launch.arg(&dy.address).arg(&greatest).arg(&to);
            launch.arg(&count).arg(&window);
            // SAFETY: the arguments are those of the kernel; the address 0 stands for means.
            unsafe { launch.launch(strided(numbers.count)) }.w()?;
            Ok(tensor(dx, x.shape()))
        })
    })
}

/// The pixel whose element is the maximum of each window.
fn greatest(x: Numbers<'_>, windows: usize, window: KernelWindow) -> Result<CudaSlice<i32>> {
    // SAFETY: the kernel writes every element.
    let pixels = unsafe { x.device.alloc::<i32>(windows)? };
    let count = windows as u64;
    let kernel = x.kernel_of_f32("greatest")?;
    let mut launch = kernel.builder();
    launch.arg(&x.address).arg(&pixels).arg(&count).arg(&window);
    // SAFETY: the arguments are those of the kernel, which writes `pixels`; nothing else holds it.
    unsafe { launch.launch(strided(windows)) }.w()?;
    Ok(pixels)
}
