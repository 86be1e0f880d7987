//! `matrix_factorization`: a vector for each user and each item, whose product is the rating.
//!
//! ```text
//! explicit   rating   = mean + bias of the user + bias of the item + vector of the user · vector of the item
//! implicit   strength =                                              vector of the user · vector of the item
//! ```
//! The mean is that of the target, which is standardised. A user or an item that training did not see has zeros, so the rest of
//! the sum is predicted. Alternating least squares finds the vectors: `train/als`.

use candle_core::Tensor;

use super::mlp::too_few;
use crate::data::columns::{Column, Columns};
use crate::data::encode::keys::KeyKind;
use crate::data::encode::shape::InputShape;
use crate::data::encode::tabular::CATEGORIES;
use crate::data::inputs::Inputs;
use crate::graph::{Drawing, Value};
use crate::model::network::{
    Init, Mode, ModelType, Network, Parameter, ParameterKind, Task, Towers,
};
use crate::model::options::{NullHandling, TrainOptions};
use crate::model::recommender::{Side, Sides};
use crate::nn::{embedding, embedding_sum};
use crate::{Error, Result};

/// The model type.
#[derive(Debug)]
pub(super) struct MatrixFactorization;

/// The only column of a side.
fn column_of(side: Side, options: &TrainOptions) -> &str {
    let columns = match side {
        Side::User => options.user_columns(),
        Side::Item => options.item_columns(),
    };
    columns.first().copied().unwrap_or_default()
}

/// The positions of the features of this name.
fn positions(columns: &Columns, name: &str) -> Vec<usize> {
    let features = columns.features.iter().enumerate();
    let named = features.filter(|(_, column)| column.name.eq_ignore_ascii_case(name));
    named.map(|(position, _)| position).collect()
}

impl ModelType for MatrixFactorization {
    fn name(&self) -> &str {
        "matrix_factorization"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Regression
    }

    fn check(&self, options: &TrainOptions) -> Result<()> {
        let wrong = |problem: &str| Err(Error::Invalid(problem.to_owned()));
        if options.null_handling == NullHandling::Impute {
            return wrong(
                "null_handling = 'impute' does not fit a matrix_factorization: nothing stands for a NULL user or item; use 'skip'",
            );
        }
        if options.wals_alpha.is_some() && options.implicit_alpha().is_none() {
            return wrong(
                "option \"wals_alpha\" has no effect on explicit feedback: it needs feedback_type = 'implicit'; leave it out",
            );
        }
        let (user, item) = (
            column_of(Side::User, options),
            column_of(Side::Item, options),
        );
        match user.eq_ignore_ascii_case(item) {
            true => wrong("user_col and item_col name the same column; name two"),
            false => Ok(()),
        }
    }

    fn check_columns(&self, columns: &Columns, options: &TrainOptions) -> Result<()> {
        let names = [
            ("user_col", column_of(Side::User, options)),
            ("item_col", column_of(Side::Item, options)),
        ];
        for (option, name) in names {
            if positions(columns, name).is_empty() {
                return Err(Error::Invalid(format!(
                    "the training query has no column \"{name}\"; name the column of {}s with {option}",
                    &option[..4]
                )));
            }
        }
        for Column { name, data_type } in &columns.features {
            if !names
                .iter()
                .any(|(_, known)| name.eq_ignore_ascii_case(known))
            {
                return Err(Error::Invalid(format!(
                    "column \"{name}\" is neither user_col nor item_col, and a matrix_factorization takes no other; leave it out, or use \
                     model_type = 'two_tower'"
                )));
            }
            KeyKind::of(name, data_type)?;
        }
        Ok(())
    }

    fn takes_several_targets(&self) -> bool {
        false
    }

    fn takes_categories(&self, _options: &TrainOptions) -> bool {
        false
    }

    fn is_key(&self, _options: &TrainOptions, _column: &Column) -> bool {
        true
    }

