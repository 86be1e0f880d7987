//! The GPUs of this process: one candle device for each, opened once.
//!
//! All work of a GPU is queued on one stream, so that a tensor may be made, used and dropped by any thread, in the order
//! of the calls.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use candle_core::cuda_backend::cudarc::driver::sys::{self, CUresult};
use candle_core::cuda_backend::cudarc::driver::{CudaContext, DriverError, result};
use candle_core::{CudaDevice, Device, Tensor};
use tracing::{info, warn};

use super::fault::{driver_error, failure, sentence};
use super::staging::Staging;
use super::{DeviceName, GpuReport, kernels};
use crate::{Error, Result};

/// The version of CUDA that the libraries and the kernels of this build need: 13.0.
const CUDA_VERSION: i32 = 13_000;
/// The compute capability that the kernels are compiled for: 90 is 9.0.
const CAPABILITY: &str = env!("VATIC_CUDA_CAPABILITY");

/// The time after which a GPU that could not be opened, such as one that another process filled, is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// An opened GPU.
pub(super) struct Gpu {
    pub(super) device: CudaDevice,
    staging: Staging,
}

/// The outcome of opening a GPU.
enum Opened {
    Gpu(Arc<Gpu>),
    Refused(Instant, Error),
}

/// The GPU of this number, opened with the first call.
fn gpu(number: u16) -> Result<Arc<Gpu>> {
    static GPUS: Mutex<Option<HashMap<u16, Opened>>> = Mutex::new(None);
    if let Some(failure) = failure() {
        return Err(Error::Device(failure.into()));
    }
    let count = count()?;
    if i32::from(number) >= count {
        let known = match count {
            1 => "the only one is cuda:0".to_owned(),
            _ => format!("they are cuda:0 to cuda:{}", count - 1),
        };
        return Err(Error::Device(format!(
            "there is no GPU cuda:{number}; {known}"
        )));
    }
    let mut gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
    let gpus = gpus.get_or_insert_default();
    match gpus.get(&number) {
        Some(Opened::Gpu(gpu)) => return Ok(Arc::clone(gpu)),
        Some(Opened::Refused(at, error)) if at.elapsed() < RETRY => return Err(error.clone()),
        Some(Opened::Refused(..)) | None => {}
    }
    let opened = open_gpu(number).map(Arc::new);
    let known = match &opened {
        Ok(gpu) => Opened::Gpu(Arc::clone(gpu)),
        Err(error) => Opened::Refused(Instant::now(), error.clone()),
    };
    gpus.insert(number, known);
    opened
}

fn open_gpu(number: u16) -> Result<Gpu> {
    let refused = |error: &dyn std::fmt::Display| {
        Error::Device(format!("GPU cuda:{number} cannot be opened: {error}"))
    };
    let context = CudaContext::new(number.into()).map_err(|error| refused(&error))?;
    let name = context.name().map_err(|error| refused(&error))?;
    let (major, minor) = context
        .compute_capability()
        .map_err(|error| refused(&error))?;
    if format!("{major}{minor}") != CAPABILITY {
        return Err(Error::Device(format!(
            "GPU cuda:{number} ({name}) has compute capability {major}.{minor}, and this build is for {}; build it with \
             scripts/build-cuda {major}{minor}",
            dotted(CAPABILITY)
        )));
    }
    let Device::Cuda(device) =
        Device::new_cuda_with_stream(number.into()).map_err(|error| refused(&error))?
    else {
        return Err(Error::Internal("candle opened another device".into()));
    };
    // SAFETY: tensors are made and used on one stream; `staging` orders its own copies with events.
    unsafe { device.disable_event_tracking() };
    keep_memory(&context, number).map_err(|error| refused(&error))?;
    kernels::load(&device)?;
    let staging = Staging::new(&device)?;
    info!(gpu = number, name, "opened a GPU");
    Ok(Gpu { device, staging })
}

/// `90` as `9.0`.
fn dotted(capability: &str) -> String {
    let (major, minor) = capability.split_at(capability.len().saturating_sub(1));
    format!("{major}.{minor}")
}

/// Keeps freed memory in the pool of the process: by default each synchronisation gives it back to the driver.
fn keep_memory(context: &Arc<CudaContext>, number: u16) -> std::result::Result<(), DriverError> {
    context.bind_to_thread()?;
    let mut threshold = u64::MAX;
    let device = result::device::get(number.into())?;
    let mut pool = std::ptr::null_mut();
    // SAFETY: both calls get addresses of values of the types that the driver documents for them.
    unsafe {
        sys::cuDeviceGetDefaultMemPool(&mut pool, device).result()?;
        sys::cuMemPoolSetAttribute(
            pool,
            sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD,
            (&raw mut threshold).cast(),
        )
        .result()
    }
}

