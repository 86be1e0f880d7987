//! Calls of the GPU kernels in `kernels.cu`, on f32 tensors of one GPU.

use std::sync::Arc;

use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaStream, CudaView, LaunchArgs, LaunchConfig, PushKernelArg,
};
use candle_core::cuda_backend::{CudaDType, WrapErr};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Shape, Storage, Tensor, bail};

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));
const THREADS: u32 = 256;
/// The most blocks of a kernel whose threads each take many elements.
const BLOCKS_MAX: u64 = 4_096;

/// The activation of a kernel, by its number in `activation.cuh`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum KernelActivation {
    None = 0,
    Relu = 1,
    Tanh = 2,
    Sigmoid = 3,
    Gelu = 4,
    Silu = 5,
    LeakyRelu = 6,
}

/// The loss of a kernel, by its number in `kernels.cu`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum KernelLoss {
    Squared = 0,
    Binary = 1,
    Classes = 2,
    Absolute = 3,
    Huber = 4,
    Quantile = 5,
    Poisson = 6,
    BinaryFocal = 7,
    ClassesFocal = 8,
}

/// The numbers of a step of an optimiser.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KernelStep {
    /// The factor of the gradient.
    pub(crate) scale: f32,
    pub(crate) learn_rate: f32,
    pub(crate) l1: f32,
    pub(crate) l2: f32,
}

/// A kernel and the stream of its GPU.
pub(super) struct Kernel {
    function: CudaFunction,
    stream: Arc<CudaStream>,
}

impl Kernel {
    /// The kernel of this name in a module of code.
    pub(super) fn load(device: &CudaDevice, name: &str, module: &str, code: &str) -> Result<Self> {
        let function = device.get_or_load_custom_func(name, module, code)?;
        Ok(Self {
            function: function.into_cuda_function(),
            stream: device.cuda_stream(),
        })
    }

    pub(super) fn builder(&self) -> LaunchArgs<'_> {
        self.stream.launch_builder(&self.function)
    }
}

fn function(device: &CudaDevice, name: &str) -> Result<Kernel> {
    Kernel::load(device, name, "vatic", PTX)
}

/// Loads the kernels, so that two threads do not load them at once.
pub(super) fn load(device: &CudaDevice) -> Result<()> {
    function(device, "adamw").map(|_| ())
}

/// One thread for each element.
pub(super) fn each(elements: usize) -> LaunchConfig {
    grid((elements as u64).div_ceil(THREADS.into()) as u32)
}

/// Threads that take many elements each.
pub(super) fn strided(elements: usize) -> LaunchConfig {
    grid(
        (elements as u64)
            .div_ceil(THREADS.into())
            .clamp(1, BLOCKS_MAX) as u32,
    )
}

pub(super) fn grid(blocks: u32) -> LaunchConfig {
    LaunchConfig {
        grid_dim: (blocks.max(1), 1, 1),
        block_dim: (THREADS, 1, 1),
        shared_mem_bytes: 0,
    }
}

/// The elements of a contiguous tensor of type `T` on a GPU, and the GPU.
fn with_values<T: CudaDType, R>(
    tensor: &Tensor,
    run: impl FnOnce(&CudaView<'_, T>, &CudaDevice) -> Result<R>,
) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*storage else {
        bail!("a GPU kernel got a tensor of another device");
    };
    run(&values(storage, layout)?, &storage.device)
}

fn values<'a, T: CudaDType>(storage: &'a CudaStorage, layout: &Layout) -> Result<CudaView<'a, T>> {
    if !layout.is_contiguous() {
        bail!("a GPU kernel got a tensor that is not contiguous");
    }
    let range = layout.start_offset()..layout.start_offset() + layout.shape().elem_count();
    Ok(storage.as_cuda_slice::<T>()?.slice(range))
}

