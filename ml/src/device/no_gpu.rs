//! The answers of a build without support for GPUs.

use candle_core::{Device, Tensor};

use super::GpuReport;
use crate::{Error, Result};

fn no_support() -> Error {
    let message = "this build of vatic has no support for GPUs; build it with scripts/build-cuda, or use device 'cpu'";
    Error::Unsupported(message.into())
}

pub(super) fn is_usable(_number: u16) -> bool {
    false
}

pub(super) fn open(_number: u16) -> Result<Device> {
    Err(no_support())
}

pub(super) fn upload(_number: u16, _tensor: &Tensor) -> Result<Tensor> {
    Err(no_support())
}

pub(super) fn trim(_number: u16) -> Result<()> {
    Err(no_support())
}

/// The GPUs of this process.
///
/// # Errors
/// Why there is none, as a sentence.
pub fn gpus() -> Result<Vec<GpuReport>> {
    Err(no_support())
}

/// The error of a device in an error of candle; `None` if it has another cause.
pub(super) fn device_error(_error: &candle_core::Error) -> Option<Error> {
    None
}
