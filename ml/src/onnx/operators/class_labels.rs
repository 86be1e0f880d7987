//! [`ClassLabels`]: the labels of a classifier, and its outputs: the label of each row, and its scores.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::{DatumType, TDim, Tensor, TractResult};

use super::attributes::{longs, texts};
use super::own::{Shaped, wrong};
use super::tensors::{integers, single, text_tensor};

/// The labels of classes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ClassLabels {
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

impl ClassLabels {
    /// The labels of a classifier, from the attribute of integers of this name or from that of texts.
    ///
    /// # Errors
    /// If the node has none.
    pub(super) fn of(node: &NodeProto, integers: &str) -> TractResult<Self> {
        let (integers, texts) = (longs(node, integers)?, texts(node, "classlabels_strings")?);
        match (integers.is_empty(), texts.is_empty()) {
            (false, true) => Ok(Self::Integers(integers)),
            (true, false) => Ok(Self::Texts(texts)),
            (true, true) => Err(wrong(&node.op_type, "has no class labels")),
            (false, false) => Err(wrong(
                &node.op_type,
                "has class labels that are integers and texts",
            )),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Integers(labels) => labels.len(),
            Self::Texts(labels) => labels.len(),
        }
    }

    /// The outputs of a classifier with so many scores of each row.
    pub(super) fn outputs(&self, rows: &TDim, scores: usize) -> Vec<Shaped> {
        let label = match self {
            Self::Integers(_) => DatumType::I64,
            Self::Texts(_) => DatumType::String,
        };
        vec![
            Shaped::new(label, [rows.clone()]),
            Shaped::new(DatumType::F32, [rows.clone(), scores.into()]),
        ]
    }

    /// The labels at the positions `classes`, one for each row, and the `scores` `[rows, width]`.
    pub(super) fn tensors(
        &self,
        classes: &[usize],
        scores: &[f32],
        width: usize,
    ) -> TractResult<Vec<Tensor>> {
        let scores = single(&[classes.len(), width], scores)?;
        Ok(vec![self.tensor(classes)?, scores])
    }

    /// The labels at these positions, `[rows]`.
    fn tensor(&self, positions: &[usize]) -> TractResult<Tensor> {
        match self {
            Self::Integers(labels) => {
                let labels: Vec<i64> = positions.iter().map(|&at| labels[at]).collect();
                integers(&[labels.len()], &labels)
            }
            Self::Texts(labels) => {
                let labels: Vec<String> = positions.iter().map(|&at| labels[at].clone()).collect();
                text_tensor(&[labels.len()], labels)
            }
        }
    }
}

/// The position of the largest score, of equal ones the first.
pub(super) fn largest(scores: &[f64]) -> usize {
    let mut best = 0;
    for (position, score) in scores.iter().enumerate() {
        if *score > scores[best] {
            best = position;
        }
    }
    best
}
