//! Convolution: with one group, a product with the windows that are copied side by side; with several, a sum for each element.

use candle_core::cuda_backend::WrapErr;
use candle_core::cuda_backend::cudarc::driver::PushKernelArg;
use candle_core::{CudaStorage, Result, Tensor};

use super::numbers::{Numbers, tensor, with_numbers};
use super::product::{Matrices, products};
use super::sums::column_sums;
use super::window::KernelWindow;
use crate::Error;
use crate::device::kernels::{Kernel, grid, strided};

/// The channels of a convolution in groups, as the kernels take them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelGroups {
    /// The input channels of a group.
    pub(crate) channels: usize,
    /// The output channels of all groups.
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
}

/// The bytes of windows side by side that exist at once.
const COLUMNS_BYTES: usize = 512 << 20;

/// The rows whose windows exist at once.
fn rows_at_once(numbers: Numbers<'_>, numbers_per_row: usize) -> usize {
    (COLUMNS_BYTES / numbers.dtype.size_in_bytes() / numbers_per_row.max(1)).max(1)
}

/// Memory for the windows of so many rows.
fn alloc_windows(x: Numbers<'_>, rows: usize, numbers_per_row: usize) -> Result<CudaStorage> {
    let count = rows * numbers_per_row;
    x.alloc(count).map_err(|error| match Error::from(error) {
        // Fewer rows would not help.
        Error::DeviceMemory(_) if rows == 1 => {
            let message = format!(
                "the windows of a convolution over one row take {} MiB, which the GPU does not have; use a smaller \
                 kernel, padding or input, or device 'cpu'",
                (count * x.dtype.size_in_bytes()) >> 20
            );
            Error::DeviceMemory(message).into()
        }
        error => error.into(),
    })
}

/// Copies the windows of `images` images side by side.
fn gather(x: Numbers<'_>, window: KernelWindow, to: Numbers<'_>) -> Result<()> {
    let count = (x.count / window.pixels() * window.area() * window.places()) as u64;
    let kernel = x.kernel("gather")?;
    let mut launch = kernel.builder();
    launch
        .arg(&x.address)
        .arg(&to.address)
        .arg(&count)
        .arg(&window);
    // SAFETY: the arguments are those of the kernel; `to` has `count` numbers, and pixels lie in their images.
    unsafe { launch.launch(strided(count as usize)) }.w()?;
    Ok(())
}

/// The convolution of `rows` rows without its bias, `[rows, outputs, places]`. With several groups, each element is a sum of
/// its own; with one, the windows are copied side by side, and multiplied by the weights.
pub(crate) fn convolution(
    x: Numbers<'_>,
    weight: Numbers<'_>,
    rows: usize,
    window: KernelWindow,
    groups: KernelGroups,
) -> Result<CudaStorage> {
    x.check_same(&weight)?;
    let (places, outputs) = (window.places(), groups.outputs);
    let y = x.alloc(rows * outputs * places)?;
    let to = Numbers::all(&y, rows * outputs * places)?;
    if groups.groups > 1 {
        launch_groups(&x.kernel("grouped")?, [x, weight, to], window, groups)?;
        return Ok(y);
    }
    let (inputs, depth) = (
        groups.channels * window.pixels(),
        groups.channels * window.area(),
    );
    let at_once = rows_at_once(x, depth * places).min(rows.max(1));
    let columns = alloc_windows(x, at_once, depth * places)?;
    let columns = Numbers::all(&columns, at_once * depth * places)?;
    for first in (0..rows).step_by(at_once) {
        let count = at_once.min(rows - first);
        gather(x.part(first * inputs, count * inputs), window, columns)?;
        let left = Matrices {
            numbers: weight,
            stride: 0,
            is_transposed: false,
        };
        let right = Matrices {
            numbers: columns,
            stride: depth * places,
            is_transposed: false,
        };
        let to = to.part(first * outputs * places, count * outputs * places);
        products(left, right, (count, outputs, depth, places), to)?;
    }
    Ok(y)
}

