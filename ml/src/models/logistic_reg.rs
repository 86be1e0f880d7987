//! `logistic_reg`: the classes' log odds are linear in the features.

use super::Mlp;
use crate::features::InputShape;
use crate::model::{ModelType, Network, Task};
use crate::options::{Optimizer, TrainOptions};

/// Logistic regression of two classes, multinomial of more.
#[derive(Debug)]
pub(super) struct LogisticReg;

impl ModelType for LogisticReg {
    fn name(&self) -> &str {
        "logistic_reg"
    }

    fn task(&self) -> Task {
        Task::Classification
    }

    fn is_linear(&self) -> bool {
        true
    }

    fn default_optimizer(&self, _shape: &InputShape, _options: &TrainOptions) -> Optimizer {
        Optimizer::Lbfgs
    }

    fn network(
        &self,
        shape: &InputShape,
        outputs: usize,
        options: &TrainOptions,
    ) -> Box<dyn Network> {
        Box::new(Mlp::new(shape, &[], outputs, options))
    }
}
