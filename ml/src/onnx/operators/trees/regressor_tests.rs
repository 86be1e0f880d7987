//! Tests of tree ensembles. The numbers are those of onnxruntime 1.32.

use tract_onnx::pb::AttributeProto;
use tract_onnx::prelude::tensor2;

use super::super::super::examples::{close, integer, integers, matrix, node, numbers, text, texts};
use super::super::super::own::Operator;
use super::*;

const NAN: f32 = f32::NAN;
const INF: f32 = f32::INFINITY;

fn none(_: &str) -> TractResult<Option<Tensor>> {
    Ok(None)
}

fn read(attributes: &[AttributeProto]) -> TractResult<Regressor> {
    Regressor::read(&node(NAME, attributes), &none)
}

/// Four trees with every comparison, some of which send NaN to the true side; leaves have weights for one target, both or none.
fn attributes() -> Vec<AttributeProto> {
    let modes = [
        "LEAF", "GT", "LEQ", "NEQ", "LEAF", "LEAF", "LEAF", "NEQ", "GTE", "LEAF", "LEAF", "GT",
        "LEAF", "LEAF", "GT", "LEAF", "GTE", "LEQ", "LEAF", "LEAF", "LEAF", "GTE", "LEQ", "LEAF",
        "LT", "LEAF", "LEAF", "EQ", "EQ", "LEAF", "LEAF", "EQ", "LEAF", "LEAF",
    ];
    let modes = modes.map(|mode| match mode {
        "LEAF" => mode.to_owned(),
        _ => format!("BRANCH_{mode}"),
    });
    vec![
        integers(
            "nodes_treeids",
            &[
                0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3,
                3, 3, 3, 3, 3, 3,
            ],
        ),
        integers(
            "nodes_nodeids",
            &[
                0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5,
                6, 7, 8, 9, 10, 11, 12,
            ],
        ),
        integers(
            "nodes_featureids",
            &[
                0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 2, 0, 0, 2, 0, 0, 0,
                0, 0, 0, 1, 0, 0,
            ],
        ),
        texts("nodes_modes", &modes.each_ref().map(String::as_str)),
        numbers(
            "nodes_values",
            &[
                0.0, -1.0, -1.5, -0.5, 0.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, -0.5, 0.0, 0.0, 1.5,
                0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 1.5, -1.5, 0.0, 0.0, 0.0, 0.0, 0.0, -1.5, 0.0, 0.0,
                1.5, 0.0, 0.0,
            ],
        ),
        integers(
            "nodes_truenodeids",
            &[
                0, 1, 2, 3, 0, 0, 0, 7, 8, 0, 0, 11, 0, 0, 1, 0, 3, 4, 0, 0, 0, 1, 2, 0, 4, 0, 0,
                7, 8, 0, 0, 11, 0, 0,
            ],
        ),
        integers(
            "nodes_falsenodeids",
            &[
                0, 6, 5, 4, 0, 0, 0, 10, 9, 0, 0, 12, 0, 0, 2, 0, 6, 5, 0, 0, 0, 6, 3, 0, 5, 0, 0,
                10, 9, 0, 0, 12, 0, 0,
            ],
        ),
        integers(
            "nodes_missing_value_tracks_true",
            &[
                0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0,
                0, 0, 0, 0, 0, 0,
            ],
        ),
        integers(
            "target_treeids",
            &[
                0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
                3, 3,
            ],
        ),
        integers(
            "target_nodeids",
            &[
                0, 0, 3, 4, 4, 5, 8, 8, 9, 9, 11, 12, 1, 4, 4, 5, 6, 2, 2, 4, 4, 5, 5, 8, 8, 9, 9,
                11, 12, 12,
            ],
        ),
        integers(
            "target_ids",
            &[
                0, 1, 0, 0, 1, 1, 0, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 1,
                0, 1,
            ],
        ),
        numbers(
            "target_weights",
            &[
                0.25, -0.25, -0.5, -0.125, -0.125, -0.25, -0.5, 0.5, 0.0, -1.375, 0.375, 0.0, 0.25,
                -0.875, -0.5, -0.5, -0.5, 0.75, -0.125, 0.625, -0.375, -0.375, -0.75, 0.625, 0.125,
                0.125, 0.375, 1.25, 0.75, -0.125,
            ],
        ),
        integer("n_targets", 2),
    ]
}

/// Eleven rows, so that some go down a tree side by side and some alone.
const ROWS: [[f32; 3]; 11] = [
    [NAN, 0.5, -1.0],
    [0.5, NAN, 1.0],
    [-0.5, 1.0, NAN],
    [INF, -INF, 0.0],
    [0.0, 0.0, 0.0],
    [-1.5, 1.5, 0.5],
    [1.0, -1.0, -0.5],
    [-0.0, 0.5, 1.5],
    [2.0, -2.0, 2.0],
    [0.5, 0.5, 0.5],
    [-1.0, -1.0, -1.0],
];

const SUMS: [f32; 22] = [
    0.125, -1.125, 0.75, 0.125, 0.0, -1.375, 0.5, -0.375, -0.5, -0.625, -1.125, 0.5, 0.5, -0.375,
    -1.0, -1.75, -0.625, -1.0, 0.125, -1.125, 0.5, -0.375,
];

fn outputs(attributes: &[AttributeProto], input: &Tensor) -> Tensor {
    let input_type = Shaped::new(input.datum_type(), [11.into(), 3.into()]);
    let regressor = read(attributes).unwrap();
    let prepared = regressor.prepared(&[input_type]).unwrap().unwrap();
    prepared.run(&[input]).unwrap().remove(0)
}

