//! [`Recommender`]: a model whose prediction for a user and an item is the product of two vectors.
//!
//! ```text
//! columns of the user ─▶ vector ─┐
//!                                ├─ product ─▶ score
//! columns of the item ─▶ vector ─┘
//! ```
//! So all users and items are scored from one vector of each, and no pair goes through a network.

use arrow::array::{ArrayRef, RecordBatch};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The user or the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Who gets recommendations.
    User,
    /// What is recommended.
    Item,
}

/// Which inputs of a model belong to the user, and which to the item.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sides {
    /// The positions of the user's columns among the inputs of the signature.
    pub users: Vec<usize>,
    /// The positions of the item's columns.
    pub items: Vec<usize>,
    /// Whether the model knows its items, each by the value of the only column of items.
    pub lists_items: bool,
    /// Whether scores are in the units of the target, so that metrics of both mean something.
    pub predicts_target: bool,
}

impl Sides {
    /// The positions of the columns of a side among the inputs of the signature.
    pub fn of(&self, side: Side) -> &[usize] {
        match side {
            Side::User => &self.users,
            Side::Item => &self.items,
        }
    }
}

/// A vector for each row.
#[derive(Debug, Clone, PartialEq)]
pub struct Vectors {
    /// The length of each vector.
    pub width: usize,
    /// The vectors, row-major; undefined where no vector is known.
    pub values: Vec<f32>,
    /// Whether each row has a vector: neither a NULL nor a value that cannot be encoded, nor a user or an item that training did
    /// not see, if the model has no other columns.
    pub known: Vec<bool>,
    /// Why a value cannot be encoded, for the first such row.
    pub failure: Option<String>,
}

/// A model that recommends.
pub trait Recommender: Send + Sync {
    /// The columns of users and items.
    fn sides(&self) -> &Sides;

    /// The vectors of the rows of `batch`, whose columns are those of the side, in the types of the signature or in types that hold
    /// the same values. Runs on a worker of the host.
    ///
    /// # Errors
    /// If no row of the batch can be encoded.
    fn vectors(&self, side: Side, batch: &RecordBatch) -> Result<Vectors>;

    /// All items that the model knows, in a column of the type of the signature, and their vectors; `None` unless
    /// [`Sides::lists_items`].
    ///
    /// # Errors
    /// [`Error::Internal`](crate::Error::Internal) if the model is damaged.
    fn known_items(&self) -> Result<Option<(ArrayRef, Vectors)>>;

    /// The score of a user and an item, from the product of their vectors; a larger product has a larger score.
    fn score(&self, product: f32) -> f64;
}
