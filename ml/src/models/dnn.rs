//! `dnn_classifier` and `dnn_regressor`: multilayer perceptrons with hidden layers.

use super::Mlp;
use crate::Result;
use crate::data::encode::shape::InputShape;
use crate::model::network::{EPOCHS_DEFAULT, ModelType, Network, Task};
use crate::model::options::TrainOptions;

/// The steps that the default epochs make together. Few rows make few steps in an epoch, so 50 epochs would end too early (decision
/// 0068).
const STEPS_DEFAULT: usize = 10_000;
/// The most epochs by default, however few the steps.
const EPOCHS_MAX: usize = 500;
/// An average over some fifty steps. It calms the last steps as a falling learning rate does, but need not know which step is the
/// last.
const EMA_DECAY: f64 = 0.98;

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

    /// As that of `logistic_reg`: the pull of a prior, which the rows outweigh as they become more.
    fn default_l2(&self, train_rows: u64) -> f64 {
        1.0 / train_rows.max(1) as f64
    }

    fn default_epochs(&self, steps: usize) -> usize {
        STEPS_DEFAULT
            .div_ceil(steps.max(1))
            .clamp(EPOCHS_DEFAULT, EPOCHS_MAX)
    }

    fn default_ema_decay(&self) -> f64 {
        EMA_DECAY
    }

    fn default_refit(&self) -> bool {
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_have_more_epochs_and_many_have_no_more_than_before() {
        let classifier = Dnn(Task::Classification);
        let epochs = [0, 4, 20, 64, 200, 201, 782].map(|steps| classifier.default_epochs(steps));
        assert_eq!(epochs, [500, 500, 500, 157, 50, 50, 50]);
    }

    #[test]
    fn the_penalty_fades_as_rows_become_more() {
        let regressor = Dnn(Task::Regression);
        let penalties = [0, 1, 100].map(|rows| regressor.default_l2(rows));
        assert_eq!(penalties, [1.0, 1.0, 0.01]);
    }
}
