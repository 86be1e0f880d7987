//! [`DeviceName`]: the device of a model. Options and plans hold its name; loading and training open the device.
//!
//! * `gpu` the GPUs of this process, with the feature `cuda`; without it, `no_gpu` says so
//! * `fault` the errors of GPUs
//! * `injected` a fault inside a kernel, for tests
//! * `staging` the way of rows to a GPU, beside its work
//! * [`products`] whether products on a GPU use tf32
//! * `kernels`, `kernels.cu` GPU kernels of losses, optimisers, categories and dropout
//! * `layer_kernels`, `layers.cu` GPU kernels of convolution, pooling, normalisation and activations, and products

#[cfg(feature = "cuda")]
mod fault;
#[cfg(feature = "cuda")]
mod gpu;
#[cfg(feature = "cuda")]
mod injected;
#[cfg(feature = "cuda")]
pub(crate) mod kernels;
#[cfg(feature = "cuda")]
pub(crate) mod layer_kernels;
pub mod products;
#[cfg(feature = "cuda")]
mod staging;

#[cfg(not(feature = "cuda"))]
#[path = "no_gpu.rs"]
mod gpu;

#[cfg(feature = "cuda")]
use fault::device_error;
#[cfg(not(feature = "cuda"))]
use gpu::device_error;
pub use gpu::gpus;
#[cfg(feature = "cuda")]
pub(crate) use gpu::memory as gpu_memory;
#[cfg(feature = "cuda")]
pub(crate) use injected::count_pass;

use std::fmt;

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The device on which rows are encoded and numbers are read, whatever device a model runs on.
pub(crate) const HOST: Device = Device::Cpu;

/// Rows of one pass on the host: values between the layers stay in the cache of a core.
const HOST_ROWS: usize = 256;
/// Numbers of one pass on the host, if a row has many: 16 MiB of f32.
const HOST_NUMBERS: usize = 1 << 22;
/// Rows of one pass on the host, however many numbers a row has.
const HOST_ROWS_MIN: usize = 8;
/// Rows of one pass on a GPU, if memory allows: enough work for all of its processors.
const GPU_ROWS: usize = 1 << 16;
/// Numbers of one pass on a GPU: 1 GiB of f32.
const GPU_NUMBERS: usize = 1 << 28;

/// A device by name. In files, plans and SQL it is its text: `auto`, `cpu`, `cuda:0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum DeviceName {
    /// The first GPU if the process that does the work has one, else the processor.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// The GPU of this number.
    Cuda(u16),
}

/// A GPU of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GpuReport {
    /// The device.
    pub device: DeviceName,
    /// What the driver calls it.
    pub name: String,
    /// All of its memory.
    pub memory_bytes: u64,
    /// Bytes that are free, or that this process holds and no tensor uses; 0 if the GPU cannot be used.
    pub free_bytes: u64,
    /// Why it cannot be used, if it cannot.
    pub failure: Option<String>,
}

impl DeviceName {
    /// What users may write.
    pub const EXPECTED: &str =
        "one of 'auto', 'cpu', 'cuda' or 'cuda:N', where N is the number of a GPU";

    /// The device of a text that a user wrote; `cuda` is the first GPU.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => {
                let number = text.strip_prefix("cuda:")?;
                let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
                Some(Self::Cuda(number.parse().ok().filter(|_| is_number)?))
            }
        }
    }

    /// The device that this name means in this process: never [`DeviceName::Auto`]. For `Auto`, the first call opens the
    /// GPU, and blocks.
    pub fn resolved(self) -> Self {
        match self {
            Self::Auto if gpu::is_usable(0) => Self::Cuda(0),
            Self::Auto => Self::Cpu,
            named => named,
        }
    }

    /// Whether the device is a GPU of this process.
    pub fn is_gpu(self) -> bool {
        matches!(self.resolved(), Self::Cuda(_))
    }

    /// The number of threads that work for the device: one per core for the processor, one for a GPU.
    pub fn workers(self) -> usize {
        match self.resolved() {
            Self::Cuda(_) => 1,
            _ => cores(),
        }
    }

    /// The device itself.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a GPU of a build without support for GPUs; [`Error::Device`] for a GPU that is missing
    /// or cannot be used.
    pub fn open(self) -> Result<Device> {
        match self.resolved() {
            Self::Cuda(number) => gpu::open(number),
            _ => Ok(HOST),
        }
    }

    /// The tensor on the device, copied beside the work that the device does. For the processor, the tensor itself.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if the device has no memory left.
    pub fn upload(self, tensor: &Tensor) -> Result<Tensor> {
        match self.resolved() {
            Self::Cuda(number) => gpu::upload(number, tensor),
            _ => Ok(tensor.clone()),
        }
    }

    /// Waits for the work of the device, and gives memory that this process holds and no tensor uses back to the driver. For
    /// the processor, does nothing.
    ///
    /// # Errors
    /// [`Error::Device`] if the GPU has failed.
    pub fn trim(self) -> Result<()> {
        match self.resolved() {
            Self::Cuda(number) => gpu::trim(number),
            _ => Ok(()),
        }
    }
}

