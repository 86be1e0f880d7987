//! `TreeEnsembleRegressor`: the sum, mean, minimum or maximum of what the leaves say.

use std::sync::Arc;

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::super::attributes::{tensor, text};
use super::super::own::{Built, Operator, Shaped, built, wrong};
use super::super::post_transform::PostTransform;
use super::super::tensors::{only, single, width};
use super::ensemble::{Aggregate, Compared, Ensemble};
use super::nodes::{Load, Trees};

const NAME: &str = "TreeEnsembleRegressor";

/// The regressor before the type of its features is known.
#[derive(Debug)]
pub(super) struct Regressor {
    trees: Trees,
    aggregate: Aggregate,
    targets: Targets,
}

/// The regressor for features of type `T`.
#[derive(Debug)]
struct Prepared<T> {
    ensemble: Ensemble<T>,
    targets: Targets,
}

/// What becomes of the sums.
#[derive(Debug, Clone)]
struct Targets {
    count: usize,
    features: usize,
    base_values: Vec<f64>,
    post_transform: PostTransform,
}

pub(in crate::onnx) fn build(context: &ParsingContext, node: &NodeProto) -> Built {
    let load = |name: &str| -> TractResult<Option<Tensor>> {
        let tensor = tensor(node, name)?;
        tensor.map(|tensor| context.load_tensor(tensor)).transpose()
    };
    built(Regressor::read(node, &load)?)
}

impl Regressor {
    pub(super) fn read(node: &NodeProto, load: Load<'_>) -> TractResult<Self> {
        let targets: usize = node.get_attr_opt("n_targets")?.unwrap_or(1);
        let trees = Trees::of(node, "target", targets, load)?;
        let aggregate = match text(node, "aggregate_function", "SUM")? {
            "SUM" => Aggregate::Sum,
            "AVERAGE" => Aggregate::Average,
            "MIN" => Aggregate::Min,
            "MAX" => Aggregate::Max,
            other => {
                return Err(wrong(
                    NAME,
                    format!("has the aggregate function \"{other}\""),
                ));
            }
        };
        let bases = trees.base_values.len();
        if bases != 0 && bases != targets {
            return Err(wrong(
                NAME,
                format!("has {bases} base values for {targets} targets"),
            ));
        }
        let post_transform = PostTransform::of(node)?;
        if targets == 1 && post_transform != PostTransform::None {
            return Err(wrong(
                NAME,
                format!(
                    "has the post_transform {post_transform:?} for one target, which is not supported"
                ),
            ));
        }
        let targets = Targets {
            count: targets,
            features: trees.features,
            base_values: trees.base_values.clone(),
            post_transform,
        };
        Ok(Self {
            trees,
            aggregate,
            targets,
        })
    }

    fn prepare<T: Compared>(&self) -> TractResult<Arc<dyn Operator>> {
        let ensemble = Ensemble::<T>::of(&self.trees, self.aggregate);
        Ok(Arc::new(Prepared {
            ensemble: ensemble.ok_or_else(|| wrong(NAME, "has too many nodes"))?,
            targets: self.targets.clone(),
        }))
    }
}

impl Targets {
    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        let input = only(NAME, inputs)?;
        let (found, needed) = (width(NAME, input)?, self.features.max(1));
        match found >= needed {
            true => {
                let shape = [input.shape[0].clone(), self.count.into()];
                Ok(vec![Shaped::new(DatumType::F32, shape)])
            }
            false => Err(wrong(
                NAME,
                format!("takes {needed} features, and gets {found}"),
            )),
        }
    }
}

impl Operator for Regressor {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        self.targets.outputs(inputs)
    }

    fn prepared(&self, inputs: &[Shaped]) -> TractResult<Option<Arc<dyn Operator>>> {
        let input = only(NAME, inputs)?;
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

impl<T: Compared> Operator for Prepared<T> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn outputs(&self, inputs: &[Shaped]) -> TractResult<Vec<Shaped>> {
        self.targets.outputs(inputs)
    }

    fn run(&self, inputs: &[&Tensor]) -> TractResult<Vec<Tensor>> {
        let input = only(NAME, inputs)?;
        let targets = &self.targets;
        let width = input.shape().get(1).copied().unwrap_or(0);
        if width < targets.features.max(1) {
            return Err(wrong(NAME, format!("gets {width} features")));
        }
        let mut scores = self.ensemble.scores(&T::values(input)?, width);
        for row in scores.chunks_exact_mut(targets.count) {
            for (score, base) in row.iter_mut().zip(&targets.base_values) {
                *score += base;
            }
            targets.post_transform.apply(row);
        }
        let scores: Vec<f32> = scores.iter().map(|score| *score as f32).collect();
        let shape = [scores.len() / targets.count, targets.count];
        Ok(vec![single(&shape, &scores)?])
    }
}

#[cfg(test)]
#[path = "regressor_tests.rs"]
mod tests;
