//! Tests of what is written: files are decoded again, and every graph must be one that a runtime can follow. `layer_tests`
//! has the layers, `target_tests` the outputs. What the graphs compute is compared with `predict` in `tests/clients/graphs`.

use std::sync::Arc;

use arrow::array::{Int64Array, LargeStringArray};
use arrow::datatypes::{DataType, Field, TimeUnit};

use super::examples::{
    array, feature, graph, layers, number, numbers, operators, options, ports, property, tensor,
    texts, written,
};
use super::*;
use crate::data::columns::Columns;
use crate::data::encode::column::ColumnEncoder;
use crate::data::encode::keys::Keys;
use crate::data::encode::standardise::Standardiser;
use crate::data::image::{ImageEncoder, ImageOptions, ImageReader};
use crate::graph::check_length;
use crate::model::network::{ModelType, Parameter, Task};
use crate::model::options::TrainOptions;
use crate::model::trained::ModelConfig;
use crate::models::MODEL_TYPES;
use crate::{Result, model};

#[test]
fn inputs_and_outputs_have_the_types_of_their_columns() {
    let timestamp = DataType::Timestamp(TimeUnit::Nanosecond, None);
    let encoders = [
        feature("small", DataType::Int16, 1, &[]),
        feature("single", DataType::Float32, 1, &[]),
        feature("price", DataType::Decimal128(10, 2), 1, &[]),
        feature("colour", DataType::Utf8View, 0, &[&["blue", "red"]]),
        feature("is_new", DataType::Boolean, 0, &[&["false", "true"]]),
        feature("day", DataType::Date32, 2, &[&["1", "12"], &["monday"]]),
        feature("at", timestamp, 2, &[&["1"], &["monday"], &["0", "23"]]),
        array("pixels", DataType::UInt8, 4),
    ];
    let labels = (DataType::LargeUtf8, texts(&["a", "b", "c"]));
    let file = written(&encoders, labels, options("dnn_classifier")).unwrap();
    assert_eq!((file.ir_version, file.producer_name.as_str()), (8, "vatic"));
    let opsets = file.opset_import.iter();
    let opsets: Vec<(&str, i64)> = opsets.map(|of| (of.domain.as_str(), of.version)).collect();
    assert_eq!(opsets, [("", 17), ("ai.onnx.ml", 3)]);
    let graph = graph(&file);
    assert_eq!(graph.name, "m@1");
    assert_eq!(
        ports(&graph.input),
        [
            "small 5 [rows, 1]",
            "single 1 [rows, 1]",
            "price 11 [rows, 1]",
            "colour 8 [rows, 1]",
            "is_new 9 [rows, 1]",
            "day 7 [rows, 1]",
            "at 7 [rows, 1]",
            "pixels 2 [rows, 4]",
        ]
    );
    assert_eq!(
        ports(&graph.output),
        ["predicted_y 8 [rows, 1]", "predicted_y_probs 11 [rows, 3]"]
    );
    assert_eq!(graph.input[6].doc_string, types::MICROSECONDS);
    // A decimal may be NaN in its input.
    assert_eq!(graph.input[2].doc_string, "NaN stands for NULL");
    let classes = &file.metadata_props[0];
    assert_eq!(
        (&*classes.key, &*classes.value),
        ("classes", r#"["a","b","c"]"#)
    );
    assert_eq!(tensor(graph, "classes").string_data, [b"a", b"b", b"c"]);
    // Ids count over all vocabularies, and the first of each is that of other values.
    let mapper = graph
        .node
        .iter()
        .find(|node| node.op_type == "CategoryMapper");
    let attributes = &mapper.unwrap().attribute;
    assert_eq!(attributes[0].strings, [b"blue".to_vec(), b"red".to_vec()]);
    assert_eq!(
        (&*attributes[1].ints, attributes[2].i),
        (&[1, 2][..], Some(0))
    );
    let tables = graph.initializer.iter();
    let tables = tables.filter(|tensor| tensor.name.starts_with("ids"));
    let tables = tables.map(|tensor| {
        let ids = tensor.raw_data.as_chunks().0.iter();
        ids.map(|bytes| i64::from_le_bytes(*bytes)).collect()
    });
    let tables: Vec<Vec<i64>> = tables.collect();
    assert_eq!(tables[0], [4, 5]);
    assert_eq!(tables[1], [7, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 8]);
    assert_eq!(tables[2], [10, 9, 9, 9, 9, 9, 9]);
    assert_eq!(tables[3][..2], [12, 11]);
    assert_eq!((tables[5].len(), tables[5][0], tables[5][23]), (24, 16, 17));
}

#[test]
fn every_model_type_is_written() {
    let recommends = |name: &str| matches!(name, "matrix_factorization" | "two_tower");
    for model_type in MODEL_TYPES.iter().filter(|of| !recommends(of.name())) {
        let mut options = match model_type.name() {
            "sequential" => layers(&["linear(4)", "relu", "linear(1)"], &[]),
            name => options(name),
        };
        let mut encoders = vec![number("x"), feature("c", DataType::Utf8, 0, &[&["a"]])];
        if !model_type.takes_categories(&options) {
            encoders = vec![number("x"), array("z", DataType::Float32, 8)];
        }
        if model_type.name().starts_with("cnn") {
            options.input_shape = vec![1, 3, 3];
        }
        let (labels, outputs) = match model_type.task(&options) {
            Task::Regression => (
                (DataType::Int64, numbers()),
                vec!["predicted_y 11 [rows, 1]"],
            ),
            Task::Classification => (
                (DataType::Utf8, texts(&["no", "yes"])),
                vec!["predicted_y 8 [rows, 1]", "predicted_y_probs 11 [rows, 2]"],
            ),
        };
        let file = written(&encoders, labels, options).unwrap();
        assert_eq!(
            ports(&graph(&file).output),
            outputs,
            "{}",
            model_type.name()
        );
    }
}

/// A column of users or items.
fn keyed(name: &str, data_type: DataType, keys: Keys) -> ColumnEncoder {
    ColumnEncoder {
        keys: Some(keys),
        ..feature(name, data_type, 0, &[])
    }
}

fn users() -> ColumnEncoder {
    let keys = Keys::Integers(Int64Array::from(vec![-3, 5]));
    keyed("user_id", DataType::Int32, keys)
}

fn items() -> ColumnEncoder {
    let keys = Keys::Texts(LargeStringArray::from(vec!["a", "é", "z"]));
    keyed("item_id", DataType::Utf8, keys)
}

#[test]
fn users_and_items_have_their_ids_in_the_graph() {
    let labels = (DataType::Float64, numbers());
    let options = options("matrix_factorization");
    let file = written(&[users(), items()], labels, options).unwrap();
    let graph = graph(&file);
    assert_eq!(
        ports(&graph.input),
        ["user_id 6 [rows, 1]", "item_id 8 [rows, 1]"]
    );
    assert_eq!(ports(&graph.output), ["predicted_y 11 [rows, 1]"]);
    assert_eq!(
        operators(graph)[..4],
        ["Cast", "LabelEncoder", "CategoryMapper", "Concat"]
    );
    let (of_users, of_items) = (&graph.node[1].attribute, &graph.node[2].attribute);
    assert_eq!(of_users[0].ints, [-3, 5]);
    assert_eq!(of_users[1].ints, [1, 2]);
    assert_eq!(of_users[2].i, Some(0));
    let texts = ["a", "é", "z"].map(|text| text.as_bytes().to_vec());
    assert_eq!(of_items[0].strings, texts);
    assert_eq!(of_items[1].ints, [4, 5, 6]);
    assert_eq!(of_items[2].i, Some(3));
    // A row for each id, and one for those of each column that training did not see.
    assert_eq!(tensor(graph, "factors").dims[0], 7);
    assert_eq!(tensor(graph, "biases").dims, [7, 1]);
}

#[test]
fn each_tower_has_the_columns_of_its_side() {
    let options = TrainOptions {
        user_cols: vec!["user_id".into(), "age".into()],
        ..options("two_tower")
    };
    let encoders = [users(), number("age"), items()];
    let labels = (DataType::Utf8, texts(&["no", "yes"]));
    let file = written(&encoders, labels, options).unwrap();
    let graph = graph(&file);
    assert_eq!(
        ports(&graph.output),
        ["predicted_y 8 [rows, 1]", "predicted_y_probs 11 [rows, 2]"]
    );
    assert_eq!(tensor(graph, "user.layer0.weight").dims, [1, 3]);
    let found = operators(graph);
    let count = |operator: &str| found.iter().filter(|of| **of == operator).count();
    // Only users have a number; each tower has a second layer.
    assert_eq!((count("MatMul"), count("Gemm")), (1, 2));
}

#[test]
fn a_model_in_double_precision_stays_in_it() {
    let encoders = [number("x"), number("z")];
    let labels = (DataType::Float64, numbers());
    let file = written(&encoders, labels, options("linear_reg")).unwrap();
    let graph = graph(&file);
    let weight = tensor(graph, "layer0.weight");
    assert_eq!(
        (weight.data_type, weight.dims.as_slice()),
        (11, &[2, 1][..])
    );
    // The only numbers in single precision are the marks of NULL.
    let to_single = graph.node.iter().filter(|node| {
        let mut attributes = node.attribute.iter();
        attributes.any(|of| of.name == "to" && of.i == Some(1))
    });
    let inputs: Vec<&str> = to_single.map(|node| node.input[0].as_str()).collect();
    assert_eq!(inputs, ["isnan"]);
    assert_eq!(file.opset_import.len(), 1);
}

#[test]
fn what_onnx_cannot_express_is_named() {
    let error = |encoders: &[ColumnEncoder]| {
        let labels = (DataType::Float64, numbers());
        let written = written(encoders, labels, options("dnn_regressor"));
        written.map(|_| ()).unwrap_err().to_string()
    };
    let mut hashed = feature("visitor", DataType::Utf8, 0, &[&[]]);
    hashed.vocabularies[0].buckets = Some(100);
    let found = error(&[number("x"), hashed]);
    assert!(
        found.contains("column \"visitor\" share weights by their hash"),
        "{found}"
    );
    let found = error(&[number("predicted_y")]);
    assert!(
        found.starts_with("\"predicted_y\" would be the name of two"),
        "{found}"
    );
    let item = Arc::new(Field::new_list_field(DataType::Float64, true));
    let none = feature("none", DataType::List(item), 0, &[]);
    let found = error(&[number("x"), none]);
    assert!(
        found.contains("column \"none\" is an array without elements"),
        "{found}"
    );
    let found = error(&[number("")]);
    assert!(found.starts_with("a column without a name"), "{found}");
    let found = check_length(1 << 31).unwrap_err().to_string();
    assert!(found.contains("at most 2147483647 bytes"), "{found}");
}

#[test]
fn columns_may_be_called_as_parts_of_the_graph() {
    let encoders = ["layer0.weight", "gemm", "zero"].map(number);
    let labels = (DataType::Float64, numbers());
    let file = written(&encoders, labels, options("dnn_regressor")).unwrap();
    let graph = graph(&file);
    let names: Vec<&str> = graph.input.iter().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["layer0.weight", "gemm", "zero"]);
}