/// The number of GPUs that the driver shows to this process.
///
/// # Errors
/// [`Error::Device`] if there is none.
fn count() -> Result<i32> {
    static COUNT: OnceLock<std::result::Result<i32, String>> = OnceLock::new();
    let count = COUNT.get_or_init(|| {
        let loaded = vatic_cuda::load()?;
        info!(files = ?loaded.files, "opened CUDA's libraries");
        if !loaded.missing.is_empty() {
            warn!(functions = ?loaded.missing, "CUDA's libraries lack functions");
        }
        let mut version = 0;
        // SAFETY: the driver writes its version to the address of an integer.
        let answer = unsafe { sys::cuDriverGetVersion(&mut version) };
        if answer == CUresult::CUDA_SUCCESS && version < CUDA_VERSION {
            return Err(format!(
                "the driver supports CUDA {}.{}, and this build needs {}.{}; install a newer driver",
                version / 1_000,
                version % 1_000 / 10,
                CUDA_VERSION / 1_000,
                CUDA_VERSION % 1_000 / 10
            ));
        }
        let count = result::init().and_then(|()| result::device::get_count());
        match count {
            Ok(count) if count > 0 => Ok(count),
            Ok(_) => Err(no_gpu_cause()),
            Err(error) if error.0 == CUresult::CUDA_ERROR_NO_DEVICE => Err(no_gpu_cause()),
            Err(error) => Err(format!("the driver does not start: {}", sentence(error.0))),
        }
    });
    let no_gpu = |cause: &String| Error::Device(format!("no GPU: {cause}"));
    count.as_ref().copied().map_err(no_gpu)
}

/// Why the driver shows no GPU.
fn no_gpu_cause() -> String {
    match std::env::var("CUDA_VISIBLE_DEVICES") {
        Ok(visible) => {
            format!("CUDA_VISIBLE_DEVICES is '{visible}', which names no GPU of this machine")
        }
        Err(_) => "the driver finds none".into(),
    }
}

/// Whether `auto` may use the GPU of this number. Says once why it may not.
pub(super) fn is_usable(number: u16) -> bool {
    static SAID: OnceLock<()> = OnceLock::new();
    match gpu(number) {
        Ok(_) => true,
        Err(error) => {
            SAID.get_or_init(|| info!("{error}; working on the CPU"));
            false
        }
    }
}

pub(super) fn open(number: u16) -> Result<Device> {
    Ok(Device::Cuda(gpu(number)?.device.clone()))
}

pub(super) fn upload(number: u16, tensor: &Tensor) -> Result<Tensor> {
    gpu(number)?.staging.upload(tensor)
}

/// Gives the memory that the pool of the process holds and no tensor uses back to the driver.
pub(super) fn trim(number: u16) -> Result<()> {
    let stream = gpu(number)?.device.cuda_stream();
    // Memory is freed in the order of the stream.
    stream.synchronize().map_err(driver_error)?;
    let mut pool = std::ptr::null_mut();
    // SAFETY: the driver writes the pool to the address of a pointer.
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, stream.context().cu_device()) }
        .result()
        .map_err(driver_error)?;
    // SAFETY: the pool is of this device, and keeps the memory that is in use.
    unsafe { sys::cuMemPoolTrimTo(pool, 0) }
        .result()
        .map_err(driver_error)
}

/// The free and all memory of a GPU in bytes.
pub(crate) fn memory(device: &CudaDevice) -> Result<(usize, usize)> {
    let stream = device.cuda_stream();
    let context = stream.context();
    let in_pool = pooled(device).unwrap_or(0);
    let (free, all) = context.mem_get_info().map_err(driver_error)?;
    Ok((free + in_pool, all))
}

/// The bytes that the pool of the process holds and no tensor uses.
fn pooled(device: &CudaDevice) -> Option<usize> {
    let stream = device.cuda_stream();
    stream.context().bind_to_thread().ok()?;
    let mut pool = std::ptr::null_mut();
    let value = |pool, attribute| {
        let mut bytes = 0u64;
        // SAFETY: the driver writes a 64-bit number for both attributes.
        let answer =
            unsafe { sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut bytes).cast()) };
        answer.result().ok().map(|()| bytes)
    };
    // SAFETY: the driver writes the pool to the address of a pointer.
    unsafe { sys::cuDeviceGetDefaultMemPool(&mut pool, stream.context().cu_device()) }
        .result()
        .ok()?;
    let reserved = value(
        pool,
        sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
    )?;
    let used = value(
        pool,
        sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT,
    )?;
    Some(reserved.saturating_sub(used) as usize)
}

/// The GPUs of this process.
///
/// # Errors
/// Why there is none, as a sentence.
pub fn gpus() -> Result<Vec<GpuReport>> {
    let report = |number: u16| {
        let device = DeviceName::Cuda(number);
        let (mut name, mut memory_bytes, mut free_bytes) = (String::new(), 0, 0);
        let described = result::device::get(number.into()).and_then(|handle| {
            name = result::device::get_name(handle)?;
            // SAFETY: the handle is of this driver.
            memory_bytes = unsafe { result::device::total_mem(handle) }? as u64;
            Ok(())
        });
        let failure = match (described, gpu(number)) {
            (Err(error), _) => Some(sentence(error.0)),
            (_, Err(error)) => Some(error.to_string()),
            (Ok(()), Ok(gpu)) => {
                free_bytes = memory(&gpu.device).map_or(0, |(free, _)| free as u64);
                None
            }
        };
        GpuReport {
            device,
            name,
            memory_bytes,
            free_bytes,
            failure,
        }
    };
    Ok((0..count()? as u16).map(report).collect())
}
