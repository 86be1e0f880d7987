//! Inputs and outputs of a graph → the ports of a model.
//!
//! | tensor | column |
//! |---|---|
//! | `[rows]`, `[rows, 1]` | one value |
//! | `[rows, …]` | a list, row-major; of any length if a size is that of a list in the input |
//! | probabilities of a `ZipMap` | a list of (label, probability) |
//!
//! The only value beside the probabilities of a `ZipMap` is the predicted label, and so is the only output if it is a number.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

use super::element::Element;
use super::graph::Graph;
use super::inputs::{Batch, Input, Row};
use super::plan::{Plan, Shape};
use crate::data::columns::Column;
use crate::data::labels::{ClassValue, probabilities_type};
use crate::data::signature::{Port, PortKind, Signature, Values};
use crate::{Error, Result};

/// An output of the graph.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Output {
    pub(super) element: Element,
    pub(super) width: Width,
    pub(super) role: Role,
}

/// The elements of a row of an output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    Of(usize),
    /// Any number: it depends on the lengths of lists in the inputs.
    Any {
        /// About so many for each element of a list.
        of_element: usize,
    },
}

/// Two numbers of rows, and two lengths of lists, by which sizes that depend on them are found.
const ROWS: [usize; 2] = [2, 5];
const LENGTHS: [usize; 2] = [40, 97];

/// What an output is for the engine.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Role {
    Value,
    /// The predicted label. Its classes, ascending; none for a number.
    Label(Vec<ClassValue>),
    List,
    /// Probabilities: the classes, ascending, and for each its position in the tensor.
    Probabilities(Vec<ClassValue>, Vec<usize>),
}

/// The outputs of a graph.
///
/// # Errors
/// [`Error::Unsupported`] for an output that no column can be.
pub(super) fn outputs(file: &str, graph: &Graph, plan: &dyn Plan) -> Result<Vec<Output>> {
    let (few, many) = match plan.batch() {
        Batch::Any => (ROWS[0], ROWS[1]),
        Batch::Of(rows) => (rows, rows),
    };
    let shapes = |rows: usize, length: usize| plan.outputs(rows, &vec![length; plan.lengths()]);
    let (small, large) = (shapes(few, LENGTHS[0])?, shapes(many, LENGTHS[1])?);
    let long = match plan.lengths() {
        0 => small.clone(),
        _ => shapes(few, LENGTHS[1])?,
    };
    let mut outputs = Vec::with_capacity(small.len());
    for (at, name) in graph.outputs.iter().enumerate() {
        let wrong =
            |problem: String| Error::Unsupported(format!("{file}: output \"{name}\" {problem}"));
        let missing = || Error::Internal(format!("output \"{name}\" of a graph is missing"));
        let of = |shapes: &[Shape]| shapes.get(at).cloned().ok_or_else(missing);
        let (small, long, large) = (of(&small)?, of(&long)?, of(&large)?);
        let element = Element::of_tract(small.datum_type);
        let element = element.ok_or_else(|| {
            wrong(format!(
                "is a tensor of {:?}, which no column can be",
                small.datum_type
            ))
        })?;
        let rows = (row(&small, few), row(&long, few), row(&large, many));
        let (Some(row), Some(long), true) = (rows.0, rows.1.clone(), rows.1 == rows.2) else {
            return Err(wrong(format!(
                "has the shape [{}]; its first dimension must be the rows, and the others must have a fixed size or that of a list",
                small.written
            )));
        };
        let width = match row == long {
            true => Width::Of(row.iter().product()),
            false => Width::Any {
                of_element: long.iter().product::<usize>().div_ceil(LENGTHS[1]),
            },
        };
        let is_value = row == long && (row.is_empty() || row == [1]);
        if width == Width::Of(0) || (element == Element::Text && !is_value) {
            return Err(wrong(format!(
                "has the shape [{}] of {element:?}, which no column can be",
                small.written
            )));
        }
        let classes = graph
            .classes
            .get(name)
            .filter(|classes| width == Width::Of(classes.len()));
        let role = match classes.and_then(|classes| ascending(classes)) {
            Some((classes, order)) => Role::Probabilities(classes, order),
            None if is_value => Role::Value,
            None => Role::List,
        };
        outputs.push(Output {
            element,
            width,
            role,
        });
    }
    find_label(&mut outputs);
    Ok(outputs)
}

/// The shape of a row, if the first dimension is so many rows and all others are known.
fn row(shape: &Shape, rows: usize) -> Option<Vec<usize>> {
    let sizes = shape
        .sizes
        .iter()
        .copied()
        .collect::<Option<Vec<usize>>>()?;
    let (first, row) = sizes.split_first()?;
    (*first == rows).then(|| row.to_vec())
}

/// The classes in ascending order, with their positions; none if two are equal.
fn ascending(classes: &[ClassValue]) -> Option<(Vec<ClassValue>, Vec<usize>)> {
    let mut order: Vec<usize> = (0..classes.len()).collect();
    order.sort_by(|one, other| classes[*one].cmp(&classes[*other]));
    let sorted: Vec<ClassValue> = order.iter().map(|at| classes[*at].clone()).collect();
    let is_unique = sorted.windows(2).all(|pair| pair[0] != pair[1]);
    is_unique.then_some((sorted, order))
}

