//! The outputs of a network → the outputs of its model: for each target numbers, or labels and their probabilities.

use super::types::{DAYS, element_type};
use crate::Result;
use crate::artifact::{CONFIG_FILE, corrupt};
use crate::data::columns::Column;
use crate::data::heads::ranges;
use crate::data::labels::{ClassValue, Labels};
use crate::graph::{Attribute, ElementType, Graph, GraphPort, Value};

/// The key of the property that lists the classes of the only target, or the labels of its sets, in the order of their
/// probabilities, as JSON. With several targets, the name of the target follows.
const CLASSES: &str = "classes";

/// Makes outputs of the network's `outputs` `[rows, outputs]`, in which each target has columns; NaN in the rows that `is_null`
/// `[rows, 1]` marks.
///
/// # Errors
/// [`Error::Unsupported`](crate::Error::Unsupported) for a feature with the name of an output or a property;
/// [`Error::Corrupt`](crate::Error::Corrupt) for classes of several types.
pub(super) fn add_outputs(
    graph: &mut Graph,
    labels: &[Labels],
    targets: &[Column],
    outputs: &Value,
    is_null: Option<&Value>,
) -> Result<()> {
    let outputs = match graph.float() {
        ElementType::Float64 => outputs.clone(),
        _ => graph.cast(outputs, ElementType::Float64),
    };
    let has_several = targets.len() > 1;
    let ranges = ranges(labels.iter().map(Labels::outputs));
    for ((labels, target), range) in labels.iter().zip(targets).zip(ranges) {
        let head = Head {
            name: format!("predicted_{}", target.name),
            target,
            outputs: match has_several {
                true => graph.columns(&outputs, range),
                false => outputs.clone(),
            },
            classes: match has_several {
                true => format!("{CLASSES}_{}", target.name),
                false => CLASSES.to_owned(),
            },
            is_null,
        };
        head.add(graph, labels)?;
    }
    Ok(())
}

/// What becomes outputs for one target.
struct Head<'a> {
    /// The name of the prediction.
    name: String,
    target: &'a Column,
    /// Its columns of the network's outputs, in double precision.
    outputs: Value,
    /// The key of the property that lists its classes or labels.
    classes: String,
    /// Which rows have no outputs.
    is_null: Option<&'a Value>,
}

impl Head<'_> {
    fn add(&self, graph: &mut Graph, labels: &Labels) -> Result<()> {
        match labels {
            Labels::Number { mean, std } => self.add_scaled(graph, &[*mean], *std),
            Labels::Numbers { means, std } => self.add_scaled(graph, means, *std),
            Labels::Count { mean } => self.add_counts(graph, 1, *mean),
            Labels::Counts { length, mean } => self.add_counts(graph, *length, *mean),
            Labels::Classes { values } => self.add_class(graph, values),
            Labels::Set { values } => self.add_set(graph, values),
        }
    }

    fn add_scaled(&self, graph: &mut Graph, means: &[f64], std: f64) -> Result<()> {
        let std = graph.doubles("std", &[], &[std]);
        let mean = graph.doubles("mean", &[means.len()], means);
        let scaled = graph.node("Mul", &[&self.outputs, &std], vec![]);
        let numbers = graph.node("Add", &[&scaled, &mean], vec![]);
        self.add_numbers(graph, &numbers, means.len())
    }

    fn add_counts(&self, graph: &mut Graph, length: usize, mean: f64) -> Result<()> {
        let mean = graph.doubles("mean", &[], &[mean]);
        let factors = graph.node("Exp", &[&self.outputs], vec![]);
        let counts = graph.node("Mul", &[&factors, &mean], vec![]);
        self.add_numbers(graph, &counts, length)
    }

    /// Adds the prediction of so many numbers.
    fn add_numbers(&self, graph: &mut Graph, numbers: &Value, length: usize) -> Result<()> {
        let numbers = unless_null(graph, numbers, self.is_null);
        let port = GraphPort {
            name: &self.name,
            element: ElementType::Float64,
            sizes: &[length],
            meaning: "",
        };
        graph.output(&numbers, port)
    }

    fn add_class(&self, graph: &mut Graph, classes: &[ClassValue]) -> Result<()> {
        let (probabilities, position) = of_classes(graph, &self.outputs, classes.len());
        let label = class_at(graph, &position, classes, self.target)?;
        let is_date = matches!(classes.first(), Some(ClassValue::Date(_)));
        let port = GraphPort {
            name: &self.name,
            element: element_type(&self.target.data_type),
            sizes: &[1],
            meaning: if is_date { DAYS } else { "" },
        };
        graph.output(&label, port)?;
        let meaning = "the probability of each class, the classes in ascending order";
        self.add_probabilities(graph, &probabilities, classes, meaning)
    }

    /// Adds whether each label of a set applies: ONNX has no lists whose length depends on the row.
    fn add_set(&self, graph: &mut Graph, labels: &[ClassValue]) -> Result<()> {
        let probabilities = graph.node("Sigmoid", &[&self.outputs], vec![]);
        let applies = is_likely(graph, &probabilities);
        let port = GraphPort {
            name: &self.name,
            element: ElementType::Boolean,
            sizes: &[labels.len()],
            meaning: "whether each label applies, the labels in ascending order",
        };
        graph.output(&applies, port)?;
        let meaning = "the probability of each label, the labels in ascending order";
        self.add_probabilities(graph, &probabilities, labels, meaning)
    }

    /// Adds the probabilities `[rows, classes]`, and the property that lists their classes.
    fn add_probabilities(
        &self,
        graph: &mut Graph,
        probabilities: &Value,
        classes: &[ClassValue],
        meaning: &str,
    ) -> Result<()> {
        let texts: Vec<String> = classes.iter().map(ToString::to_string).collect();
        graph.property(&self.classes, serde_json::json!(texts).to_string())?;
        let probabilities = unless_null(graph, probabilities, self.is_null);
        let port = GraphPort {
            name: &format!("{}_probs", self.name),
            element: ElementType::Float64,
            sizes: &[classes.len()],
            meaning,
        };
        graph.output(&probabilities, port)
    }
}

