//! Attributes of a node.

use tract_onnx::model::ParsingContext;
use tract_onnx::pb::{NodeProto, TensorProto};
use tract_onnx::tract_hir::internal::{Tensor, TractResult};

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
pub(super) fn tensor(
    context: &ParsingContext,
    node: &NodeProto,
    name: &str,
) -> TractResult<Option<Tensor>> {
    let tensor = node.get_attr_opt::<&TensorProto>(name)?;
    tensor.map(|tensor| context.load_tensor(tensor)).transpose()
}
