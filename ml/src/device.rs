//! [`DeviceName`]: where models run. Devices have names in options and plans, and are opened where a model is loaded or trained.

use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::Result;

/// Where rows are encoded and numbers are read, whatever device a model runs on.
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
    /// What users may write, and the device that they get; `auto` is the best one there is.
    pub const CHOICES: &[(&str, Self)] = &[("auto", Self::Cpu), ("cpu", Self::Cpu)];

    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
        }
    }

    /// How many threads work for the device side by side: of the processor one a core.
    pub fn workers(self) -> usize {
        match self {
            Self::Cpu => std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// The device itself.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn open(self) -> Result<Device> {
        match self {
            Self::Cpu => Ok(HOST),
        }
    }
}