/// The number of cores of this process.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The rows of one pass of a network on this device, if a row has so many numbers in all layers together.
pub(crate) fn pass_rows(device: &Device, numbers: usize) -> usize {
    match device.is_cpu() {
        true => (HOST_NUMBERS / numbers.max(1)).clamp(HOST_ROWS_MIN, HOST_ROWS),
        false => (GPU_NUMBERS / numbers.max(1)).clamp(HOST_ROWS, GPU_ROWS),
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        if let Some(known) = our_error(&error).or_else(|| device_error(&error)) {
            return known;
        }
        // candle appends a backtrace to its message when RUST_BACKTRACE is set.
        let text = error.to_string();
        Error::Internal(format!(
            "tensor: {}",
            text.lines().next().unwrap_or_default()
        ))
    }
}

/// An error on its way through candle, such as that of a layer that was asked to stop.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        Self::WrappedContext {
            wrapped: Box::new(error),
            context: String::new(),
        }
    }
}

/// The error of this crate that came through candle, if it is one.
fn our_error(error: &candle_core::Error) -> Option<Error> {
    use candle_core::Error as Candle;
    match error {
        Candle::WithBacktrace { inner, .. } | Candle::Context { inner, .. } => our_error(inner),
        Candle::WrappedContext { wrapped, .. } => wrapped.downcast_ref::<Error>().cloned(),
        _ => None,
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl From<DeviceName> for String {
    fn from(device: DeviceName) -> Self {
        device.to_string()
    }
}

impl TryFrom<String> for DeviceName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        Self::parse(&text).ok_or_else(|| Error::Corrupt(format!("\"{text}\" is not a device")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_its_text() {
        for (text, device) in [
            ("auto", DeviceName::Auto),
            ("cpu", DeviceName::Cpu),
            ("cuda:0", DeviceName::Cuda(0)),
            ("cuda:12", DeviceName::Cuda(12)),
        ] {
            assert_eq!(DeviceName::parse(text), Some(device));
            assert_eq!(device.to_string(), text);
            let json = serde_json::to_string(&device).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(serde_json::from_str::<DeviceName>(&json).unwrap(), device);
        }
        assert_eq!(DeviceName::parse("cuda"), Some(DeviceName::Cuda(0)));
        for text in [
            "",
            "gpu",
            "cuda:",
            "cuda:+1",
            "cuda:-1",
            "cuda:x",
            "cuda:70000",
            "CPU",
        ] {
            assert_eq!(DeviceName::parse(text), None, "{text}");
        }
        assert!(serde_json::from_str::<DeviceName>("\"tpu\"").is_err());
    }

    #[test]
    #[expect(clippy::print_stdout, reason = "a test says why it is skipped")]
    fn without_a_gpu_auto_is_the_processor_and_cuda_an_error() {
        if !gpus().unwrap_or_default().is_empty() {
            println!("skipped: this machine has a GPU");
            return;
        }
        assert_eq!(DeviceName::Auto.resolved(), DeviceName::Cpu);
        assert!(DeviceName::Auto.open().unwrap().is_cpu());
        DeviceName::Auto.trim().unwrap();
        let error = DeviceName::Cuda(0).open().unwrap_err().to_string();
        assert!(error.contains("GPU"), "{error}");
    }
}