/// The values, or NaN in the rows that `is_null` marks.
fn unless_null(graph: &mut Graph, values: &Value, is_null: Option<&Value>) -> Value {
    let Some(is_null) = is_null else {
        return values.clone();
    };
    let nan = graph.doubles("nan", &[], &[f64::NAN]);
    graph.node("Where", &[is_null, &nan, values], vec![])
}

/// The probabilities `[rows, classes]` and the position of the predicted class `[rows, 1]`, as `predict` finds them.
fn of_classes(graph: &mut Graph, logits: &Value, classes: usize) -> (Value, Value) {
    if classes == 2 {
        let second = graph.node("Sigmoid", &[logits], vec![]);
        let opposite = graph.node("Neg", &[logits], vec![]);
        let first = graph.node("Sigmoid", &[&opposite], vec![]);
        let is_second = is_likely(graph, &second);
        let position = graph.cast(&is_second, ElementType::Int64);
        return (graph.concat(&[first, second]), position);
    }
    let axis = || ("axis", Attribute::Integer(1));
    let probabilities = graph.node("Softmax", &[logits], vec![axis()]);
    let position = graph.node("ArgMax", &[&probabilities], vec![axis()]);
    (probabilities, position)
}

/// Whether probabilities are at least 0.5, the threshold of `predict`.
fn is_likely(graph: &mut Graph, probabilities: &Value) -> Value {
    let half = graph.doubles("threshold", &[], &[0.5]);
    graph.node("GreaterOrEqual", &[probabilities, &half], vec![])
}

/// The classes at these positions, in the label's own type.
fn class_at(
    graph: &mut Graph,
    position: &Value,
    classes: &[ClassValue],
    target: &Column,
) -> Result<Value> {
    let (mut integers, mut booleans, mut texts) = (vec![], vec![], vec![]);
    for class in classes {
        match class {
            ClassValue::Integer(value) => integers.push(*value),
            ClassValue::Date(days) => integers.push(i64::from(*days)),
            ClassValue::Boolean(value) => booleans.push(*value),
            ClassValue::Text(value) => texts.push(value.as_str()),
        }
    }
    // No classes are an error too.
    let count = classes.len().max(1);
    let (table, found) = if integers.len() == count {
        let table = graph.integers(CLASSES, &[count], &integers);
        (table, ElementType::Int64)
    } else if booleans.len() == count {
        (graph.booleans(CLASSES, &booleans), ElementType::Boolean)
    } else if texts.len() == count {
        (graph.texts(CLASSES, &texts), ElementType::Text)
    } else {
        let problem = "the classes of the model are not of one type";
        return Err(corrupt(CONFIG_FILE, problem));
    };
    let label = graph.node("Gather", &[&table, position], vec![]);
    match element_type(&target.data_type) {
        wanted if wanted == found => Ok(label),
        wanted => Ok(graph.cast(&label, wanted)),
    }
}
