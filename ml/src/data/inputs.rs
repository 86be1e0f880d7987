//! [`Inputs`]: encoded rows of a model as named tensors; [`RowReport`]: NULLs, failures and unseen values of the rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::NullBuffer;
use candle_core::{DType, Device, Tensor};

use crate::device::HOST;
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

    /// The rows at these positions, in this order, without the report.
    pub fn select(&self, order: &[u32]) -> Result<Self> {
        if order.is_empty() {
            return Ok(Self::default());
        }
        let order = Tensor::from_slice(order, order.len(), &HOST)?;
        self.map(order.elem_count(), |tensor| {
            Ok(tensor.index_select(&order, 0)?)
        })
    }

    /// The inputs on this device, with floats of type `dtype` and without the report.
    pub fn to(&self, device: &Device, dtype: DType) -> Result<Self> {
        self.map(self.rows, |tensor| {
            let tensor = match tensor.dtype().is_float() {
                true => tensor.to_dtype(dtype)?,
                false => tensor.clone(),
            };
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
