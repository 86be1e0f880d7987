//! Calls of the GPU kernels in `layers.cu`, and products of many matrices.
//!
//! Forward, tensors have type f32, f16 or bf16, all of one call the same. Backward they have type f32.

use std::ffi::c_void;

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::cudarc::cublas::result::gemm_strided_batched_ex;
use candle_core::cuda_backend::cudarc::cublas::sys as cublas;
use candle_core::cuda_backend::cudarc::driver::{
    CudaSlice, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaStorageSlice, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};

use super::kernels::{Kernel, KernelActivation, grid, strided};
use super::products::uses_tf32;
use crate::Error;

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/layers.ptx"));

/// The size of an image and a window over it, as the kernels take them: first down, then across.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct KernelWindow {
    pub(crate) image: [u32; 2],
    pub(crate) positions: [u32; 2],
    pub(crate) kernel: [u32; 2],
    pub(crate) stride: [u32; 2],
    pub(crate) padding: [u32; 2],
}

// SAFETY: ten numbers of 32 bits without padding, as the struct of the kernels.
unsafe impl DeviceRepr for KernelWindow {}

impl KernelWindow {
    fn area(&self) -> usize {
        product_of(self.kernel)
    }

    fn places(&self) -> usize {
        product_of(self.positions)
    }

    fn pixels(&self) -> usize {
        product_of(self.image)
    }
}

fn product_of([down, across]: [u32; 2]) -> usize {
    down as usize * across as usize
}

/// The channels of a convolution in groups, as the kernels take them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelGroups {
    /// The input channels of a group.
    pub(crate) channels: usize,
    /// The output channels of all groups.
    pub(crate) outputs: usize,
    pub(crate) groups: usize,
}

/// Contiguous numbers in the memory of a GPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers<'a> {
    address: u64,
    count: usize,
    dtype: DType,
    device: &'a CudaDevice,
}

impl<'a> Numbers<'a> {
    /// The elements of a contiguous layout.
    pub(crate) fn new(storage: &'a CudaStorage, layout: &Layout) -> Result<Self> {
        if !layout.is_contiguous() {
            bail!("a GPU kernel got a tensor that is not contiguous");
        }
        let stream = storage.device.cuda_stream();
        let (address, dtype) = match &storage.slice {
            CudaStorageSlice::F32(slice) => (slice.device_ptr(&stream).0, DType::F32),
            CudaStorageSlice::F16(slice) => (slice.device_ptr(&stream).0, DType::F16),
            CudaStorageSlice::BF16(slice) => (slice.device_ptr(&stream).0, DType::BF16),
            _ => bail!("a GPU kernel of a layer got neither f32 nor f16 nor bf16"),
        };
        Ok(Self {
            address: address + (layout.start_offset() * dtype.size_in_bytes()) as u64,
            count: layout.shape().elem_count(),
            dtype,
            device: &storage.device,
        })
    }

    /// All elements.
    fn all(storage: &'a CudaStorage, count: usize) -> Result<Self> {
        Self::new(storage, &Layout::contiguous(count))
    }

    fn part(self, start: usize, count: usize) -> Self {
        debug_assert!(
            start + count <= self.count,
            "a part of {} numbers",
            self.count
        );
        Self {
            address: self.address + (start * self.dtype.size_in_bytes()) as u64,
            count,
            ..self
        }
    }

    /// Memory for numbers of the same type, which the caller writes before anybody reads it.
    fn alloc(&self, count: usize) -> Result<CudaStorage> {
        // SAFETY: the kernels of this module write every element.
        unsafe { self.device.alloc_uninit(&Shape::from(count), self.dtype) }
    }

    /// The kernel for numbers of this type.
    fn kernel(&self, name: &str) -> Result<Kernel> {
        let dtype = self.dtype.as_str();
        self.kernel_of_f32(&format!("{name}_{dtype}"))
    }

    fn kernel_of_f32(&self, name: &str) -> Result<Kernel> {
        Kernel::load(self.device, name, "vatic_layers", PTX)
    }

    fn check_same(&self, other: &Self) -> Result<()> {
        match self.dtype == other.dtype {
            true => Ok(()),
            false => bail!("a layer got {:?} and {:?}", self.dtype, other.dtype),
        }
    }
}

