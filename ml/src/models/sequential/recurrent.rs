//! `lstm(units)` and `gru(units)`

use candle_core::Tensor;

use super::layer::{Input, Layer, Pass, Placed, numbers, operations};
use super::text::{Arguments, WIDTH_MAX, invalid};
use crate::Result;
use crate::graph::{Attribute, Drawing, Value, Weight};
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

    /// The nodes of [`Recurrent::forward`] over sequences of `length` steps.
    fn draw(&self, x: &Value, drawing: &mut Drawing<'_>, length: usize) -> Result<Value> {
        let names = ["weight_ih", "weight_hh", "bias"];
        // The weights of all directions, one after the other, as ONNX has them.
        let mut all: [Vec<f64>; 3] = Default::default();
        let mut features = 0;
        for _ in self.directions {
            let (weight_ih, weight_hh) = (drawing.weight()?, drawing.weight()?);
            features = weight_ih.shape[1];
            all[0].extend(self.reordered(weight_ih));
            all[1].extend(self.reordered(weight_hh));
            for _ in 0..2 {
                let bias = drawing.weight()?;
                all[2].extend(self.reordered(bias));
            }
        }
        let (directions, gates) = (self.directions.len(), self.cell.gates() * self.units);
        let shapes: [&[usize]; 3] = [
            &[directions, gates, features],
            &[directions, gates, self.units],
            &[directions, 2 * gates],
        ];
        let graph = &mut *drawing.graph;
        let [weight_ih, weight_hh, bias] =
            std::array::from_fn(|index| graph.numbers(names[index], shapes[index], &all[index]));
        let direction = match self.directions {
            [_, _] => "bidirectional",
            [Direction::Backward] => "reverse",
            _ => "forward",
        };
        let mut attributes = vec![
            ("hidden_size", Attribute::Integer(self.units as i64)),
            ("direction", Attribute::Text(direction)),
        ];
        let operator = match self.cell {
            Cell::Lstm => "LSTM",
            Cell::Gru => {
                attributes.push(("linear_before_reset", Attribute::Integer(1)));
                "GRU"
            }
        };
        let steps = graph.transpose(x, &[1, 0, 2]);
        let inputs = [&steps, &weight_ih, &weight_hh, &bias];
        // [length, directions, rows, units], and [directions, rows, units] of the steps that were read last.
        let [all, last] = graph.node_of(operator, &inputs, attributes);
        let width = directions * self.units;
        Ok(match self.sequences {
            true => {
                let rows_first = graph.transpose(&all, &[2, 0, 1, 3]);
                graph.reshape(&rows_first, &[length, width])
            }
            false => {
                let rows_first = graph.transpose(&last, &[1, 0, 2]);
                graph.reshape(&rows_first, &[width])
            }
        })
    }

    /// The values of a parameter with its gates in ONNX's order.
    fn reordered(&self, weight: Weight<'_>) -> Vec<f64> {
        let order: &[usize] = match self.cell {
            // Input, output, forget, candidate.
            Cell::Lstm => &[0, 3, 1, 2],
            // Update, reset, candidate.
            Cell::Gru => &[1, 0, 2],
        };
        let of_gate = weight.values.len() / order.len();
        let gates = order.iter().map(|gate| gate * of_gate);
        gates
            .flat_map(|start| weight.values[start..start + of_gate].iter().copied())
            .collect()
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
        }
        .drawn(move |x, drawing| layer.draw(x, drawing, length)))
    }

    fn can_end(&self) -> bool {
        false
    }
}
