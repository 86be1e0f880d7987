//! [`TreeOperator`]: trees as an operator of a graph, which walks in the precision of its features. What becomes of the scores of
//! the trees is an [`Outcome`].

use std::fmt::Debug;
use std::sync::Arc;

use tract_onnx::tract_hir::internal::{DatumType, TDim, Tensor, TractResult};

use super::super::own::{Operator, Shaped, wrong};
use super::super::tensors::{only, width};
use super::ensemble::{Aggregate, Compared, Ensemble};
use super::nodes::Trees;

/// What an operator makes of the scores of its trees.
pub(super) trait Outcome: Debug + Send + Sync + 'static {
    /// The name of the operator.
    const NAME: &'static str;
    /// The number of its outputs.
    const OUTPUTS: usize;

    /// The types and shapes of the outputs.
    fn outputs(&self, rows: &TDim) -> Vec<Shaped>;

    /// The outputs for the scores `[rows, targets]`.
    fn tensors(&self, scores: Vec<f64>) -> TractResult<Vec<Tensor>>;
}

/// The operator before the type of its features is known.
#[derive(Debug)]
pub(super) struct TreeOperator<O> {
    trees: Trees,
    aggregate: Aggregate,
    outcome: Arc<O>,
}

/// The operator for features of type `T`.
#[derive(Debug)]
struct Prepared<T, O> {
    ensemble: Ensemble<T>,
    features: usize,
    outcome: Arc<O>,
}

impl<O: Outcome> TreeOperator<O> {
    pub(super) fn new(trees: Trees, aggregate: Aggregate, outcome: O) -> Self {
        Self {
            trees,
            aggregate,
            outcome: Arc::new(outcome),
        }
    }

    fn prepare<T: Compared>(&self) -> TractResult<Arc<dyn Operator>> {
        let ensemble = Ensemble::<T>::of(&self.trees, self.aggregate);
        Ok(Arc::new(Prepared {
            ensemble: ensemble.ok_or_else(|| wrong(O::NAME, "has too many nodes"))?,
            features: self.trees.features,
            outcome: Arc::clone(&self.outcome),
        }))
    }
}

/// The outputs of trees that compare so many features.
fn outputs<O: Outcome>(
    outcome: &O,
    features: usize,
    inputs: &[Shaped],
) -> TractResult<Vec<Shaped>> {
    let input = only(O::NAME, inputs)?;
    let (found, needed) = (width(O::NAME, input)?, features.max(1));
    match found >= needed {
        true => Ok(outcome.outputs(&input.shape[0])),
        false => Err(wrong(
            O::NAME,
            format!("takes {needed} features, and gets {found}"),
        )),
    }
}

impl<O: Outcome> Operator for TreeOperator<O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn output_count(&self) -> usize {
        O::OUTPUTS
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        outputs(&*self.outcome, self.trees.features, inputs)
    }

    fn prepared(&self, inputs: &[Shaped]) -> TractResult<Option<Arc<dyn Operator>>> {
        let input = only(O::NAME, inputs)?;
        let is_double = self.trees.is_double || input.datum_type == DatumType::F64;
        Ok(Some(match is_double {
            true => self.prepare::<f64>()?,
            false => self.prepare::<f32>()?,
        }))
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        self.prepare::<f64>()?.run(inputs)
    }
}

impl<T: Compared, O: Outcome> Operator for Prepared<T, O> {
    fn name(&self) -> &'static str {
        O::NAME
    }

    fn output_count(&self) -> usize {
        O::OUTPUTS
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        outputs(&*self.outcome, self.features, inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(O::NAME, inputs)?;
        let width = input.shape().get(1).copied().unwrap_or(0);
        if width < self.features.max(1) {
            return Err(wrong(O::NAME, format!("gets {width} features")));
        }
        let scores = self.ensemble.scores(&T::values(input)?, width);
        self.outcome.tensors(scores)
    }
}
