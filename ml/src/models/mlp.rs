//! The multilayer perceptron over numbers and categories.
//!
//! ```text
//! numbers    ─ linear ──────┐
//!                           + ─ activation ─ dropout ─ linear ─ … ─ outputs
//! categories ─ embedding ───┘
//! ```
//! The weights of categories act as weights of a one-hot encoding, so a perceptron without hidden layers is linear.

use candle_core::Tensor;

use crate::data::encode::shape::InputShape;
use crate::data::encode::tabular::{CATEGORIES, NUMBERS};
use crate::data::inputs::Inputs;
use crate::graph::{Drawing, Value};
use crate::model::network::{Init, Mode, Network, Parameter, ParameterKind};
use crate::model::options::TrainOptions;
use crate::nn::{Activation, activate, embedding_sum, linear};
use crate::{Error, Result, stop};

/// A multilayer perceptron.
#[derive(Debug)]
pub struct Mlp {
    parameters: Vec<Parameter>,
    layers: usize,
    has_numbers: bool,
    /// The categories of a row.
    categories: usize,
    activation: Activation,
    dropout_rate: f64,
}

impl Mlp {
    /// A perceptron with these hidden layers.
    pub fn new(
        shape: &InputShape,
        hidden: &[usize],
        outputs: usize,
        options: &TrainOptions,
    ) -> Self {
        let widths: Vec<usize> = hidden.iter().copied().chain([outputs]).collect();
        let mut parameters = Vec::new();
        let mut inputs = shape.numbers + shape.categories;
        for (layer, &width) in widths.iter().enumerate() {
            // A linear model has no symmetry to break.
            let bound = if hidden.is_empty() {
                0.0
            } else {
                init_bound(inputs)
            };
            let mut add = |name: &str, shape: Vec<usize>, init: Init, kind: ParameterKind| {
                parameters.push(Parameter {
                    name: format!("layer{layer}.{name}"),
                    shape,
                    init,
                    kind,
                });
            };
            if layer > 0 || shape.numbers > 0 {
                let inputs = if layer == 0 { shape.numbers } else { inputs };
                let init = Init::Uniform { bound };
                add(
                    "weight",
                    vec![inputs, width],
                    init,
                    ParameterKind::Penalised,
                );
            }
            if layer == 0 && shape.categories > 0 {
                let init = Init::Categories {
                    bound,
                    unseen_ids: shape.unseen_ids.clone(),
                };
                let weights = vec![shape.category_ids, width];
                add("categories", weights, init, ParameterKind::Penalised);
            }
            let init = Init::Uniform { bound };
            add("bias", vec![width], init, ParameterKind::Free);
            inputs = width;
        }
        Self {
            parameters,
            layers: widths.len(),
            has_numbers: shape.numbers > 0,
            categories: shape.categories,
            activation: options.activation,
            dropout_rate: options.dropout,
        }
    }

    fn first_layer<'a>(
        &self,
        parameters: &mut impl Iterator<Item = &'a Tensor>,
        inputs: &Inputs,
    ) -> Result<Tensor> {
        let mut next = || parameters.next().ok_or_else(too_few);
        let activation = (self.layers > 1).then_some(self.activation);
        let numbers = inputs.get(NUMBERS).filter(|_| self.has_numbers);
        let categories = inputs.get(CATEGORIES).filter(|_| self.categories > 0);
        let Some(ids) = categories else {
            let numbers =
                numbers.ok_or_else(|| Error::Internal("a network without inputs".into()))?;
            return linear(numbers, next()?, next()?, activation);
        };
        let of_numbers = match numbers {
            Some(numbers) => Some(numbers.matmul(next()?)?),
            None => None,
        };
        let mut sum = embedding_sum(&ids.flatten_all()?, next()?, inputs.rows())?;
        if let Some(of_numbers) = of_numbers {
            sum = (of_numbers + sum)?;
        }
        let sum = sum.broadcast_add(next()?)?;
        activation.map_or(Ok(sum.clone()), |activation| activate(activation, &sum))
    }

    /// The first layer without its activation function.
    fn draw_first(&self, drawing: &mut Drawing<'_>) -> Result<Value> {
        let of_numbers = match self.has_numbers {
            true => Some((drawing.numbers()?, drawing.parameter()?)),
            false => None,
        };
        let of_categories = match self.categories > 0 {
            true => Some(drawing.sum_of_categories()?),
            false => None,
        };
        let bias = drawing.parameter()?;
        let graph = &mut *drawing.graph;
        match (of_numbers, of_categories) {
            (Some((numbers, weight)), None) => {
                Ok(graph.node("Gemm", &[&numbers, &weight, &bias], vec![]))
            }
            (Some((numbers, weight)), Some(sum)) => {
                let product = graph.node("Gemm", &[&numbers, &weight, &bias], vec![]);
                Ok(graph.node("Add", &[&product, &sum], vec![]))
            }
            (None, Some(sum)) => Ok(graph.node("Add", &[&sum, &bias], vec![])),
            (None, None) => Err(Error::Internal("a network without inputs".into())),
        }
    }
}

/// The error for parameters of another network.
pub(super) fn too_few() -> Error {
    Error::Internal("fewer parameters than the network has".into())
}

/// Weights and biases of a layer are uniform in ±1/√inputs, as in `torch.nn.Linear`.
pub(super) fn init_bound(inputs: usize) -> f32 {
    1.0 / (inputs as f32).sqrt()
}

impl Network for Mlp {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(
        &self,
        parameters: &[Tensor],
        inputs: &Inputs,
        mut mode: Mode<'_>,
    ) -> Result<Vec<Tensor>> {
        let mut parameters = parameters.iter();
        let mut x = self.first_layer(&mut parameters, inputs)?;
        for layer in 1..self.layers {
            stop::check()?;
            x = mode.dropout(x, self.dropout_rate)?;
            let activation = (layer + 1 < self.layers).then_some(self.activation);
            let weight = parameters.next().ok_or_else(too_few)?;
            let bias = parameters.next().ok_or_else(too_few)?;
            x = linear(&x, weight, bias, activation)?;
        }
        Ok(vec![x])
    }

    fn draw(&self, drawing: &mut Drawing<'_>) -> Result<Vec<Value>> {
        let mut x = self.draw_first(drawing)?;
        for _ in 1..self.layers {
            x = self.activation.draw(drawing.graph, &x);
            let (weight, bias) = (drawing.parameter()?, drawing.parameter()?);
            x = drawing.graph.node("Gemm", &[&x, &weight, &bias], vec![]);
        }
        Ok(vec![x])
    }

    fn numbers_per_row(&self) -> usize {
        // Each layer has a weight and a bias, and keeps a product and its activation; the first layer keeps the weights of each
        // category as well.
        let widths = self.parameters.iter().filter_map(|spec| spec.shape.last());
        let of_first = self.parameters.first().and_then(|spec| spec.shape.last());
        widths.sum::<usize>() + self.categories * of_first.copied().unwrap_or(0)
    }
}
