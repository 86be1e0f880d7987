//! `dnn_classifier` and `dnn_regressor`: multilayer perceptrons with hidden layers.

use super::Mlp;
use crate::Result;
use crate::data::encode::tabular::InputShape;
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::{Optimizer, TrainOptions};

/// A network that predicts a class.
#[derive(Debug)]
pub(super) struct DnnClassifier;

/// A network that predicts a number.
#[derive(Debug)]
pub(super) struct DnnRegressor;

impl ModelType for DnnClassifier {
    fn name(&self) -> &str {
        "dnn_classifier"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Classification
    }

    fn default_optimizer(&self, _shape: &InputShape, _options: &TrainOptions) -> Optimizer {
        Optimizer::Adamw
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        let hidden = &options.hidden_units;
        Ok(Box::new(Mlp::new(shape, hidden, outputs, options)))
    }
}

impl ModelType for DnnRegressor {
    fn name(&self) -> &str {
        "dnn_regressor"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Regression
    }

    fn default_optimizer(&self, _shape: &InputShape, _options: &TrainOptions) -> Optimizer {
        Optimizer::Adamw
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        let hidden = &options.hidden_units;
        Ok(Box::new(Mlp::new(shape, hidden, outputs, options)))
    }
}
