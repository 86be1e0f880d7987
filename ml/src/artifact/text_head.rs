//! [`TextHead`]: what a training of a model of texts found, in the terms of other programs; [`TextLoader`] writes a directory of it.
//!
//! ```text
//! vectors ─ standardised ─ layers ─ in units of the target        a trained network
//! vectors ─ layers ─▶ numbers, logits                             a head: both ends are parts of its first and last layers
//! ```

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Files, Loader, NamedContent};
use crate::data::encode::standardise::Standardiser;
use crate::data::labels::{ClassValue, Labels};
use crate::model::network::Parameter;
use crate::model::options::{Freeze, TextPooling};
use crate::model::text_base::ENCODER;
use crate::model::trained::ModelConfig;
use crate::nn::Activation;
use crate::{Error, Result};

/// A loader of encoders of texts, from which trainings start.
pub trait TextLoader: Loader {
    /// The directory of an encoder with what a training found, which the programs of the format open.
    ///
    /// # Errors
    /// Those of [`Loader::load`].
    fn with_head(&self, files: &Files, head: &TextHead) -> Result<TextDirectory>;
}

/// A directory of an encoder with layers behind it.
#[derive(Debug, Clone)]
pub struct TextDirectory {
    /// The files.
    pub files: Vec<NamedContent>,
    /// Files in JSON by their names: with them in place of its own, the directory is that of the encoder alone.
    pub of_encoder: Map<String, Value>,
}

/// What is behind an encoder of texts, and what of the encoder was trained.
#[derive(Debug, Clone)]
pub struct TextHead {
    /// How the vectors of tokens become that of a text; as in the encoder's own embeddings if `None`.
    pub pooling: Option<TextPooling>,
    /// The weights of the encoder that were trained, by the names of the parameters.
    pub encoder: HashMap<String, Vec<f32>>,
    /// The layers behind the vector of a text, one or more.
    pub layers: Vec<HeadLayer>,
    /// The name of each output of the last layer: a class, or a target that is a number.
    pub outputs: Vec<String>,
    /// What transformers calls the problem; `None` for several targets.
    pub problem: Option<&'static str>,
}

/// A linear layer.
#[derive(Debug, Clone)]
pub struct HeadLayer {
    /// The weights `[outputs, inputs]`.
    pub weights: Vec<f32>,
    /// The biases `[outputs]`.
    pub biases: Vec<f32>,
    /// The function of the outputs.
    pub activation: Option<Activation>,
}

impl HeadLayer {
    fn new(units: &[Unit], activation: Option<Activation>) -> Self {
        let weights = units.iter().flat_map(|unit| &unit.weights);
        Self {
            weights: weights.map(|weight| *weight as f32).collect(),
            biases: units.iter().map(|unit| unit.bias as f32).collect(),
            activation,
        }
    }

    /// The numbers of its result.
    pub fn outputs(&self) -> usize {
        self.biases.len()
    }

    /// The numbers that it takes.
    pub fn inputs(&self) -> usize {
        self.weights.len() / self.outputs().max(1)
    }
}

impl TextHead {
    /// The head of a network with these parameters and weights, flat in their order.
    ///
    /// # Errors
    /// [`Error::Internal`] for another network than one behind an encoder.
    pub(super) fn of(
        config: &ModelConfig,
        parameters: &[Parameter],
        weights: &[f64],
    ) -> Result<Self> {
        let options = &config.options;
        let (mut encoder, mut layers) = (HashMap::new(), Vec::<Vec<Unit>>::new());
        let mut rest = weights;
        for parameter in parameters {
            let (values, tail) = rest.split_at(parameter.len());
            rest = tail;
            match (
                parameter.name.starts_with(ENCODER),
                parameter.shape.as_slice(),
            ) {
                (true, _) => {
                    let values: Vec<f32> = values.iter().map(|value| *value as f32).collect();
                    encoder.insert(parameter.name.clone(), values);
                }
                (false, [_, outputs]) => layers.push(units(values, *outputs)),
                // The biases of a layer follow its weights.
                (false, _) => {
                    let last = layers.last_mut().into_iter().flatten();
                    last.zip(values).for_each(|(unit, bias)| unit.bias = *bias);
                }
            }
        }
        let frozen = options.text.freeze == Freeze::Encoder;
        let vectors = config.encoders.first().filter(|_| frozen);
        if let (Some(vectors), Some(first)) = (vectors, layers.first_mut()) {
            let numbers = &vectors.numbers;
            first.iter_mut().for_each(|unit| unit.standardise(numbers));
        }
        let missing = || Error::Internal("a network without layers".into());
        let last = layers.pop().ok_or_else(missing)?;
        let hidden = layers.iter();
        let hidden = hidden.map(|units| HeadLayer::new(units, Some(options.activation)));
        let last = HeadLayer::new(&in_units(last, &config.labels), None);
        Ok(Self {
            pooling: options.text.pooling,
            encoder,
            layers: hidden.chain([last]).collect(),
            outputs: outputs(config),
            problem: problem(&config.labels),
        })
    }
}

/// An output of a linear layer.
#[derive(Debug, Clone)]
struct Unit {
    weights: Vec<f64>,
    bias: f64,
}

impl Unit {
    /// The same for inputs that are not standardised.
    fn standardise(&mut self, numbers: &[Standardiser]) {
        for (weight, number) in self.weights.iter_mut().zip(numbers) {
            *weight /= number.std;
            self.bias -= *weight * number.mean;
        }
    }

