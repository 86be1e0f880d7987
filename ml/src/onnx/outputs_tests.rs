//! Tests of tensors as columns.

use arrow::array::AsArray;
use arrow::datatypes::{Float32Type, Int64Type};
use tract_onnx::prelude::TValue;

use super::super::computed::Computed;
use super::*;
use crate::data::labels::ClassValue;

/// The tensors of two rows with outputs and one that failed.
fn computed(outputs: &[Output], tensors: Vec<tract_onnx::prelude::Tensor>) -> Vec<Tensor> {
    let tensors: Vec<TValue> = tensors.into_iter().map(TValue::from).collect();
    let mut computed = Computed::new(outputs);
    computed.add(&tensors, 2, 2).unwrap();
    computed.fail("no good".into());
    computed.finish(None, 3).unwrap()
}

fn wanted(outputs: &[usize]) -> Wanted {
    Wanted {
        outputs: outputs.to_vec(),
        scores: true,
        ..Wanted::default()
    }
}

/// A classifier of two classes whose tensor has them in descending order.
fn classifier() -> (Vec<Output>, Vec<Tensor>) {
    use tract_onnx::prelude::{tensor1, tensor2};
    let classes = vec![ClassValue::Integer(3), ClassValue::Integer(7)];
    let outputs = vec![
        Output {
            element: Element::I64,
            width: Width::Of(1),
            role: Role::Label(classes.clone()),
        },
        Output {
            element: Element::F32,
            width: Width::Of(2),
            role: Role::Probabilities(classes, vec![1, 0]),
        },
    ];
    let tensors = vec![
        tensor1(&[7i64, 3]),
        tensor2(&[[0.75f32, 0.25], [0.25, 0.75]]),
    ];
    let tensors = computed(&outputs, tensors);
    (outputs, tensors)
}

#[test]
fn a_classifier_has_its_label_and_sorted_probabilities() {
    let (outputs, tensors) = classifier();
    let found = columns(&outputs, &tensors, RowReport::default(), &wanted(&[0, 1])).unwrap();
    let labels: Vec<Option<i64>> = found.columns[0]
        .as_primitive::<Int64Type>()
        .iter()
        .collect();
    assert_eq!(labels, [Some(7), Some(3), None]);
    let lists = found.columns[1].as_list::<i32>();
    let first = lists.value(0);
    let names = first.as_struct().column(0).as_primitive::<Int64Type>();
    assert_eq!(names.values(), &[7, 3]);
    assert!(lists.is_null(2));
    assert_eq!(found.scores[..4], [0.25, 0.75, 0.75, 0.25]);
    assert_eq!(found.report.failures, [(2, "no good".to_owned())]);
    assert_eq!(found.report.null_rows(), 0);
}

#[test]
fn a_threshold_decides_on_the_probabilities() {
    let (outputs, tensors) = classifier();
    let wanted = Wanted {
        threshold: 0.2,
        ..wanted(&[0])
    };
    let found = columns(&outputs, &tensors, RowReport::default(), &wanted).unwrap();
    let labels: Vec<Option<i64>> = found.columns[0]
        .as_primitive::<Int64Type>()
        .iter()
        .collect();
    assert_eq!(labels, [Some(7), Some(7), None]);
}

#[test]
fn a_row_with_a_null_has_no_failure() {
    let (outputs, tensors) = classifier();
    let report = RowReport {
        valid: Some(NullBuffer::from(vec![true, true, false])),
        ..RowReport::default()
    };
    let found = columns(&outputs, &tensors, report, &wanted(&[0])).unwrap();
    assert!(found.report.failures.is_empty());
    assert_eq!(found.report.null_rows(), 1);
}

#[test]
fn lists_and_texts_are_columns() {
    use tract_onnx::prelude::{tensor1, tensor2};
    let outputs = [
        Output {
            element: Element::F32,
            width: Width::Of(2),
            role: Role::List,
        },
        Output {
            element: Element::Text,
            width: Width::Of(1),
            role: Role::Value,
        },
        Output {
            element: Element::Bool,
            width: Width::Of(1),
            role: Role::Value,
        },
        Output {
            element: Element::U8,
            width: Width::Of(1),
            role: Role::Value,
        },
    ];
    let tensors = computed(
        &outputs,
        vec![
            tensor2(&[[0.5f32, 1.5], [2.5, 3.5]]),
            tensor1(&["a".to_owned(), "b".to_owned()]),
            tensor1(&[true, false]),
            tensor1(&[1u8, 255]),
        ],
    );
    let wanted = wanted(&[3, 2, 1, 0]);
    let found = columns(&outputs, &tensors, RowReport::default(), &wanted).unwrap();
    let types: Vec<String> = found
        .columns
        .iter()
        .map(|c| c.data_type().to_string())
        .collect();
    assert_eq!(types[..3], ["UInt8", "Boolean", "Utf8"]);
    let texts: Vec<Option<&str>> = found.columns[2].as_string::<i32>().iter().collect();
    assert_eq!(texts, [Some("a"), Some("b"), None]);
    let lists = found.columns[3].as_list::<i32>();
    let second = lists.value(1);
    assert_eq!(second.as_primitive::<Float32Type>().values(), &[2.5, 3.5]);
    assert!(lists.is_null(2));
    assert_eq!(found.scores, [0.0; 0]);
}

#[test]
fn rows_of_any_length_are_lists() {
    use tract_onnx::prelude::tensor2;
    let outputs = [Output {
        element: Element::F32,
        width: Width::Any { of_element: 1 },
        role: Role::List,
    }];
    let tensors = computed(&outputs, vec![tensor2(&[[0.5f32, 1.5], [2.5, 3.5]])]);
    let found = columns(&outputs, &tensors, RowReport::default(), &wanted(&[0])).unwrap();
    let lists = found.columns[0].as_list::<i32>();
    assert_eq!(lists.value_offsets(), &[0, 2, 4, 4]);
    assert!(lists.is_null(2));
    let second = lists.value(1);
    assert_eq!(second.as_primitive::<Float32Type>().values(), &[2.5, 3.5]);
}
