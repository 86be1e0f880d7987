//! The model types of TRAIN MODEL. Those for columns are multilayer perceptrons: a linear model is a perceptron without
//! hidden layers.
//!
//! * `mlp` the perceptron
//! * `linear_reg`, `logistic_reg`, `dnn` its types, one file each
//! * `text` networks behind an encoder of texts
//! * `sequential` networks whose layers the user writes, and networks for images
//! * `matrix_factorization` vectors of users and items; `two_tower` networks that give them, which `pair` computes

mod dnn;
mod linear_reg;
mod logistic_reg;
mod matrix_factorization;
mod mlp;
mod pair;
mod sequential;
mod text;
mod two_tower;

pub use mlp::Mlp;
pub use sequential::{LAYERS, LayerKind, Sequential};

use std::sync::Arc;

use crate::model::network::{ModelType, Task};

/// Every model type.
pub const MODEL_TYPES: &[&dyn ModelType] = &[
    &linear_reg::LinearReg,
    &logistic_reg::LogisticReg,
    &dnn::Dnn(Task::Classification),
    &dnn::Dnn(Task::Regression),
    &sequential::SequentialModel,
    &sequential::Cnn(Task::Classification),
    &sequential::Cnn(Task::Regression),
    &text::TextNetwork(Task::Classification),
    &text::TextNetwork(Task::Regression),
    &matrix_factorization::MatrixFactorization,
    &two_tower::TwoTower,
];

/// The model types that a process knows: the built-in types, and added types.
#[derive(Debug, Clone, Default)]
pub struct ModelTypes(Vec<Arc<dyn ModelType>>);

impl ModelTypes {
    /// The built-in types and `own`.
    pub fn with(own: Vec<Arc<dyn ModelType>>) -> Self {
        Self(own)
    }

    fn all(&self) -> impl Iterator<Item = &dyn ModelType> {
        let own = self.0.iter().map(AsRef::as_ref);
        MODEL_TYPES.iter().copied().chain(own)
    }

    /// The type of this name. An added type takes precedence over a built-in type.
    pub fn get(&self, name: &str) -> Option<&dyn ModelType> {
        self.all().filter(|known| known.name() == name).last()
    }

    /// The names of the types whose networks use this option.
    pub fn using(&self, option: &str) -> Vec<&str> {
        let using = self
            .all()
            .filter(|known| known.network_options().contains(&option));
        using.map(ModelType::name).collect()
    }

    /// The names of all types.
    pub fn names(&self) -> Vec<&str> {
        self.all().map(ModelType::name).collect()
    }
}
