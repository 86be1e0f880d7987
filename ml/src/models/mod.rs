//! What TRAIN MODEL can make, one file each. All are multilayer perceptrons: a linear model is one without hidden
//! layers.

mod dnn;
mod linear_reg;
mod logistic_reg;
mod mlp;

pub use mlp::Mlp;

use std::sync::Arc;

use crate::model::network::ModelType;

/// Every model type.
pub const MODEL_TYPES: &[&dyn ModelType] = &[
    &linear_reg::LinearReg,
    &logistic_reg::LogisticReg,
    &dnn::DnnClassifier,
    &dnn::DnnRegressor,
];

/// The model types that a process knows: ours, and those that were added to them.
#[derive(Debug, Clone, Default)]
pub struct ModelTypes(Vec<Arc<dyn ModelType>>);

impl ModelTypes {
    /// Ours and these.
    pub fn with(own: Vec<Arc<dyn ModelType>>) -> Self {
        Self(own)
    }

    fn all(&self) -> impl Iterator<Item = &dyn ModelType> {
        let own = self.0.iter().map(AsRef::as_ref);
        MODEL_TYPES.iter().copied().chain(own)
    }

    /// The one of this name; of two the one that was added.
    pub fn get(&self, name: &str) -> Option<&dyn ModelType> {
        self.all().filter(|known| known.name() == name).last()
    }

    /// The names of all.
    pub fn names(&self) -> Vec<&str> {
        self.all().map(ModelType::name).collect()
    }
}
