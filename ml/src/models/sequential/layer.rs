//! [`Layer`]: a layer as written; [`Placed`]: the same layer once the shape of its input is known.

use std::fmt::{self, Debug};
use std::ops::Range;
use std::slice::Iter;

use candle_core::Tensor;

use super::text::{invalid, short};
use crate::data::encode::shape::InputShape;
use crate::data::image::ImageEncoder;
use crate::data::inputs::Inputs;
use crate::graph::{Drawing, Value};
use crate::model::network::{Init, LayerSummary, Mode, Parameter, ParameterKind};
use crate::nn::Activation;
use crate::{Error, Result, stop};

/// The most numbers that a layer gives for one row.
const NUMBERS_MAX: usize = 1 << 28;

/// A layer as written.
pub(super) trait Layer: Debug {
    /// The layer for this input.
    ///
    /// # Errors
    /// [`Error::Invalid`] with both shapes if the input does not fit.
    fn place(&self, input: &Input<'_>) -> Result<Placed>;

    /// If it takes whole numbers from 0 instead of any numbers, how many.
    fn ids(&self) -> Option<usize> {
        None
    }

    /// Whether it also takes the columns beside the array.
    fn takes_columns(&self) -> bool {
        false
    }

    /// Whether one of its sizes is the number of classes.
    fn has_classes(&self) -> bool {
        false
    }

    /// The activation function that the layer is, if it is one.
    fn activation(&self) -> Option<Activation> {
        None
    }

    /// Whether it takes the greatest element of each square of 2 x 2 positions.
    fn takes_squares(&self) -> bool {
        false
    }

    /// Whether its outputs can be the outputs of a model.
    fn can_end(&self) -> bool {
        true
    }
}

/// A layer with its text.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) layer: Box<dyn Layer>,
}

/// What a network takes of a row.
#[derive(Debug, Clone)]
pub(super) struct Row {
    /// The dimensions of the input of the first layer.
    pub(super) dimensions: Vec<usize>,
    /// The place of its numbers among those of the row.
    pub(super) place: Range<usize>,
    /// The columns beside it.
    pub(super) beside: InputShape,
    /// The image that is the input of the first layer, if it is no numbers of the row.
    pub(super) image: Option<ImageEncoder>,
}

impl Row {
    /// A row before the rows are read, with some column beside the array: no size of a layer depends on these columns.
    pub(super) fn of_shape(dimensions: &[usize]) -> Self {
        Self {
            dimensions: dimensions.to_vec(),
            place: 0..0,
            beside: InputShape {
                numbers: 1,
                ..InputShape::default()
            },
            image: None,
        }
    }
}

/// What reaches a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a> {
    /// The beginning of the names of the layer's parameters.
    pub(super) name: &'a str,
    /// The dimensions of its input for one row.
    pub(super) shape: &'a [usize],
    /// The outputs of the model.
    pub(super) outputs: usize,
    /// What the network takes of a row.
    pub(super) row: &'a Row,
    /// The activation function that follows. A layer that can applies it to its output, while the values are in the cache, and
    /// says so in [`Placed::applied`].
    pub(super) next: Option<Activation>,
    /// Whether a layer that takes squares follows, behind the activation function if there is one. It may be applied likewise,
    /// together with the activation function.
    pub(super) squares_next: bool,
}

/// A layer whose input is known.
pub(super) struct Placed {
    /// The dimensions of its output for one row.
    pub(super) output: Vec<usize>,
    pub(super) parameters: Vec<Parameter>,
    /// Floating-point operations for one row.
    pub(super) flops: u64,
    /// The numbers of one row besides its output that it keeps until the gradient is known.
    pub(super) inner_numbers: usize,
    /// The memory that it takes while it works, however many rows there are.
    pub(super) scratch_bytes: usize,
    /// The numbers of a channel in a row, if it normalises them together with those of the other rows of a step; the fewest of
    /// the layers within it.
    pub(super) normalised: Option<usize>,
    /// How many of the layers behind it it applies.
    pub(super) applied: usize,
    pub(super) function: Box<Function>,
    /// The nodes of the layer in a graph, without an activation function that follows. `None` in a layer without a form in ONNX.
    pub(super) draw: Option<Box<Draw>>,
}

