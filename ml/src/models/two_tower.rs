//! `two_tower`: a network for the columns of the user and one for those of the item, in `pair`. Whole numbers and texts are ids: each
//! value has weights of its own in the first layer, as a category has in `mlp`.

use super::pair::{Pair, side_of};
use crate::data::columns::{Column, Columns};
use crate::data::encode::keys::KeyKind;
use crate::data::encode::shape::InputShape;
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::{NullHandling, TrainOptions};
use crate::model::recommender::{Side, Sides};
use crate::{Error, Result};

/// The model type.
#[derive(Debug)]
pub(super) struct TwoTower;

/// The options that list the columns of each side.
const LISTS: [&str; 2] = ["user_cols", "item_cols"];

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
