//! Tests of models that run.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray, StringArray};
use arrow::datatypes::{Float32Type, Int64Type};
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::{AttributeProto, NodeProto, TensorProto, tensor_proto};

use super::super::examples::{FLOAT, input, model, node};
use super::*;
use crate::Error;
use crate::data::labels::ClassValue;
use crate::data::signature::PortKind;
use crate::stop::Stop;

const TEXT: i32 = tensor_proto::DataType::String as i32;
const INTEGER: i32 = tensor_proto::DataType::Int64 as i32;

fn integers(name: &str, dims: &[i64], values: &[i64]) -> TensorProto {
    TensorProto {
        name: name.into(),
        data_type: INTEGER,
        dims: dims.to_vec(),
        int64_data: values.to_vec(),
        ..TensorProto::default()
    }
}

fn integer(name: &str, i: i64) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        r#type: AttributeType::Int as i32,
        i,
        ..AttributeProto::default()
    }
}

fn opened(
    inputs: &[(&str, i32, &[&str])],
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    outputs: &[&str],
) -> Result<OnnxModel> {
    let inputs = inputs.iter().map(|(name, of, dims)| input(name, *of, dims));
    let mut model = model(inputs.collect(), nodes, outputs);
    model.graph.as_mut().unwrap().initializer = tensors;
    OnnxModel::of("m.onnx", model, 1, None)
}