/// The differentiable function of a layer: its output, from its input. It takes its parameters from the pass, in the order of
/// [`Placed::parameters`].
pub(super) type Function = dyn Fn(&Tensor, &mut Pass<'_>) -> Result<Tensor> + Send + Sync;

/// Writes a layer into a graph: its output, from its input. It takes its parameters from the drawing, in the order of
/// [`Placed::parameters`].
pub(super) type Draw = dyn Fn(&Value, &mut Drawing<'_>) -> Result<Value> + Send + Sync;

/// A pass through the layers of a network.
pub(super) struct Pass<'a> {
    /// The rows, of which the input of the first layer is a part.
    pub(super) inputs: &'a Inputs,
    pub(super) mode: Mode<'a>,
    parameters: Iter<'a, Tensor>,
}

impl<'a> Pass<'a> {
    pub(super) fn new(parameters: &'a [Tensor], inputs: &'a Inputs, mode: Mode<'a>) -> Self {
        Self {
            inputs,
            mode,
            parameters: parameters.iter(),
        }
    }

    /// The parameter that a layer takes next.
    pub(super) fn parameter(&mut self) -> Result<&'a Tensor> {
        let next = self.parameters.next();
        next.ok_or_else(|| Error::Internal("fewer parameters than the network has".into()))
    }
}

impl Placed {
    /// A layer without parameters, with an operation for each number of its input.
    pub(super) fn new(
        input: &Input<'_>,
        output: Vec<usize>,
        function: impl Fn(&Tensor, &mut Pass<'_>) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        Self {
            output,
            parameters: vec![],
            flops: operations(input.shape),
            inner_numbers: 0,
            scratch_bytes: 0,
            normalised: None,
            applied: 0,
            function: Box::new(function),
            draw: None,
        }
    }

    /// The same, with an output of the dimensions of the input.
    pub(super) fn same_shape(
        input: &Input<'_>,
        function: impl Fn(&Tensor, &mut Pass<'_>) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Self {
        Self::new(input, input.shape.to_vec(), function)
    }

    /// The same layer, with its nodes in a graph.
    pub(super) fn drawn(
        mut self,
        draw: impl Fn(&Value, &mut Drawing<'_>) -> Result<Value> + Send + Sync + 'static,
    ) -> Self {
        self.draw = Some(Box::new(draw));
        self
    }

    /// The numbers of one row that it keeps until the gradient is known.
    pub(super) fn numbers(&self) -> usize {
        self.output.iter().product::<usize>() + self.inner_numbers
    }

    /// The description of the layer.
    pub(super) fn summary(&self, text: &str) -> LayerSummary {
        let learned = self.parameters.iter();
        let learned = learned.filter(|parameter| parameter.kind != ParameterKind::Statistic);
        LayerSummary {
            layer: text.to_owned(),
            output: self.output.clone(),
            parameters: learned.map(Parameter::len).sum(),
            flops: self.flops,
        }
    }
}

impl Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Placed")
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl Input<'_> {
    /// A weight and a bias with the first values of PyTorch's layers: uniform in ±1/√`inputs`, where `inputs` is the number of
    /// inputs of one output.
    pub(super) fn weight_and_bias(
        &self,
        weight: Vec<usize>,
        inputs: usize,
        outputs: usize,
    ) -> Vec<Parameter> {
        let bound = 1.0 / (inputs as f32).sqrt();
        let init = Init::Uniform { bound };
        vec![
            self.parameter("weight", weight, init.clone(), ParameterKind::Penalised),
            self.parameter("bias", vec![outputs], init, ParameterKind::Free),
        ]
    }

    /// A parameter of the layer.
    pub(super) fn parameter(
        &self,
        name: &str,
        shape: Vec<usize>,
        init: Init,
        kind: ParameterKind,
    ) -> Parameter {
        Parameter {
            name: format!("{}.{name}", self.name),
            shape,
            init,
            kind,
        }
    }

    /// The error for an input of other dimensions.
    pub(super) fn needs(&self, expected: &str) -> Error {
        invalid(format!(
            "needs an input of {expected}, found {:?}",
            self.shape
        ))
    }
}

/// The product of sizes, for counts of operations.
pub(super) fn operations(sizes: &[usize]) -> u64 {
    let sizes = sizes.iter().map(|&size| size as u64);
    sizes.fold(1, u64::saturating_mul)
}

/// The number of elements of a shape, if it is one that a layer may have.
pub(super) fn numbers(shape: &[usize]) -> Option<usize> {
    let product = shape
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size));
    product.filter(|product| (1..=NUMBERS_MAX).contains(product))
}

