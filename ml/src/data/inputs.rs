//! [`Inputs`]: encoded rows of a model as named tensors; [`RowReport`]: NULLs, failures and unseen values of the rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::NullBuffer;
use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use crate::device::{DeviceName, HOST};
use crate::{Error, Result};

/// Encoded rows as named tensors.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    rows: usize,
    tensors: Vec<Named>,
    /// The NULLs, failures and unseen values of the rows.
    pub report: RowReport,
}

/// A tensor `[rows, …]`, and the number of elements of each row in the second dimension, if rows differ in length.
#[derive(Debug, Clone)]
struct Named {
    name: Arc<str>,
    values: Tensor,
    lengths: Option<Tensor>,
}

/// The NULLs, failures and unseen values of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RowReport {
    /// Which rows have neither a NULL nor a failure; `None` means all rows.
    pub valid: Option<NullBuffer>,
    /// Rows without output, each once with the cause, ascending; these rows are not valid.
    pub failures: Vec<(usize, String)>,
    /// The number of values that training did not see.
    pub unseen: usize,
    /// The first column with a NULL.
    pub null_column: Option<String>,
}

impl RowReport {
    /// The number of rows with a NULL.
    pub fn null_rows(&self) -> usize {
        let invalid = self.valid.as_ref().map_or(0, NullBuffer::null_count);
        invalid.saturating_sub(self.failures.len())
    }
}

/// Whether the tensor is on the host and does not use all of its memory.
fn is_part(tensor: &Tensor) -> bool {
    let (storage, layout) = tensor.storage_and_layout();
    let length = match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => values.len(),
        Storage::Cpu(CpuStorage::F64(values)) => values.len(),
        Storage::Cpu(CpuStorage::U32(values)) => values.len(),
        Storage::Cpu(_) => return true,
        _ => return false,
    };
    length != layout.shape().elem_count()
}

impl Inputs {
    /// `rows` rows, without tensors yet.
    pub fn new(rows: usize) -> Self {
        Self {
            rows,
            ..Self::default()
        }
    }

    /// Adds a tensor `[rows, …]`.
    ///
    /// # Errors
    /// [`Error::Internal`] if the tensor has another number of rows.
    pub fn with(self, name: &str, values: Tensor) -> Result<Self> {
        self.add(name, values, None)
    }

    /// Adds a tensor `[rows, length_max, …]`, whose rows have the `lengths` `[rows]` (u32); elements beyond are padding.
    ///
    /// # Errors
    /// [`Error::Internal`] if one of the tensors has another number of rows.
    pub fn with_lengths(self, name: &str, values: Tensor, lengths: Tensor) -> Result<Self> {
        self.add(name, values, Some(lengths))
    }

    fn add(mut self, name: &str, values: Tensor, lengths: Option<Tensor>) -> Result<Self> {
        for tensor in [Some(&values), lengths.as_ref()].into_iter().flatten() {
            let rows = tensor.dims().first().copied().unwrap_or(0);
            if rows != self.rows {
                return Err(Error::Internal(format!(
                    "input \"{name}\" has {rows} rows, expected {}",
                    self.rows
                )));
            }
        }
        let name = name.into();
        self.tensors.push(Named {
            name,
            values,
            lengths,
        });
        Ok(self)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.named(name).map(|tensor| &tensor.values)
    }

    /// The lengths of the rows of the tensor of this name, if they differ.
    pub fn lengths(&self, name: &str) -> Option<&Tensor> {
        self.named(name)?.lengths.as_ref()
    }

    fn named(&self, name: &str) -> Option<&Named> {
        self.tensors.iter().find(|tensor| *tensor.name == *name)
    }

    /// Memory of the tensors in bytes.
    pub fn bytes(&self) -> usize {
        let tensors = self.tensors.iter();
        let tensors = tensors.flat_map(|named| [Some(&named.values), named.lengths.as_ref()]);
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        tensors.flatten().map(bytes).sum()
    }

    /// The rows in this range, without a copy and without the report.
    pub fn narrow(&self, range: Range<usize>) -> Result<Self> {
        self.map(range.len(), |tensor| {
            Ok(tensor.narrow(0, range.start, range.len())?)
        })
    }

    /// The rows at these positions, in this order, without the report. The inputs are on the host.
    pub fn select(&self, order: &[u32]) -> Result<Self> {
        if order.is_empty() {
            return Ok(Self::default());
        }
        self.pick(&Tensor::from_slice(order, order.len(), &HOST)?)
    }

    /// The rows at the positions in `order` `[rows]` (u32), in this order, without the report. Both are on one device.
    pub fn pick(&self, order: &Tensor) -> Result<Self> {
        self.map(order.elem_count(), |tensor| {
            Ok(tensor.index_select(order, 0)?)
        })
    }

    /// The rows of all parts, one part after the other, without the report. All have the tensors of the first.
    pub fn joined(parts: &[Self]) -> Result<Self> {
        let Some(first) = parts.first() else {
            return Ok(Self::default());
        };
        let mut joined = Self::new(parts.iter().map(Self::rows).sum());
        for (index, tensor) in first.tensors.iter().enumerate() {
            let all = |of: &dyn Fn(&Named) -> Option<Tensor>| -> Result<Option<Tensor>> {
                let all: Option<Vec<Tensor>> = parts
                    .iter()
                    .map(|part| of(part.tensors.get(index)?))
                    .collect();
                Ok(all.map(|all| Tensor::cat(&all, 0)).transpose()?)
            };
            let values = all(&|tensor| Some(tensor.values.clone()))?;
            let values = values.ok_or_else(|| Error::Internal("parts of other inputs".into()))?;
            let lengths = all(&|tensor| tensor.lengths.clone())?;
            joined = joined.add(&tensor.name, values, lengths)?;
        }
        Ok(joined)
    }

    /// The inputs on a device, copied beside the work that the device does, without the report.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if the device has no memory left.
    pub fn upload(&self, device: DeviceName) -> Result<Self> {
        self.map(self.rows, |tensor| device.upload(tensor))
    }

    /// The inputs on this device, with floats of type `dtype` and without the report.
    pub fn to(&self, device: &Device, dtype: DType) -> Result<Self> {
        self.map(self.rows, |tensor| {
            let tensor = match tensor.dtype().is_float() {
                true => tensor.to_dtype(dtype)?,
                false => tensor.clone(),
            };
            if !device.is_cpu() && is_part(&tensor) {
                // candle would move all of the memory that the part is in.
                return Ok(tensor.force_contiguous()?.to_device(device)?);
            }
            Ok(tensor.to_device(device)?)
        })
    }

    fn map(&self, rows: usize, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        let tensors = self.tensors.iter().map(|tensor| {
            Ok(Named {
                name: Arc::clone(&tensor.name),
                values: of(&tensor.values)?,
                lengths: tensor.lengths.as_ref().map(&of).transpose()?,
            })
        });
        Ok(Self {
            rows,
            tensors: tensors.collect::<Result<_>>()?,
            report: RowReport::default(),
        })
    }
}
