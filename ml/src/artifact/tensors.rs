//! [`Tensors`]: the weights of a trained model, and the keys of its columns, in a file of safetensors.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{CONFIG_FILE, check_header, corrupt, corrupt_tensors};
use crate::data::encode::keys::Keys;
use crate::data::precision::Precision;
use crate::model::network::{Network, Parameter};
use crate::model::trained::ModelConfig;
use crate::{Error, Result};

const HEADER_BYTES_MAX: u64 = 10 << 20;
/// A model with more weights is refused before memory is allocated.
const WEIGHTS_MAX: usize = 1 << 32;

/// The content of a file with these weights, flat in the order of the parameters, and the keys of the columns.
pub(super) fn to_bytes(
    config: &ModelConfig,
    parameters: &[Parameter],
    weights: &[f64],
    precision: Precision,
) -> Result<Vec<u8>> {
    let dtype = match precision {
        Precision::Single => Dtype::F32,
        Precision::Double => Dtype::F64,
    };
    let mut rest = weights;
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for parameter in parameters {
        let (values, tail) = rest.split_at(parameter.len());
        rest = tail;
        let values = values.iter();
        let bytes = match precision {
            Precision::Single => values
                .flat_map(|&value| (value as f32).to_le_bytes())
                .collect(),
            Precision::Double => values.flat_map(|value| value.to_le_bytes()).collect(),
        };
        tensors.push((
            parameter.name.clone(),
            dtype,
            parameter.shape.clone(),
            bytes,
        ));
    }
    for (column, encoder) in config.encoders.iter().enumerate() {
        if let Some(keys) = &encoder.keys {
            let bytes = keys.to_bytes();
            tensors.push((name_of_keys(column), Dtype::U8, vec![bytes.len()], bytes));
        }
    }
    let internal = |error: safetensors::SafeTensorError| Error::Internal(error.to_string());
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = TensorView::new(*dtype, shape.clone(), bytes).map_err(internal)?;
        Ok((name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    safetensors::serialize(views, None).map_err(internal)
}

/// The name of the tensor that holds the keys of a column.
fn name_of_keys(column: usize) -> String {
    format!("keys.{column}")
}

/// The names and shapes of tensors.
pub(super) type ExpectedTensors = Vec<(String, Vec<usize>)>;

/// The name and the shape of each parameter.
pub(super) fn shapes_of(network: &dyn Network) -> Result<ExpectedTensors> {
    let parameters = network.parameters();
    let total = parameters.iter().try_fold(0usize, |total, parameter| {
        let length = parameter
            .shape
            .iter()
            .try_fold(1usize, |product, width| product.checked_mul(*width))?;
        total
            .checked_add(length)
            .filter(|total| *total <= WEIGHTS_MAX)
    });
    if total.is_none() {
        let problem = format!("describes more than {WEIGHTS_MAX} weights");
        return Err(corrupt(CONFIG_FILE, problem));
    }
    Ok(parameters
        .iter()
        .map(|parameter| (parameter.name.clone(), parameter.shape.clone()))
        .collect())
}

/// The tensors of a file that are not read yet.
pub(super) struct Tensors<'a> {
    file: &'static str,
    tensors: HashMap<String, TensorView<'a>>,
}

impl<'a> Tensors<'a> {
    /// Reads the names, types and shapes of all tensors of a file of this name.
    pub(super) fn read(file: &'static str, content: &'a [u8]) -> Result<Self> {
        check_header(file, content, HEADER_BYTES_MAX)?;
        let tensors = SafeTensors::deserialize(content)
            .map_err(|error| corrupt_tensors(file, content, error))?;
        Ok(Self {
            file,
            tensors: tensors.tensors().into_iter().collect(),
        })
    }

    /// Reads the keys of the columns that have some into the configuration.
    pub(super) fn take_keys(&mut self, config: &mut ModelConfig) -> Result<()> {
        for (column, encoder) in config.encoders.iter_mut().enumerate() {
            if let Some(keys) = &mut encoder.keys {
                let tensor = self.take(&name_of_keys(column))?;
                let read = Keys::from_bytes(keys.kind(), tensor.data());
                *keys = read.map_err(|error| corrupt(self.file, error))?;
            }
        }
        Ok(())
    }

    fn take(&mut self, name: &str) -> Result<TensorView<'a>> {
        let missing = || corrupt(self.file, format!("tensor \"{name}\" is missing"));
        self.tensors.remove(name).ok_or_else(missing)
    }

    /// The weights of all expected tensors, flat. Other tensors are an error.
    pub(super) fn weights(mut self, expected: &[(String, Vec<usize>)]) -> Result<Vec<f64>> {
        let mut weights = Vec::new();
        for (name, shape) in expected {
            let tensor = self.take(name)?;
            // Models of earlier builds have single precision, whatever their type.
            let is_double = match tensor.dtype() {
                Dtype::F32 if tensor.shape() == shape => false,
                Dtype::F64 if tensor.shape() == shape => true,
                _ => {
                    return Err(corrupt(
                        self.file,
                        format!(
                            "tensor \"{name}\" is {:?} of shape {:?}, expected F32 or F64 of shape {shape:?}",
                            tensor.dtype(),
                            tensor.shape()
                        ),
                    ));
                }
            };
            let bytes = tensor.data();
            match is_double {
                true => weights.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b))),
                false => {
                    let values = bytes.as_chunks().0.iter();
                    weights.extend(values.map(|b| f64::from(f32::from_le_bytes(*b))));
                }
            }
        }
        if let Some(name) = self.tensors.keys().min() {
            return Err(corrupt(
                self.file,
                format!("tensor \"{name}\" is not expected"),
            ));
        }
        if weights.iter().any(|weight| !weight.is_finite()) {
            return Err(corrupt(self.file, "a weight is NaN or infinite"));
        }
        Ok(weights)
    }
}
