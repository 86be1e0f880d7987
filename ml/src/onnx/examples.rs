//! Graphs for tests.

use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};
use tract_onnx::pb::type_proto::{Tensor, Value};
use tract_onnx::pb::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorShapeProto, TypeProto,
    ValueInfoProto, tensor_proto,
};

pub(super) const FLOAT: i32 = tensor_proto::DataType::Float as i32;

fn dim(size: &str) -> Dimension {
    Dimension {
        value: match (size, size.parse()) {
            ("?", _) => None,
            (_, Ok(size)) => Some(dimension::Value::DimValue(size)),
            (name, Err(_)) => Some(dimension::Value::DimParam(name.into())),
        },
        ..Dimension::default()
    }
}

/// An input; a dimension is its size, its name or `?`.
pub(super) fn input(name: &str, elem_type: i32, dims: &[&str]) -> ValueInfoProto {
    let shape = TensorShapeProto {
        dim: dims.iter().map(|size| dim(size)).collect(),
    };
    let tensor = Tensor {
        elem_type,
        shape: Some(shape),
    };
    ValueInfoProto {
        name: name.into(),
        r#type: Some(TypeProto {
            value: Some(Value::TensorType(tensor)),
            ..TypeProto::default()
        }),
        ..ValueInfoProto::default()
    }
}

fn output(name: &str) -> ValueInfoProto {
    ValueInfoProto {
        name: name.into(),
        ..ValueInfoProto::default()
    }
}

pub(super) fn node(operator: &str, domain: &str, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    NodeProto {
        op_type: operator.into(),
        domain: domain.into(),
        input: names(inputs),
        output: names(outputs),
        ..NodeProto::default()
    }
}

pub(super) fn model(
    inputs: Vec<ValueInfoProto>,
    nodes: Vec<NodeProto>,
    outputs: &[&str],
) -> ModelProto {
    let opset = |domain: &str, version| OperatorSetIdProto {
        domain: domain.into(),
        version,
    };
    ModelProto {
        opset_import: vec![opset("", 15), opset("ai.onnx.ml", 3)],
        graph: Some(GraphProto {
            input: inputs,
            node: nodes,
            output: outputs.iter().map(|name| output(name)).collect(),
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}
