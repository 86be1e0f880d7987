//! `two_tower`: a network for the user and one for the item, whose vectors' product says whether they belong together.
//!
//! ```text
//! columns of the user ─ perceptron ─▶ vector ─┐
//!                                             ├─ product + bias ─▶ log-odds of the second class
//! columns of the item ─ perceptron ─▶ vector ─┘
//! ```
//! Whole numbers and texts are ids: each value has weights of its own in the first layer, as a category has in `mlp`. One table
//! holds those of both sides.

use std::ops::Range;

use candle_core::Tensor;

use super::mlp::{init_bound, too_few};
use crate::data::columns::{Column, Columns};
use crate::data::encode::keys::KeyKind;
use crate::data::encode::shape::{ColumnShape, InputShape};
use crate::data::encode::tabular::{CATEGORIES, NUMBERS};
use crate::data::inputs::Inputs;
use crate::model::network::{
    Init, Mode, ModelType, Network, Parameter, ParameterKind, Task, Towers,
};
use crate::model::options::{NullHandling, TrainOptions};
use crate::model::recommender::{Side, Sides};
use crate::nn::{Activation, activate, dropout, embedding_sum, linear};
use crate::{Error, Result, stop};

/// The model type.
#[derive(Debug)]
pub(super) struct TwoTower;

/// The options that list the columns of each side.
const LISTS: [&str; 2] = ["user_cols", "item_cols"];

/// The side that a column is listed for.
fn side_of(name: &str, options: &TrainOptions) -> Option<Side> {
    let has = |columns: &[&str]| columns.iter().any(|of| of.eq_ignore_ascii_case(name));
    match (has(&options.user_columns()), has(&options.item_columns())) {
        (true, _) => Some(Side::User),
        (false, true) => Some(Side::Item),
        (false, false) => None,
    }
}

impl ModelType for TwoTower {
    fn name(&self) -> &str {
        "two_tower"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Classification
    }

    fn check(&self, options: &TrainOptions) -> Result<()> {
        if options.null_handling == NullHandling::Impute {
            let message = "null_handling = 'impute' does not fit a two_tower: nothing stands for a NULL user or item; use 'skip'";
            return Err(Error::Invalid(message.into()));
        }
        let users = options.user_columns().into_iter().map(|name| (0, name));
        let items = options.item_columns().into_iter().map(|name| (1, name));
        let mut seen: Vec<(usize, &str)> = Vec::new();
        for (list, name) in users.chain(items) {
            let known = seen.iter().find(|(_, of)| of.eq_ignore_ascii_case(name));
            if let Some((first, _)) = known {
                let places = match *first == list {
                    true => format!("twice in {}", LISTS[list]),
                    false => format!("in {} and in {}", LISTS[*first], LISTS[list]),
                };
                return Err(Error::Invalid(format!(
                    "column \"{name}\" is {places}; keep one of them"
                )));
            }
            seen.push((list, name));
        }
        Ok(())
    }

    fn check_columns(&self, columns: &Columns, options: &TrainOptions) -> Result<()> {
        let lists = [options.user_columns(), options.item_columns()];
        for (list, names) in LISTS.iter().zip(lists) {
            for wanted in names {
                let mut features = columns.features.iter();
                if !features.any(|column| column.name.eq_ignore_ascii_case(wanted)) {
                    return Err(Error::Invalid(format!(
                        "the training query has no column \"{wanted}\" for {list}"
                    )));
                }
            }
        }
        let stray = |column: &&Column| side_of(&column.name, options).is_none();
        match columns.features.iter().find(stray) {
            None => Ok(()),
            Some(Column { name, .. }) => Err(Error::Invalid(format!(
                "column \"{name}\" is neither in user_cols nor in item_cols; add it to one of them, or leave it out of the query"
            ))),
        }
    }

    fn takes_several_targets(&self) -> bool {
        false
    }

