//! Tests of classifiers that are tree ensembles. The numbers are those of onnxruntime 1.32.

use tract_onnx::pb::AttributeProto;
use tract_onnx::prelude::{DatumType, tensor1};

use super::super::super::examples::{close, integers, matrix, node, numbers, text, texts};
use super::super::super::own::Operator;
use super::*;

fn none(_: &str) -> TractResult<Option<Tensor>> {
    Ok(None)
}

/// Two trees of one comparison each, whose four leaves have one weight each.
fn attributes(classes: &[i64], weights: &[f32], more: &[AttributeProto]) -> Vec<AttributeProto> {
    let trees = [
        integers("nodes_treeids", &[0, 0, 0, 1, 1, 1]),
        integers("nodes_nodeids", &[0, 1, 2, 0, 1, 2]),
        integers("nodes_featureids", &[0, 0, 0, 1, 0, 0]),
        texts(
            "nodes_modes",
            &["BRANCH_LEQ", "LEAF", "LEAF", "BRANCH_LT", "LEAF", "LEAF"],
        ),
        numbers("nodes_values", &[0.5, 0.0, 0.0, -1.0, 0.0, 0.0]),
        integers("nodes_truenodeids", &[1, 0, 0, 1, 0, 0]),
        integers("nodes_falsenodeids", &[2, 0, 0, 2, 0, 0]),
        integers("class_treeids", &[0, 0, 1, 1]),
        integers("class_nodeids", &[1, 2, 1, 2]),
        integers("class_ids", classes),
        numbers("class_weights", weights),
    ];
    [&trees[..], more].concat()
}

fn outputs(attributes: &[AttributeProto]) -> Vec<Tensor> {
    let classifier = Classifier::read(&node(NAME, attributes), &none).unwrap();
    let input = matrix(&[[0.5, -1.0], [0.6, -1.5], [f32::NAN, 0.0], [-3.0, -2.0]]);
    let input_type = Shaped::new(DatumType::F32, [4.into(), 2.into()]);
    let prepared = classifier.prepared(&[input_type]).unwrap().unwrap();
    prepared.run(&[&input]).unwrap()
}

#[test]
fn one_sum_decides_between_two_classes() {
    let labels = integers("classlabels_int64s", &[3, 7]);
    let more = [
        labels.clone(),
        numbers("base_values", &[0.25]),
        text("post_transform", "LOGISTIC"),
    ];
    let found = outputs(&attributes(&[0; 4], &[1.0, -2.0, 0.5, -0.25], &more));
    assert_eq!(found[0], tensor1(&[7i64, 3, 3, 7]));
    close(
        &found[1],
        &[
            0.268_941_4,
            0.731_058_6,
            0.777_299_9,
            0.222_700_12,
            0.880_797,
            0.119_202_97,
            0.148_047_27,
            0.851_952_73,
        ],
    );
    let found = outputs(&attributes(
        &[0; 4],
        &[0.5, 0.1, 0.25, 0.125],
        std::slice::from_ref(&labels),
    ));
    assert_eq!(found[0], tensor1(&[7i64, 3, 3, 7]));
    close(
        &found[1],
        &[0.375, 0.625, 0.65, 0.35, 0.775, 0.225, 0.25, 0.75],
    );
    let found = outputs(&attributes(&[0; 4], &[0.5, -0.1, 0.25, -0.125], &[labels]));
    assert_eq!(found[0], tensor1(&[7i64, 7, 3, 7]));
    close(
        &found[1],
        &[-0.375, 0.375, -0.15, 0.15, 0.225, -0.225, -0.75, 0.75],
    );
}

#[test]
fn the_largest_sum_decides_between_many_classes() {
    let more = [
        texts("classlabels_strings", &["a", "b", "c"]),
        numbers("base_values", &[0.1, 0.2, 0.3]),
        text("post_transform", "SOFTMAX"),
    ];
    let found = outputs(&attributes(&[0, 1, 2, 0], &[1.0, 2.0, 0.5, 0.25], &more));
    assert_eq!(found[0], tensor1(&["a", "b", "b", "a"].map(str::to_owned)));
    close(
        &found[1],
        &[
            0.600_033_16,
            0.189_992_56,
            0.209_974_26,
            0.089_446_045,
            0.730_431_74,
            0.180_122_23,
            0.120_321_75,
            0.765_224_7,
            0.114_453_584,
            0.465_682_03,
            0.189_332_19,
            0.344_985_72,
        ],
    );
}

#[test]
fn labels_and_base_values_fit_the_classes() {
    let read = |more: &[AttributeProto]| {
        let attributes = attributes(&[0, 1, 2, 0], &[1.0; 4], more);
        let error = Classifier::read(&node(NAME, &attributes), &none).unwrap_err();
        error.to_string()
    };
    assert!(read(&[]).contains("has no class labels"));
    let two = integers("classlabels_int64s", &[0, 1]);
    assert!(read(&[two]).contains("a weight for target 2 of 2"));
    let three = integers("classlabels_int64s", &[0, 1, 2]);
    let error = read(&[three, numbers("base_values", &[0.5])]);
    assert!(error.contains("has 1 base values for 3 classes"), "{error}");
}
