//! [`Numbers`]: what a model computes with, in single or double precision.

use std::ops::Range;

use candle_core::{DType, Device, Shape, Tensor, WithDType};

use crate::Result;
use crate::data::encode::plain::{Place, standardise, standardise_f32};
use crate::data::encode::tabular::{Standardiser, gather_rows};

/// How precisely a model computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
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
}

/// Numbers in the precision of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Single precision.
    F32(Vec<f32>),
    /// Double precision.
    F64(Vec<f64>),
}

impl Default for Numbers {
    fn default() -> Self {
        Self::F32(vec![])
    }
}

impl Numbers {
    /// So many zeros.
    pub(crate) fn zeros(precision: Precision, length: usize) -> Self {
        match precision {
            Precision::Single => Self::F32(vec![0.0; length]),
            Precision::Double => Self::F64(vec![0.0; length]),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Those in this range.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        match self {
            Self::F32(values) => Self::F32(values[range].to_vec()),
            Self::F64(values) => Self::F64(values[range].to_vec()),
        }
    }

    /// The rows of `width` numbers at these positions, in this order.
    pub(crate) fn gather(&self, width: usize, order: &[u32]) -> Self {
        match self {
            Self::F32(values) => Self::F32(gather_rows(values, width, order)),
            Self::F64(values) => Self::F64(gather_rows(values, width, order)),
        }
    }

    /// The same in double precision.
    pub(crate) fn to_f64(&self) -> Vec<f64> {
        match self {
            Self::F32(values) => values.iter().copied().map(f64::from).collect(),
            Self::F64(values) => values.clone(),
        }
    }

    /// A tensor of this shape.
    pub(crate) fn tensor(&self, shape: impl Into<Shape>, device: &Device) -> Result<Tensor> {
        let shape = shape.into();
        Ok(match self {
            Self::F32(values) => Tensor::from_slice(values, shape, device)?,
            Self::F64(values) => Tensor::from_slice(values, shape, device)?,
        })
    }
}

/// A float that features are encoded as.
pub(crate) trait Real: WithDType {
    /// The nearest one.
    fn of(value: f64) -> Self;

    /// Standardises floats as they lie in a column.
    fn standardise_f32(
        values: &[f32],
        standardisers: &[Standardiser],
        numbers: &mut [Self],
        to: Place,
    );
}

impl Real for f32 {
    fn of(value: f64) -> Self {
        value as f32
    }

    fn standardise_f32(
        values: &[f32],
        standardisers: &[Standardiser],
        numbers: &mut [Self],
        to: Place,
    ) {
        standardise_f32(values, standardisers, numbers, to);
    }
}

impl Real for f64 {
    fn of(value: f64) -> Self {
        value
    }

    fn standardise_f32(
        values: &[f32],
        standardisers: &[Standardiser],
        numbers: &mut [Self],
        to: Place,
    ) {
        standardise(values, standardisers, numbers, to, f64::from);
    }
}