/// A kernel of a convolution in groups, one thread for each element of the last of its three tensors.
fn launch_groups(
    kernel: &Kernel,
    [first, second, to]: [Numbers<'_>; 3],
    window: KernelWindow,
    groups: KernelGroups,
) -> Result<()> {
    let count = to.count as u64;
    let sizes = [groups.channels, groups.outputs, groups.groups].map(|size| size as u32);
    let mut launch = kernel.builder();
    launch
        .arg(&first.address)
        .arg(&second.address)
        .arg(&to.address);
    launch.arg(&count).arg(&window);
    launch.arg(&sizes[0]).arg(&sizes[1]).arg(&sizes[2]);
    // SAFETY: the arguments are those of the kernel, whose indices follow from the sizes of the convolution.
    unsafe { launch.launch(strided(to.count)) }.w()?;
    Ok(())
}

/// The gradients of a convolution with respect to x, if wanted, and to the weights, from `dz` `[rows, outputs, places]`.
pub(crate) fn convolution_slopes(
    x: &Tensor,
    weight: &Tensor,
    dz: &Tensor,
    window: KernelWindow,
    groups: KernelGroups,
    has_input_gradient: bool,
) -> Result<(Option<Tensor>, Tensor)> {
    let rows = x.dim(0)?;
    with_numbers(x, |x_numbers| {
        with_numbers(weight, |weights| {
            with_numbers(dz, |dz| {
                let slopes = ConvolutionSlopes {
                    x: x_numbers,
                    weights,
                    dz,
                    rows,
                    window,
                    groups,
                };
                let dx = match has_input_gradient {
                    true => Some(x_numbers.alloc(x_numbers.count)?),
                    false => None,
                };
                let dw = match groups.groups {
                    1 => slopes.of_products(dx.as_ref())?,
                    _ => slopes.of_groups(dx.as_ref())?,
                };
                let dx = dx.map(|dx| tensor(dx, x.shape()));
                Ok((dx, tensor(dw, weight.shape())))
            })
        })
    })
}

struct ConvolutionSlopes<'a> {
    x: Numbers<'a>,
    weights: Numbers<'a>,
    dz: Numbers<'a>,
    rows: usize,
    window: KernelWindow,
    groups: KernelGroups,
}

impl ConvolutionSlopes<'_> {
    fn of_groups(&self, dx: Option<&CudaStorage>) -> Result<CudaStorage> {
        if let Some(dx) = dx {
            let dx = Numbers::all(dx, self.x.count)?;
            let kernel = self.x.kernel_of_f32("grouped_inputs")?;
            launch_groups(
                &kernel,
                [self.weights, self.dz, dx],
                self.window,
                self.groups,
            )?;
        }
        let dw = self.weights.alloc(self.weights.count)?;
        let to = Numbers::all(&dw, self.weights.count)?;
        let groups = self.groups;
        let sizes = [self.rows, groups.channels, groups.outputs, groups.groups];
        let sizes = sizes.map(|size| size as u32);
        let kernel = self.x.kernel_of_f32("grouped_weights")?;
        let mut launch = kernel.builder();
        launch
            .arg(&self.x.address)
            .arg(&self.dz.address)
            .arg(&to.address);
        launch.arg(&sizes[0]).arg(&self.window);
        launch.arg(&sizes[1]).arg(&sizes[2]).arg(&sizes[3]);
        // SAFETY: the arguments are those of the kernel, with a block for each weight.
        unsafe { launch.launch(grid(self.weights.count as u32)) }.w()?;
        Ok(dw)
    }

    /// With one group: `dW = Σ dz columns(x)ᵀ` over the rows, and `dx` scattered from `Wᵀ dz`.
    fn of_products(&self, dx: Option<&CudaStorage>) -> Result<CudaStorage> {
        let (x, window, outputs) = (self.x, self.window, self.groups.outputs);
        let places = window.places();
        let (inputs, depth) = (
            self.groups.channels * window.pixels(),
            self.groups.channels * window.area(),
        );
        let rows = self.rows;
        let at_once = rows_at_once(x, depth * places).min(rows.max(1));
        let columns = alloc_windows(x, at_once, depth * places)?;
        let columns = Numbers::all(&columns, at_once * depth * places)?;
        // A gradient of the weights for each row.
        let each = x.alloc(rows * outputs * depth)?;
        let each = Numbers::all(&each, rows * outputs * depth)?;
        for first in (0..rows).step_by(at_once) {
            let count = at_once.min(rows - first);
            let dz = Matrices {
                numbers: self
                    .dz
                    .part(first * outputs * places, count * outputs * places),
                stride: outputs * places,
                is_transposed: false,
            };
            gather(x.part(first * inputs, count * inputs), window, columns)?;
            let transposed = Matrices {
                numbers: columns,
                stride: depth * places,
                is_transposed: true,
            };
            let to = each.part(first * outputs * depth, count * outputs * depth);
            products(dz, transposed, (count, outputs, places, depth), to)?;
            if let Some(dx) = dx {
                let weights = Matrices {
                    numbers: self.weights,
                    stride: 0,
                    is_transposed: true,
                };
                products(weights, dz, (count, depth, outputs, places), columns)?;
                let to = Numbers::all(dx, x.count)?.part(first * inputs, count * inputs);
                scatter(columns, window, to)?;
            }
        }
        column_sums(each, rows, outputs * depth)
    }
}

/// The inverse of [`gather`]: each pixel of `to` is the sum of the numbers that came from it.
fn scatter(columns: Numbers<'_>, window: KernelWindow, to: Numbers<'_>) -> Result<()> {
    let count = to.count as u64;
    let kernel = to.kernel_of_f32("scatter")?;
    let mut launch = kernel.builder();
    launch
        .arg(&columns.address)
        .arg(&to.address)
        .arg(&count)
        .arg(&window);
    // SAFETY: the arguments are those of the kernel; `columns` has the windows of all images of `to`.
    unsafe { launch.launch(strided(to.count)) }.w()?;
    Ok(())
}
