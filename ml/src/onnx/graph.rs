//! What a graph must be before its runner sees it: operators that are known, names that are defined; and what runners cannot take as
//! it is. `ZipMap` makes maps of probabilities, for which neither tract nor SQL has a type: the tensor before it becomes the
//! output, and its class names are kept.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use tract_onnx::pb::{GraphProto, ModelProto, NodeProto, TensorProto, tensor_proto};

use super::inputs::{Batch, Input, Reading};
use super::operators::list::{ML, OTHER_LIBRARY, is_known, is_random};
use crate::data::labels::ClassValue;
use crate::{Error, Result};

/// The most elements of a constant that is not in the file as it is.
const CONSTANT_MAX: i64 = 1 << 27;

/// A checked graph.
#[derive(Debug)]
pub(super) struct Graph {
    pub(super) model: ModelProto,
    pub(super) inputs: Vec<Input>,
    /// The names of the outputs.
    pub(super) outputs: Vec<String>,
    /// The class names of outputs that were maps, in the order of the tensor.
    pub(super) classes: BTreeMap<String, Vec<ClassValue>>,
    pub(super) batch: Batch,
    /// The number of lengths of lists.
    pub(super) lengths: usize,
    /// Whether the outputs of a row depend on the rows beside it, so that each must run alone.
    pub(super) mixes_rows: bool,
}

/// Operators that quantise a tensor by the least and the greatest of all its numbers, those of other rows included.
const MIXING_ROWS: [&str; 3] = [
    "DynamicQuantizeLinear",
    "DynamicQuantizeLSTM",
    "DynamicQuantizeMatMul",
];

/// What runs a graph, and so decides which operators the graph may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Runner {
    /// tract, with operators of ours.
    Tract,
    /// A library of onnxruntime, which checks the operators itself.
    Library,
}

/// Checks the graph of a model, and makes it one that its runner takes.
///
/// # Errors
/// [`Error::Unsupported`] naming all operators that are not known, or an input that no column can be; [`Error::Corrupt`] for
/// a graph that is not whole.
pub(super) fn checked(file: &str, mut model: ModelProto, runner: Runner) -> Result<Graph> {
    let opsets: BTreeMap<String, i64> = model
        .opset_import
        .iter()
        .map(|opset| (domain(&opset.domain).to_owned(), opset.version))
        .collect();
    let missing = || Error::Internal("a decoded model has a graph".into());
    let graph = model.graph.as_mut().ok_or_else(missing)?;
    let mut classes = without_maps(file, graph)?;
    classes.extend(of_classifiers(graph));
    check_operators(file, graph, &opsets, runner)?;
    check_is_trained(file, graph)?;
    let mixes_rows = has_any(graph, &MIXING_ROWS);
    check_names(file, graph)?;
    check_tensors(file, graph)?;
    // tract refuses two nodes of one name, which ONNX allows; a node without a name gets that of its output.
    graph.node.iter_mut().for_each(|node| node.name.clear());
    graph.value_info.clear();
    let initialized: HashSet<String> = graph
        .initializer
        .iter()
        .map(|tensor| tensor.name.clone())
        .collect();
    let mut reading = Reading::new(file);
    let wanted = graph.input.iter_mut();
    for input in wanted.filter(|input| !initialized.contains(&input.name)) {
        reading.input(input)?;
    }
    let outputs = graph.output.iter().map(|output| output.name.clone());
    let outputs: Vec<String> = outputs.collect();
    let batch = reading.batch()?;
    let Reading {
        inputs, lengths, ..
    } = reading;
    if inputs.is_empty() || outputs.is_empty() {
        return Err(Error::Unsupported(format!(
            "{file} has {} inputs and {} outputs; a model needs one of each",
            inputs.len(),
            outputs.len()
        )));
    }
    Ok(Graph {
        model,
        inputs,
        outputs,
        classes,
        batch,
        lengths: lengths.len(),
        mixes_rows,
    })
}