    /// The output times `factor` plus `summand`.
    fn scaled(mut self, factor: f64, summand: f64) -> Self {
        self.weights.iter_mut().for_each(|weight| *weight *= factor);
        self.bias = self.bias * factor + summand;
        self
    }
}

/// The outputs of a layer with weights `[inputs, outputs]`.
fn units(weights: &[f64], outputs: usize) -> Vec<Unit> {
    let unit = |output: usize| Unit {
        weights: weights
            .iter()
            .skip(output)
            .step_by(outputs)
            .copied()
            .collect(),
        bias: 0.0,
    };
    (0..outputs).map(unit).collect()
}

/// The outputs of a last layer in the units of the targets. Two classes have an output each, the first of which is 0.
fn in_units(units: Vec<Unit>, labels: &[Labels]) -> Vec<Unit> {
    let (mut units, mut all) = (units.into_iter(), vec![]);
    for labels in labels {
        let of_target: Vec<Unit> = units.by_ref().take(labels.outputs()).collect();
        let target = of_target.into_iter();
        match labels {
            Labels::Number { mean, std } => all.extend(target.map(|unit| unit.scaled(*std, *mean))),
            Labels::Numbers { means, std } => {
                let pairs = target.zip(means);
                all.extend(pairs.map(|(unit, mean)| unit.scaled(*std, *mean)));
            }
            Labels::Count { mean } | Labels::Counts { mean, .. } => {
                all.extend(target.map(|unit| unit.scaled(1.0, mean.ln())));
            }
            Labels::Classes { values } if values.len() == 2 => {
                all.extend(target.flat_map(|unit| {
                    let first = unit.clone().scaled(0.0, 0.0);
                    [first, unit]
                }))
            }
            Labels::Classes { .. } | Labels::Set { .. } => all.extend(target),
        }
    }
    all
}

/// The names of the outputs. Those of several targets begin with the name of the target.
fn outputs(config: &ModelConfig) -> Vec<String> {
    let is_only = config.labels.len() == 1;
    let targets = config.columns.targets.iter().zip(&config.labels);
    let names = targets.flat_map(|(target, labels)| {
        let target = target.name.as_str();
        let class = |value: &ClassValue| match is_only {
            true => value.to_string(),
            false => format!("{target}: {value}"),
        };
        let element = |place: usize| format!("{target}[{place}]");
        match labels {
            Labels::Number { .. } | Labels::Count { .. } => vec![target.to_owned()],
            Labels::Numbers { means, .. } => (1..=means.len()).map(element).collect(),
            Labels::Counts { length, .. } => (1..=*length).map(element).collect(),
            Labels::Classes { values } | Labels::Set { values } => {
                values.iter().map(class).collect::<Vec<String>>()
            }
        }
    });
    names.collect()
}

/// What transformers calls the problem of one target.
fn problem(labels: &[Labels]) -> Option<&'static str> {
    match labels {
        [Labels::Classes { .. }] => Some("single_label_classification"),
        [Labels::Set { .. }] => Some("multi_label_classification"),
        [_] => Some("regression"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(weights: &[f64], bias: f64) -> Unit {
        Unit {
            weights: weights.to_vec(),
            bias,
        }
    }

    fn value(unit: &Unit, x: &[f64]) -> f64 {
        let products = unit.weights.iter().zip(x).map(|(weight, x)| weight * x);
        products.sum::<f64>() + unit.bias
    }

    #[test]
    fn standardisation_is_a_part_of_the_layer() {
        let numbers = [(1.0, 2.0), (-3.0, 0.5)].map(|(mean, std)| Standardiser { mean, std });
        let standardised = unit(&[4.0, -1.0], 0.25);
        let mut raw = standardised.clone();
        raw.standardise(&numbers);
        // (5 - 1) / 2 = 2 and (-2 + 3) / 0.5 = 2.
        assert_eq!(value(&raw, &[5.0, -2.0]), value(&standardised, &[2.0, 2.0]));
    }

    #[test]
    fn outputs_have_the_units_of_their_targets() {
        let classes = |count: i64| Labels::Classes {
            values: (0..count).map(ClassValue::Integer).collect(),
        };
        let number = Labels::Number {
            mean: 10.0,
            std: 2.0,
        };
        let numbers = Labels::Numbers {
            means: vec![1.0, 2.0],
            std: 3.0,
        };
        let count = Labels::Count { mean: 4.0 };
        let labels = [number, classes(2), classes(3), numbers, count];
        let units: Vec<Unit> = (1..=8).map(|at| unit(&[f64::from(at)], 0.5)).collect();
        let found = in_units(units, &labels);
        let expected = [13.0, 0.0, 2.5, 3.5, 4.5, 5.5, 20.5, 24.5, 8.5 + 4f64.ln()];
        assert_eq!(found.len(), expected.len());
        for (unit, expected) in found.iter().zip(expected) {
            assert!((value(unit, &[1.0]) - expected).abs() < 1e-12, "{expected}");
        }
    }

    #[test]
    fn weights_are_those_of_each_output() {
        let units = units(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3);
        let layer = HeadLayer::new(&units, None);
        assert_eq!(layer.weights, [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
        assert_eq!((layer.inputs(), layer.outputs()), (2, 3));
    }
}
