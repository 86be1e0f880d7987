//! `layer_norm` and `group_norm(groups)`

use super::layer::{Input, Layer, Placed};
use super::text::{Arguments, invalid};
use crate::Result;
use crate::graph::{Attribute, Drawing, Value};
use crate::model::network::{Init, ParameterKind};
use crate::nn::{EPSILON, Runs, normalise};

/// Over the last dimension, with a weight for each of its places.
#[derive(Debug)]
struct LayerNorm;

/// Over the channels of each group, with a weight for each channel.
#[derive(Debug)]
struct GroupNorm {
    groups: usize,
}

pub(super) fn read_layer(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(LayerNorm))
}

pub(super) fn read_group(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    let groups = arguments.whole("groups", None, 1..=usize::from(u16::MAX))?;
    Ok(Box::new(GroupNorm { groups }))
}

impl Layer for LayerNorm {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let width = input.shape.last().copied().unwrap_or(1);
        check_width(width, "leave it out")?;
        let runs = Runs {
            width,
            positions: 1,
        };
        Ok(placed(input, width, runs).drawn(|x, drawing| {
            let (weight, bias) = (drawing.parameter()?, drawing.parameter()?);
            let inputs = [x, &weight, &bias];
            let attributes = vec![("axis", Attribute::Integer(-1)), epsilon()];
            let graph = &mut *drawing.graph;
            Ok(graph.node("LayerNormalization", &inputs, attributes))
        }))
    }

    fn can_end(&self) -> bool {
        false
    }
}

impl Layer for GroupNorm {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let groups = self.groups;
        let (channels, positions) = match input.shape.split_first() {
            Some((&channels, rest)) => (channels, rest.iter().product::<usize>()),
            None => return Err(input.needs("[channels, …]")),
        };
        if channels % groups != 0 {
            return Err(invalid(format!(
                "{groups} groups do not divide the channels of its input {:?}",
                input.shape
            )));
        }
        let width = channels / groups * positions;
        check_width(width, "use fewer groups")?;
        let runs = Runs { width, positions };
        let shape = input.shape.to_vec();
        let placed = placed(input, channels, runs);
        Ok(placed.drawn(move |x, drawing| draw_groups(x, drawing, &shape, groups)))
    }

    fn can_end(&self) -> bool {
        false
    }
}

fn epsilon() -> (&'static str, Attribute) {
    ("epsilon", Attribute::Number(EPSILON as f32))
}

/// The nodes of a group norm: ONNX normalises the channels of its input, so a group is a channel there.
fn draw_groups(
    x: &Value,
    drawing: &mut Drawing<'_>,
    shape: &[usize],
    groups: usize,
) -> Result<Value> {
    let mut of_channels = vec![1; shape.len()];
    of_channels[0] = shape[0];
    let weight = drawing.parameter_as(&of_channels)?;
    let bias = drawing.parameter_as(&of_channels)?;
    let graph = &mut *drawing.graph;
    let width = shape.iter().product::<usize>() / groups;
    let apart = graph.reshape(x, &[groups, width]);
    let one = graph.numbers("one", &[groups], &vec![1.0; groups]);
    let zero = graph.numbers("zero", &[groups], &vec![0.0; groups]);
    let inputs = [&apart, &one, &zero];
    let normal = graph.node("InstanceNormalization", &inputs, vec![epsilon()]);
    let normal = graph.reshape(&normal, shape);
    let scaled = graph.node("Mul", &[&normal, &weight], vec![]);
    Ok(graph.node("Add", &[&scaled, &bias], vec![]))
}

/// Refuses a norm over one number, which is its own mean.
fn check_width(width: usize, remedy: &str) -> Result<()> {
    match width {
        0 | 1 => Err(invalid(format!(
            "normalises 1 number, which leaves only its bias; {remedy}"
        ))),
        _ => Ok(()),
    }
}

fn placed(input: &Input<'_>, channels: usize, runs: Runs) -> Placed {
    let parameter = |name: &str, value: f32| {
        let init = Init::Constant { value };
        input.parameter(name, vec![channels], init, ParameterKind::Free)
    };
    Placed {
        parameters: vec![parameter("weight", 1.0), parameter("bias", 0.0)],
        // What is normalised, before the weights.
        inner_numbers: input.shape.iter().product(),
        ..Placed::same_shape(input, move |x, pass| {
            normalise(x, pass.parameter()?, pass.parameter()?, runs)
        })
    }
}