/// `with` of the elements of a tensor of type f32.
fn with_numbers<R>(tensor: &Tensor, with: impl FnOnce(Numbers<'_>) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        bail!("a GPU kernel got a tensor of another device");
    };
    let numbers = Numbers::new(storage, layout)?;
    if numbers.dtype != DType::F32 {
        bail!(
            "the gradients of a layer have type f32, found {:?}",
            numbers.dtype
        );
    }
    with(numbers)
}

fn tensor(storage: CudaStorage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// The grid of kernels whose blocks of 256 threads each take some runs.
fn blocks(runs: usize) -> LaunchConfig {
    grid(runs.clamp(1, 1 << 16) as u32)
}

/// A matrix, row after row, in each of many; all the same if `stride` is 0.
#[derive(Debug, Clone, Copy)]
struct Matrices<'a> {
    numbers: Numbers<'a>,
    /// The distance between two of them.
    stride: usize,
    /// Whether rows and columns are exchanged.
    is_transposed: bool,
}

/// Writes `batch` products `[rows, inner]` · `[inner, columns]` one after the other.
fn products(
    left: Matrices<'_>,
    right: Matrices<'_>,
    (batch, rows, inner, columns): (usize, usize, usize, usize),
    to: Numbers<'_>,
) -> Result<()> {
    let covers = |matrices: &Matrices<'_>, size: usize| {
        (batch.saturating_sub(1)) * matrices.stride + size <= matrices.numbers.count
    };
    let fits = covers(&left, rows * inner)
        && covers(&right, inner * columns)
        && batch * rows * columns <= to.count
        && [rows, inner, columns, batch]
            .iter()
            .all(|&size| i32::try_from(size).is_ok());
    if !fits {
        bail!("products of {left:?} and {right:?}: {batch} of {rows} × {inner} × {columns}");
    }
    left.numbers.check_same(&right.numbers)?;
    left.numbers.check_same(&to)?;
    let number = match to.dtype {
        DType::F16 => cublas::cudaDataType_t::CUDA_R_16F,
        DType::BF16 => cublas::cudaDataType_t::CUDA_R_16BF,
        _ => cublas::cudaDataType_t::CUDA_R_32F,
    };
    let operation = |matrices: &Matrices<'_>| match matrices.is_transposed {
        true => cublas::cublasOperation_t::CUBLAS_OP_T,
        false => cublas::cublasOperation_t::CUBLAS_OP_N,
    };
    let width = |matrices: &Matrices<'_>, rows: usize, columns: usize| match matrices.is_transposed
    {
        true => rows as i32,
        false => columns as i32,
    };
    let (one, zero) = (1.0f32, 0.0f32);
    let device = to.device;
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().w()?;
    // cuBLAS stores matrices column after column: it computes the transposed product, right before left.
    // SAFETY: all addresses are memory of the device, whose sizes are checked above; the factors outlive the call, which
    // copies them.
    unsafe {
        gemm_strided_batched_ex(
            *device.cublas_handle().handle(),
            operation(&right),
            operation(&left),
            columns as i32,
            rows as i32,
            inner as i32,
            (&raw const one).cast(),
            right.numbers.address as *const c_void,
            number,
            width(&right, inner, columns),
            right.stride as i64,
            left.numbers.address as *const c_void,
            number,
            width(&left, rows, inner),
            left.stride as i64,
            (&raw const zero).cast(),
            to.address as *mut c_void,
            number,
            columns as i32,
            (rows * columns) as i64,
            batch as i32,
            compute_type(),
            cublas::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT_TENSOR_OP,
        )
    }
    .w()
}

/// How cuBLAS computes a product: sums always have type f32.
fn compute_type() -> cublas::cublasComputeType_t {
    match uses_tf32() {
        true => cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32,
        false => cublas::cublasComputeType_t::CUBLAS_COMPUTE_32F,
    }
}

/// `left` `[rows, inner]` times `right` `[inner, columns]`.
pub(crate) fn product(
    left: Numbers<'_>,
    right: Numbers<'_>,
    (rows, inner, columns): (usize, usize, usize),
) -> Result<CudaStorage> {
    let to = left.alloc(rows * columns)?;
    let plain = |numbers| Matrices {
        numbers,
        stride: 0,
        is_transposed: false,
    };
    let size = (1, rows, inner, columns);
    products(
        plain(left),
        plain(right),
        size,
        Numbers::all(&to, rows * columns)?,
    )?;
    Ok(to)
}

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

/// The sums of the columns of `x` `[rows, columns]`.
fn column_sums(x: Numbers<'_>, rows: usize, columns: usize) -> Result<CudaStorage> {
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
fn channel_sums_of(
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
