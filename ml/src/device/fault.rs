//! Errors of GPUs: too little memory, refused work, and faults.
//!
//! A fault inside a kernel makes CUDA refuse all later work of the process; then the GPUs have failed, and `auto` means the
//! processor.

use std::sync::OnceLock;

use candle_core::cuda_backend::CudaError;
use candle_core::cuda_backend::cudarc::cublas::sys::cublasStatus_t;
use candle_core::cuda_backend::cudarc::driver::sys::CUresult;
use candle_core::cuda_backend::cudarc::driver::{DriverError, result};
use tracing::warn;

use crate::Error;

/// Why the GPUs of this process can no longer be used.
static FAILURE: OnceLock<String> = OnceLock::new();

/// Why the GPUs of this process can no longer be used, if they cannot.
pub(super) fn failure() -> Option<&'static str> {
    FAILURE.get().map(String::as_str)
}

/// The error of a device in an error of candle; `None` if it has another cause. A fault that CUDA does not recover from
/// fails the GPUs of this process.
pub(super) fn device_error(error: &candle_core::Error) -> Option<Error> {
    use candle_core::Error as Candle;
    match error {
        Candle::WithBacktrace { inner, .. } | Candle::WithPath { inner, .. } => device_error(inner),
        Candle::Context { inner, .. } => device_error(inner),
        Candle::Cuda(inner) => of_cuda(inner.downcast_ref::<CudaError>()?),
        _ => None,
    }
}

fn of_cuda(error: &CudaError) -> Option<Error> {
    let code = match error {
        CudaError::Cuda(error) | CudaError::Load { cuda: error, .. } => error.0,
        CudaError::Cublas(error) if error.0 == cublasStatus_t::CUBLAS_STATUS_ALLOC_FAILED => {
            CUresult::CUDA_ERROR_OUT_OF_MEMORY
        }
        // cuBLAS does not say that a kernel before had a fault; the driver does.
        CudaError::Cublas(_) => result::ctx::synchronize().err()?.0,
        _ => return None,
    };
    if code == CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        let message = "the GPU has no memory left; lower batch_size or vatic.cache_bytes, or end other programs that use the GPU";
        return Some(Error::DeviceMemory(message.into()));
    }
    if is_fatal(code) {
        let failure = format!(
            "the GPU failed ({}); restart the process to use it again",
            sentence(code)
        );
        warn!("{failure}");
        return Some(Error::Device(FAILURE.get_or_init(|| failure).clone()));
    }
    Some(Error::Device(format!(
        "the GPU refused work: {}",
        sentence(code)
    )))
}

/// Whether CUDA refuses all later work of a process after this answer.
fn is_fatal(code: CUresult) -> bool {
    matches!(
        code,
        CUresult::CUDA_ERROR_ECC_UNCORRECTABLE
            | CUresult::CUDA_ERROR_ILLEGAL_ADDRESS
            | CUresult::CUDA_ERROR_LAUNCH_TIMEOUT
            | CUresult::CUDA_ERROR_ASSERT
            | CUresult::CUDA_ERROR_HARDWARE_STACK_ERROR
            | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | CUresult::CUDA_ERROR_MISALIGNED_ADDRESS
            | CUresult::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | CUresult::CUDA_ERROR_INVALID_PC
            | CUresult::CUDA_ERROR_LAUNCH_FAILED
            | CUresult::CUDA_ERROR_UNKNOWN
    )
}

/// The driver's words for an answer.
pub(super) fn sentence(code: CUresult) -> String {
    let error = DriverError(code);
    let words = error.error_string();
    let words = words.ok().map(|words| words.to_string_lossy().into_owned());
    words.unwrap_or_else(|| format!("{code:?}"))
}

/// An error of the driver as candle would report it.
pub(super) fn driver_error(error: DriverError) -> Error {
    candle_core::Error::from(CudaError::from(error)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_told_apart_by_what_the_caller_can_do() {
        let of = |code| device_error(&CudaError::from(DriverError(code)).into());
        let memory = of(CUresult::CUDA_ERROR_OUT_OF_MEMORY);
        assert!(matches!(memory, Some(Error::DeviceMemory(_))), "{memory:?}");
        let refused = of(CUresult::CUDA_ERROR_INVALID_VALUE);
        assert!(matches!(refused, Some(Error::Device(_))), "{refused:?}");
        assert_eq!(failure(), None);
        let other = candle_core::Error::Msg("another".into());
        assert!(device_error(&other).is_none());
        // The last, because a fault fails the GPUs of the process.
        let fault = of(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
        assert!(matches!(fault, Some(Error::Device(_))), "{fault:?}");
        assert!(failure().is_some());
    }
}
