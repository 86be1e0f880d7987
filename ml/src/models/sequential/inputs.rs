//! `inputs(units)`: the columns beside the array that the network begins with.
//!
//! ```text
//! output of the layer before [n] ────────────────────┐
//! numbers    ─ weights ──────────────┐               ├─ [n + units]
//!                                    + bias ─ [units]┘
//! categories ─ a weight each value ──┘
//! ```

use std::ops::Range;

use candle_core::Tensor;

use super::layer::{Input, Layer, Pass, Placed, operations};
use super::text::{Arguments, WIDTH_MAX};
use crate::data::encode::tabular::{CATEGORIES, NUMBERS};
use crate::data::inputs::Inputs;
use crate::graph::{Drawing, Value};
use crate::model::network::{Init, ParameterKind};
use crate::nn::{embedding_sum, linear};
use crate::{Error, Result};

/// The first layer of a dnn model over the columns beside the array, behind the numbers of its input.
#[derive(Debug)]
struct Columns {
    units: usize,
}

pub(super) fn read(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    let units = arguments.whole("units", None, 1..=WIDTH_MAX)?;
    Ok(Box::new(Columns { units }))
}

impl Layer for Columns {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let [numbers] = *input.shape else {
            return Err(input.needs("[numbers]; write 'flatten' before it"));
        };
        let (units, beside) = (self.units, &input.row.beside);
        let columns = beside.numbers + beside.categories;
        let bound = 1.0 / (columns.max(1) as f32).sqrt();
        let mut parameters = vec![];
        if beside.numbers > 0 {
            let shape = vec![beside.numbers, units];
            let init = Init::Uniform { bound };
            parameters.push(input.parameter("weight", shape, init, ParameterKind::Penalised));
        }
        if beside.categories > 0 {
            let shape = vec![beside.category_ids, units];
            let unseen_ids = beside.unseen_ids.clone();
            let init = Init::Categories { bound, unseen_ids };
            parameters.push(input.parameter("categories", shape, init, ParameterKind::Penalised));
        }
        let init = Init::Uniform { bound };
        parameters.push(input.parameter("bias", vec![units], init, ParameterKind::Free));
        let beside_array = BesideArray {
            array: input.row.place.clone(),
            numbers: beside.numbers,
            has_categories: beside.categories > 0,
        };
        let of_graph = beside_array.clone();
        Ok(Placed {
            parameters,
            flops: operations(&[2, columns, units]),
            inner_numbers: (1 + beside.categories) * units,
            ..Placed::new(input, vec![numbers + units], move |x, pass| {
                let of_columns = beside_array.forward(pass)?;
                Ok(Tensor::cat(&[x, &of_columns], 1)?)
            })
        }
        .drawn(move |x, drawing| {
            let of_columns = of_graph.draw(drawing)?;
            Ok(drawing.graph.concat(&[x.clone(), of_columns]))
        }))
    }

    fn takes_columns(&self) -> bool {
        true
    }

    fn can_end(&self) -> bool {
        false
    }
}

/// The columns beside the array.
#[derive(Debug, Clone)]
struct BesideArray {
    /// The place of the array among the numbers of a row.
    array: Range<usize>,
    /// How many numbers there are beside it.
    numbers: usize,
    has_categories: bool,
}

impl BesideArray {
    /// `[rows, units]`
    fn forward(&self, pass: &mut Pass<'_>) -> Result<Tensor> {
        let inputs = pass.inputs;
        let numbers = match self.numbers > 0 {
            true => {
                let (numbers, weight) = (self.numbers_of(inputs)?, pass.parameter()?);
                // Behind an array of ids, the numbers may have more bits than the weights.
                Some((numbers.to_dtype(weight.dtype())?, weight))
            }
            false => None,
        };
        let categories = match self.has_categories {
            true => {
                let ids = tensor(inputs, CATEGORIES)?.flatten_all()?;
                Some(embedding_sum(&ids, pass.parameter()?, inputs.rows())?)
            }
            false => None,
        };
        let bias = pass.parameter()?;
        match (numbers, categories) {
            (Some((numbers, weight)), None) => linear(&numbers, weight, bias, None),
            (Some((numbers, weight)), Some(of_categories)) => {
                Ok((linear(&numbers, weight, bias, None)? + of_categories)?)
            }
            (None, Some(of_categories)) => Ok(of_categories.broadcast_add(bias)?),
            (None, None) => Err(Error::Internal("no columns beside an array".into())),
        }
    }

    /// The numbers beside the array.
    fn numbers_of(&self, inputs: &Inputs) -> Result<Tensor> {
        let all = tensor(inputs, NUMBERS)?;
        let Range { start, end } = self.array;
        let before = || all.narrow(1, 0, start);
        let behind = |width: usize| all.narrow(1, end, width);
        Ok(match (start, all.dim(1)? - end) {
            (0, width) => behind(width)?,
            (_, 0) => before()?,
            (_, width) => Tensor::cat(&[before()?, behind(width)?], 1)?,
        })
    }

    /// The nodes of [`BesideArray::forward`].
    fn draw(&self, drawing: &mut Drawing<'_>) -> Result<Value> {
        let numbers = match self.numbers > 0 {
            true => Some((self.draw_numbers(drawing)?, drawing.parameter()?)),
            false => None,
        };
        let categories = match self.has_categories {
            true => Some(drawing.sum_of_categories()?),
            false => None,
        };
        let bias = drawing.parameter()?;
        let graph = &mut *drawing.graph;
        let of_numbers = numbers
            .map(|(numbers, weight)| graph.node("Gemm", &[&numbers, &weight, &bias], vec![]));
        match (of_numbers, categories) {
            (Some(of_numbers), None) => Ok(of_numbers),
            (Some(of_numbers), Some(sum)) => Ok(graph.node("Add", &[&of_numbers, &sum], vec![])),
            (None, Some(sum)) => Ok(graph.node("Add", &[&sum, &bias], vec![])),
            (None, None) => Err(Error::Internal("no columns beside an array".into())),
        }
    }

    fn draw_numbers(&self, drawing: &mut Drawing<'_>) -> Result<Value> {
        let all = drawing.numbers()?;
        let Range { start, end } = self.array;
        let total = self.numbers + self.array.len();
        let parts = [0..start, end..total];
        let parts = parts.into_iter().filter(|part| !part.is_empty());
        let graph = &mut *drawing.graph;
        let parts: Vec<Value> = parts.map(|part| graph.columns(&all, part)).collect();
        Ok(graph.concat(&parts))
    }
}

fn tensor<'a>(inputs: &'a Inputs, name: &str) -> Result<&'a Tensor> {
    let found = inputs.get(name);
    found.ok_or_else(|| Error::Internal(format!("rows without {name}")))
}
