//! Attributes of a node, and the class labels that classifiers have in them.

use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::{DatumType, Tensor, TractResult};

use super::own::wrong;
use super::tensors::{integers, text_tensor};

/// The numbers of an attribute; none if the node does not have it.
pub(super) fn floats(node: &NodeProto, name: &str) -> TractResult<Vec<f32>> {
    Ok(node.get_attr_opt_vec(name)?.unwrap_or_default())
}

/// The integers of an attribute; none if the node does not have it.
pub(super) fn longs(node: &NodeProto, name: &str) -> TractResult<Vec<i64>> {
    Ok(node.get_attr_opt_vec(name)?.unwrap_or_default())
}

/// The texts of an attribute; none if the node does not have it.
pub(super) fn texts(node: &NodeProto, name: &str) -> TractResult<Vec<String>> {
    Ok(node.get_attr_opt_vec(name)?.unwrap_or_default())
}

/// The text of an attribute.
pub(super) fn text<'a>(
    node: &'a NodeProto,
    name: &str,
    default: &'static str,
) -> TractResult<&'a str> {
    Ok(node.get_attr_opt::<&str>(name)?.unwrap_or(default))
}

/// The tensor of an attribute, if the node has it.
pub(super) fn tensor<'a>(node: &'a NodeProto, name: &str) -> TractResult<Option<&'a TensorProto>> {
    node.get_attr_opt::<&TensorProto>(name)
}

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

    pub(super) fn datum_type(&self) -> DatumType {
        match self {
            Self::Integers(_) => DatumType::I64,
            Self::Texts(_) => DatumType::String,
        }
    }

    /// The labels at these positions, `[rows]`.
    pub(super) fn tensor(&self, positions: &[usize]) -> TractResult<Tensor> {
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
