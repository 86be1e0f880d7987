//! [`Precision`]: single or double.

use candle_core::DType;
use serde::{Deserialize, Serialize};

/// The floating-point precision of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32: what networks need.
    #[default]
    Single,
    /// f64: for models that are solved exactly.
    Double,
}

impl Precision {
    /// The type of the tensors.
    pub fn dtype(self) -> DType {
        match self {
            Self::Single => DType::F32,
            Self::Double => DType::F64,
        }
    }
    /// The name in SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Single => "f32",
            Self::Double => "f64",
        }
    }
}
