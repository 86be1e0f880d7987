//! [`Inputs`]: encoded rows of a model as named tensors; [`RowReport`]: NULLs, failures and unseen values of the rows.

use std::ops::Range;
use std::sync::Arc;

use arrow::buffer::NullBuffer;
use candle_core::{CpuStorage, DType, Device, Storage, Tensor, WithDType};

use super::extent::Extent;
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

/// A tensor, and which elements belong to which row.
#[derive(Debug, Clone)]
struct Named {
    name: Arc<str>,
    values: Tensor,
    extent: Extent,
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

    /// The report of rows whose NULLs were replaced: only failures are not valid.
    pub(crate) fn imputed(self) -> Self {
        let rows = self.valid.as_ref().map_or(0, NullBuffer::len);
        let mut is_valid = vec![true; rows];
        for (row, _) in &self.failures {
            is_valid[*row] = false;
        }
        Self {
            valid: (!self.failures.is_empty()).then(|| NullBuffer::from(is_valid)),
            null_column: None,
            ..self
        }
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
        self.add(name, values, Extent::Whole)
    }

    /// Adds a tensor `[rows, length_max, …]`, whose rows have the `lengths` `[rows]` (u32); elements beyond are padding.
    ///
    /// # Errors
    /// [`Error::Internal`] if one of the tensors has another number of rows.
    pub fn with_lengths(self, name: &str, values: Tensor, lengths: Tensor) -> Result<Self> {
        self.add(name, values, Extent::Padded(lengths))
    }

    /// Adds a tensor `[elements, …]` of rows with so many elements, one row after the other, without padding.
    ///
    /// # Errors
    /// [`Error::Internal`] if there is another number of rows or of elements.
    pub fn with_packed(self, name: &str, values: Tensor, lengths: &[usize]) -> Result<Self> {
        let extent = Extent::packed(lengths.iter().copied());
        self.add(name, values, extent)
    }

    /// The inputs with other values in the tensor of this name, if there is one.
    pub(crate) fn replaced(mut self, name: &str, values: Tensor) -> Self {
        let mut named = self.tensors.iter_mut();
        if let Some(found) = named.find(|tensor| *tensor.name == *name) {
            found.values = values;
        }
        self
    }