fn run(model: &OnnxModel, columns: Vec<ArrayRef>) -> Result<Outputs> {
    let names = model
        .signature()
        .inputs
        .iter()
        .map(|port| port.name.as_str());
    let columns = names
        .zip(columns)
        .map(|(name, column)| (name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    let mut inputs = model.encode(&batch)?;
    let report = std::mem::take(&mut inputs.report);
    let computed = model.forward(&inputs)?;
    let wanted = Wanted {
        outputs: (0..model.signature().outputs.len()).collect(),
        ..Wanted::default()
    };
    model.outputs(&computed, report, &wanted)
}

fn numbers(column: &ArrayRef) -> Vec<Option<f32>> {
    column.as_primitive::<Float32Type>().iter().collect()
}

#[test]
fn rows_come_back_in_their_order_and_a_null_has_no_output() {
    let nodes = vec![
        node("Relu", "", &["x"], &["y"]),
        node("Neg", "", &["x"], &["z"]),
    ];
    let model = opened(&[("x", FLOAT, &["N", "1"])], nodes, vec![], &["y", "z"]).unwrap();
    let column = Float32Array::from(vec![Some(-1.5), Some(2.5), None, Some(0.5)]);
    let outputs = run(&model, vec![Arc::new(column)]).unwrap();
    let expected = [Some(0.0), Some(2.5), None, Some(0.5)];
    assert_eq!(numbers(&outputs.columns[0]), expected);
    let expected = [Some(1.5), Some(-2.5), None, Some(-0.5)];
    assert_eq!(numbers(&outputs.columns[1]), expected);
    let empty = run(
        &model,
        vec![Arc::new(Float32Array::from(Vec::<f32>::new()))],
    )
    .unwrap();
    assert_eq!(empty.columns[1].len(), 0);
    let nulls = run(
        &model,
        vec![arrow::array::new_null_array(
            &arrow::datatypes::DataType::Float32,
            3,
        )],
    );
    assert_eq!(nulls.unwrap().columns[0].null_count(), 3);
}

#[test]
fn a_fixed_number_of_rows_is_filled_up() {
    let nodes = vec![node("Relu", "", &["x"], &["y"])];
    let model = opened(&[("x", FLOAT, &["2", "1"])], nodes, vec![], &["y"]).unwrap();
    let column = Float32Array::from(vec![1.0, -2.0, 3.0, -4.0, 5.0]);
    let outputs = run(&model, vec![Arc::new(column)]).unwrap();
    let expected = [1.0, 0.0, 3.0, 0.0, 5.0].map(Some);
    assert_eq!(numbers(&outputs.columns[0]), expected);
}

#[test]
fn lists_of_each_length_run_together() {
    let mut sum = node("ReduceSum", "", &["x", "axes"], &["y"]);
    sum.attribute.push(integer("keepdims", 0));
    let axes = integers("axes", &[1], &[1]);
    let model = opened(
        &[("x", FLOAT, &["batch", "length"])],
        vec![sum],
        vec![axes],
        &["y"],
    )
    .unwrap();
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>([
        Some(vec![Some(1.0)]),
        Some(vec![Some(2.0), Some(3.0), Some(4.0)]),
        None,
        Some(vec![]),
        Some(vec![Some(5.0)]),
        Some(vec![Some(6.0), Some(7.0), Some(8.0)]),
    ]);
    let outputs = run(&model, vec![Arc::new(lists)]).unwrap();
    let expected = [Some(1.0), Some(9.0), None, None, Some(5.0), Some(21.0)];
    assert_eq!(numbers(&outputs.columns[0]), expected);
    assert_eq!(
        outputs.report.failures,
        [(3, "column \"x\" is an empty array".to_owned())]
    );
}

fn caster() -> OnnxModel {
    let mut cast = node("Cast", "", &["x"], &["y"]);
    cast.attribute.push(integer("to", FLOAT.into()));
    opened(&[("x", TEXT, &["N", "1"])], vec![cast], vec![], &["y"]).unwrap()
}

#[test]
fn a_row_that_fails_leaves_the_others_alone() {
    let texts = StringArray::from(vec![Some("1.5"), Some("abc"), None, Some("2"), Some("x")]);
    let outputs = run(&caster(), vec![Arc::new(texts)]).unwrap();
    let expected = [Some(1.5), None, None, Some(2.0), None];
    assert_eq!(numbers(&outputs.columns[0]), expected);
    let rows: Vec<usize> = outputs
        .report
        .failures
        .iter()
        .map(|(row, _)| *row)
        .collect();
    assert_eq!(rows, [1, 4]);
    assert!(outputs.report.failures[0].1.contains("gets \"abc\""));
    assert_eq!(outputs.report.null_rows(), 1);
}

#[test]
fn a_model_that_fails_on_many_rows_fails() {
    let texts = StringArray::from(vec!["abc"; 200]);
    let error = run(&caster(), vec![Arc::new(texts)])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("more than 100 rows of a batch fail"),
        "{error}"
    );
}

#[test]
fn an_index_beyond_the_end_fails_in_its_row() {
    let table = TensorProto {
        name: "table".into(),
        data_type: FLOAT,
        dims: vec![3],
        float_data: vec![0.5, 1.5, 2.5],
        ..TensorProto::default()
    };
    let nodes = vec![node("Gather", "", &["table", "x"], &["y"])];
    let model = opened(&[("x", INTEGER, &["N", "1"])], nodes, vec![table], &["y"]).unwrap();
    let indices = arrow::array::Int64Array::from(vec![2, 7, 0]);
    let outputs = run(&model, vec![Arc::new(indices)]).unwrap();
    assert_eq!(numbers(&outputs.columns[0]), [Some(2.5), None, Some(0.5)]);
    assert_eq!(outputs.report.failures.len(), 1);
}

#[test]
fn a_request_to_stop_ends_a_run() {
    let model = caster();
    let stop = Stop::default();
    stop.ask();
    let texts = StringArray::from(vec!["1.5"]);
    let outcome = stop.watch(|| run(&model, vec![Arc::new(texts)]));
    assert!(matches!(outcome, Err(Error::Cancelled)));
}

#[test]
fn a_row_of_a_quantised_graph_does_not_depend_on_the_rows_beside_it() {
    let single = |from: &str, to: &str| {
        let mut cast = node("Cast", "", &[from], &[to]);
        cast.attribute.push(integer("to", FLOAT.into()));
        cast
    };
    let nodes = [
        node("DynamicQuantizeLinear", "", &["x"], &["q", "scale", "zero"]),
        single("q", "level"),
        single("zero", "base"),
        node("Sub", "", &["level", "base"], &["steps"]),
        node("Mul", "", &["steps", "scale"], &["y"]),
    ];
    let column = || Arc::new(Float32Array::from(vec![0.1f32, 1000.0, -0.1])) as ArrayRef;
    for rows in ["N", "2"] {
        let x: (&str, i32, &[&str]) = ("x", FLOAT, &[rows, "1"]);
        let model = opened(&[x], nodes.to_vec(), vec![], &["y"]).unwrap();
        let outputs = run(&model, vec![column()]).unwrap();
        // With a scale for all rows, 0.1 would be 0.
        let found = numbers(&outputs.columns[0]);
        for (found, expected) in found.into_iter().zip([0.1, 1000.0, -0.1]) {
            let found = found.unwrap();
            assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{found}");
        }
    }
}

#[test]
fn outputs_that_are_not_by_row_are_refused() {
    let x: (&str, i32, &[&str]) = ("x", FLOAT, &["N", "3"]);
    let transposed = vec![node("Transpose", "", &["x"], &["y"])];
    let error = opened(&[x], transposed, vec![], &["y"]).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(
        error.to_string().contains("output \"y\" has the shape"),
        "{error}"
    );
}

#[test]
fn an_output_with_the_length_of_a_list_is_a_list() {
    let relu = vec![node("Relu", "", &["x"], &["y"])];
    let model = opened(&[("x", FLOAT, &["N", "length"])], relu, vec![], &["y"]).unwrap();
    let port = &model.signature().outputs[0];
    assert_eq!(port.kind, PortKind::Array { shape: vec![] });
    let lists = |rows: Vec<Option<Vec<Option<f32>>>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
    };
    let outputs = run(
        &model,
        vec![lists(vec![
            Some(vec![Some(-1.0), Some(2.0)]),
            Some(vec![Some(3.0)]),
            None,
            Some(vec![Some(4.0), Some(-5.0)]),
        ])],
    )
    .unwrap();
    let found = outputs.columns[0].as_list::<i32>();
    let found: Vec<Option<Vec<Option<f32>>>> = found
        .iter()
        .map(|list| list.map(|list| numbers(&list)))
        .collect();
    let expected = [
        Some(vec![Some(0.0), Some(2.0)]),
        Some(vec![Some(3.0)]),
        None,
        Some(vec![Some(4.0), Some(0.0)]),
    ];
    assert_eq!(found, expected);
}

