//! What TRAIN MODEL can make, one file each. All are multilayer perceptrons: a linear model is one without hidden
//! layers.

mod dnn;
mod linear_reg;
mod logistic_reg;
mod mlp;

pub use mlp::Mlp;

use crate::model::ModelType;

/// Every model type.
pub const MODEL_TYPES: &[&dyn ModelType] = &[
    &linear_reg::LinearReg,
    &logistic_reg::LogisticReg,
    &dnn::DnnClassifier,
    &dnn::DnnRegressor,
];