    fn add(mut self, name: &str, values: Tensor, extent: Extent) -> Result<Self> {
        let first = |tensor: &Tensor| tensor.dims().first().copied().unwrap_or(0);
        let (rows, fits) = match &extent {
            Extent::Whole => (first(&values), true),
            Extent::Padded(lengths) => (first(&values), first(lengths) == first(&values)),
            Extent::Packed(starts) => {
                let fits = starts.last() == Some(&first(&values));
                (starts.len().saturating_sub(1), fits)
            }
        };
        if rows != self.rows || !fits {
            return Err(Error::Internal(format!(
                "input \"{name}\" has {rows} rows, expected {}",
                self.rows
            )));
        }
        let name = name.into();
        self.tensors.push(Named {
            name,
            values,
            extent,
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
        match &self.named(name)?.extent {
            Extent::Padded(lengths) => Some(lengths),
            Extent::Whole | Extent::Packed(_) => None,
        }
    }

    /// Where each row begins in the tensor of this name, and the end of the last, if rows lie one after the other.
    pub fn starts(&self, name: &str) -> Option<&[usize]> {
        match &self.named(name)?.extent {
            Extent::Packed(starts) => Some(starts),
            Extent::Whole | Extent::Padded(_) => None,
        }
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
        let bytes = |tensor: &Tensor| tensor.elem_count() * tensor.dtype().size_in_bytes();
        let of_input = |named: &Named| {
            let of_rows = match &named.extent {
                Extent::Whole => 0,
                Extent::Padded(lengths) => bytes(lengths),
                Extent::Packed(starts) => size_of_val(starts.as_ref()),
            };
            bytes(&named.values) + of_rows
        };
        self.tensors.iter().map(of_input).sum()
    }

    /// The rows in this range, without a copy and without the report.
    pub fn narrow(&self, range: Range<usize>) -> Result<Self> {
        self.map(range.len(), |named| {
            let elements = named.extent.elements(&range);
            let values = named.values.narrow(0, elements.start, elements.len())?;
            Ok((values, named.extent.narrow(&range)?))
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
        self.map(order.elem_count(), |named| {
            named.extent.pick(&named.values, order)
        })
    }

    /// The inputs on a device, copied beside the work that the device does, without the report.
    ///
    /// # Errors
    /// [`Error::DeviceMemory`] if the device has no memory left.
    pub fn upload(&self, device: DeviceName) -> Result<Self> {
        self.each_tensor(|tensor| device.upload(tensor))
    }

    /// The inputs on this device, with floats of type `dtype` and without the report.
    pub fn to(&self, device: &Device, dtype: DType) -> Result<Self> {
        self.each_tensor(|tensor| {
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

    fn each_tensor(&self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<Self> {
        self.map(self.rows, |named| {
            let extent = match &named.extent {
                Extent::Padded(lengths) => Extent::Padded(of(lengths)?),
                other => other.clone(),
            };
            Ok((of(&named.values)?, extent))
        })
    }

    fn map(&self, rows: usize, of: impl Fn(&Named) -> Result<(Tensor, Extent)>) -> Result<Self> {
        let tensors = self.tensors.iter().map(|named| {
            let (values, extent) = of(named)?;
            Ok(Named {
                name: Arc::clone(&named.name),
                values,
                extent,
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
    extent: GrowingExtent,
}

#[derive(Debug)]
enum GrowingExtent {
    Whole,
    Padded(Vec<u32>),
    /// The lengths of the rows.
    Packed(Vec<usize>),
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
                    extent: match named.extent {
                        Extent::Whole => GrowingExtent::Whole,
                        Extent::Padded(_) => GrowingExtent::Padded(vec![]),
                        Extent::Packed(_) => GrowingExtent::Packed(vec![]),
                    },
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
            match (&mut ours.extent, &named.extent) {
                (GrowingExtent::Whole, Extent::Whole) => {}
                (GrowingExtent::Padded(ours), Extent::Padded(lengths)) => append(ours, lengths)?,
                (GrowingExtent::Packed(ours), Extent::Packed(starts)) => {
                    ours.extend(starts.windows(2).map(|ends| ends[1] - ends[0]));
                }
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
            extent,
        } in self.tensors
        {
            let first = match &extent {
                GrowingExtent::Whole | GrowingExtent::Padded(_) => self.rows,
                GrowingExtent::Packed(lengths) => lengths.iter().sum(),
            };
            let shape: Vec<usize> = std::iter::once(first).chain(row).collect();
            let values = match values {
                Values::F32(values) => Tensor::from_vec(values, shape, &HOST)?,
                Values::F64(values) => Tensor::from_vec(values, shape, &HOST)?,
                Values::U32(values) => Tensor::from_vec(values, shape, &HOST)?,
                Values::U8(values) => Tensor::from_vec(values, shape, &HOST)?,
            };
            let extent = match extent {
                GrowingExtent::Whole => Extent::Whole,
                GrowingExtent::Padded(lengths) => {
                    Extent::Padded(Tensor::from_vec(lengths, self.rows, &HOST)?)
                }
                GrowingExtent::Packed(lengths) => Extent::packed(lengths),
            };
            inputs = inputs.add(&name, values, extent)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows with 2, 0, 3 and 1 elements, and a number for each row.
    fn packed() -> Inputs {
        let values = Tensor::from_vec(vec![0u32, 1, 20, 21, 22, 30], 6, &HOST).unwrap();
        let numbers = Tensor::from_vec(vec![0f32, 1.0, 2.0, 3.0], 4, &HOST).unwrap();
        let inputs = Inputs::new(4).with_packed("x", values, &[2, 0, 3, 1]);
        inputs.unwrap().with("y", numbers).unwrap()
    }

    fn check(inputs: &Inputs, values: &[u32], starts: &[usize]) {
        let found: Vec<u32> = inputs.get("x").unwrap().to_vec1().unwrap();
        assert_eq!(found, values);
        assert_eq!(inputs.starts("x").unwrap(), starts);
        assert_eq!(inputs.get("y").unwrap().dim(0).unwrap(), inputs.rows());
    }

    #[test]
    fn rows_of_different_lengths_are_cut_and_picked() {
        let inputs = packed();
        check(&inputs.narrow(1..3).unwrap(), &[20, 21, 22], &[0, 0, 3]);
        check(&inputs.narrow(1..2).unwrap(), &[], &[0, 0]);
        check(&inputs.narrow(0..0).unwrap(), &[], &[0]);
        let picked = inputs.select(&[3, 0, 1, 0]).unwrap();
        check(&picked, &[30, 0, 1, 0, 1], &[0, 1, 3, 3, 5]);
        check(&inputs.select(&[1]).unwrap(), &[], &[0, 0]);
        assert!(inputs.bytes() >= 6 * 4 + 4 * 4);
    }

    #[test]
    fn parts_with_rows_of_different_lengths_are_put_together() {
        let inputs = packed();
        let mut builder = InputsBuilder::new(6);
        builder.add(&inputs).unwrap();
        builder.add(&inputs.narrow(2..4).unwrap()).unwrap();
        let all = builder.finish().unwrap();
        let values = [0, 1, 20, 21, 22, 30, 20, 21, 22, 30];
        check(&all, &values, &[0, 2, 2, 5, 6, 9, 10]);
    }

    #[test]
    fn lengths_that_do_not_fit_are_an_error() {
        let values = Tensor::from_vec(vec![0u32, 1], 2, &HOST).unwrap();
        let inputs = |lengths: &[usize]| Inputs::new(2).with_packed("x", values.clone(), lengths);
        assert!(inputs(&[1, 1]).is_ok());
        assert!(inputs(&[1, 2]).is_err());
        assert!(inputs(&[2]).is_err());
    }
}
