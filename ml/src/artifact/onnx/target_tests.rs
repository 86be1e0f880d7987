//! Tests of the outputs for each target, with what `examples` has to write and read files.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::examples::{
    feature, graph, integers, layers, number, numbers, operators, options, ports, property, tensor,
    texts, written, written_targets,
};
use crate::data::encode::column::ColumnEncoder;
use crate::data::encode::standardise::Standardiser;
use crate::data::image::{ImageEncoder, ImageOptions, ImageReader};
use crate::data::labels::{ClassValue, Labels};

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

fn set(values: &[&str]) -> Labels {
    let text = |value: &&str| ClassValue::Text((*value).to_owned());
    Labels::Set {
        values: values.iter().map(text).collect(),
    }
}

#[test]
fn each_target_has_outputs_of_its_own() {
    let path = Labels::Numbers {
        means: vec![1.0, 2.0, 3.0],
        std: 0.5,
    };
    let booleans = Labels::Classes {
        values: vec![ClassValue::Boolean(false), ClassValue::Boolean(true)],
    };
    let targets = vec![
        ("rent", DataType::Int32, numbers()),
        ("kind", DataType::Utf8, texts(&["a", "b", "c"])),
        ("lift", DataType::Boolean, booleans),
        ("tags", list(DataType::Utf8), set(&["new", "old"])),
        ("path", list(DataType::Float32), path),
    ];
    let file = written_targets(&[number("x")], targets, options("dnn_regressor")).unwrap();
    let graph = graph(&file);
    assert_eq!(
        ports(&graph.output),
        [
            "predicted_rent 11 [rows, 1]",
            "predicted_kind 8 [rows, 1]",
            "predicted_kind_probs 11 [rows, 3]",
            "predicted_lift 9 [rows, 1]",
            "predicted_lift_probs 11 [rows, 2]",
            "predicted_tags 9 [rows, 2]",
            "predicted_tags_probs 11 [rows, 2]",
            "predicted_path 11 [rows, 3]",
        ]
    );
    let integer = |name: &str| {
        let bytes = tensor(graph, name).raw_data.as_slice().try_into().unwrap();
        i64::from_le_bytes(bytes)
    };
    let slices = graph.node.iter().filter(|node| node.op_type == "Slice");
    let slices: Vec<(i64, i64)> = slices
        .map(|node| (integer(&node.input[1]), integer(&node.input[2])))
        .collect();
    assert_eq!(slices, [(0, 1), (1, 4), (4, 5), (5, 7), (7, 10)]);
    assert_eq!(property(&file, "classes_kind"), Some(r#"["a","b","c"]"#));
    assert_eq!(property(&file, "classes_lift"), Some(r#"["false","true"]"#));
    assert_eq!(property(&file, "classes_tags"), Some(r#"["new","old"]"#));
    assert_eq!(file.metadata_props.len(), 3);
}

#[test]
fn a_list_is_one_output_with_a_mean_for_each_element() {
    let numbers = Labels::Numbers {
        means: vec![1.0, -2.0],
        std: 0.5,
    };
    let counts = Labels::Counts {
        length: 2,
        mean: 4.0,
    };
    for (labels, mean, has_exp) in [
        (numbers, &[1.0, -2.0][..], false),
        (counts, &[4.0][..], true),
    ] {
        let target = (list(DataType::Float64), labels);
        let file = written(&[number("x")], target, options("dnn_regressor")).unwrap();
        let graph = graph(&file);
        assert_eq!(ports(&graph.output), ["predicted_y 11 [rows, 2]"]);
        let bytes: Vec<u8> = mean
            .iter()
            .flat_map(|mean| f64::to_le_bytes(*mean))
            .collect();
        assert_eq!(tensor(graph, "mean").raw_data, bytes);
        let found = operators(graph);
        assert_eq!(found.contains(&"Exp"), has_exp, "{found:?}");
        assert!(!found.contains(&"Slice"), "{found:?}");
    }
}

#[test]
fn a_set_is_a_boolean_and_a_probability_for_each_label() {
    let target = (list(DataType::LargeUtf8), set(&["new", "old", "red"]));
    let file = written(&[number("x")], target, options("dnn_classifier")).unwrap();
    let graph = graph(&file);
    assert_eq!(
        ports(&graph.output),
        ["predicted_y 9 [rows, 3]", "predicted_y_probs 11 [rows, 3]"]
    );
    assert_eq!(property(&file, "classes"), Some(r#"["new","old","red"]"#));
    let found = operators(graph);
    assert!(
        found.contains(&"Sigmoid") && found.contains(&"GreaterOrEqual"),
        "{found:?}"
    );
    assert!(!found.contains(&"Softmax"), "{found:?}");
}

#[test]
fn labels_keep_their_types() {
    let dates = Labels::Classes {
        values: vec![ClassValue::Date(0), ClassValue::Date(31)],
    };
    let booleans = Labels::Classes {
        values: vec![ClassValue::Boolean(false), ClassValue::Boolean(true)],
    };
    let count = Labels::Count { mean: 2.0 };
    for (data_type, labels, model_type, expected) in [
        (
            DataType::Int8,
            integers(&[-1, 1]),
            "logistic_reg",
            "predicted_y 3 [rows, 1]",
        ),
        (
            DataType::Date32,
            dates,
            "logistic_reg",
            "predicted_y 7 [rows, 1]",
        ),
        (
            DataType::Boolean,
            booleans,
            "logistic_reg",
            "predicted_y 9 [rows, 1]",
        ),
        (
            DataType::Int64,
            count,
            "dnn_regressor",
            "predicted_y 11 [rows, 1]",
        ),
    ] {
        let file = written(&[number("x")], (data_type, labels), options(model_type)).unwrap();
        let graph = graph(&file);
        assert_eq!(ports(&graph.output)[0], expected);
        let has_exp = operators(graph).contains(&"Exp");
        assert_eq!(has_exp, model_type == "dnn_regressor");
    }
}

#[test]
fn an_image_with_the_name_of_a_property_is_refused() {
    let image = ImageEncoder {
        reader: ImageReader::new(&[1, 2, 2], &ImageOptions::default()).unwrap(),
        channels: vec![Standardiser::IDENTITY],
    };
    let photo = ColumnEncoder {
        image: Some(image),
        ..feature("classes", DataType::Binary, 0, &[])
    };
    let options = layers(&["flatten", "linear(classes)"], &[1, 2, 2]);
    let labels = (DataType::Utf8, texts(&["a", "b"]));
    let error = written(&[photo], labels, options).unwrap_err().to_string();
    assert!(
        error.starts_with("\"classes\" would be the name of two properties"),
        "{error}"
    );
}
