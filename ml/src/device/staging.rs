//! [`Staging`]: rows on their way to a GPU, copied beside the GPU's work.
//!
//! ```text
//! tensor ─ memcpy ─▶ pinned memory ─ copy stream ─▶ buffer on the GPU ─ work stream ─▶ tensor on the GPU
//! ```
//! The driver copies pageable memory through one buffer of its own, and makes the caller wait. Pinned memory travels by
//! itself. The last step, a copy within the GPU, lets the tensor be allocated in the order of the work stream, so that an
//! allocation need not wait for earlier work.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use candle_core::cuda_backend::CudaDType;
use candle_core::cuda_backend::cudarc::driver::{
    CudaEvent, CudaSlice, CudaStream, DevicePtr, DeviceRepr, PinnedHostSlice, result, sys,
};
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaDevice, CudaStorage, Device, Storage, Tensor};

use super::fault::driver_error;
use crate::{Error, Result};

/// Bytes of one buffer; a larger tensor travels in pieces.
const SLOT_BYTES: usize = 16 << 20;
/// Buffers of a GPU, made when they are needed.
const SLOTS_MAX: usize = 12;
/// A smaller tensor travels without a buffer: the driver copies it into the command itself.
const DIRECT_BYTES: usize = 64 << 10;

/// The buffers of a GPU.
pub(super) struct Staging {
    device: CudaDevice,
    copies: Arc<CudaStream>,
    slots: Mutex<Slots>,
    returned: Condvar,
}

#[derive(Default)]
struct Slots {
    free: Vec<Slot>,
    made: usize,
}

/// A buffer of pinned memory, and its counterpart on the GPU.
struct Slot {
    host: PinnedHostSlice<u8>,
    gpu: CudaSlice<u8>,
    /// The copy to the GPU is done: the pinned memory may change.
    copied: Option<CudaEvent>,
    /// The copy within the GPU is done: the buffer on the GPU may change.
    consumed: Option<CudaEvent>,
}

impl Staging {
    pub(super) fn new(device: &CudaDevice) -> Result<Self> {
        let work = device.cuda_stream();
        Ok(Self {
            device: device.clone(),
            copies: work.context().new_stream().map_err(driver_error)?,
            slots: Mutex::default(),
            returned: Condvar::new(),
        })
    }

    /// The tensor on the GPU. The copies are queued, not done, when the function returns.
    pub(super) fn upload(&self, tensor: &Tensor) -> Result<Tensor> {
        let bytes = tensor.elem_count() * tensor.dtype().size_in_bytes();
        if !tensor.device().is_cpu() {
            return Ok(tensor.clone());
        }
        if bytes <= DIRECT_BYTES {
            // candle would copy all of the memory that a part of a tensor is in.
            let gpu = Device::Cuda(self.device.clone());
            return Ok(tensor.force_contiguous()?.to_device(&gpu)?);
        }
        let tensor = tensor.contiguous()?;
        let (storage, layout) = tensor.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            return Err(Error::Internal(
                "a tensor of the host is on another device".into(),
            ));
        };
        let range = layout.start_offset()..layout.start_offset() + tensor.elem_count();
        let storage = match storage {
            CpuStorage::F32(values) => self.values(&values[range])?,
            CpuStorage::F64(values) => self.values(&values[range])?,
            CpuStorage::U32(values) => self.values(&values[range])?,
            CpuStorage::U8(values) => self.values(&values[range])?,
            CpuStorage::I64(values) => self.values(&values[range])?,
            _ => {
                let gpu = Device::Cuda(self.device.clone());
                return Ok(tensor.force_contiguous()?.to_device(&gpu)?);
            }
        };
        let storage = Storage::Cuda(storage);
        Ok(Tensor::from_storage(
            storage,
            tensor.shape(),
            BackpropOp::none(),
            false,
        ))
    }

    fn values<T: CudaDType + DeviceRepr + Copy>(&self, values: &[T]) -> Result<CudaStorage> {
        let work = self.device.cuda_stream();
        // SAFETY: the pieces below write every element before any reader, on the same stream.
        let target = unsafe { self.device.alloc::<T>(values.len()) }?;
        let (address, _) = target.device_ptr(&work);
        // SAFETY: plain numbers without padding, read as bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        for (piece, bytes) in bytes.chunks(SLOT_BYTES).enumerate() {
            let mut slot = self.take()?;
            let copied = self.copy(
                &mut slot,
                bytes,
                address + (piece * SLOT_BYTES) as u64,
                &work,
            );
            self.give_back(slot);
            copied?;
        }
        Ok(CudaStorage::wrap_cuda_slice(target, self.device.clone()))
    }

    fn copy(
        &self,
        slot: &mut Slot,
        bytes: &[u8],
        to: sys::CUdeviceptr,
        work: &Arc<CudaStream>,
    ) -> Result<()> {
        if let Some(copied) = &slot.copied {
            copied.synchronize().map_err(driver_error)?;
        }
        slot.host.as_mut_slice().map_err(driver_error)?[..bytes.len()].copy_from_slice(bytes);
        if let Some(consumed) = &slot.consumed {
            self.copies.wait(consumed).map_err(driver_error)?;
        }
        let (buffer, _) = slot.gpu.device_ptr(&self.copies);
        let host = &slot.host.as_slice().map_err(driver_error)?[..bytes.len()];
        // SAFETY: `copied` is waited for before the pinned memory changes, `consumed` before the buffer changes.
        unsafe { result::memcpy_htod_async(buffer, host, self.copies.cu_stream()) }
            .map_err(driver_error)?;
        let copied = self.copies.record_event(None).map_err(driver_error)?;
        work.wait(&copied).map_err(driver_error)?;
        // SAFETY: both ranges are allocated, and the work stream waits for the copy.
        unsafe { result::memcpy_dtod_async(to, buffer, bytes.len(), work.cu_stream()) }
            .map_err(driver_error)?;
        slot.consumed = Some(work.record_event(None).map_err(driver_error)?);
        slot.copied = Some(copied);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A free buffer, or a new one, or the next one that another thread returns.
    fn take(&self) -> Result<Slot> {
        let mut slots = self.lock();
        loop {
            if let Some(slot) = slots.free.pop() {
                return Ok(slot);
            }
            if slots.made < SLOTS_MAX {
                slots.made += 1;
                drop(slots);
                return self.make().inspect_err(|_| {
                    self.lock().made -= 1;
                    self.returned.notify_all();
                });
            }
            slots = self
                .returned
                .wait(slots)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make(&self) -> Result<Slot> {
        let context = self.copies.context();
        // SAFETY: written before they are read.
        let (host, gpu) = unsafe {
            let host = context
                .alloc_pinned::<u8>(SLOT_BYTES)
                .map_err(driver_error)?;
            (
                host,
                self.copies.alloc::<u8>(SLOT_BYTES).map_err(driver_error)?,
            )
        };
        Ok(Slot {
            host,
            gpu,
            copied: None,
            consumed: None,
        })
    }

    fn give_back(&self, slot: Slot) {
        // The oldest buffer is the next: its copies are the first to be done.
        self.lock().free.insert(0, slot);
        self.returned.notify_one();
    }
}
