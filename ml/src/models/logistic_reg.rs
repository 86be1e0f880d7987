//! `logistic_reg`: the log odds of the classes are linear in the features.

use super::Mlp;
use crate::Result;
use crate::data::encode::shape::InputShape;
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::TrainOptions;

/// Logistic regression for two classes, multinomial for more.
#[derive(Debug)]
pub(super) struct LogisticReg;

impl ModelType for LogisticReg {
    fn name(&self) -> &str {
        "logistic_reg"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Classification
    }

    fn is_linear(&self) -> bool {
        true
    }

    /// As scikit-learn's `C = 1`: without a penalty, the weights of linearly separable classes grow without bound.
    fn default_l2(&self, train_rows: u64) -> f64 {
        1.0 / train_rows.max(1) as f64
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Result<Box<dyn Network>> {
        Ok(Box::new(Mlp::new(shape, &[], outputs, options)))
    }
}
