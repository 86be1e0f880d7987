//! `lstm(units)` and `gru(units)`

use candle_core::Tensor;

use super::layer::{Input, Layer, Pass, Placed, numbers, operations};
use super::text::{Arguments, WIDTH_MAX, invalid};
use crate::Result;
use crate::model::network::{Init, Parameter, ParameterKind};
use crate::nn::{Cell, CellWeights, Direction, recurrent};

/// The values of each product: it exists in two layouts.
const VALUES_OF_PRODUCT: usize = 2;
/// The values of each unit at a step besides its products: six that its gradient needs, and its output in three layouts.
const VALUES_OF_UNIT: usize = 9;

#[derive(Debug, Clone, Copy)]
struct Recurrent {
    cell: Cell,
    units: usize,
    /// Whether the output is that of all steps, or that of the last step.
    sequences: bool,
    directions: &'static [Direction],
}

pub(super) fn read_lstm(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, Cell::Lstm)
}

pub(super) fn read_gru(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    read(arguments, Cell::Gru)
}

fn read(arguments: &mut Arguments<'_>, cell: Cell) -> Result<Box<dyn Layer>> {
    let units = arguments.whole("units", None, 1..=WIDTH_MAX)?;
    let sequences = arguments.flag("sequences")?;
    let (reverse, bidirectional) = (arguments.flag("reverse")?, arguments.flag("bidirectional")?);
    let directions: &[Direction] = match (reverse, bidirectional) {
        (false, false) => &[Direction::Forward],
        (true, false) => &[Direction::Backward],
        (false, true) => &[Direction::Forward, Direction::Backward],
        (true, true) => return Err(invalid("bidirectional=true includes reverse=true")),
    };
    Ok(Box::new(Recurrent {
        cell,
        units,
        sequences,
        directions,
    }))
}

impl Recurrent {
    /// The parameters of a direction, as in PyTorch: uniform in ±1/√units.
    fn parameters(
        &self,
        input: &Input<'_>,
        features: usize,
        direction: Direction,
    ) -> Vec<Parameter> {
        let suffix = match (direction, self.directions) {
            (Direction::Backward, [_, _]) => "_reverse",
            _ => "",
        };
        let bound = 1.0 / (self.units as f32).sqrt();
        let gates = self.cell.gates() * self.units;
        let parameter = |name: &str, shape: Vec<usize>, kind: ParameterKind| {
            let name = format!("{name}{suffix}");
            input.parameter(&name, shape, Init::Uniform { bound }, kind)
        };
        vec![
            parameter("weight_ih", vec![gates, features], ParameterKind::Penalised),
            parameter(
                "weight_hh",
                vec![gates, self.units],
                ParameterKind::Penalised,
            ),
            parameter("bias_ih", vec![gates], ParameterKind::Free),
            parameter("bias_hh", vec![gates], ParameterKind::Free),
        ]
    }

    fn forward(&self, x: &Tensor, pass: &mut Pass<'_>) -> Result<Tensor> {
        let length = x.dim(1)?;
        let outputs = self.directions.iter().map(|&direction| {
            let weights = CellWeights {
                weight_ih: pass.parameter()?,
                weight_hh: pass.parameter()?,
                bias_ih: pass.parameter()?,
                bias_hh: pass.parameter()?,
            };
            let steps = recurrent(self.cell, x, weights, direction)?;
            let rows_first = match (self.sequences, direction) {
                (true, _) => steps.permute((2, 0, 1))?,
                (false, Direction::Forward) => steps.get(length - 1)?.t()?,
                (false, Direction::Backward) => steps.get(0)?.t()?,
            };
            Ok(rows_first.contiguous()?)
        });
        let outputs = outputs.collect::<Result<Vec<Tensor>>>()?;
        let features = outputs[0].rank() - 1;
        Ok(Tensor::cat(&outputs, features)?)
    }
}

impl Layer for Recurrent {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let [length, features] = *input.shape else {
            return Err(input.needs("[length, features]; write 'transpose' behind a convolution"));
        };
        let gates = self.cell.gates() * self.units;
        let directions = self.directions.len();
        let products = numbers(&[length, gates, directions]);
        let products = products.ok_or_else(|| {
            invalid(format!(
                "{length} steps of {} units are too large",
                self.units
            ))
        })?;
        let units = directions * self.units;
        let copies = directions * length * features;
        let parameters = self.directions.iter();
        let parameters = parameters.map(|&direction| self.parameters(input, features, direction));
        let output = match self.sequences {
            true => vec![length, units],
            false => vec![units],
        };
        let layer = *self;
        Ok(Placed {
            parameters: parameters.flatten().collect(),
            flops: operations(&[2, products, features + self.units]),
            inner_numbers: products * VALUES_OF_PRODUCT + length * units * VALUES_OF_UNIT + copies,
            ..Placed::new(input, output, move |x, pass| layer.forward(x, pass))
        })
    }

    fn can_end(&self) -> bool {
        false
    }
}