    /// Whole numbers and texts are ids. With `hash_buckets`, texts are categories that share weights by their hash.
    fn is_key(&self, options: &TrainOptions, column: &Column) -> bool {
        match KeyKind::of(&column.name, &column.data_type) {
            Ok(KeyKind::Integers) => true,
            Ok(KeyKind::Texts) => options.hash_buckets.is_none(),
            Err(_) => false,
        }
    }

    fn sides(&self, columns: &Columns, options: &TrainOptions) -> Option<Sides> {
        let of = |side: Side| -> Vec<usize> {
            let features = columns.features.iter().enumerate();
            let of_side = features.filter(|(_, of)| side_of(&of.name, options) == Some(side));
            of_side.map(|(position, _)| position).collect()
        };
        let (users, items) = (of(Side::User), of(Side::Item));
        let lists_items = match items.as_slice() {
            [only] => self.is_key(options, &columns.features[*only]),
            _ => false,
        };
        Some(Sides {
            users,
            items,
            lists_items,
            predicts_target: true,
        })
    }

    fn network_options(&self) -> &[&str] {
        &[
            "user_cols",
            "item_cols",
            "num_factors",
            "hidden_units",
            "activation",
            "dropout",
        ]
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        if outputs != 1 {
            let message = "a two_tower needs a label of two values, such as true where a user took an item and false where not";
            return Err(Error::Invalid(message.into()));
        }
        Ok(Box::new(Pair::new(shape, options)?))
    }
}

/// Both towers.
#[derive(Debug)]
struct Pair {
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
    fn new(shape: &InputShape, options: &TrainOptions) -> Result<Self> {
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
            if let (Mode::Training { random, .. }, true) = (&mut *mode, self.dropout_rate > 0.0) {
                x = dropout(&x, self.dropout_rate, random)?;
            }
            let activation = (layer + 1 < layers).then_some(self.activation);
            x = linear(&x, next()?, next()?, activation)?;
        }
        Ok(x)
    }
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

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType::{self, Boolean, Float64, Int32, Utf8};

    use super::*;

    fn columns(names: &[(&str, DataType)]) -> Columns {
        let features = names.iter().map(|(name, data_type)| Column {
            name: (*name).into(),
            data_type: data_type.clone(),
        });
        Columns {
            features: features.collect(),
            targets: vec![],
        }
    }

    fn options(users: &[&str], items: &[&str]) -> TrainOptions {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        TrainOptions {
            user_cols: owned(users),
            item_cols: owned(items),
            ..TrainOptions::default()
        }
    }

    #[test]
    fn each_column_belongs_to_one_side() {
        let given = columns(&[
            ("Genre", Utf8),
            ("user_id", Int32),
            ("age", Float64),
            ("is_new", Boolean),
        ]);
        let of = |users: &[&str], items: &[&str]| -> Result<Sides> {
            let options = options(users, items);
            TwoTower.check(&options)?;
            TwoTower.check_columns(&given, &options)?;
            Ok(TwoTower.sides(&given, &options).unwrap())
        };
        let sides = of(&["user_id", "AGE"], &["genre", "is_new"]).unwrap();
        assert_eq!((sides.users, sides.items), (vec![1, 2], vec![0, 3]));
        assert!(!sides.lists_items);
        let sides = of(&["user_id", "age", "is_new"], &["genre"]).unwrap();
        assert!(sides.lists_items);
        for (users, items, expected) in [
            (
                vec!["a", "A"],
                vec!["b"],
                "column \"A\" is twice in user_cols; keep one",
            ),
            (
                vec!["a"],
                vec!["b", "a"],
                "column \"a\" is in user_cols and in item_cols; keep one",
            ),
            (
                vec!["user_id"],
                vec!["genre"],
                "column \"age\" is neither in user_cols nor",
            ),
            (
                vec![],
                vec![],
                "the training query has no column \"item_id\" for item_cols",
            ),
        ] {
            let error = of(&users, &items).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        let hashed = TrainOptions {
            hash_buckets: Some(9),
            ..options(&["user_id", "age", "is_new"], &["genre"])
        };
        assert!(!TwoTower.sides(&given, &hashed).unwrap().lists_items);
    }
}
