//! Nodes and tensors for the tests of operators.

use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto};
use tract_onnx::prelude::{Tensor, tensor2};

/// A node with these attributes.
pub(super) fn node(operator: &str, attributes: &[AttributeProto]) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        domain: "ai.onnx.ml".into(),
        attribute: attributes.to_vec(),
        ..NodeProto::default()
    }
}

fn attribute(name: &str, kind: AttributeType) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: kind as i32,
        ..AttributeProto::default()
    }
}

pub(super) fn numbers(name: &str, floats: &[f32]) -> AttributeProto {
    AttributeProto {
        floats: floats.to_vec(),
        ..attribute(name, AttributeType::Floats)
    }
}

pub(super) fn number(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        f,
        ..attribute(name, AttributeType::Float)
    }
}

pub(super) fn integers(name: &str, ints: &[i64]) -> AttributeProto {
    AttributeProto {
        ints: ints.to_vec(),
        ..attribute(name, AttributeType::Ints)
    }
}

pub(super) fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        i,
        ..attribute(name, AttributeType::Int)
    }
}

pub(super) fn texts(name: &str, strings: &[&str]) -> AttributeProto {
    AttributeProto {
        strings: strings
            .iter()
            .map(|text| text.as_bytes().to_vec())
            .collect(),
        ..attribute(name, AttributeType::Strings)
    }
}

pub(super) fn text(name: &str, s: &str) -> AttributeProto {
    AttributeProto {
        s: s.as_bytes().to_vec(),
        ..attribute(name, AttributeType::String)
    }
}

/// A tensor `[rows, features]`.
pub(super) fn matrix<const FEATURES: usize>(rows: &[[f32; FEATURES]]) -> Tensor {
    tensor2(rows)
}

/// Whether the numbers of a tensor differ from the expected ones by no more than rounding.
pub(super) fn close(tensor: &Tensor, expected: &[f32]) {
    let found = tensor.try_as_plain_ram().unwrap();
    let found = found.as_slice::<f32>().unwrap();
    assert_eq!(found.len(), expected.len(), "{found:?}");
    for (found, expected) in found.iter().zip(expected) {
        let is_close = (found - expected).abs() <= 1e-5 * (1.0 + expected.abs());
        let is_same = found == expected || (found.is_nan() && expected.is_nan());
        assert!(is_close || is_same, "{found} instead of {expected}");
    }
}