/// The domain of an operator, where the standard one has two names.
pub(super) fn domain(name: &str) -> &str {
    match name {
        "ai.onnx" => "",
        other => other,
    }
}

/// Puts `Identity` in the place of each `ZipMap`, and returns the class names by output.
fn without_maps(file: &str, graph: &mut GraphProto) -> Result<BTreeMap<String, Vec<ClassValue>>> {
    let outputs: HashSet<&str> = graph.output.iter().map(|output| &*output.name).collect();
    let mut classes = BTreeMap::new();
    for node in &mut graph.node {
        let is_map = node.op_type == "ZipMap" && node.domain == ML;
        let ([_], [output]) = (&node.input[..], &node.output[..]) else {
            continue;
        };
        // A map that another node reads stays, and is named as an unknown operator.
        if !is_map || !outputs.contains(output.as_str()) {
            continue;
        }
        let of = class_names(node).ok_or_else(|| {
            Error::Corrupt(format!("{file}: output \"{output}\" has no class names"))
        })?;
        classes.insert(output.clone(), of);
        node.op_type = "Identity".into();
        node.domain.clear();
        node.attribute.clear();
    }
    // The output is a tensor now, whose type follows from its node.
    let maps = graph.output.iter_mut();
    maps.filter(|output| classes.contains_key(&output.name))
        .for_each(|output| output.r#type = None);
    Ok(classes)
}

/// The class names of outputs that are the probabilities of a classifier, as XGBoost exports them.
fn of_classifiers(graph: &GraphProto) -> Vec<(String, Vec<ClassValue>)> {
    let is_output = |name: &str| graph.output.iter().any(|output| output.name == name);
    let classifiers = graph.node.iter().filter(|node| {
        let transform = node.attribute.iter().find(|of| of.name == "post_transform");
        let transform = transform.map_or(&b""[..], |of| of.s.as_slice());
        let has_probabilities = transform == b"SOFTMAX" || transform == b"LOGISTIC";
        node.domain == ML && node.op_type.ends_with("Classifier") && has_probabilities
    });
    let found = classifiers.filter_map(|node| {
        let scores = node.output.get(1).filter(|name| is_output(name))?;
        Some((scores.clone(), class_names(node)?))
    });
    found.collect()
}

fn class_names(node: &NodeProto) -> Option<Vec<ClassValue>> {
    let attribute = |name: &str| node.attribute.iter().find(|of| of.name == name);
    let integers = attribute("classlabels_int64s").or_else(|| attribute("classlabels_ints"));
    let integers = integers.map(|of| &of.ints);
    if let Some(integers) = integers.filter(|integers| !integers.is_empty()) {
        return Some(integers.iter().copied().map(ClassValue::Integer).collect());
    }
    let texts = attribute("classlabels_strings").map(|of| &of.strings)?;
    let text = |bytes: &Vec<u8>| Some(ClassValue::Text(String::from_utf8(bytes.clone()).ok()?));
    let texts = texts.iter().map(text).collect::<Option<Vec<_>>>();
    texts.filter(|texts| !texts.is_empty())
}

/// Refuses operators that are not known, all at once, also those of subgraphs.
fn check_operators(
    file: &str,
    graph: &GraphProto,
    opsets: &BTreeMap<String, i64>,
    runner: Runner,
) -> Result<()> {
    let is_refused = |domain: &str, operator: &str| match runner {
        Runner::Tract => !is_known(domain, operator),
        Runner::Library => is_random(domain, operator),
    };
    let mut refused = BTreeSet::new();
    collect_operators(graph, &is_refused, &mut refused);
    if refused.is_empty() {
        return Ok(());
    }
    let are_random = refused.iter().all(|(domain, name)| is_random(domain, name));
    let described = refused.into_iter().map(|(domain, operator)| {
        let version = opsets.get(domain).copied();
        described(domain, operator, version)
    });
    let described: Vec<String> = described.collect();
    let described = described.join(", ");
    Err(Error::Unsupported(match are_random {
        true => format!(
            "{file} draws random numbers, so a row would have other outputs each time: {described}; export the model for \
             inference"
        ),
        false => format!(
            "{file} uses operators that this build does not know: {described}; {OTHER_LIBRARY}"
        ),
    }))
}

/// An operator with the version of its domain that the model uses.
pub(super) fn described(domain: &str, operator: &str, version: Option<i64>) -> String {
    let version = match version {
        Some(version) => format!("opset {version}"),
        None => "no opset".to_owned(),
    };
    match domain {
        "" => format!("{operator} ({version})"),
        _ => format!("{domain}.{operator} ({version})"),
    }
}

/// Refuses operators that work as in training: `Dropout` would draw random numbers, and `BatchNormalization` would take the mean of
/// the rows beside a row.
fn check_is_trained(file: &str, graph: &GraphProto) -> Result<()> {
    let constants: BTreeMap<&str, &TensorProto> = constants(graph).collect();
    for node in &graph.node {
        let mode = match node.op_type.as_str() {
            "Dropout" => training_input(node, &constants),
            "BatchNormalization" => {
                let mut attributes = node.attribute.iter();
                let is_training = attributes.any(|of| of.name == "training_mode" && of.i != 0);
                is_training.then_some("training_mode = 1")
            }
            _ => None,
        };
        if let Some(mode) = mode {
            return Err(Error::Unsupported(format!(
                "{file} is a model in training: {} has {mode}; export the model for inference",
                node.op_type
            )));
        }
        for attribute in &node.attribute {
            let mut inner = attribute.g.iter().chain(&attribute.graphs);
            inner.try_for_each(|graph| check_is_trained(file, graph))?;
        }
    }
    Ok(())
}

/// The training mode of a `Dropout`, if it is not known to be off: its third input.
fn training_input(
    node: &NodeProto,
    constants: &BTreeMap<&str, &TensorProto>,
) -> Option<&'static str> {
    let input = node.input.get(2).filter(|name| !name.is_empty())?;
    let Some(tensor) = constants.get(input.as_str()) else {
        return Some("a training_mode that is no constant");
    };
    let mut bytes = tensor.raw_data.iter();
    let mut numbers = tensor.int32_data.iter();
    let is_on = bytes.any(|byte| *byte != 0) || numbers.any(|number| *number != 0);
    is_on.then_some("training_mode = true")
}

