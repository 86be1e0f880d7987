//! [`Tensors`]: the matrices and vectors of a model by name. A model takes each with the shape that its description asks for.

use std::collections::HashMap;

use safetensors::tensor::Dtype;

use super::content::Content;
use super::element::{Element, decode};
use super::matrix::Matrix;
use crate::artifact::corrupt;
use crate::pretrained::weights::Weights;
use crate::{Error, Result};

/// A tensor in a file.
#[derive(Debug)]
pub(crate) struct StoredTensor {
    /// The position of the file.
    pub(crate) file: usize,
    /// Where it begins in the file.
    pub(crate) start: usize,
    pub(crate) shape: Vec<usize>,
    /// The type of its numbers, or the name of a type that is not supported.
    pub(crate) element: Result<Element, String>,
}

/// The tensors of a model that nobody has taken yet.
#[derive(Debug)]
pub(crate) struct Tensors {
    files: Vec<(String, Content)>,
    tensors: HashMap<String, StoredTensor>,
    /// The bytes of the vectors that were taken: they are copies.
    vector_bytes: usize,
}

impl Tensors {
    /// The tensors in these files.
    pub(crate) fn new(
        files: Vec<(String, Content)>,
        tensors: HashMap<String, StoredTensor>,
    ) -> Self {
        Self {
            files,
            tensors,
            vector_bytes: 0,
        }
    }

    /// The tensors of files in safetensors.
    pub(crate) fn of_safetensors(weights: Weights) -> Self {
        let (files, stored) = weights.into_files();
        let files = files.into_iter();
        let files = files.map(|(name, content)| (name, Content::new(content)));
        let tensors = stored.into_iter().map(|(name, stored)| {
            let element = match stored.dtype {
                Dtype::F32 => Ok(Element::F32),
                Dtype::F16 => Ok(Element::F16),
                Dtype::BF16 => Ok(Element::BF16),
                other => Err(format!("{other:?}")),
            };
            let tensor = StoredTensor {
                file: stored.file,
                start: stored.bytes.start,
                shape: stored.shape,
                element,
            };
            (name, tensor)
        });
        Self::new(files.collect(), tensors.collect())
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Takes a matrix `[outputs, inputs]`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if the tensor is missing, has another shape or numbers of another type, or a number that is NaN or
    /// infinite.
    pub(crate) fn matrix(&mut self, name: &str, shape: [usize; 2]) -> Result<Matrix> {
        let (file, tensor, element) = self.take(name, &shape)?;
        let (file, content) = &self.files[file];
        let matrix = Matrix::new(content, tensor.start, element, shape);
        let matrix = matrix.ok_or_else(|| {
            let (of_block, _) = element.block();
            let what = format!(
                "tensor \"{name}\" of shape {shape:?} does not fit into the file in rows of blocks of {of_block}"
            );
            corrupt(file, what)
        })?;
        match matrix.is_finite()? {
            true => Ok(matrix),
            false => Err(not_finite(file, name)),
        }
    }

    /// Takes a vector of so many numbers.
    ///
    /// # Errors
    /// As [`Tensors::matrix`].
    pub(crate) fn vector(&mut self, name: &str, width: usize) -> Result<Vec<f32>> {
        let (file, tensor, element) = self.take(name, &[width])?;
        let (file, content) = &self.files[file];
        let bytes = element.bytes(width);
        let range = bytes.map(|bytes| tensor.start..tensor.start + bytes);
        let bytes = range.and_then(|range| content.all().get(range));
        let bytes = bytes.ok_or_else(|| {
            let what = format!("tensor \"{name}\" of {width} numbers is not in the file");
            corrupt(file, what)
        })?;
        let mut numbers = vec![0.0; width];
        decode(element, bytes, &mut numbers);
        if numbers.iter().any(|number| !number.is_finite()) {
            return Err(not_finite(file, name));
        }
        self.vector_bytes += width * size_of::<f32>();
        Ok(numbers)
    }

    /// The shape of a tensor that was not taken yet.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if there is none.
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize]> {
        Ok(&self.find(name)?.shape)
    }

    /// The bytes of the files, and those of vectors.
    pub(crate) fn bytes(&self) -> usize {
        let files = self.files.iter();
        let of_files: usize = files.map(|(_, content)| content.all().len()).sum();
        of_files + self.vector_bytes
    }

    /// Refuses tensors that nobody took, unless they are `known` to have no effect: a model that has more tensors than its
    /// architecture computes something else.
    ///
    /// # Errors
    /// [`Error::Corrupt`] with the first of them.
    pub(crate) fn finish(&self, architecture: &str, known: impl Fn(&str) -> bool) -> Result<()> {
        let rest = self.tensors.iter().filter(|(name, _)| !known(name));
        match rest.min_by_key(|(name, _)| *name) {
            None => Ok(()),
            Some((name, tensor)) => {
                let what =
                    format!("tensor \"{name}\" is not expected; {architecture} has no such tensor");
                Err(corrupt(&self.files[tensor.file].0, what))
            }
        }
    }

    fn find(&self, name: &str) -> Result<&StoredTensor> {
        self.tensors.get(name).ok_or_else(|| {
            let file: &str = match self.files.as_slice() {
                [(only, _)] => only,
                _ => "the files",
            };
            corrupt(file, format!("tensor \"{name}\" is missing"))
        })
    }

    /// The tensor with its file and the type of its numbers, if it has this shape.
    fn take(&mut self, name: &str, shape: &[usize]) -> Result<(usize, StoredTensor, Element)> {
        let tensor = self.find(name)?;
        let element = match &tensor.element {
            Ok(element) if tensor.shape == shape => Ok(*element),
            Ok(element) => Err(format!("{element:?}")),
            Err(other) => Err(other.clone()),
        };
        let element = element.map_err(|found| {
            let what = format!(
                "tensor \"{name}\" is {found} of shape {:?}, expected shape {shape:?} and a type of {}",
                tensor.shape,
                Element::names()
            );
            corrupt(&self.files[tensor.file].0, what)
        })?;
        let file = tensor.file;
        let missing = || Error::Internal(format!("tensor \"{name}\" vanished"));
        let tensor = self.tensors.remove(name).ok_or_else(missing)?;
        Ok((file, tensor, element))
    }
}

fn not_finite(file: &str, name: &str) -> Error {
    let what = format!("a number of tensor \"{name}\" is NaN or infinite");
    corrupt(file, what)
}