#[test]
fn shapes_that_do_not_fit_are_refused_when_the_model_is_opened() {
    let weights = TensorProto {
        name: "w".into(),
        data_type: FLOAT,
        dims: vec![4, 2],
        float_data: vec![0.5; 8],
        ..TensorProto::default()
    };
    let nodes = || vec![node("MatMul", "", &["x", "w"], &["y"])];
    let x: (&str, i32, &[&str]) = ("x", FLOAT, &["N", "3"]);
    let error = opened(&[x], nodes(), vec![weights.clone()], &["y"]).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(
        error
            .to_string()
            .contains("this build cannot run the model"),
        "{error}"
    );
    let mut short = weights;
    short.float_data.truncate(3);
    let error = opened(&[x], nodes(), vec![short], &["y"]).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("this build cannot run the model"),
        "{error}"
    );
}

#[test]
fn a_classifier_has_ports_of_a_classifier() {
    let mut tree = node(
        "LinearClassifier",
        "ai.onnx.ml",
        &["x"],
        &["label", "scores"],
    );
    let floats = |name: &str, floats: &[f32]| AttributeProto {
        name: name.into(),
        r#type: AttributeType::Floats as i32,
        floats: floats.to_vec(),
        ..AttributeProto::default()
    };
    let labels = |name: &str| AttributeProto {
        name: name.into(),
        r#type: AttributeType::Ints as i32,
        ints: vec![7, 3],
        ..AttributeProto::default()
    };
    tree.attribute = vec![
        floats("coefficients", &[1.0, -1.0]),
        floats("intercepts", &[0.0, 0.0]),
        labels("classlabels_ints"),
    ];
    let mut map = node("ZipMap", "ai.onnx.ml", &["scores"], &["probabilities"]);
    map.attribute = vec![labels("classlabels_int64s")];
    let outputs = ["label", "probabilities"];
    let model = opened(
        &[("x", FLOAT, &["N", "1"])],
        vec![tree, map],
        vec![],
        &outputs,
    )
    .unwrap();
    let ports = &model.signature().outputs;
    let PortKind::Label {
        target, classes, ..
    } = &ports[0].kind
    else {
        panic!("{:?}", ports[0]);
    };
    assert_eq!(target.name, "label");
    assert_eq!(classes, &[ClassValue::Integer(3), ClassValue::Integer(7)]);
    let target = "label".to_owned();
    assert_eq!(ports[1].kind, PortKind::Probabilities { target });
    let column = Float32Array::from(vec![2.0, -2.0]);
    let outputs = run(&model, vec![Arc::new(column)]).unwrap();
    let labels = outputs.columns[0].as_primitive::<Int64Type>();
    assert_eq!(labels.values(), &[7, 3]);
}
