//! [`Inputs`]: encoded rows of a model as named tensors; [`RowReport`]: NULLs, failures and unseen values of the rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::NullBuffer;
use candle_core::{CpuStorage, DType, Device, Storage, Tensor, WithDType};

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

    /// Adds the rows of a column that have neither a NULL nor a failure, and its failures, which are not valid.
    pub(crate) fn add(
        &mut self,
        column: &str,
        valid: Option<&NullBuffer>,
        failures: Vec<(usize, String)>,
    ) {
        self.valid = NullBuffer::union(self.valid.as_ref(), valid);
        let invalid = valid.map_or(0, NullBuffer::null_count);
        if invalid > failures.len() && self.null_column.is_none() {
            self.null_column = Some(column.to_owned());
        }
        self.failures.extend(failures);
    }
}

/// Whether the tensor is on the host and does not use all of its memory.
fn is_part(tensor: &Tensor) -> bool {
    let (storage, layout) = tensor.storage_and_layout();
    let length = match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => values.len(),
        Storage::Cpu(CpuStorage::F64(values)) => values.len(),
        Storage::Cpu(CpuStorage::U32(values)) => values.len(),
        Storage::Cpu(CpuStorage::U8(values)) => values.len(),
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

    /// The inputs with other values in the tensor of this name, if there is one.
    pub(crate) fn replaced(mut self, name: &str, values: Tensor) -> Self {
        let mut named = self.tensors.iter_mut();
        if let Some(found) = named.find(|tensor| *tensor.name == *name) {
            found.values = values;
        }
        self
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

    /// The elements of all tensors.
    #[cfg(feature = "cuda")]
    pub(crate) fn elements(&self) -> usize {
        let tensors = self.tensors.iter();
        tensors.map(|named| named.values.elem_count()).sum()
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

/// Inputs on the host that grow part by part, so that all parts are never there twice.
#[derive(Debug, Default)]
pub struct InputsBuilder {
    rows_max: usize,
    rows: usize,
    tensors: Vec<Growing>,
}

#[derive(Debug)]
struct Growing {
    name: Arc<str>,
    /// The shape of a row.
    row: Vec<usize>,
    values: Values,
    lengths: Option<Vec<u32>>,
}

#[derive(Debug)]
enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    U32(Vec<u32>),
    U8(Vec<u8>),
}

impl InputsBuilder {
    /// A builder of up to `rows_max` rows; memory for so many is taken with the first part.
    pub fn new(rows_max: usize) -> Self {
        Self {
            rows_max,
            ..Self::default()
        }
    }

    /// Adds the rows of a part, without its report. All parts have the tensors of the first.
    ///
    /// # Errors
    /// [`Error::Internal`] if the part has other tensors than the first.
    pub fn add(&mut self, part: &Inputs) -> Result<()> {
        if self.tensors.is_empty() {
            let growing = part.tensors.iter().map(|named| {
                let row = named
                    .values
                    .dims()
                    .iter()
                    .skip(1)
                    .copied()
                    .collect::<Vec<_>>();
                let length = self.rows_max * row.iter().product::<usize>();
                Ok(Growing {
                    name: Arc::clone(&named.name),
                    row,
                    values: match named.values.dtype() {
                        DType::F32 => Values::F32(Vec::with_capacity(length)),
                        DType::F64 => Values::F64(Vec::with_capacity(length)),
                        DType::U32 => Values::U32(Vec::with_capacity(length)),
                        DType::U8 => Values::U8(Vec::with_capacity(length)),
                        _ => return Err(other_parts()),
                    },
                    lengths: named.lengths.as_ref().map(|_| Vec::new()),
                })
            });
            self.tensors = growing.collect::<Result<_>>()?;
        }
        if self.tensors.len() != part.tensors.len() {
            return Err(other_parts());
        }
        for (ours, named) in self.tensors.iter_mut().zip(&part.tensors) {
            if ours.name != named.name || named.values.dims().get(1..) != Some(&ours.row[..]) {
                return Err(other_parts());
            }
            match &mut ours.values {
                Values::F32(values) => append(values, &named.values)?,
                Values::F64(values) => append(values, &named.values)?,
                Values::U32(values) => append(values, &named.values)?,
                Values::U8(values) => append(values, &named.values)?,
            }
            match (&mut ours.lengths, &named.lengths) {
                (Some(ours), Some(lengths)) => append(ours, lengths)?,
                (None, None) => {}
                _ => return Err(other_parts()),
            }
        }
        self.rows += part.rows;
        Ok(())
    }

    /// The rows of all parts, one part after the other.
    pub fn finish(self) -> Result<Inputs> {
        let mut inputs = Inputs::new(self.rows);
        for Growing {
            name,
            row,
            values,
            lengths,
        } in self.tensors
        {
            let shape: Vec<usize> = std::iter::once(self.rows).chain(row).collect();
            let values = match values {
                Values::F32(values) => Tensor::from_vec(values, shape, &HOST)?,
                Values::F64(values) => Tensor::from_vec(values, shape, &HOST)?,
                Values::U32(values) => Tensor::from_vec(values, shape, &HOST)?,
                Values::U8(values) => Tensor::from_vec(values, shape, &HOST)?,
            };
            let lengths = lengths.map(|lengths| Tensor::from_vec(lengths, self.rows, &HOST));
            inputs = inputs.add(&name, values, lengths.transpose()?)?;
        }
        Ok(inputs)
    }
}

fn append<T: WithDType>(values: &mut Vec<T>, tensor: &Tensor) -> Result<()> {
    let tensor = tensor.flatten_all()?.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(other_parts());
    };
    let start = layout.start_offset();
    let all = storage.as_slice::<T>()?;
    values.extend_from_slice(&all[start..start + layout.shape().elem_count()]);
    Ok(())
}

fn other_parts() -> Error {
    Error::Internal("parts of other inputs".into())
}