#[test]
fn every_comparison_is_that_of_onnxruntime() {
    let attributes = attributes();
    close(&outputs(&attributes, &matrix(&ROWS)), &SUMS);
    let doubles = ROWS.map(|row| row.map(f64::from));
    close(&outputs(&attributes, &tensor2(&doubles)), &SUMS);
    // The order of nodes in the attributes does not matter.
    let reversed: Vec<AttributeProto> = attributes
        .into_iter()
        .map(|mut attribute| {
            if attribute.name.starts_with("nodes_") {
                attribute.ints.reverse();
                attribute.floats.reverse();
                attribute.strings.reverse();
            }
            attribute
        })
        .collect();
    close(&outputs(&reversed, &matrix(&ROWS)), &SUMS);
}

#[test]
fn weights_are_aggregated_as_in_onnxruntime() {
    for (function, expected) in [
        (
            "AVERAGE",
            [
                0.531_25, -0.531_25, 0.687_5, -0.218_75, 0.5, -0.593_75, 0.625, -0.343_75, 0.375,
                -0.406_25, 0.218_75, -0.125, 0.625, -0.343_75, 0.25, -0.687_5, 0.343_75, -0.5,
                0.531_25, -0.531_25, 0.625, -0.343_75,
            ],
        ),
        (
            "MIN",
            [
                -0.375, -0.75, 0.0, -0.5, -0.375, -0.75, 0.0, -0.75, -0.375, -0.75, -0.375, -0.75,
                0.0, -0.75, -0.375, -1.0, 0.0, -1.0, -0.375, -0.75, 0.0, -0.75,
            ],
        ),
        (
            "MAX",
            [
                1.25, -0.375, 1.25, 0.25, 1.125, -0.5, 1.25, 0.25, 0.75, 0.125, 0.75, 1.0, 1.25,
                0.25, 0.75, -0.5, 0.75, 0.25, 1.25, -0.375, 1.25, 0.25,
            ],
        ),
    ] {
        let mut attributes = attributes();
        attributes.push(text("aggregate_function", function));
        attributes.push(numbers("base_values", &[0.5, -0.25]));
        close(&outputs(&attributes, &matrix(&ROWS)), &expected);
    }
}

#[test]
fn thresholds_of_double_precision_are_kept() {
    let double = 0.1 + 1e-12;
    let load = |name: &str| -> TractResult<Option<Tensor>> {
        Ok(match name {
            "nodes_values_as_tensor" => Some(tract_onnx::prelude::tensor1(&[double, 0.0, 0.0])),
            _ => None,
        })
    };
    let attributes = [
        integers("nodes_treeids", &[0, 0, 0]),
        integers("nodes_nodeids", &[0, 1, 2]),
        integers("nodes_featureids", &[0, 0, 0]),
        texts("nodes_modes", &["BRANCH_LT", "LEAF", "LEAF"]),
        integers("nodes_truenodeids", &[1, 0, 0]),
        integers("nodes_falsenodeids", &[2, 0, 0]),
        integers("target_treeids", &[0, 0]),
        integers("target_nodeids", &[1, 2]),
        integers("target_ids", &[0, 0]),
        numbers("target_weights", &[1.0, 2.0]),
    ];
    let regressor = Regressor::read(&node(NAME, &attributes), &load).unwrap();
    let input = tensor2(&[[0.1], [double], [0.2]]);
    let outputs = regressor.run(&[&input]).unwrap();
    close(&outputs[0], &[1.0, 2.0, 2.0]);
}

#[test]
fn what_is_no_tree_is_refused() {
    let edited = |name: &str, edit: &dyn Fn(&mut AttributeProto)| {
        let mut attributes = attributes();
        let attribute = attributes
            .iter_mut()
            .find(|attribute| attribute.name == name);
        edit(attribute.unwrap());
        read(&attributes).unwrap_err().to_string()
    };
    let set =
        |at: usize, value: i64| move |attribute: &mut AttributeProto| attribute.ints[at] = value;
    let cases = [
        // A node that leads to itself.
        (
            edited("nodes_truenodeids", &set(1, 0)),
            "no root leads to one of the nodes",
        ),
        (
            edited("nodes_truenodeids", &set(1, 99)),
            "is missing, or has two parents",
        ),
        (
            edited("nodes_falsenodeids", &set(2, 2)),
            "is missing, or has two parents",
        ),
        (
            edited("nodes_nodeids", &set(2, 0)),
            "node 0 of tree 1 twice",
        ),
        (
            edited("nodes_featureids", &set(1, -1)),
            "compares no feature",
        ),
        (
            edited("target_nodeids", &set(0, 7)),
            "weight for node 7 of tree 0",
        ),
        (
            edited("target_ids", &set(0, 2)),
            "a weight for target 2 of 2",
        ),
        (
            edited("nodes_values", &|values| values.floats[1] = NAN),
            "compares with NaN",
        ),
        (
            edited("nodes_values", &|values| values.floats.truncate(3)),
            "has 3 nodes",
        ),
        (
            edited("target_weights", &|values| values.floats.clear()),
            "has no weights",
        ),
        (
            edited("nodes_modes", &|modes| {
                modes.strings[1] = b"BRANCH_MEMBER".to_vec()
            }),
            "the mode \"BRANCH_MEMBER\"",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error}");
    }
    let regressor = read(&attributes()).unwrap();
    let input = Shaped::new(DatumType::F32, [1.into(), 2.into()]);
    let error = regressor.outputs(&[input]).unwrap_err().to_string();
    assert_eq!(error, "TreeEnsembleRegressor takes 3 features, and gets 2");
    let mut attributes = attributes();
    attributes.push(numbers("base_values", &[0.5]));
    assert!(read(&attributes).is_err());
}