/// Finds the label among the outputs, if there is exactly one.
fn find_label(outputs: &mut [Output]) {
    if let [only] = &mut *outputs {
        let is_number = matches!(only.element, Element::F16 | Element::F32 | Element::F64);
        if only.role == Role::Value && is_number {
            only.role = Role::Label(vec![]);
        }
        return;
    }
    let mut of_classes = outputs.iter().filter_map(|output| match &output.role {
        Role::Probabilities(classes, _) => Some(classes),
        Role::Value | Role::Label(_) | Role::List => None,
    });
    let (Some(classes), None) = (of_classes.next(), of_classes.next()) else {
        return;
    };
    let classes = classes.clone();
    let of = match classes[0] {
        ClassValue::Text(_) => Element::Text,
        ClassValue::Boolean(_) | ClassValue::Integer(_) | ClassValue::Date(_) => Element::I64,
    };
    let is_label = |output: &&mut Output| output.role == Role::Value && output.element == of;
    let mut labels = outputs.iter_mut().filter(is_label);
    if let (Some(label), None) = (labels.next(), labels.next()) {
        label.role = Role::Label(classes);
    }
}

/// The ports of these inputs and outputs.
pub(super) fn signature(inputs: &[Input], names: &[String], outputs: &[Output]) -> Signature {
    let label = names
        .iter()
        .zip(outputs)
        .find_map(|(name, output)| match output.role {
            Role::Label(_) => Some(name),
            Role::Value | Role::List | Role::Probabilities(..) => None,
        });
    let inputs = inputs.iter().map(|input| Port {
        name: input.name.clone(),
        data_type: input_type(input),
        kind: match &input.row {
            Row::One { .. } => match input.element {
                Element::Text | Element::Bool => PortKind::Category,
                _ => PortKind::Number,
            },
            Row::Array(shape) => PortKind::Array {
                shape: shape.clone(),
            },
            Row::List { .. } => PortKind::Array { shape: vec![] },
        },
    });
    let outputs = names.iter().zip(outputs).map(|(name, output)| {
        let data_type = output.element.data_type();
        let (data_type, kind) = match &output.role {
            Role::Value => {
                let kind = match output.element {
                    Element::Text | Element::Bool => PortKind::Category,
                    _ => PortKind::Number,
                };
                (data_type, kind)
            }
            Role::Label(classes) => {
                let target = Column {
                    name: name.clone(),
                    data_type: data_type.clone(),
                };
                let kind = PortKind::Label {
                    target,
                    classes: classes.clone(),
                    values: Values::One,
                };
                (data_type, kind)
            }
            Role::List => {
                let kind = match output.width {
                    Width::Of(width) => PortKind::Vector { width },
                    Width::Any { .. } => PortKind::Array { shape: vec![] },
                };
                (list_of(data_type), kind)
            }
            Role::Probabilities(classes, _) => {
                let target = label.unwrap_or(name).clone();
                let of = probabilities_type(&class_type(classes));
                (of, PortKind::Probabilities { target })
            }
        };
        Port {
            name: name.clone(),
            data_type,
            kind,
        }
    });
    Signature {
        inputs: inputs.collect(),
        outputs: outputs.collect(),
    }
}

/// The type of the labels of these classes.
pub(super) fn class_type(classes: &[ClassValue]) -> DataType {
    match classes.first() {
        Some(ClassValue::Text(_)) => DataType::Utf8,
        _ => DataType::Int64,
    }
}

/// The type of a column of an input.
pub(super) fn input_type(input: &Input) -> DataType {
    let element = input.element.data_type();
    match &input.row {
        Row::One { .. } => element,
        Row::Array(shape) => {
            let width = shape.iter().product::<usize>() as i32;
            DataType::FixedSizeList(Arc::new(Field::new_list_field(element, true)), width)
        }
        Row::List { .. } => list_of(element),
    }
}

fn list_of(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(element: Element, role: Role) -> Output {
        Output {
            element,
            width: Width::Of(1),
            role,
        }
    }

    #[test]
    fn classes_are_sorted_with_their_positions() {
        let texts = ["b", "a", "c"].map(|text| ClassValue::Text(text.into()));
        let (classes, order) = ascending(&texts).unwrap();
        assert_eq!(
            classes,
            ["a", "b", "c"].map(|text| ClassValue::Text(text.into()))
        );
        assert_eq!(order, [1, 0, 2]);
        assert_eq!(ascending(&[texts[0].clone(), texts[0].clone()]), None);
    }

    #[test]
    fn the_label_is_the_only_value_of_its_type() {
        let classes = vec![ClassValue::Integer(0), ClassValue::Integer(1)];
        let probabilities = || {
            output(
                Element::F32,
                Role::Probabilities(classes.clone(), vec![0, 1]),
            )
        };
        let value = |element| output(element, Role::Value);
        let roles = |outputs: &[Output]| {
            let mut outputs = outputs.to_vec();
            find_label(&mut outputs);
            outputs
                .into_iter()
                .map(|output| output.role)
                .collect::<Vec<_>>()
        };
        let found = roles(&[value(Element::I64), probabilities()]);
        assert_eq!(found[0], Role::Label(classes.clone()));
        let found = roles(&[value(Element::F32), probabilities()]);
        assert_eq!(found[0], Role::Value);
        let found = roles(&[value(Element::I64), value(Element::I64), probabilities()]);
        assert_eq!(found[..2], [Role::Value, Role::Value]);
        assert_eq!(roles(&[value(Element::F32)]), [Role::Label(vec![])]);
        assert_eq!(roles(&[value(Element::I64)]), [Role::Value]);
        assert_eq!(
            roles(&[value(Element::F32), value(Element::F32)])[0],
            Role::Value
        );
    }
}
