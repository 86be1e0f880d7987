//! Tests of columns as tensors.

use std::sync::Arc;

use arrow::array::{BooleanArray, Float64Array, Int64Array, ListArray};

use super::super::element::Element;
use super::super::texts::from_tensors;
use super::*;

fn input(element: Element, row: Row) -> Input {
    Input {
        name: "x".into(),
        element,
        row,
    }
}

fn encoded_batch(input: Input, array: impl Array + 'static) -> Inputs {
    let array: ArrayRef = Arc::new(array);
    let batch = RecordBatch::try_from_iter_with_nullable([("x", array, true)]).unwrap();
    encode(&[input], &batch).unwrap()
}

fn computed(inputs: &Inputs) -> Option<Vec<u8>> {
    inputs
        .get(COMPUTED)
        .map(|computed| computed.to_vec1().unwrap())
}

#[test]
fn a_number_that_does_not_fit_fails_and_a_null_is_not_computed() {
    let numbers = Float64Array::from(vec![Some(0.5), None, Some(1e300), Some(f64::NAN)]);
    let inputs = encoded_batch(input(Element::F32, Row::One { rank: 2 }), numbers);
    let values: Vec<f32> = inputs.get("x").unwrap().to_vec1().unwrap();
    assert_eq!((values[0], values[1]), (0.5, 0.0));
    assert!(values[3].is_nan());
    assert_eq!(computed(&inputs), Some(vec![1, 0, 0, 1]));
    let report = &inputs.report;
    assert_eq!(report.failures.len(), 1);
    assert!(
        report.failures[0]
            .1
            .contains("in column \"x\" is no float32")
    );
    assert_eq!(report.null_column.as_deref(), Some("x"));
    assert_eq!(report.null_rows(), 1);
}

#[test]
fn large_integers_and_booleans_keep_their_values() {
    let large = (1i64 << 60) + 1;
    let one = Row::One { rank: 1 };
    let inputs = encoded_batch(
        input(Element::I64, one.clone()),
        Int64Array::from(vec![large]),
    );
    assert_eq!(inputs.get("x").unwrap().to_vec1::<i64>().unwrap(), [large]);
    assert_eq!(
        (computed(&inputs), &inputs.report),
        (None, &RowReport::default())
    );
    let flags = BooleanArray::from(vec![Some(true), Some(false), None]);
    let inputs = encoded_batch(input(Element::Bool, one), flags);
    assert_eq!(inputs.get("x").unwrap().to_vec1::<u8>().unwrap(), [1, 0, 0]);
}

#[test]
fn arrays_have_the_length_of_the_input() {
    let rows = vec![
        Some(vec![Some(1), Some(2)]),
        Some(vec![Some(3)]),
        None,
        Some(vec![Some(4), None]),
        Some(vec![Some(5), Some(6)]),
    ];
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(rows);
    let of = || input(Element::F32, Row::Array(vec![2]));
    let inputs = encoded_batch(of(), lists.clone());
    let values = inputs.get("x").unwrap();
    assert_eq!(values.dims(), [5, 2]);
    let values: Vec<Vec<f32>> = values.to_vec2().unwrap();
    assert_eq!(
        (&values[0][..], &values[4][..]),
        (&[1.0, 2.0][..], &[5.0, 6.0][..])
    );
    assert_eq!(computed(&inputs), Some(vec![1, 0, 0, 0, 1]));
    let cause = "column \"x\" is an array of length 1, the model takes length 2";
    assert_eq!(inputs.report.failures, [(1, cause.to_owned())]);
    // Without NULLs and gaps, the rows are taken as they are.
    let inputs = encoded_batch(of(), lists.slice(4, 1));
    let values: Vec<Vec<f32>> = inputs.get("x").unwrap().to_vec2().unwrap();
    assert_eq!(values, [[5.0, 6.0]]);
    assert_eq!(computed(&inputs), None);
}

#[test]
fn lists_of_any_length_are_filled_up_to_the_longest() {
    let rows = vec![
        Some(vec![Some(1)]),
        Some(vec![Some(2), Some(3), Some(4)]),
        Some(vec![]),
        None,
    ];
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(rows);
    let inputs = encoded_batch(input(Element::I64, Row::List { length: 0 }), lists);
    let values: Vec<Vec<i64>> = inputs.get("x").unwrap().to_vec2().unwrap();
    assert_eq!(values, [[1, 0, 0], [2, 3, 4], [0, 0, 0], [0, 0, 0]]);
    let lengths: Vec<u32> = inputs.lengths("x").unwrap().to_vec1().unwrap();
    assert_eq!(lengths, [1, 3, 0, 0]);
    let empty = "column \"x\" is an empty array".to_owned();
    assert_eq!(inputs.report.failures, [(2, empty)]);
    assert_eq!(inputs.report.null_rows(), 1);
}

#[test]
fn texts_are_bytes_and_one_that_is_too_long_fails() {
    let long = "x".repeat(TEXT_BYTES_MAX + 1);
    let texts = StringArray::from(vec![Some("a"), None, Some("äö"), Some(long.as_str())]);
    let inputs = encoded_batch(input(Element::Text, Row::One { rank: 2 }), texts);
    let (bytes, lengths) = (inputs.get("x").unwrap(), inputs.lengths("x").unwrap());
    assert_eq!(from_tensors(bytes, lengths).unwrap(), ["a", "", "äö", ""]);
    assert_eq!(computed(&inputs), Some(vec![1, 0, 1, 0]));
    assert!(inputs.report.failures[0].1.contains("a text of 4097 bytes"));
    assert_eq!(inputs.report.null_rows(), 1);
}

#[test]
fn lists_of_texts_have_the_length_of_the_input() {
    let texts: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        Some("b"),
        Some("c"),
        Some("d"),
        None,
    ]));
    let item = Arc::new(arrow::datatypes::Field::new_list_field(
        DataType::Utf8,
        true,
    ));
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([2, 1, 2]);
    let lists = ListArray::new(item, offsets, texts, None);
    let inputs = encoded_batch(input(Element::Text, Row::Array(vec![2])), lists);
    let (bytes, lengths) = (inputs.get("x").unwrap(), inputs.lengths("x").unwrap());
    assert_eq!(lengths.dims(), [3, 2]);
    assert_eq!(from_tensors(bytes, lengths).unwrap()[..2], ["a", "b"]);
    assert_eq!(computed(&inputs), Some(vec![1, 0, 0]));
    assert_eq!(inputs.report.failures.len(), 1);
    assert_eq!(inputs.report.null_rows(), 1);
}