/// Whether a graph or one of its subgraphs has one of these operators.
fn has_any(graph: &GraphProto, operators: &[&str]) -> bool {
    graph.node.iter().any(|node| {
        let mut attributes = node.attribute.iter();
        let is_inner = |graph: &GraphProto| has_any(graph, operators);
        operators.contains(&node.op_type.as_str())
            || attributes.any(|attribute| attribute.g.iter().chain(&attribute.graphs).any(is_inner))
    })
}

/// Collects the operators of a graph and its subgraphs that are refused.
fn collect_operators<'a>(
    graph: &'a GraphProto,
    is_refused: &dyn Fn(&str, &str) -> bool,
    refused: &mut BTreeSet<(&'a str, &'a str)>,
) {
    for node in &graph.node {
        let of = (domain(&node.domain), node.op_type.as_str());
        if is_refused(of.0, of.1) {
            refused.insert(of);
        }
        for attribute in &node.attribute {
            for inner in attribute.g.iter().chain(&attribute.graphs) {
                collect_operators(inner, is_refused, refused);
            }
        }
    }
}

/// Refuses names that nothing defines, which tract would take for inputs, and names that two inputs or nodes define.
fn check_names(file: &str, graph: &GraphProto) -> Result<()> {
    let wrong = |problem: String| Err(Error::Corrupt(format!("{file}: {problem}")));
    let mut known: HashSet<&str> = HashSet::new();
    for input in &graph.input {
        if !known.insert(&input.name) {
            return wrong(format!("two inputs are called \"{}\"", input.name));
        }
    }
    // An input may have a tensor as its default.
    known.extend(graph.initializer.iter().map(|tensor| tensor.name.as_str()));
    for node in &graph.node {
        for output in node.output.iter().filter(|output| !output.is_empty()) {
            if !known.insert(output) {
                return wrong(format!("\"{output}\" is defined twice"));
            }
        }
    }
    for node in &graph.node {
        let unknown = node
            .input
            .iter()
            .find(|input| !input.is_empty() && !known.contains(input.as_str()));
        if let Some(input) = unknown {
            return wrong(format!(
                "{} reads \"{input}\", which nothing defines",
                node.op_type
            ));
        }
    }
    let mut outputs = HashSet::new();
    for output in &graph.output {
        if !known.contains(output.name.as_str()) {
            return wrong(format!("nothing defines the output \"{}\"", output.name));
        }
        if !outputs.insert(&output.name) {
            return wrong(format!("two outputs are called \"{}\"", output.name));
        }
    }
    match graph.sparse_initializer.is_empty() {
        true => Ok(()),
        false => Err(Error::Unsupported(format!("{file} has sparse tensors"))),
    }
}

