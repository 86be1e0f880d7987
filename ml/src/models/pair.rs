//! The network of a `two_tower`: one for the user and one for the item, whose vectors' product says whether they belong together.
//!
//! ```text
//! columns of the user ─ perceptron ─▶ vector ─┐
//!                                             ├─ product + bias ─▶ log-odds of the second class
//! columns of the item ─ perceptron ─▶ vector ─┘
//! ```
//! One table holds the weights of the ids of both sides.

use std::ops::Range;

use candle_core::Tensor;

use super::mlp::{init_bound, too_few};
use crate::data::encode::shape::{ColumnShape, InputShape};
use crate::data::encode::tabular::{CATEGORIES, NUMBERS};
use crate::data::inputs::Inputs;
use crate::graph::{Attribute, Drawing, Graph, Value};
use crate::model::network::{Init, Mode, Network, Parameter, ParameterKind, Towers};
use crate::model::options::TrainOptions;
use crate::model::recommender::Side;
use crate::nn::{Activation, activate, embedding_sum, linear};
use crate::{Error, Result, stop};

/// Both towers.
#[derive(Debug)]
pub(super) struct Pair {
    parameters: Vec<Parameter>,
    /// The place of the weights of ids among the parameters.
    table: Option<usize>,
    towers: [Tower; 2],
    activation: Activation,
    dropout_rate: f64,
}

/// The columns of a side among the inputs of both, and its layers.
#[derive(Debug)]
struct Tower {
    numbers: Vec<u32>,
    categories: Vec<u32>,
    /// Its parameters: a weight and a bias for each layer; the first layer has no weight without numbers.
    parameters: Range<usize>,
}

impl Pair {
    pub(super) fn new(shape: &InputShape, options: &TrainOptions) -> Result<Self> {
        let widths: Vec<usize> = options
            .hidden_units
            .iter()
            .copied()
            .chain([options.factors()])
            .collect();
        let mut parameters = vec![Parameter {
            name: "bias".into(),
            shape: vec![1],
            init: Init::Constant { value: 0.0 },
            kind: ParameterKind::Free,
        }];
        let table = (shape.category_ids > 0).then_some(parameters.len());
        if table.is_some() {
            parameters.push(Parameter {
                name: "categories".into(),
                shape: vec![shape.category_ids, widths[0]],
                init: Init::Categories {
                    bound: init_bound(shape.numbers + shape.categories),
                    unseen_ids: shape.unseen_ids.clone(),
                },
                kind: ParameterKind::Penalised,
            });
        }
        let mut tower = |name: &str, side: Side| {
            let of_side = |column: &&ColumnShape| side_of(&column.name, options) == Some(side);
            let columns: Vec<&ColumnShape> = shape.columns.iter().filter(of_side).collect();
            let numbers = columns.iter().flat_map(|column| column.numbers.clone());
            let categories = columns.iter().flat_map(|column| column.categories.clone());
            let numbers: Vec<u32> = numbers.map(|at| at as u32).collect();
            let categories: Vec<u32> = categories.map(|at| at as u32).collect();
            let inputs = numbers.len() + categories.len();
            if inputs == 0 {
                let message = format!("a two_tower needs a column for the {name}");
                return Err(Error::Invalid(message));
            }
            let first = parameters.len();
            add_layers(&mut parameters, name, (numbers.len(), inputs), &widths);
            Ok(Tower {
                numbers,
                categories,
                parameters: first..parameters.len(),
            })
        };
        let towers = [tower("user", Side::User)?, tower("item", Side::Item)?];
        Ok(Self {
            parameters,
            table,
            towers,
            activation: options.activation,
            dropout_rate: options.dropout,
        })
    }