/// The output of the layers one after the other.
pub(super) fn forward_all(layers: &[Placed], x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
    let mut x = x.clone();
    for layer in layers {
        stop::check()?;
        x = (layer.function)(&x, pass)?;
    }
    Ok(x)
}

/// The nodes of the layers one after the other.
pub(super) fn draw_all(layers: &[Placed], x: Value, drawing: &mut Drawing<'_>) -> Result<Value> {
    let mut layers = layers.iter();
    layers.try_fold(x, |x, layer| match &layer.draw {
        Some(draw) => draw(&x, drawing),
        None => Err(Error::Internal("a layer that is not placed".into())),
    })
}

/// The nodes of a layer that has none.
fn undrawn(number: usize, text: &str) -> Box<Draw> {
    let message = format!(
        "layer {number} ({}) has no form in ONNX; write TO 'directory/' to export the model's files",
        short(text)
    );
    Box::new(move |_, _| Err(Error::Unsupported(message.clone())))
}

/// The layers one after the other, from an input of this shape.
///
/// # Errors
/// The error of the first layer that does not fit, with its number and text.
pub(super) fn place_all(layers: &[Written], input: &Input<'_>) -> Result<Vec<Placed>> {
    let mut placed: Vec<Placed> = Vec::with_capacity(layers.len());
    let mut applied = 0;
    for (number, Written { text, layer }) in (1usize..).zip(layers) {
        let name = match input.name {
            "" => format!("layer{number}"),
            outer => format!("{outer}.{number}"),
        };
        // Numbers count from 1, so that of a layer is the index of the layer behind it.
        let (before, behind) = (placed.last(), &layers[number..]);
        let next = behind
            .first()
            .and_then(|written| written.layer.activation());
        let pool = behind.get(usize::from(next.is_some()));
        let at = Input {
            name: &name,
            shape: before.map_or(input.shape, |before| before.output.as_slice()),
            outputs: input.outputs,
            row: input.row,
            next,
            squares_next: pool.is_some_and(|written| written.layer.takes_squares()),
        };
        let next = layer.place(&at).and_then(check_size);
        let mut next = next.map_err(|error| at_layer(number, text, &error))?;
        match applied {
            0 => applied = next.applied,
            _ => {
                next.function = Box::new(|x, _| Ok(x.clone()));
                applied -= 1;
            }
        }
        next.draw.get_or_insert_with(|| undrawn(number, text));
        placed.push(next);
    }
    Ok(placed)
}

/// Refuses a layer whose output is too large.
fn check_size(layer: Placed) -> Result<Placed> {
    match numbers(&layer.output) {
        Some(_) => Ok(layer),
        None => Err(invalid(format!(
            "an output of {:?} is too large",
            layer.output
        ))),
    }
}

/// An error with the number and the text of its layer.
pub(super) fn at_layer(number: usize, text: &str, error: &Error) -> Error {
    invalid(format!("layer {number} ({}): {error}", short(text)))
}
