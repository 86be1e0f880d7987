//! `linear_reg`: least squares.

use super::Mlp;
use crate::Result;
use crate::data::encode::shape::InputShape;
use crate::data::precision::Precision;
use crate::model::network::{ModelType, Network, Task};
use crate::model::options::{Optimizer, TrainOptions};

/// Linear regression, solved exactly by default.
#[derive(Debug)]
pub(super) struct LinearReg;

/// Wider inputs are solved iteratively: the normal equations take the square of the width in memory.
const NORMAL_EQUATION_WIDTH_MAX: usize = 2_000;

impl ModelType for LinearReg {
    fn name(&self) -> &str {
        "linear_reg"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Regression
    }

    fn is_linear(&self) -> bool {
        true
    }

    /// An exact solution keeps as many digits as the data have.
    fn precision(&self) -> Precision {
        Precision::Double
    }

    fn default_optimizer(&self, shape: &InputShape, options: &TrainOptions) -> Optimizer {
        let fits = shape.numbers + shape.category_ids <= NORMAL_EQUATION_WIDTH_MAX;
        if options.l1_reg == 0.0 && fits {
            Optimizer::NormalEquation
        } else {
            Optimizer::Lbfgs
        }
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