/// Refuses tensors on which tract panics, and constants that ask for more memory than a file of their size has.
fn check_tensors(file: &str, graph: &GraphProto) -> Result<()> {
    let inner = graph.node.iter().flat_map(|node| &node.attribute);
    let inner = inner.flat_map(|attribute| attribute.t.iter().chain(&attribute.tensors));
    for tensor in graph.initializer.iter().chain(inner) {
        let is_text = tensor.data_type == tensor_proto::DataType::String as i32;
        if is_text && !tensor.raw_data.is_empty() {
            return Err(Error::Corrupt(format!(
                "{file}: tensor \"{}\" has texts as raw bytes",
                tensor.name
            )));
        }
    }
    let constants: BTreeMap<&str, &TensorProto> = constants(graph).collect();
    for node in &graph.node {
        let shape = match node.op_type.as_str() {
            "ConstantOfShape" => node.input.first(),
            "Expand" | "Tile" => node.input.get(1),
            _ => None,
        };
        let sizes = shape.and_then(|name| constants.get(name.as_str()));
        let Some(sizes) = sizes.map(|tensor| integers(tensor)) else {
            continue;
        };
        let elements = sizes
            .iter()
            .try_fold(1i64, |product, size| product.checked_mul(*size));
        if elements.is_none_or(|elements| elements > CONSTANT_MAX) {
            return Err(Error::Unsupported(format!(
                "{file}: {} makes a tensor of the shape {sizes:?}",
                node.op_type
            )));
        }
    }
    graph
        .node
        .iter()
        .flat_map(|node| &node.attribute)
        .try_for_each(|attribute| {
            let mut graphs = attribute.g.iter().chain(&attribute.graphs);
            graphs.try_for_each(|inner| check_tensors(file, inner))
        })
}

/// The constant tensors of a graph by name.
fn constants(graph: &GraphProto) -> impl Iterator<Item = (&str, &TensorProto)> {
    let tensors = graph.initializer.iter();
    let tensors = tensors.map(|tensor| (tensor.name.as_str(), tensor));
    let nodes = graph.node.iter().filter(|node| node.op_type == "Constant");
    let nodes = nodes.filter_map(|node| {
        let value = node
            .attribute
            .iter()
            .find_map(|attribute| attribute.t.as_ref());
        Some((node.output.first()?.as_str(), value?))
    });
    tensors.chain(nodes)
}

/// The values of a tensor of 64-bit integers.
fn integers(tensor: &TensorProto) -> Vec<i64> {
    match tensor.raw_data.is_empty() {
        true => tensor.int64_data.clone(),
        false => {
            let values = tensor.raw_data.as_chunks().0.iter();
            values.map(|bytes| i64::from_le_bytes(*bytes)).collect()
        }
    }
}

#[cfg(test)]
#[path = "graph_tests.rs"]
mod tests;
