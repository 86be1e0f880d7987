//! [`PredictOptions`]: the arguments of a call that a plan carries.

use serde::{Deserialize, Serialize};
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::ComputeType;
use vatic_ml::model::generation::Generation;

use crate::config::Dedupe;

/// The arguments of a call.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PredictOptions {
    pub(crate) batch_size: Option<usize>,
    /// The tokens of a batch, for a model of texts.
    pub(crate) max_batch_tokens: Option<usize>,
    pub(crate) top_k: Option<usize>,
    /// The bits of the threshold, because `f64` has neither `Eq` nor `Hash`.
    pub(super) threshold: u64,
    pub(crate) null_on_error: bool,
    pub(crate) error_on_null: bool,
    /// Whether a row with a NULL is predicted, from what stands for the NULL; what the training did if `None`.
    pub(crate) imputes: Option<bool>,
    pub(crate) dedupe: Option<Dedupe>,
    /// Whether the end of a text that is longer than the model takes is left out; otherwise such a text is an error of its row.
    pub(crate) truncate: bool,
    /// The name of one of the model's prompts.
    pub(crate) prompt: Option<String>,
    /// How a model that writes text does so.
    pub(crate) generation: Generation,
    pub(crate) device: DeviceName,
    /// The argument `dtype`; the type of the training if `None`.
    pub(crate) compute: Option<ComputeType>,
}

impl Default for PredictOptions {
    fn default() -> Self {
        let threshold = 0.5f64.to_bits();
        Self {
            batch_size: None,
            max_batch_tokens: None,
            top_k: None,
            threshold,
            null_on_error: false,
            error_on_null: false,
            imputes: None,
            dedupe: None,
            truncate: true,
            prompt: None,
            generation: Generation::default(),
            device: DeviceName::default(),
            compute: None,
        }
    }
}

impl PredictOptions {
    pub(crate) fn threshold(&self) -> f64 {
        f64::from_bits(self.threshold)
    }

    pub(super) fn set_threshold(&mut self, threshold: f64) {
        self.threshold = threshold.to_bits();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_travel_as_they_are() {
        let mut options = PredictOptions {
            device: DeviceName::Cuda(1),
            compute: Some(ComputeType::Tf32),
            dedupe: Some(Dedupe::Off),
            truncate: false,
            prompt: Some("query".into()),
            generation: Generation {
                temperature: 0.5,
                stop: vec!["x".into()],
                ..Generation::default()
            },
            ..PredictOptions::default()
        };
        options.set_threshold(0.25);
        let text = serde_json::to_string(&options).unwrap();
        assert_eq!(
            serde_json::from_str::<PredictOptions>(&text).unwrap(),
            options
        );
    }
}