/// A network that says nothing of its form.
#[derive(Debug)]
struct Opaque;

impl ModelType for Opaque {
    fn name(&self) -> &str {
        "opaque"
    }

    fn task(&self, _options: &TrainOptions) -> Task {
        Task::Regression
    }

    fn network(
        &self,
        _shape: &crate::data::encode::shape::InputShape,
        _outputs: usize,
        _options: &TrainOptions,
    ) -> Result<Box<dyn model::network::Network>> {
        Ok(Box::new(Self))
    }
}

impl model::network::Network for Opaque {
    fn parameters(&self) -> &[Parameter] {
        &[]
    }

    fn forward(
        &self,
        _parameters: &[candle_core::Tensor],
        _inputs: &crate::data::inputs::Inputs,
        _mode: model::network::Mode<'_>,
    ) -> Result<Vec<candle_core::Tensor>> {
        Ok(vec![])
    }
}

#[test]
fn a_network_without_a_form_is_refused_with_the_remedy() {
    let encoder = number("x");
    let config = ModelConfig {
        format_version: 1,
        columns: Columns {
            features: vec![encoder.column.clone()],
            targets: vec![encoder.column.clone()],
        },
        encoders: vec![encoder],
        labels: vec![numbers()],
        options: options("opaque"),
        imputed: None,
    };
    let error = onnx("m", &config, &Opaque, &[]).unwrap_err().to_string();
    assert!(
        error.ends_with("write TO 'directory/' to export its files"),
        "{error}"
    );
}

#[test]
fn an_image_enters_as_pixels() {
    let channel = Standardiser {
        mean: 0.5,
        std: 0.25,
    };
    let image = ImageEncoder {
        reader: ImageReader::new(&[3, 4, 4], &ImageOptions::default()).unwrap(),
        channels: vec![channel; 3],
    };
    let photo = ColumnEncoder {
        image: Some(image),
        ..feature("photo", DataType::Binary, 0, &[])
    };
    let options = layers(&["conv2d(2, 3)", "flatten", "linear(1)"], &[3, 4, 4]);
    let file = written(&[photo], (DataType::Float64, numbers()), options).unwrap();
    let graph = graph(&file);
    assert_eq!(ports(&graph.input), ["photo 2 [rows, 3, 4, 4]"]);
    assert_eq!(operators(graph)[..4], ["Cast", "Mul", "Add", "Conv"]);
    let scale: f32 = 1.0 / (255.0 * 0.25);
    assert_eq!(
        tensor(graph, "scales").raw_data,
        [scale.to_le_bytes(); 3].concat()
    );
    assert_eq!(
        property(&file, "photo"),
        Some("image_resize crop, image_filter bilinear")
    );
}
