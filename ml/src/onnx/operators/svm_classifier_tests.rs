//! Tests of SVM classifiers. The numbers are those of onnxruntime 1.32.

use tract_onnx::pb::AttributeProto;
use tract_onnx::prelude::tensor1;

use super::super::examples::{close, integers, matrix, node, numbers, text, texts};
use super::*;

fn outputs(attributes: &[AttributeProto]) -> Vec<Tensor> {
    let classifier = SvmClassifier::read(&node(NAME, attributes)).unwrap();
    let input = matrix(&[[1.0, 2.0], [0.0, -1.0], [-2.0, 0.5]]);
    classifier.run(&[&input]).unwrap()
}

/// Four vectors of three classes.
fn three_classes() -> Vec<AttributeProto> {
    vec![
        text("kernel_type", "RBF"),
        numbers("kernel_params", &[0.5, 0.1, 3.0]),
        numbers(
            "support_vectors",
            &[1.0, 0.0, -1.0, 2.0, 0.5, 0.5, -2.0, 1.0],
        ),
        integers("vectors_per_class", &[1, 2, 1]),
        numbers(
            "coefficients",
            &[1.0, -0.5, 0.75, -1.0, 0.5, 0.25, -0.5, -0.8],
        ),
        numbers("rho", &[0.05, -0.1, 0.02]),
        texts("classlabels_strings", &["a", "b", "c"]),
    ]
}

fn two_classes() -> Vec<AttributeProto> {
    let mut attributes = three_classes();
    attributes[3] = integers("vectors_per_class", &[1, 3]);
    attributes[4] = numbers("coefficients", &[1.0, -0.5, 0.75, -1.0]);
    attributes[5] = numbers("rho", &[0.05]);
    attributes[6] = integers("classlabels_ints", &[3, 7]);
    attributes
}

#[test]
fn three_classes_have_a_sum_for_each_pair() {
    let found = outputs(&three_classes());
    assert_eq!(found[0], tensor1(&["c", "a", "c"].map(str::to_owned)));
    close(
        &found[1],
        &[
            0.332_546_23,
            -0.039_070_31,
            -0.094_808_94,
            0.629_389_1,
            0.065_624_09,
            -0.136_220_43,
            -0.005_699_484,
            -0.977_595_1,
            -0.658_738_1,
        ],
    );
    let mut attributes = three_classes();
    attributes.push(text("post_transform", "SOFTMAX"));
    close(
        &outputs(&attributes)[1],
        &[
            0.427_012_74,
            0.294_475_94,
            0.278_511_32,
            0.491_614_8,
            0.279_759_53,
            0.228_625_66,
            0.526_640_9,
            0.199_262_56,
            0.274_096_5,
        ],
    );
}

#[test]
fn probabilities_are_coupled() {
    let mut attributes = three_classes();
    attributes.push(numbers("prob_a", &[-2.0, -1.5, -3.0]));
    attributes.push(numbers("prob_b", &[0.1, -0.2, 0.3]));
    let found = outputs(&attributes);
    assert_eq!(found[0], tensor1(&["c", "a", "c"].map(str::to_owned)));
    close(
        &found[1],
        &[
            0.411_388_87,
            0.219_603_69,
            0.369_007_53,
            0.485_695_75,
            0.161_599_52,
            0.352_704_82,
            0.172_568_37,
            0.102_487_825,
            0.724_943_76,
        ],
    );
}

#[test]
fn two_classes_have_two_scores() {
    let found = outputs(&two_classes());
    assert_eq!(found[0], tensor1(&[3i64, 3, 7]));
    let sums = [0.325_808_3, 0.611_073_43, -0.888_196_35];
    close(&found[1], &sums.map(|sum| [-sum, sum]).concat());
    let mut attributes = two_classes();
    attributes.push(text("post_transform", "LOGISTIC"));
    close(
        &outputs(&attributes)[1],
        &[
            0.419_260_92,
            0.580_739_1,
            0.351_814_4,
            0.648_185_6,
            0.708_517_85,
            0.291_482_15,
        ],
    );
    let mut attributes = two_classes();
    attributes.push(numbers("prob_a", &[-2.0]));
    attributes.push(numbers("prob_b", &[0.1]));
    close(
        &outputs(&attributes)[1],
        &[
            0.632_890_4,
            0.367_109_57,
            0.754_386_6,
            0.245_613_46,
            0.132_661,
            0.867_339,
        ],
    );
}

#[test]
fn attributes_fit_the_classes() {
    for (at, wrong) in [
        (3, integers("vectors_per_class", &[1, 2])),
        (3, integers("vectors_per_class", &[1, -2, 1])),
        (3, integers("vectors_per_class", &[0, 0, 0])),
        (4, numbers("coefficients", &[1.0])),
        (5, numbers("rho", &[1.0])),
        (6, texts("classlabels_strings", &["a", "b"])),
    ] {
        let mut attributes = three_classes();
        attributes[at] = wrong;
        assert!(
            SvmClassifier::read(&node(NAME, &attributes)).is_err(),
            "{at}"
        );
    }
    let mut attributes = three_classes();
    attributes.push(numbers("prob_a", &[-2.0]));
    assert!(SvmClassifier::read(&node(NAME, &attributes)).is_err());
}