    /// The vectors `[rows, width]` of a side, from its numbers and its ids.
    fn vector(
        &self,
        tower: &Tower,
        parameters: &[Tensor],
        (numbers, ids, rows): (Option<Tensor>, Option<Tensor>, usize),
        mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        let of_tower = parameters.get(tower.parameters.clone());
        let mut rest = of_tower.ok_or_else(too_few)?.iter();
        let mut next = || rest.next().ok_or_else(too_few);
        let mut sum = match numbers {
            Some(numbers) => Some(numbers.matmul(next()?)?),
            None => None,
        };
        if let Some(ids) = ids {
            let table = self.table.and_then(|at| parameters.get(at));
            let table = table.ok_or_else(too_few)?;
            let of_ids = embedding_sum(&ids.flatten_all()?, table, rows)?;
            sum = Some(match sum {
                Some(of_numbers) => (of_numbers + of_ids)?,
                None => of_ids,
            });
        }
        let sum = sum.ok_or_else(|| Error::Internal("a tower without inputs".into()))?;
        let mut x = activate(self.activation, &sum.broadcast_add(next()?)?)?;
        // Each further layer has a weight and a bias.
        let layers = tower.parameters.len().div_ceil(2);
        for layer in 1..layers {
            stop::check()?;
            x = mode.dropout(x, self.dropout_rate)?;
            let activation = (layer + 1 < layers).then_some(self.activation);
            x = linear(&x, next()?, next()?, activation)?;
        }
        Ok(x)
    }

    /// The vectors `[rows, width]` of a side in a graph; `table` holds the weights of ids.
    fn draw_tower(
        &self,
        tower: &Tower,
        table: Option<&Value>,
        drawing: &mut Drawing<'_>,
    ) -> Result<Value> {
        let of_numbers = match tower.numbers.as_slice() {
            [] => None,
            columns => {
                let (numbers, weight) = (drawing.numbers()?, drawing.parameter()?);
                let numbers = draw_picked(drawing.graph, &numbers, columns);
                Some(drawing.graph.node("MatMul", &[&numbers, &weight], vec![]))
            }
        };
        let of_ids = match (tower.categories.as_slice(), table) {
            ([], _) => None,
            (columns, Some(table)) => {
                let ids = drawing.categories()?;
                let ids = draw_picked(drawing.graph, &ids, columns);
                Some(drawing.graph.sum_of_ids(table, &ids))
            }
            (_, None) => return Err(too_few()),
        };
        let sum = match (of_numbers, of_ids) {
            (Some(of_numbers), Some(of_ids)) => {
                drawing.graph.node("Add", &[&of_numbers, &of_ids], vec![])
            }
            (Some(sum), None) | (None, Some(sum)) => sum,
            (None, None) => return Err(Error::Internal("a tower without inputs".into())),
        };
        let bias = drawing.parameter()?;
        let sum = drawing.graph.node("Add", &[&sum, &bias], vec![]);
        let mut x = self.activation.draw(drawing.graph, &sum);
        let layers = tower.parameters.len().div_ceil(2);
        for layer in 1..layers {
            let (weight, bias) = (drawing.parameter()?, drawing.parameter()?);
            x = drawing.graph.node("Gemm", &[&x, &weight, &bias], vec![]);
            if layer + 1 < layers {
                x = self.activation.draw(drawing.graph, &x);
            }
        }
        Ok(x)
    }
}

/// Some columns of an input `[rows, columns]` of both sides.
fn draw_picked(graph: &mut Graph, input: &Value, columns: &[u32]) -> Value {
    let columns: Vec<i64> = columns.iter().map(|&column| column.into()).collect();
    let columns = graph.integers("columns", &[columns.len()], &columns);
    graph.node(
        "Gather",
        &[input, &columns],
        vec![("axis", Attribute::Integer(1))],
    )
}

/// Adds the parameters of a tower with so many numbers and inputs.
fn add_layers(
    parameters: &mut Vec<Parameter>,
    tower: &str,
    (numbers, mut inputs): (usize, usize),
    widths: &[usize],
) {
    for (layer, &width) in widths.iter().enumerate() {
        let init = Init::Uniform {
            bound: init_bound(inputs),
        };
        let of_weight = if layer == 0 { numbers } else { inputs };
        if of_weight > 0 {
            parameters.push(Parameter {
                name: format!("{tower}.layer{layer}.weight"),
                shape: vec![of_weight, width],
                init: init.clone(),
                kind: ParameterKind::Penalised,
            });
        }
        parameters.push(Parameter {
            name: format!("{tower}.layer{layer}.bias"),
            shape: vec![width],
            init,
            kind: ParameterKind::Free,
        });
        inputs = width;
    }
}

