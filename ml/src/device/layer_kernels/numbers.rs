//! [`Numbers`]: contiguous numbers in the memory of a GPU, and the kernels for their type.

use candle_core::backend::BackendDevice;
use candle_core::cuda_backend::CudaStorageSlice;
use candle_core::cuda_backend::cudarc::driver::{DevicePtr, LaunchConfig};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Layout, Result, Shape, Storage, Tensor, bail};

use crate::device::kernels::{Kernel, grid};

const PTX: &str = include_str!(concat!(env!("OUT_DIR"), "/layers.ptx"));

/// Contiguous numbers in the memory of a GPU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers<'a> {
    pub(super) address: u64,
    pub(super) count: usize,
    pub(super) dtype: DType,
    pub(super) device: &'a CudaDevice,
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
    pub(super) fn all(storage: &'a CudaStorage, count: usize) -> Result<Self> {
        Self::new(storage, &Layout::contiguous(count))
    }

    pub(super) fn part(self, start: usize, count: usize) -> Self {
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
    pub(super) fn alloc(&self, count: usize) -> Result<CudaStorage> {
        // SAFETY: the kernels of this module write every element.
        unsafe { self.device.alloc_uninit(&Shape::from(count), self.dtype) }
    }

    /// The kernel for numbers of this type.
    pub(super) fn kernel(&self, name: &str) -> Result<Kernel> {
        let dtype = self.dtype.as_str();
        self.kernel_of_f32(&format!("{name}_{dtype}"))
    }

    pub(super) fn kernel_of_f32(&self, name: &str) -> Result<Kernel> {
        Kernel::load(self.device, name, "vatic_layers", PTX)
    }

    pub(super) fn check_same(&self, other: &Self) -> Result<()> {
        match self.dtype == other.dtype {
            true => Ok(()),
            false => bail!("a layer got {:?} and {:?}", self.dtype, other.dtype),
        }
    }
}

/// `with` of the elements of a tensor of type f32.
pub(super) fn with_numbers<R>(
    tensor: &Tensor,
    with: impl FnOnce(Numbers<'_>) -> Result<R>,
) -> Result<R> {
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

pub(super) fn tensor(storage: CudaStorage, shape: impl Into<Shape>) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// The grid of kernels whose blocks of 256 threads each take some runs.
pub(super) fn blocks(runs: usize) -> LaunchConfig {
    grid(runs.clamp(1, 1 << 16) as u32)
}
