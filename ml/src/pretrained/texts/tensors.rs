//! [`Tensors`]: where an encoder and its heads take their tensors from; [`FileTensors`]: from the files of a model.
//!
//! An encoder is made of the tensors that it takes, and keeps nothing else of their source. So the same code serves predictions, from
//! the tensors of files, and training, from tensors that follow gradients: another source answers the same [`Wanted`].

use std::collections::HashMap;

use candle_core::{Device, Tensor};

use crate::Result;
use crate::device::HOST;
use crate::pretrained::weights::Weights;

/// A tensor that a layer wants.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    /// The names of its parts, which lie side by side in the result.
    pub(crate) names: Vec<String>,
    /// The shape of each part in a file.
    pub(crate) shape: Vec<usize>,
    pub(crate) layout: Layout,
}

/// How a tensor lies in the memory of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Layout {
    /// As in a file; the parts are one after the other in the first dimension.
    Stored,
    /// `[inputs, outputs]`, for parts `[outputs, inputs]` in a file: the outputs of the parts are one after the other.
    Transposed,
}

impl Wanted {
    /// A tensor as it is stored.
    pub(crate) fn stored(name: impl Into<String>, shape: &[usize]) -> Self {
        Self {
            names: vec![name.into()],
            shape: shape.to_vec(),
            layout: Layout::Stored,
        }
    }

    /// The weights `[inputs, outputs of all]` of linear layers side by side, each with so many outputs.
    pub(crate) fn weights(layers: &[String], [inputs, outputs]: [usize; 2]) -> Self {
        Self {
            names: layers.iter().map(|name| format!("{name}.weight")).collect(),
            shape: vec![outputs, inputs],
            layout: Layout::Transposed,
        }
    }

    /// The biases `[outputs of all]` of linear layers side by side, each with so many outputs.
    pub(crate) fn biases(layers: &[String], outputs: usize) -> Self {
        Self {
            names: layers.iter().map(|name| format!("{name}.bias")).collect(),
            shape: vec![outputs],
            layout: Layout::Stored,
        }
    }
}

/// A source of tensors.
pub(crate) trait Tensors {
    /// Whether there is a tensor of this name.
    fn has(&self, name: &str) -> bool;

    /// The tensor. Whoever asks again gets the same one, as layers with tied weights do.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if a part is missing or has another shape.
    fn take(&mut self, wanted: &Wanted) -> Result<Tensor>;

    /// The device of the tensors.
    fn device(&self) -> &Device;
}

/// The tensors in the files of a model.
#[derive(Debug)]
pub(crate) struct FileTensors<'a> {
    weights: Weights,
    device: &'a Device,
    taken: HashMap<Wanted, Tensor>,
}

impl<'a> FileTensors<'a> {
    /// The tensors of these weights, which go to this device.
    pub(crate) fn new(weights: Weights, device: &'a Device) -> Self {
        Self {
            weights,
            device,
            taken: HashMap::new(),
        }
    }

    /// The shape of a tensor in its file.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) if there is none.
    pub(crate) fn shape(&self, name: &str) -> Result<&[usize]> {
        self.weights.shape(&self.stored_name(name))
    }

    /// The memory of the tensors that were taken, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.weights.numbers() * size_of::<f32>()
    }

    /// The tensors that were taken.
    pub(crate) fn into_taken(self) -> HashMap<Wanted, Tensor> {
        self.taken
    }

    /// Refuses tensors that nobody took, unless they are `known` to have no effect.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) with the first of them.
    pub(crate) fn finish(&self, architecture: &str, known: impl Fn(&str) -> bool) -> Result<()> {
        self.weights.finish(architecture, known)
    }

    /// The name in the files. TensorFlow called the weight and the bias of a norm gamma and beta, as files made from its models do.
    fn stored_name(&self, name: &str) -> String {
        let older = [(".weight", ".gamma"), (".bias", ".beta")];
        let older = older.iter().find_map(|(now, before)| {
            let name = format!("{}{before}", name.strip_suffix(*now)?);
            self.weights.has(&name).then_some(name)
        });
        match older {
            Some(older) if !self.weights.has(name) => older,
            _ => name.to_owned(),
        }
    }
}

impl Tensors for FileTensors<'_> {
    fn has(&self, name: &str) -> bool {
        self.weights.has(&self.stored_name(name))
    }

    fn take(&mut self, wanted: &Wanted) -> Result<Tensor> {
        if let Some(tensor) = self.taken.get(wanted) {
            return Ok(tensor.clone());
        }
        let mut values = vec![];
        for name in &wanted.names {
            let part = self.weights.take(&self.stored_name(name), &wanted.shape)?;
            match values.is_empty() {
                true => values = part,
                false => values.extend(part),
            }
        }
        let mut shape = wanted.shape.clone();
        if let Some(first) = shape.first_mut() {
            *first *= wanted.names.len();
        }
        let tensor = match wanted.layout {
            Layout::Stored => Tensor::from_vec(values, shape, self.device)?,
            Layout::Transposed => Tensor::from_vec(values, shape, &HOST)?
                .t()?
                .contiguous()?
                .to_device(self.device)?,
        };
        self.taken.insert(wanted.clone(), tensor.clone());
        Ok(tensor)
    }

    fn device(&self) -> &Device {
        self.device
    }
}