/// Some columns `[rows, columns]` of an input of both sides; `None` for none.
fn picked(input: Option<&Tensor>, columns: &[u32]) -> Result<Option<Tensor>> {
    if columns.is_empty() {
        return Ok(None);
    }
    let input = input.ok_or_else(|| Error::Internal("rows without their columns".into()))?;
    if input.dim(1)? == columns.len() {
        return Ok(Some(input.clone()));
    }
    let columns = Tensor::from_slice(columns, columns.len(), input.device())?;
    Ok(Some(input.contiguous()?.index_select(&columns, 1)?))
}

impl Network for Pair {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(
        &self,
        parameters: &[Tensor],
        inputs: &Inputs,
        mut mode: Mode<'_>,
    ) -> Result<Vec<Tensor>> {
        let mut vector = |tower: &Tower| {
            let numbers = picked(inputs.get(NUMBERS), &tower.numbers)?;
            let ids = picked(inputs.get(CATEGORIES), &tower.categories)?;
            let inputs = (numbers, ids, inputs.rows());
            self.vector(tower, parameters, inputs, &mut mode)
        };
        let [users, items] = &self.towers;
        let (users, items) = (vector(users)?, vector(items)?);
        let bias = parameters.first().ok_or_else(too_few)?;
        let products = (users * items)?.sum_keepdim(1)?;
        Ok(vec![products.broadcast_add(bias)?])
    }

    fn draw(&self, drawing: &mut Drawing<'_>) -> Result<Vec<Value>> {
        let bias = drawing.parameter()?;
        let table = match self.table {
            Some(_) => Some(drawing.parameter()?),
            None => None,
        };
        let [users, items] = &self.towers;
        let users = self.draw_tower(users, table.as_ref(), drawing)?;
        let items = self.draw_tower(items, table.as_ref(), drawing)?;
        let product = drawing.graph.product_of_rows(&users, &items);
        Ok(vec![drawing.graph.node("Add", &[&product, &bias], vec![])])
    }

    fn numbers_per_row(&self) -> usize {
        // As in `Mlp`, and the columns of each side, and the product.
        let widths = self.parameters.iter().filter_map(|spec| spec.shape.last());
        let of_table = self.table.and_then(|at| self.parameters[at].shape.last());
        let of_tower = |tower: &Tower| {
            let categories = tower.categories.len();
            categories * of_table.copied().unwrap_or(0) + categories + tower.numbers.len()
        };
        let of_towers: usize = self.towers.iter().map(of_tower).sum();
        let of_product = self.parameters.last().and_then(|spec| spec.shape.last());
        widths.sum::<usize>() + of_towers + of_product.copied().unwrap_or(0)
    }

    fn towers(&self) -> Option<&dyn Towers> {
        Some(self)
    }
}

impl Towers for Pair {
    fn vectors(&self, side: Side, parameters: &[Tensor], inputs: &Inputs) -> Result<Tensor> {
        let [users, items] = &self.towers;
        let tower = match side {
            Side::User => users,
            Side::Item => items,
        };
        let of_side = |name: &str, columns: &[u32]| {
            let input = inputs.get(name).filter(|_| !columns.is_empty());
            input.cloned()
        };
        let numbers = of_side(NUMBERS, &tower.numbers);
        let ids = of_side(CATEGORIES, &tower.categories);
        let inputs = (numbers, ids, inputs.rows());
        let vectors = self.vector(tower, parameters, inputs, &mut Mode::Inference)?;
        let bias = parameters.first().ok_or_else(too_few)?;
        // The product of both sides has the bias once.
        let last = bias.reshape((1, 1))?.broadcast_as((vectors.dim(0)?, 1))?;
        let last = match side {
            Side::User => last.ones_like()?,
            Side::Item => last.contiguous()?,
        };
        Ok(Tensor::cat(&[&vectors, &last], 1)?)
    }
}

/// The side that a column is listed for.
pub(super) fn side_of(name: &str, options: &TrainOptions) -> Option<Side> {
    let has = |columns: &[&str]| columns.iter().any(|of| of.eq_ignore_ascii_case(name));
    match (has(&options.user_columns()), has(&options.item_columns())) {
        (true, _) => Some(Side::User),
        (false, true) => Some(Side::Item),
        (false, false) => None,
    }
}
