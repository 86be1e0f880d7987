//! Conversion between the weight vector of a network, for optimisers and ranks, and the tensors of its layers.

use std::ops::Range;

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Storage, Tensor, Var, WithDType};

use crate::data::inputs::Inputs;
use crate::device::HOST;
use crate::model::network::{Network, Parameter, ParameterKind};
use crate::{Error, Result};

/// The numbers of a row in the inputs and in all layers of a network together.
pub(crate) fn numbers_per_row(network: &dyn Network, inputs: &Inputs) -> usize {
    let of_inputs = inputs.bytes() / inputs.rows().max(1) / size_of::<f32>();
    of_inputs + network.numbers_per_row()
}

/// Whether each weight is penalised.
pub(crate) fn penalised(specs: &[Parameter]) -> Vec<bool> {
    let is_penalised = |spec: &Parameter| spec.kind == ParameterKind::Penalised;
    specs
        .iter()
        .flat_map(|spec| std::iter::repeat_n(is_penalised(spec), spec.len()))
        .collect()
}

/// The factor on the learning rate of each range of weights; neighbours with one factor are one range.
pub(crate) fn rates(network: &dyn Network) -> Vec<(Range<usize>, f32)> {
    let specs = network.parameters();
    let rates = network.rates().unwrap_or_else(|| vec![1.0; specs.len()]);
    let mut ranges: Vec<(Range<usize>, f32)> = vec![];
    let mut start = 0;
    for (spec, rate) in specs.iter().zip(rates) {
        let end = start + spec.len();
        match ranges.last_mut() {
            Some((range, last)) if *last == rate => range.end = end,
            _ => ranges.push((start..end, rate)),
        }
        start = end;
    }
    ranges
}

/// The gradient of a parameter; `None` for a statistic, which has none.
///
/// # Errors
/// [`Error::Internal`] if a layer without a backward pass lies between the parameter and the outputs.
pub(crate) fn gradient_of<'a>(
    gradients: &'a GradStore,
    variable: &Var,
    spec: &Parameter,
) -> Result<Option<&'a Tensor>> {
    if spec.kind == ParameterKind::Statistic {
        return Ok(None);
    }
    let cut = || {
        let name = &spec.name;
        let message = format!("parameter \"{name}\" received no gradient; the network cuts it");
        Error::Internal(message)
    };
    gradients.get(variable).map(Some).ok_or_else(cut)
}

/// Adds the elements of `tensor` to `sum`.
pub(crate) fn add_tensor<T: WithDType + std::ops::AddAssign>(
    sum: &mut [T],
    tensor: &Tensor,
) -> Result<()> {
    let tensor = tensor.contiguous()?.to_device(&HOST)?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(Error::Internal(
            "a tensor of the host is on another device".into(),
        ));
    };
    let values = &storage.as_slice::<T>()?[layout.start_offset()..][..sum.len()];
    let pairs = sum.iter_mut().zip(values);
    pairs.for_each(|(sum, &value)| *sum += value);
    Ok(())
}

/// The weights as tensors of this type.
pub(crate) fn tensors_of(
    specs: &[Parameter],
    weights: &[f64],
    dtype: DType,
    device: &Device,
) -> Result<Vec<Tensor>> {
    if dtype == DType::F64 {
        return tensors(specs, weights, device);
    }
    let weights: Vec<f32> = weights.iter().map(|&weight| weight as f32).collect();
    if dtype == DType::F32 {
        return tensors(specs, &weights, device);
    }
    // Rounded on the host: the device never holds the weights in f32, which take twice the memory.
    let on_host = tensors(specs, &weights, &HOST)?;
    let rounded = on_host.iter().map(|tensor| {
        let tensor = tensor.to_dtype(dtype)?;
        Ok(tensor.to_device(device)?)
    });
    rounded.collect()
}

pub(crate) fn tensors<T: WithDType>(
    specs: &[Parameter],
    weights: &[T],
    device: &Device,
) -> Result<Vec<Tensor>> {
    let mut rest = weights;
    let mut tensors = Vec::with_capacity(specs.len());
    for spec in specs {
        let (values, tail) = rest.split_at(spec.len());
        rest = tail;
        tensors.push(Tensor::from_slice(values, spec.shape.as_slice(), device)?);
    }
    Ok(tensors)
}

pub(crate) fn variables<T: WithDType>(
    specs: &[Parameter],
    weights: &[T],
    device: &Device,
) -> Result<Vec<Var>> {
    let mut rest = weights;
    let mut variables = Vec::with_capacity(specs.len());
    for spec in specs {
        let (values, tail) = rest.split_at(spec.len());
        rest = tail;
        variables.push(Var::from_slice(values, spec.shape.as_slice(), device)?);
    }
    Ok(variables)
}
