//! [`DeviceName`]: the device of a model. Options and plans hold its name; loading and training open the device.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::Result;

/// The device on which rows are encoded and numbers are read, whatever device a model runs on.
pub(crate) const HOST: Device = Device::Cpu;

/// A device by name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceName {
    /// The processor of this machine.
    #[default]
    Cpu,
}

impl DeviceName {
    /// The names that users may write, each with its device; `auto` is the best available device.
    pub const CHOICES: &[(&str, Self)] = &[("auto", Self::Cpu), ("cpu", Self::Cpu)];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }

    /// The number of threads that work for the device in parallel: one per core for the processor.
    pub fn workers(self) -> usize {
        match self {
            Self::Cpu => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The device itself.
    ///
    /// # Errors
    /// If the device is not available.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(HOST),
        }
    }
}
