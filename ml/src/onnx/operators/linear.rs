//! [`Linear`]: scores that are weighted sums of the features.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{Tensor, TractResult};

use super::attributes::floats;
use super::own::{Shaped, wrong};
use super::tensors::{doubles, transposed, width};

#[derive(Debug, Clone)]
pub(super) struct Linear {
    operator: String,
    features: usize,
    /// The scores of a row.
    pub(super) scores: usize,
    /// `[scores, features]`
    coefficients: Vec<f32>,
    /// `[features, scores]`
    weights: Vec<f64>,
    intercepts: Vec<f64>,
}

impl Linear {
    /// The sums of a node with this number of scores.
    ///
    /// # Errors
    /// If the node has another number of coefficients or intercepts.
    pub(super) fn of(node: &NodeProto, scores: usize) -> TractResult<Self> {
        let coefficients = floats(node, "coefficients")?;
        let intercepts = floats(node, "intercepts")?;
        let features = coefficients.len().checked_div(scores).unwrap_or(0);
        let fits = intercepts.is_empty() || intercepts.len() == scores;
        if features == 0 || features * scores != coefficients.len() || !fits {
            return Err(wrong(
                &node.op_type,
                format!(
                    "has {} coefficients and {} intercepts for {scores} scores",
                    coefficients.len(),
                    intercepts.len()
                ),
            ));
        }
        let mut intercepts: Vec<f64> = intercepts.into_iter().map(f64::from).collect();
        intercepts.resize(scores, 0.0);
        Ok(Self {
            operator: node.op_type.clone(),
            features,
            scores,
            weights: by_feature(&coefficients, features),
            coefficients,
            intercepts,
        })
    }

    /// # Errors
    /// If the input has no features, or more than there are coefficients for.
    pub(super) fn check(&self, input: &Shaped) -> TractResult<()> {
        match width(&self.operator, input)? {
            found if (1..=self.features).contains(&found) => Ok(()),
            found => Err(wrong(
                &self.operator,
                format!("takes {} features, and gets {found}", self.features),
            )),
        }
    }

    /// The sums for a matrix of fewer features than there are coefficients for, if it has fewer: the first coefficients count, as in
    /// onnxruntime, whose own example `logreg_iris.onnx` has four for each of two features.
    ///
    /// # Errors
    /// If the input is no matrix.
    pub(super) fn narrowed(&self, input: &Shaped) -> TractResult<Option<Self>> {
        let features = width(&self.operator, input)?;
        let coefficients = self.coefficients.get(..features * self.scores);
        let is_narrower = features < self.features;
        let narrowed = coefficients
            .filter(|_| is_narrower)
            .map(|coefficients| Self {
                features,
                coefficients: coefficients.to_vec(),
                weights: by_feature(coefficients, features),
                ..self.clone()
            });
        Ok(narrowed)
    }

    /// The scores of each row, row-major.
    pub(super) fn sums(&self, input: &Tensor) -> TractResult<Vec<f64>> {
        let values = doubles(input)?;
        let mut sums = Vec::with_capacity(values.len() / self.features * self.scores);
        for row in values.chunks_exact(self.features) {
            let start = sums.len();
            sums.extend_from_slice(&self.intercepts);
            let sums = &mut sums[start..];
            for (value, weights) in row.iter().zip(self.weights.chunks_exact(self.scores)) {
                for (sum, weight) in sums.iter_mut().zip(weights) {
                    *sum += value * weight;
                }
            }
        }
        Ok(sums)
    }
}

/// Coefficients `[scores, features]` as `[features, scores]`.
fn by_feature(coefficients: &[f32], features: usize) -> Vec<f64> {
    let weights = transposed(coefficients, features).into_iter();
    weights.map(f64::from).collect()
}
