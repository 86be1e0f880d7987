//! [`ComputeType`]: the type in which a model computes; [`LoadOptions`]: where and in which type a loaded model computes.

use std::fmt;

use candle_core::{DType, Device};

use crate::data::precision::Precision;
use crate::named::named_enum;

named_enum! {
    /// The type in which a model computes its products. Their sums are f32, or f64 for `F64`.
    #[derive(Hash)]
    ComputeType {
        /// Single precision.
        F32 = "f32",
        /// Double precision.
        F64 = "f64",
        /// Tensors of f32, whose products round their factors to 10 bits after the point.
        Tf32 = "tf32",
        /// Tensors of 16 bits with the range of f32 and 7 bits after the point.
        Bf16 = "bf16",
        /// Tensors of 16 bits with numbers up to 65,504 and 10 bits after the point.
        F16 = "f16",
    }
}

impl ComputeType {
    /// What users may write.
    pub const EXPECTED: &str = "one of 'f32', 'f64', 'tf32', 'bf16' or 'f16'";

    /// The type of a text that a user wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let mut known = Self::ALL.iter();
        let found = known.find(|(name, _)| *name == text);
        found.map(|(_, compute)| *compute)
    }

    /// The type of the tensors.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 | Self::Tf32 => DType::F32,
            Self::F64 => DType::F64,
            Self::Bf16 => DType::BF16,
            Self::F16 => DType::F16,
        }
    }

    /// Whether only a GPU computes in this type.
    pub fn needs_gpu(self) -> bool {
        match self {
            Self::F32 | Self::F64 => false,
            Self::Tf32 | Self::Bf16 | Self::F16 => true,
        }
    }

    /// Whether a model that was trained in this precision may compute in this type.
    pub fn suits(self, precision: Precision) -> bool {
        match precision {
            Precision::Single => self != Self::F64,
            Precision::Double => self == Self::F64,
        }
    }
}

impl From<Precision> for ComputeType {
    fn from(precision: Precision) -> Self {
        match precision {
            Precision::Single => Self::F32,
            Precision::Double => Self::F64,
        }
    }
}

impl fmt::Display for ComputeType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where and in which type a loaded model computes.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The device of the weights and of the work.
    pub device: Device,
    /// The type of the work; the type of the training if `None`.
    pub compute: Option<ComputeType>,
}

impl LoadOptions {
    /// A model that computes on this device, in the type of its training.
    pub fn on(device: &Device) -> Self {
        Self {
            device: device.clone(),
            compute: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_its_text() {
        for (text, compute) in ComputeType::ALL {
            assert_eq!(ComputeType::parse(text), Some(*compute));
            assert_eq!(compute.to_string(), *text);
            assert!(ComputeType::EXPECTED.contains(&format!("'{text}'")));
            let json = serde_json::to_string(compute).unwrap();
            assert_eq!(json, format!("\"{text}\""));
            assert_eq!(
                serde_json::from_str::<ComputeType>(&json).unwrap(),
                *compute
            );
        }
        for text in ["", "auto", "BF16", "float16", "f8"] {
            assert_eq!(ComputeType::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_model_computes_in_the_type_of_its_training_and_a_network_in_less() {
        for (_, compute) in ComputeType::ALL {
            let is_double = *compute == ComputeType::F64;
            assert_eq!(compute.suits(Precision::Double), is_double);
            assert_eq!(compute.suits(Precision::Single), !is_double);
        }
        for precision in [Precision::Single, Precision::Double] {
            let own = ComputeType::from(precision);
            assert!(own.suits(precision) && !own.needs_gpu());
            assert_eq!(own.dtype(), precision.dtype());
        }
    }
}
