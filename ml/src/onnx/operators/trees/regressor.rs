//! `TreeEnsembleRegressor`: the sum, mean, minimum or maximum of what the leaves say.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, TDim, Tensor, TractResult};

use super::super::attributes::{tensor, text};
use super::super::own::{Built, Shaped, built, wrong};
use super::super::post_transform::PostTransform;
use super::super::tensors::single;
use super::ensemble::Aggregate;
use super::nodes::{Load, Trees};
use super::operator::{Outcome, TreeOperator};

const NAME: &str = "TreeEnsembleRegressor";

type Regressor = TreeOperator<Targets>;

/// What becomes of the sums.
#[derive(Debug)]
struct Targets {
    count: usize,
    base_values: Vec<f64>,
    post_transform: PostTransform,
}

pub(in crate::onnx) fn build(context: &ParsingContext, node: &NodeProto) -> Built {
    let load = |name: &str| tensor(context, node, name);
    built(Regressor::read(node, &load)?)
}

impl Regressor {
    fn read(node: &NodeProto, load: Load<'_>) -> TractResult<Self> {
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
            base_values: trees.base_values.clone(),
            post_transform,
        };
        Ok(Self::new(trees, aggregate, targets))
    }
}

impl Outcome for Targets {
    const NAME: &'static str = NAME;
    const OUTPUTS: usize = 1;

    fn outputs(&self, rows: &TDim) -> Vec<Shaped> {
        let shape = [rows.clone(), self.count.into()];
        vec![Shaped::new(DatumType::F32, shape)]
    }

    fn tensors(&self, mut scores: Vec<f64>) -> TractResult<Vec<Tensor>> {
        for row in scores.chunks_exact_mut(self.count) {
            for (score, base) in row.iter_mut().zip(&self.base_values) {
                *score += base;
            }
            self.post_transform.apply(row);
        }
        let scores: Vec<f32> = scores.iter().map(|score| *score as f32).collect();
        let shape = [scores.len() / self.count, self.count];
        Ok(vec![single(&shape, &scores)?])
    }
}

#[cfg(test)]
#[path = "regressor_tests.rs"]
mod tests;
