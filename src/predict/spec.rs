//! [`PredictSpec`]: what an operator computes, as decided at planning.

use std::sync::Arc;

use vatic_ml::model::Wanted;

use super::coalesce::BatchSize;
use super::node::Appended;
use super::options::PredictOptions;
use crate::model::ResolvedModel;

/// What to compute.
#[derive(Debug, Clone)]
pub(super) struct PredictSpec {
    pub(super) model: Arc<ResolvedModel>,
    /// The input column of each feature.
    pub(super) features: Vec<usize>,
    pub(super) appended: Appended,
    pub(super) options: PredictOptions,
    /// Whether equal rows are computed once.
    pub(super) computes_once: bool,
    /// The size of one call of the model.
    pub(super) size: BatchSize,
    pub(super) description: String,
}

impl PredictSpec {
    /// The outputs of the call, with its arguments.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            outputs: self.appended.outputs.clone(),
            threshold: self.options.threshold(),
            top_k: self.options.top_k,
            imputes: self
                .options
                .imputes
                .unwrap_or_else(|| self.model.manifest.imputes()),
            prompt: self.options.prompt.clone(),
            generation: self.options.generation.clone(),
            ..Wanted::default()
        }
    }
}