    fn sides(&self, columns: &Columns, options: &TrainOptions) -> Option<Sides> {
        Some(Sides {
            users: positions(columns, column_of(Side::User, options)),
            items: positions(columns, column_of(Side::Item, options)),
            lists_items: true,
            predicts_target: options.implicit_alpha().is_none(),
        })
    }

    fn is_factorization(&self) -> bool {
        true
    }

    fn network_options(&self) -> &[&str] {
        &[
            "user_col",
            "item_col",
            "num_factors",
            "feedback_type",
            "wals_alpha",
        ]
    }

    /// In the units of the standardised target, so it suits ratings from 1 to 5 as well as from 1 to 100.
    fn default_l2(&self, _train_rows: u64) -> f64 {
        0.1
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        if (shape.unseen_ids.len(), shape.categories, outputs) != (2, 2, 1) {
            let message =
                "a matrix_factorization has one column of users, one of items, and one output";
            return Err(Error::Invalid(message.into()));
        }
        let has_biases = options.implicit_alpha().is_none();
        Ok(Box::new(Factors::new(shape, options.factors(), has_biases)))
    }
}

/// The vectors and biases of all users and items, by their ids.
struct Factors {
    parameters: Vec<Parameter>,
    width: usize,
}

impl Factors {
    fn new(shape: &InputShape, width: usize, has_biases: bool) -> Self {
        let parameter = |name: &str, width: usize, bound: f32| Parameter {
            name: name.into(),
            shape: vec![shape.category_ids, width],
            init: Init::Categories {
                bound,
                unseen_ids: shape.unseen_ids.clone(),
            },
            kind: ParameterKind::Penalised,
        };
        // Vectors of about length 1: the first users that are solved for see items that differ.
        let mut parameters = vec![parameter("factors", width, (3.0 / width as f32).sqrt())];
        if has_biases {
            parameters.push(parameter("biases", 1, 0.0));
        }
        Self { parameters, width }
    }
}

impl Network for Factors {
    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn forward(
        &self,
        parameters: &[Tensor],
        inputs: &Inputs,
        _mode: Mode<'_>,
    ) -> Result<Vec<Tensor>> {
        let (ids, rows) = (ids(inputs)?, inputs.rows());
        let [factors, biases @ ..] = parameters else {
            return Err(too_few());
        };
        let picked = embedding(&ids, factors)?.reshape((rows, 2, self.width))?;
        let (first, second) = (picked.narrow(1, 0, 1)?, picked.narrow(1, 1, 1)?);
        let product = (first * second)?.sum(2)?;
        Ok(vec![match biases {
            [] => product,
            [biases, ..] => (product + embedding_sum(&ids, biases, rows)?)?,
        }])
    }

    fn draw(&self, drawing: &mut Drawing<'_>) -> Result<Vec<Value>> {
        let ids = drawing.categories()?;
        let factors = drawing.parameter()?;
        let graph = &mut *drawing.graph;
        let [first, second] = [0, 1].map(|column| {
            let ids = graph.columns(&ids, column..column + 1);
            graph.sum_of_ids(&factors, &ids)
        });
        let product = graph.product_of_rows(&first, &second);
        let has_biases = self.parameters.len() > 1;
        Ok(vec![match has_biases {
            true => {
                let biases = drawing.sum_of_categories()?;
                drawing.graph.node("Add", &[&product, &biases], vec![])
            }
            false => product,
        }])
    }

    fn numbers_per_row(&self) -> usize {
        // Both vectors as picked and as factors, their product, and its sum with the biases.
        5 * self.width + 4
    }

    fn towers(&self) -> Option<&dyn Towers> {
        Some(self)
    }
}

impl Towers for Factors {
    fn vectors(&self, side: Side, parameters: &[Tensor], inputs: &Inputs) -> Result<Tensor> {
        let ids = ids(inputs)?;
        let [factors, biases @ ..] = parameters else {
            return Err(too_few());
        };
        let factors = embedding(&ids, factors)?;
        let [biases] = biases else {
            return Ok(factors);
        };
        let bias = embedding(&ids, biases)?;
        let one = bias.ones_like()?;
        // The product of both sides has each bias once.
        Ok(match side {
            Side::User => Tensor::cat(&[&factors, &bias, &one], 1)?,
            Side::Item => Tensor::cat(&[&factors, &one, &bias], 1)?,
        })
    }
}

