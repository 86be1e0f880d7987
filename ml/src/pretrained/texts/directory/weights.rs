//! The tensors of an encoder as files have them, from those that its layers take, which lie in memory in another way.

use std::collections::HashMap;

use candle_core::{DType, Tensor};
use safetensors::tensor::{Dtype, TensorView};

use crate::pretrained::texts::tensors::{Layout, Wanted};
use crate::pretrained::texts::tuned::name_of;
use crate::{Error, Result};

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) numbers: Vec<f32>,
}

impl Stored {
    /// The weights and the biases of a linear layer.
    pub(super) fn linear(name: &str, weights: &[f32], biases: &[f32]) -> [Self; 2] {
        let outputs = biases.len();
        let inputs = weights.len() / outputs.max(1);
        [
            Self {
                name: format!("{name}.weight"),
                shape: vec![outputs, inputs],
                numbers: weights.to_vec(),
            },
            Self {
                name: format!("{name}.bias"),
                shape: vec![outputs],
                numbers: biases.to_vec(),
            },
        ]
    }
}

/// The tensors of an encoder: those that a training found by the names of its parameters, and the others as they were.
///
/// # Errors
/// [`Error::Internal`] for numbers that do not fit their tensor.
pub(super) fn encoder_tensors(
    taken: &HashMap<Wanted, Tensor>,
    trained: &HashMap<String, Vec<f32>>,
) -> Result<Vec<Stored>> {
    let mut all = vec![];
    for (wanted, tensor) in taken {
        let numbers = match trained.get(&name_of(wanted)) {
            Some(numbers) => numbers.clone(),
            None => tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?,
        };
        all.extend(apart(wanted, &numbers)?);
    }
    Ok(all)
}

/// The parts of a tensor, as they are stored.
fn apart(wanted: &Wanted, numbers: &[f32]) -> Result<Vec<Stored>> {
    let names = &wanted.names;
    let of_part: usize = wanted.shape.iter().product();
    if numbers.len() != names.len() * of_part {
        let message = format!("{} numbers of \"{}\"", numbers.len(), names.join(" + "));
        return Err(Error::Internal(message));
    }
    let parts = names.iter().enumerate().map(|(part, name)| Stored {
        name: name.clone(),
        shape: wanted.shape.clone(),
        numbers: match (wanted.layout, wanted.shape.as_slice()) {
            (Layout::Transposed, &[outputs, inputs]) => {
                let row = names.len() * outputs;
                let places = (0..outputs).flat_map(|output| {
                    let column = part * outputs + output;
                    (0..inputs).map(move |input| input * row + column)
                });
                places.map(|place| numbers[place]).collect()
            }
            (Layout::Stored | Layout::Transposed, _) => {
                numbers[part * of_part..(part + 1) * of_part].to_vec()
            }
        },
    });
    Ok(parts.collect())
}

/// The content of a file with these tensors.
///
/// # Errors
/// [`Error::Internal`] for numbers that do not fit their tensor.
pub(super) fn file_of(tensors: &[Stored]) -> Result<Vec<u8>> {
    let internal = |error: safetensors::SafeTensorError| Error::Internal(error.to_string());
    let bytes = tensors.iter().map(|tensor| {
        let numbers = tensor.numbers.iter();
        numbers.flat_map(|number| number.to_le_bytes()).collect()
    });
    let bytes: Vec<Vec<u8>> = bytes.collect();
    let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
        let view = TensorView::new(Dtype::F32, tensor.shape.clone(), bytes).map_err(internal)?;
        Ok((tensor.name.as_str(), view))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    // Older versions of transformers open no file that does not say this.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(internal)
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    #[test]
    fn parts_are_as_they_were_in_the_file() {
        // Two layers of three inputs and two outputs, side by side: [inputs, outputs of both].
        let names = ["q", "k"].map(str::to_owned);
        let wanted = Wanted::weights(&names, [3, 2]);
        let side_by_side: [f32; 12] = [0., 1., 10., 11., 2., 3., 12., 13., 4., 5., 14., 15.];
        let tensor = Tensor::new(&side_by_side, &Device::Cpu).unwrap();
        let taken = HashMap::from([(wanted.clone(), tensor)]);
        let found = encoder_tensors(&taken, &HashMap::new()).unwrap();
        let stored = |name: &str, numbers: [f32; 6]| Stored {
            name: name.into(),
            shape: vec![2, 3],
            numbers: numbers.to_vec(),
        };
        let first = stored("q.weight", [0., 2., 4., 1., 3., 5.]);
        let second = stored("k.weight", [10., 12., 14., 11., 13., 15.]);
        assert_eq!(found, [first, second]);
        // What a training found takes the place of what was there.
        let trained = HashMap::from([(name_of(&wanted), vec![7.0; 12])]);
        let found = encoder_tensors(&taken, &trained).unwrap();
        assert!(found.iter().all(|part| part.numbers == [7.0; 6]));
        let biases = apart(&Wanted::biases(&names, 2), &[1., 2., 3., 4.]).unwrap();
        assert_eq!(biases[1].numbers, [3., 4.]);
        assert!(apart(&wanted, &[1.0]).is_err());
    }
}
