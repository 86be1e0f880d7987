//! `dnn_classifier` and `dnn_regressor`: multilayer perceptrons with hidden layers.

use super::Mlp;
use crate::Result;
use crate::data::encode::shape::InputShape;
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::TrainOptions;

/// A perceptron that predicts a class or a number.
#[derive(Debug)]
pub(super) struct Dnn(pub(super) Task);

impl ModelType for Dnn {
    fn name(&self) -> &str {
        match self.0 {
            Task::Classification => "dnn_classifier",
            Task::Regression => "dnn_regressor",
        }
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        self.0
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
