//! Tests of the nodes of layers, with what `examples` has to write and read files.

use std::collections::{HashMap, HashSet};

use arrow::datatypes::DataType;

use super::examples::{
    array, feature, graph, integers, layers, number, numbers, operators, tensor, written,
};
use crate::graph::messages::TensorProto;
use crate::models::LAYERS;

fn singles(tensor: &TensorProto) -> Vec<f32> {
    let values = tensor.raw_data.as_chunks().0.iter();
    values.map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Layers with the shape of their input; together they are all layers but `inputs`, which `BESIDE` has.
const NETWORKS: &[(&[usize], &[&str])] = &[
    (
        &[2, 6, 6],
        &[
            "conv2d(4, 3, padding=same)",
            "relu",
            "residual(group_norm(2), gelu, conv2d(4, 3, padding=same, groups=2))",
            "batch_norm",
            "silu",
            "max_pool2d(2)",
            "avg_pool2d(2, stride=1, padding=1)",
            "leaky_relu",
            "flatten",
            "linear(classes)",
        ],
    ),
    (
        &[2, 12],
        &[
            "conv1d(4, 3, stride=2, padding=1)",
            "tanh",
            "max_pool1d(2, stride=1)",
            "avg_pool1d(2)",
            "transpose",
            "lstm(3, sequences=true, bidirectional=true)",
            "layer_norm",
            "gru(4, reverse=true)",
            "sigmoid",
            "dropout(0.5)",
            "linear(classes)",
        ],
    ),
    (&[2, 12], &["conv1d(classes, 1)", "global_max_pool"]),
    (
        &[2, 3, 3],
        &["reshape(2, 9)", "conv1d(classes, 1)", "global_avg_pool"],
    ),
    (&[5], &["embedding(7, 3)", "flatten", "linear(classes)"]),
];
const BESIDE: &[&str] = &["linear(4)", "inputs(2)", "relu", "linear(classes)"];

#[test]
fn every_layer_is_written() {
    let labels = || (DataType::Int64, integers(&[1, 2, 3]));
    for (input_shape, texts) in NETWORKS {
        let encoder = array("x", DataType::Float32, input_shape.iter().product());
        let file = written(&[encoder], labels(), layers(texts, input_shape)).unwrap();
        graph(&file);
    }
    let around = |before: bool| {
        let array = array("x", DataType::Float32, 6);
        let others = [number("z"), feature("c", DataType::Utf8, 0, &[&["a", "b"]])];
        match before {
            true => [&[array][..], &others].concat(),
            false => [&others[..], &[array]].concat(),
        }
    };
    for before in [true, false] {
        let file = written(&around(before), labels(), layers(BESIDE, &[])).unwrap();
        assert!(operators(graph(&file)).contains(&"Slice"));
    }
    let all = NETWORKS.iter().flat_map(|(_, texts)| texts.iter());
    let all: Vec<&str> = all.chain(BESIDE).copied().collect();
    let all = all.join(" ");
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    let names: HashSet<&str> = all.split(|letter: char| !is_part(letter)).collect();
    for layer in LAYERS {
        assert!(
            names.contains(layer.name()),
            "{} is not written",
            layer.name()
        );
    }
}

#[test]
fn gates_are_in_the_order_of_onnx() {
    // PyTorch's order is input, forget, candidate, output, and reset, update, candidate.
    for (layer, expected) in [
        ("lstm(1)", &[0.0, 3.0, 1.0, 2.0][..]),
        ("gru(1)", &[1.0, 0.0, 2.0][..]),
    ] {
        let encoder = array("x", DataType::Float32, 5);
        let options = layers(&[layer, "linear(1)"], &[5, 1]);
        let file = written(&[encoder], (DataType::Float64, numbers()), options).unwrap();
        let graph = graph(&file);
        let weight = tensor(graph, "weight_ih");
        assert_eq!(singles(weight), expected);
        assert_eq!(weight.dims, [1, expected.len() as i64, 1]);
        let name = layer.split('(').next().unwrap().to_uppercase();
        let node = graph.node.iter().find(|node| node.op_type == name).unwrap();
        let attributes = node.attribute.iter();
        let attributes: HashMap<&str, Option<i64>> = attributes
            .map(|attribute| (attribute.name.as_str(), attribute.i))
            .collect();
        assert_eq!(attributes["hidden_size"], Some(1));
        let before_reset = attributes.get("linear_before_reset");
        assert_eq!(
            before_reset.copied().flatten(),
            (name == "GRU").then_some(1)
        );
    }
}

#[test]
fn integers_that_are_ids_reach_the_embedding_as_they_are() {
    let encoder = array("tokens", DataType::Int32, 5);
    let options = layers(&["embedding(7, 3)", "flatten", "linear(1)"], &[]);
    let file = written(&[encoder], (DataType::Float64, numbers()), options).unwrap();
    let found = operators(graph(&file));
    assert!(
        found.contains(&"Floor") && found.contains(&"Gather"),
        "{found:?}"
    );
    assert!(!found.contains(&"Sub"), "{found:?}");
}
