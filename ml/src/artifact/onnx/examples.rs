//! Models for tests, and what tests read in their files.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use prost::Message;

use super::onnx;
use crate::Result;
use crate::data::columns::{Column, Columns};
use crate::data::encode::column::{ColumnEncoder, Vocabulary};
use crate::data::encode::standardise::Standardiser;
use crate::data::encode::tabular::Encoder;
use crate::data::labels::{ClassValue, Labels, outputs_of};
use crate::graph::messages::{GraphProto, ModelProto, TensorProto, ValueInfoProto};
use crate::model::network::Parameter;
use crate::model::options::TrainOptions;
use crate::model::trained::ModelConfig;
use crate::models::ModelTypes;

/// A feature with so many numbers, and these values of its categories.
pub(super) fn feature(
    name: &str,
    data_type: DataType,
    numbers: usize,
    categories: &[&[&str]],
) -> ColumnEncoder {
    let vocabulary = |values: &&[&str]| Vocabulary {
        part: String::new(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
        buckets: None,
    };
    ColumnEncoder {
        column: Column {
            name: name.into(),
            data_type,
        },
        numbers: vec![
            Standardiser {
                mean: 1.5,
                std: 4.0
            };
            numbers
        ],
        vocabularies: categories.iter().map(vocabulary).collect(),
        image: None,
        keys: None,
    }
}

pub(super) fn number(name: &str) -> ColumnEncoder {
    feature(name, DataType::Float64, 1, &[])
}

pub(super) fn array(name: &str, item: DataType, width: usize) -> ColumnEncoder {
    let item = Arc::new(Field::new_list_field(item, true));
    feature(
        name,
        DataType::FixedSizeList(item, width as i32),
        width,
        &[],
    )
}

pub(super) fn texts(values: &[&str]) -> Labels {
    let text = |value: &&str| ClassValue::Text((*value).to_owned());
    Labels::Classes {
        values: values.iter().map(text).collect(),
    }
}

pub(super) fn numbers() -> Labels {
    Labels::Number {
        mean: 3.0,
        std: 0.5,
    }
}

pub(super) fn options(model_type: &str) -> TrainOptions {
    TrainOptions {
        model_type: model_type.into(),
        hidden_units: vec![3],
        ..TrainOptions::default()
    }
}

pub(super) fn layers(layers: &[&str], input_shape: &[usize]) -> TrainOptions {
    TrainOptions {
        layers: layers.iter().map(|layer| (*layer).to_owned()).collect(),
        input_shape: input_shape.to_vec(),
        ..options("sequential")
    }
}

/// The file of a model of these features, whose weights are 0, 1, 2 and so on.
pub(super) fn written(
    encoders: &[ColumnEncoder],
    (target, labels): (DataType, Labels),
    options: TrainOptions,
) -> Result<ModelProto> {
    written_targets(encoders, vec![("y", target, labels)], options)
}

/// The same with these targets.
pub(super) fn written_targets(
    encoders: &[ColumnEncoder],
    targets: Vec<(&str, DataType, Labels)>,
    options: TrainOptions,
) -> Result<ModelProto> {
    let column = |(name, data_type, _): &(&str, DataType, Labels)| Column {
        name: (*name).to_owned(),
        data_type: data_type.clone(),
    };
    let types = ModelTypes::default();
    let model_type = types.get(&options.model_type).unwrap();
    let config = ModelConfig {
        format_version: 1,
        columns: Columns {
            features: encoders.iter().map(|of| of.column.clone()).collect(),
            targets: targets.iter().map(column).collect(),
        },
        encoders: encoders.to_vec(),
        labels: targets.into_iter().map(|(_, _, labels)| labels).collect(),
        options,
        imputed: None,
    };
    let encoder = Encoder::new(config.encoders.clone(), model_type.precision());
    let outputs = outputs_of(&config.labels);
    let network = model_type.network(encoder.shape(), outputs, &config.options)?;
    let count: usize = network.parameters().iter().map(Parameter::len).sum();
    let weights: Vec<f64> = (0..count).map(|number| number as f64).collect();
    let file = onnx("m@1", &config, model_type, &weights)?;
    Ok(ModelProto::decode(file.as_slice()).unwrap())
}

/// The graph of a file, after a check that its nodes use only what stands before them, and that nothing has two names.
pub(super) fn graph(file: &ModelProto) -> &GraphProto {
    let graph = file.graph.as_ref().unwrap();
    let mut known = HashSet::new();
    let inputs = graph.input.iter().map(|port| &port.name);
    let constants = graph.initializer.iter().map(|tensor| &tensor.name);
    for name in inputs.chain(constants) {
        assert!(known.insert(name), "{name} stands twice");
    }
    for node in &graph.node {
        let missing = node.input.iter().find(|name| !known.contains(name));
        assert_eq!(missing, None, "{node:?}");
        for name in &node.output {
            assert!(known.insert(name), "{name} stands twice");
        }
    }
    assert!(graph.output.iter().all(|port| known.contains(&port.name)));
    for tensor in &graph.initializer {
        let elements: i64 = tensor.dims.iter().product();
        let bytes = match tensor.data_type {
            1 => 4,
            7 | 11 => 8,
            9 => 1,
            8 => {
                assert_eq!(tensor.string_data.len() as i64, elements, "{}", tensor.name);
                continue;
            }
            other => panic!("{}: type {other}", tensor.name),
        };
        assert_eq!(
            tensor.raw_data.len() as i64,
            elements * bytes,
            "{}",
            tensor.name
        );
    }
    graph
}

/// `name type [dimensions]`; the types have numbers in ONNX.
pub(super) fn ports(ports: &[ValueInfoProto]) -> Vec<String> {
    let shown = ports.iter().map(|port| {
        let tensor = port.r#type.as_ref().unwrap().tensor_type.as_ref().unwrap();
        let dimensions = tensor.shape.as_ref().unwrap().dim.iter();
        let dimensions = dimensions.map(|of| match (&of.dim_param, of.dim_value) {
            (Some(name), None) => name.clone(),
            (None, Some(size)) => size.to_string(),
            both => panic!("{both:?}"),
        });
        let dimensions: Vec<String> = dimensions.collect();
        format!(
            "{} {} [{}]",
            port.name,
            tensor.elem_type,
            dimensions.join(", ")
        )
    });
    shown.collect()
}

pub(super) fn operators(graph: &GraphProto) -> Vec<&str> {
    graph
        .node
        .iter()
        .map(|node| node.op_type.as_str())
        .collect()
}

pub(super) fn tensor<'a>(graph: &'a GraphProto, name: &str) -> &'a TensorProto {
    let mut tensors = graph.initializer.iter();
    tensors.find(|tensor| tensor.name == name).unwrap()
}

pub(super) fn property<'a>(file: &'a ModelProto, key: &str) -> Option<&'a str> {
    let found = file.metadata_props.iter().find(|of| of.key == key);
    found.map(|of| of.value.as_str())
}

pub(super) fn integers(values: &[i64]) -> Labels {
    Labels::Classes {
        values: values.iter().copied().map(ClassValue::Integer).collect(),
    }
}
