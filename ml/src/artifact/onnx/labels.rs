//! The outputs of a network → the outputs of its model: a number, or a label and the probability of each class.

use super::types::{DAYS, element_type};
use crate::Result;
use crate::artifact::{CONFIG_FILE, corrupt};
use crate::data::columns::Column;
use crate::data::labels::{ClassValue, Labels};
use crate::graph::{Attribute, ElementType, Graph, GraphPort, Value};

/// The key of the property that lists the classes, in the order of their probabilities, as JSON.
const CLASSES: &str = "classes";

/// Makes outputs of the network's `outputs` `[rows, outputs]`; NaN in the rows that `is_null` `[rows, 1]` marks.
///
/// # Errors
/// [`Error::Unsupported`](crate::Error::Unsupported) for a feature with the name of an output;
/// [`Error::Corrupt`](crate::Error::Corrupt) for classes of several types.
pub(super) fn add_outputs(
    graph: &mut Graph,
    labels: &Labels,
    target: &Column,
    outputs: &Value,
    is_null: Option<&Value>,
) -> Result<()> {
    let outputs = match graph.float() {
        ElementType::Float64 => outputs.clone(),
        _ => graph.cast(outputs, ElementType::Float64),
    };
    let name = format!("predicted_{}", target.name);
    let number = |graph: &mut Graph, of: &Value| {
        let of = unless_null(graph, of, is_null);
        let port = GraphPort {
            name: &name,
            element: ElementType::Float64,
            sizes: &[1],
            meaning: "",
        };
        graph.output(&of, port)
    };
    match labels {
        Labels::Number { mean, std } => {
            let std = graph.doubles("std", &[], &[*std]);
            let mean = graph.doubles("mean", &[], &[*mean]);
            let scaled = graph.node("Mul", &[&outputs, &std], vec![]);
            let label = graph.node("Add", &[&scaled, &mean], vec![]);
            number(graph, &label)
        }
        Labels::Count { mean } => {
            let mean = graph.doubles("mean", &[], &[*mean]);
            let factor = graph.node("Exp", &[&outputs], vec![]);
            let label = graph.node("Mul", &[&factor, &mean], vec![]);
            number(graph, &label)
        }
        Labels::Classes { values } => {
            let (probabilities, position) = of_classes(graph, &outputs, values.len());
            let label = class_at(graph, &position, values, target)?;
            let is_date = matches!(values.first(), Some(ClassValue::Date(_)));
            graph.output(
                &label,
                GraphPort {
                    name: &name,
                    element: element_type(&target.data_type),
                    sizes: &[1],
                    meaning: if is_date { DAYS } else { "" },
                },
            )?;
            let probabilities = unless_null(graph, &probabilities, is_null);
            let texts: Vec<String> = values.iter().map(ToString::to_string).collect();
            graph.property(CLASSES, serde_json::json!(texts).to_string());
            graph.output(
                &probabilities,
                GraphPort {
                    name: &format!("{name}_probs"),
                    element: ElementType::Float64,
                    sizes: &[values.len()],
                    meaning: "the probability of each class, the classes in ascending order",
                },
            )
        }
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
        let half = graph.doubles("threshold", &[], &[0.5]);
        let is_second = graph.node("GreaterOrEqual", &[&second, &half], vec![]);
        let position = graph.cast(&is_second, ElementType::Int64);
        return (graph.concat(&[first, second]), position);
    }
    let axis = || ("axis", Attribute::Integer(1));
    let probabilities = graph.node("Softmax", &[logits], vec![axis()]);
    let position = graph.node("ArgMax", &[&probabilities], vec![axis()]);
    (probabilities, position)
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