fn tensor(values: CudaSlice<f32>, device: &CudaDevice, shape: impl Into<Shape>) -> Tensor {
    let storage = Storage::Cuda(CudaStorage::wrap_cuda_slice(values, device.clone()));
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

/// `dz = dy * activation'(y)`, and the sums of the columns of `dz`; `y` and `dy` `[rows, columns]`.
pub(crate) fn slopes(
    y: &Tensor,
    dy: &Tensor,
    activation: KernelActivation,
) -> Result<(Tensor, Tensor)> {
    let (rows, columns) = y.dims2()?;
    let blocks = (rows / 64).clamp(1, 256);
    let rows_per_block = rows.div_ceil(blocks);
    with_values::<f32, _>(y, |y_values, device| {
        with_values::<f32, _>(dy, |dy_values, _| {
            // SAFETY: the kernels below write every element.
            let (mut dz, mut partial, mut sums) = unsafe {
                (
                    device.alloc::<f32>(rows * columns)?,
                    device.alloc::<f32>(blocks * columns)?,
                    device.alloc::<f32>(columns)?,
                )
            };
            let sizes = [rows, columns, rows_per_block, blocks].map(|size| size as u32);
            let activation = activation as i32;
            let slopes = function(device, "slopes")?;
            let mut launch = slopes.builder();
            launch
                .arg(y_values)
                .arg(dy_values)
                .arg(&mut dz)
                .arg(&mut partial);
            launch
                .arg(&sizes[0])
                .arg(&sizes[1])
                .arg(&sizes[2])
                .arg(&activation);
            let tiles = LaunchConfig {
                grid_dim: (sizes[1].div_ceil(32), sizes[3], 1),
                block_dim: (32, 8, 1),
                shared_mem_bytes: 0,
            };
            // SAFETY: the arguments are those of the kernel, whose threads stay within rows and columns.
            unsafe { launch.launch(tiles) }.w()?;
            let sum_blocks = function(device, "sum_blocks")?;
            let mut launch = sum_blocks.builder();
            launch
                .arg(&partial)
                .arg(&mut sums)
                .arg(&sizes[3])
                .arg(&sizes[1]);
            // SAFETY: as above.
            unsafe { launch.launch(each(columns)) }.w()?;
            Ok((tensor(dz, device, y.shape()), tensor(sums, device, columns)))
        })
    })
}

/// The gradient of the weighted loss with respect to `outputs` `[rows, width]`; adds the weighted loss to `total` `[1]`.
/// `parameter` is the constant of the loss, such as the delta of Huber's; 0 if it has none.
pub(crate) fn loss(
    outputs: &Tensor,
    labels: &Tensor,
    weights: &Tensor,
    (kind, parameter): (KernelLoss, f64),
    total: &mut CudaSlice<f64>,
) -> Result<Tensor> {
    let (rows, width) = outputs.dims2()?;
    let blocks = rows.div_ceil(THREADS as usize).max(1);
    with_values::<f32, _>(outputs, |output_values, device| {
        with_values::<f32, _>(labels, |labels, _| {
            with_values::<f32, _>(weights, |weights, _| {
                // SAFETY: the kernel writes every element.
                let (mut gradient, mut partial) = unsafe {
                    (
                        device.alloc::<f32>(rows * width)?,
                        device.alloc::<f64>(blocks)?,
                    )
                };
                let sizes = [rows, width, blocks].map(|size| size as u32);
                let kind = kind as i32;
                let loss = function(device, "loss")?;
                let mut launch = loss.builder();
                launch.arg(output_values).arg(labels).arg(weights);
                launch.arg(&mut gradient).arg(&mut partial);
                launch.arg(&sizes[0]).arg(&sizes[1]);
                launch.arg(&kind).arg(&parameter);
                // SAFETY: the arguments are those of the kernel, whose threads stay within rows and width.
                unsafe { launch.launch(grid(sizes[2])) }.w()?;
                let add = function(device, "add_losses")?;
                let mut launch = add.builder();
                launch.arg(&partial).arg(&sizes[2]).arg(total);
                // SAFETY: as above, with one block.
                unsafe { launch.launch(grid(1)) }.w()?;
                Ok(tensor(gradient, device, outputs.shape()))
            })
        })
    })
}

/// One step of Adam with decoupled weight decay. The kernel writes `weights`, whose storage nothing else holds.
pub(crate) fn adamw(
    weights: &Tensor,
    gradient: &Tensor,
    (mean, square): (&mut CudaSlice<f32>, &mut CudaSlice<f32>),
    step: KernelStep,
    (mean_scale, square_scale): (f32, f32),
    decay: f32,
) -> Result<()> {
    let elements = weights.elem_count() as u32;
    with_values::<f32, _>(weights, |weights, device| {
        with_values::<f32, _>(gradient, |gradient, _| {
            let adamw = function(device, "adamw")?;
            let mut launch = adamw.builder();
            launch
                .arg(weights)
                .arg(gradient)
                .arg(mean)
                .arg(square)
                .arg(&elements);
            launch
                .arg(&step.scale)
                .arg(&step.learn_rate)
                .arg(&mean_scale)
                .arg(&square_scale);
            launch.arg(&step.l1).arg(&step.l2).arg(&decay);
            // SAFETY: all four buffers have `elements` elements; work on one stream does not overlap.
            unsafe { launch.launch(each(elements as usize)) }.w()?;
            Ok(())
        })
    })
}

/// One step of gradient descent with momentum. The kernel writes `weights`, whose storage nothing else holds.
pub(crate) fn sgd(
    weights: &Tensor,
    gradient: &Tensor,
    velocity: &mut CudaSlice<f32>,
    step: KernelStep,
) -> Result<()> {
    let elements = weights.elem_count() as u32;
    with_values::<f32, _>(weights, |weights, device| {
        with_values::<f32, _>(gradient, |gradient, _| {
            let sgd = function(device, "sgd")?;
            let mut launch = sgd.builder();
            launch
                .arg(weights)
                .arg(gradient)
                .arg(velocity)
                .arg(&elements);
            launch
                .arg(&step.scale)
                .arg(&step.learn_rate)
                .arg(&step.l1)
                .arg(&step.l2);
            // SAFETY: all three buffers have `elements` elements; work on one stream does not overlap.
            unsafe { launch.launch(each(elements as usize)) }.w()?;
            Ok(())
        })
    })
}

/// `x` with a share of its elements zeroed and the others multiplied by `kept`; the share is `threshold` / 2³².
pub(crate) fn dropout(
    (x, layout): (&CudaStorage, &Layout),
    key: u64,
    threshold: u32,
    kept: f32,
) -> Result<CudaStorage> {
    let device = &x.device;
    let x = values::<f32>(x, layout)?;
    let elements = layout.shape().elem_count();
    // SAFETY: the kernel writes every element.
    let mut y = unsafe { device.alloc::<f32>(elements)? };
    let count = elements as u64;
    let dropout = function(device, "dropout")?;
    let mut launch = dropout.builder();
    launch
        .arg(&x)
        .arg(&mut y)
        .arg(&count)
        .arg(&key)
        .arg(&threshold)
        .arg(&kept);
    // SAFETY: the arguments are those of the kernel, and every index is below `elements`.
    unsafe { launch.launch(strided(elements)) }.w()?;
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

/// For each row, the sum of the rows of `weights` `[vocabulary, width]` that its `ids` `[rows, categories]` name.
pub(crate) fn embedding_sum(
    (ids, ids_layout): (&CudaStorage, &Layout),
    (weights, weights_layout): (&CudaStorage, &Layout),
    rows: usize,
) -> Result<(CudaStorage, Shape)> {
    let device = &ids.device;
    let (_, width) = weights_layout.shape().dims2()?;
    let categories = ids_layout.shape().elem_count() / rows.max(1);
    let (ids, weights) = (
        values::<u32>(ids, ids_layout)?,
        values::<f32>(weights, weights_layout)?,
    );
    // SAFETY: the kernel writes every element.
    let mut sums = unsafe { device.alloc::<f32>(rows * width)? };
    let sizes = [rows, categories, width].map(|size| size as u32);
    let embedding_sum = function(device, "embedding_sum")?;
    let mut launch = embedding_sum.builder();
    launch
        .arg(&ids)
        .arg(&weights)
        .arg(&mut sums)
        .arg(&sizes[0])
        .arg(&sizes[1])
        .arg(&sizes[2]);
    // SAFETY: the encoder makes ids below the vocabulary; the other indices are below the sizes.
    unsafe { launch.launch(strided(rows * width)) }.w()?;
    let sums = CudaStorage::wrap_cuda_slice(sums, device.clone());
    Ok((sums, (rows, width).into()))
}

/// The gradient of [`embedding_sum`] with respect to the weights `[vocabulary, width]`, from `slopes` `[rows, width]`.
pub(crate) fn embedding_slopes(ids: &Tensor, slopes: &Tensor, vocabulary: usize) -> Result<Tensor> {
    let (rows, width) = slopes.dims2()?;
    let categories = ids.elem_count() / rows.max(1);
    with_values::<u32, _>(ids, |ids, device| {
        with_values::<f32, _>(slopes, |slopes, _| {
            // SAFETY: the kernel writes every element.
            let mut gradient = unsafe { device.alloc::<f32>(vocabulary * width)? };
            let sizes = [rows, categories, width].map(|size| size as u32);
            let kernel = function(device, "embedding_slopes")?;
            let mut launch = kernel.builder();
            launch.arg(ids).arg(slopes).arg(&mut gradient);
            launch.arg(&sizes[0]).arg(&sizes[1]).arg(&sizes[2]);
            let config = LaunchConfig {
                grid_dim: (vocabulary as u32, sizes[2].div_ceil(128), 1),
                block_dim: (128, 1, 1),
                shared_mem_bytes: 0,
            };
            // SAFETY: the arguments are those of the kernel, whose threads stay within the sizes.
            unsafe { launch.launch(config) }.w()?;
            Ok(tensor(gradient, device, (vocabulary, width)))
        })
    })
}

/// Runs a kernel that stops with a fault, for tests.
pub(super) fn fault(device: &CudaDevice) -> Result<()> {
    let fault = function(device, "fault")?;
    // SAFETY: the kernel has no arguments and touches no memory.
    unsafe { fault.builder().launch(grid(1)) }.w()?;
    Ok(())
}