/// The ids of all rows, one row after the other.
fn ids(inputs: &Inputs) -> Result<Tensor> {
    let ids = inputs.get(CATEGORIES);
    let ids = ids.ok_or_else(|| Error::Internal("rows without users and items".into()))?;
    Ok(ids.flatten_all()?)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType::{self, Float64, Int32, Utf8};
    use candle_core::DType;

    use super::*;
    use crate::device::HOST;
    use crate::model::options::Feedback;

    #[test]
    fn the_product_of_the_vectors_is_the_prediction() {
        // Two users and three items, each list with an id for others.
        let shape = InputShape {
            categories: 2,
            category_ids: 7,
            unseen_ids: vec![0, 3],
            ..InputShape::default()
        };
        for (feedback, width) in [(None, 4), (Some(Feedback::Implicit), 2)] {
            let options = TrainOptions {
                num_factors: Some(2),
                feedback,
                ..TrainOptions::default()
            };
            let network = MatrixFactorization.network(&shape, 1, &options).unwrap();
            let parameters = network.parameters().iter();
            let parameters = parameters.map(|spec| {
                let values: Vec<f32> = (0..spec.len()).map(|n| (n as f32 * 0.7).sin()).collect();
                Tensor::from_vec(values, spec.shape.as_slice(), &HOST).unwrap()
            });
            let parameters: Vec<Tensor> = parameters.collect();
            let inputs = |ids: &[u32], columns: usize| {
                let rows = ids.len() / columns;
                let ids = Tensor::from_slice(ids, (rows, columns), &HOST).unwrap();
                Inputs::new(rows).with(CATEGORIES, ids).unwrap()
            };
            let pairs = inputs(&[1, 4, 2, 6, 0, 5], 2);
            let outputs = network
                .forward(&parameters, &pairs, Mode::Inference)
                .unwrap();
            assert_eq!(outputs[0].dims(), [3, 1]);
            let towers = network.towers().unwrap();
            let users = towers.vectors(Side::User, &parameters, &inputs(&[1, 2, 0], 1));
            let items = towers.vectors(Side::Item, &parameters, &inputs(&[4, 6, 5], 1));
            let (users, items) = (users.unwrap(), items.unwrap());
            assert_eq!(users.dims(), [3, width]);
            let products = (users * items).unwrap().sum_keepdim(1).unwrap();
            let difference = (products - &outputs[0]).unwrap().abs().unwrap();
            let difference = difference.to_dtype(DType::F64).unwrap().sum_all().unwrap();
            assert!(difference.to_scalar::<f64>().unwrap() < 1e-5);
        }
    }

    #[test]
    fn columns_are_one_of_users_and_one_of_items() {
        let column = |name: &str, data_type| Column {
            name: name.into(),
            data_type,
        };
        let check = |names: &[(&str, DataType)]| {
            let features = names.iter().map(|(name, of)| column(name, of.clone()));
            let columns = Columns {
                features: features.collect(),
                targets: vec![],
            };
            let checked = MatrixFactorization.check_columns(&columns, &TrainOptions::default());
            checked.map_err(|error| error.to_string())
        };
        assert!(check(&[("Item_ID", Utf8), ("user_id", Int32)]).is_ok());
        for (columns, expected) in [
            (
                vec![("item_id", Utf8)],
                "the training query has no column \"user_id\"; name the column of users with user_col",
            ),
            (
                vec![("item_id", Utf8), ("user_id", Utf8), ("age", Int32)],
                "column \"age\" is neither user_col nor item_col",
            ),
            (
                vec![("item_id", Float64), ("user_id", Utf8)],
                "column \"item_id\" is float64, and an id is a whole number or a string",
            ),
        ] {
            let error = check(&columns).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
