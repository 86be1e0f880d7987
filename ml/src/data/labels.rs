//! Labels: from a column to the numbers of a loss, and from outputs back to the label's own type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Date32Array, Float64Array, Int64Array, ListArray,
    StringArray, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::{CastOptions, cast, cast_with_options, take};
use arrow::datatypes::{DataType, Date32Type, Field, Fields, Float64Type, Int64Type};
use serde::{Deserialize, Serialize};

use crate::data::types::canonical_type;
use crate::{Error, Result};

/// More classes than this are an error.
pub(crate) const CLASSES_MAX: usize = 1_000;

/// The kind of prediction that a model makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task {
    /// One of the labels seen in training.
    Classification,
    /// A number.
    Regression,
}

/// A label of a classifier, ordered as in SQL.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassValue {
    /// false < true
    Boolean(bool),
    /// Any integer type.
    Integer(i64),
    /// Days since 1970-01-01.
    Date(i32),
    /// Any string type, ordered by bytes.
    Text(String),
}

impl std::fmt::Display for ClassValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Integer(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::Date(days) => {
                let date = Date32Array::from(vec![*days]);
                let text = arrow::util::display::array_value_to_string(&date, 0)
                    .map_err(|_| std::fmt::Error)?;
                text.fmt(f)
            }
        }
    }
}

/// The meaning of the outputs for one target, learnt in training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Labels {
    /// A number: the output times `std` plus `mean`.
    Number {
        /// The mean label of the training rows.
        mean: f64,
        /// The standard deviation of the labels, 1 if they do not vary.
        std: f64,
    },
    /// A count: `mean` times the exponential of the output.
    Count {
        /// The mean label of the training rows, 1 if all are 0.
        mean: f64,
    },
    /// One of several classes.
    Classes {
        /// The classes, ascending.
        values: Vec<ClassValue>,
    },
    /// A list of numbers: each output times `std` plus its mean.
    Numbers {
        /// The mean of each element in the training rows.
        means: Vec<f64>,
        /// The deviation of all elements from their means together, 1 if none varies.
        std: f64,
    },
    /// A list of counts: `mean` times the exponential of each output.
    Counts {
        /// The number of elements.
        length: usize,
        /// The mean of all elements of the training rows, 1 if all are 0.
        mean: f64,
    },
    /// A set of labels: a logit for each.
    Set {
        /// The labels, ascending.
        values: Vec<ClassValue>,
    },
}

/// The form of a label: what it is, and how many numbers or classes it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelForm {
    /// A number.
    Number,
    /// A list of so many numbers.
    Vector(usize),
    /// One of so many classes.
    Class(usize),
    /// Some of so many labels.
    Set(usize),
}

impl LabelForm {
    /// The outputs of the network per row: a number, the logarithm of a count, the logit of the second of two classes, one
    /// logit per class, or one per label of a set.
    pub fn outputs(self) -> usize {
        match self {
            Self::Number | Self::Class(2) => 1,
            Self::Vector(length) => length,
            Self::Class(classes) => classes,
            Self::Set(labels) => labels,
        }
    }

    /// The scores per row: the numbers, or the probability of each class or label.
    pub fn scores(self) -> usize {
        match self {
            Self::Number => 1,
            Self::Vector(length) => length,
            Self::Class(classes) => classes,
            Self::Set(labels) => labels,
        }
    }
}

/// The label of each row as a class; `None` where it is NULL.
pub fn class_values(array: &ArrayRef) -> Result<Vec<Option<ClassValue>>> {
    let rows = 0..array.len();
    let canonical = canonical_type(array.data_type());
    macro_rules! collect {
        ($target:expr, $as:ident :: <$type:ty>, $make:expr) => {{
            let strict = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            let array = cast_with_options(array, &$target, &strict).map_err(|error| {
                Error::Invalid(format!(
                    "a label is out of the range of classes: {error}; CAST it to a string"
                ))
            })?;
            let array = array.$as::<$type>();
            Ok(rows
                .map(|row| array.is_valid(row).then(|| $make(array.value(row))))
                .collect())
        }};
    }
    match canonical {
        DataType::Boolean => {
            let array = cast(array, &DataType::Boolean)?;
            let array = array.as_boolean();
            Ok(rows
                .map(|row| {
                    array
                        .is_valid(row)
                        .then(|| ClassValue::Boolean(array.value(row)))
                })
                .collect())
        }
        DataType::Date32 => collect!(
            DataType::Date32,
            as_primitive::<Date32Type>,
            ClassValue::Date
        ),
        DataType::Utf8 => collect!(DataType::Utf8, as_string::<i32>, |text: &str| {
            ClassValue::Text(text.into())
        }),
        _ => collect!(
            DataType::Int64,
            as_primitive::<Int64Type>,
            ClassValue::Integer
        ),
    }
}

/// The label of each row as a number.
pub fn numbers(array: &ArrayRef) -> Result<Float64Array> {
    Ok(cast(array, &DataType::Float64)?
        .as_primitive::<Float64Type>()
        .clone())
}

impl Labels {
    /// The task of these labels.
    pub fn task(&self) -> Task {
        match self.form() {
            LabelForm::Number | LabelForm::Vector(_) => Task::Regression,
            LabelForm::Class(_) | LabelForm::Set(_) => Task::Classification,
        }
    }

    /// The form of the labels.
    pub fn form(&self) -> LabelForm {
        match self {
            Labels::Number { .. } | Labels::Count { .. } => LabelForm::Number,
            Labels::Classes { values } => LabelForm::Class(values.len()),
            Labels::Numbers { means, .. } => LabelForm::Vector(means.len()),
            Labels::Counts { length, .. } => LabelForm::Vector(*length),
            Labels::Set { values } => LabelForm::Set(values.len()),
        }
    }

    /// The classes, or the labels of sets; empty for numbers and counts.
    pub fn classes(&self) -> &[ClassValue] {
        match self {
            Labels::Classes { values } | Labels::Set { values } => values,
            Labels::Number { .. }
            | Labels::Count { .. }
            | Labels::Numbers { .. }
            | Labels::Counts { .. } => &[],
        }
    }

    /// The outputs of the network per row.
    pub fn outputs(&self) -> usize {
        self.form().outputs()
    }

    /// The numbers of a row's label for a loss: those of a list, the position of a class, or 1 or 0 for each label of a set.
    pub fn numbers(&self) -> usize {
        match self.form() {
            LabelForm::Number | LabelForm::Class(_) => 1,
            LabelForm::Vector(length) | LabelForm::Set(length) => length,
        }
    }
}

/// The outputs of a network that predicts all of these targets.
pub fn outputs_of(targets: &[Labels]) -> usize {
    targets.iter().map(Labels::outputs).sum()
}

/// The position of a class among ascending `classes`; `None` if training did not see the class.
pub fn class_position(classes: &[ClassValue], value: &ClassValue) -> Option<u32> {
    let position = classes.binary_search(value).ok();
    position.map(|position| position as u32)
}

/// The predicted class of each row of `probabilities` `[rows, classes]`. Of two classes, the second is predicted if its
/// probability is at least `threshold`.
pub fn predicted_classes(probabilities: &[f64], classes: usize, threshold: f64) -> Vec<u32> {
    let rows = probabilities.chunks_exact(classes.max(1));
    match classes {
        2 => rows.map(|row| u32::from(row[1] >= threshold)).collect(),
        _ => rows.map(|row| by_probability(row)[0]).collect(),
    }
}

/// The classes at these positions, in the label's own type.
pub fn class_array(
    classes: &[ClassValue],
    positions: &[u32],
    valid: Option<&NullBuffer>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let positions = UInt32Array::new(positions.to_vec().into(), valid.cloned());
    Ok(take(&all_classes(classes, data_type)?, &positions, None)?)
}

fn all_classes(values: &[ClassValue], data_type: &DataType) -> Result<ArrayRef> {
    let wrong = || Error::Corrupt("the classes of the model are not of one type".into());
    macro_rules! array_of {
        ($array:ty, $variant:path) => {{
            let values: Option<Vec<_>> = values
                .iter()
                .map(|value| {
                    if let $variant(value) = value {
                        Some(value.clone())
                    } else {
                        None
                    }
                })
                .collect();
            Arc::new(<$array>::from(values.ok_or_else(wrong)?)) as ArrayRef
        }};
    }
    let array = match values.first() {
        Some(ClassValue::Boolean(_)) => array_of!(BooleanArray, ClassValue::Boolean),
        Some(ClassValue::Integer(_)) => array_of!(Int64Array, ClassValue::Integer),
        Some(ClassValue::Date(_)) => array_of!(Date32Array, ClassValue::Date),
        Some(ClassValue::Text(_)) => array_of!(StringArray, ClassValue::Text),
        None => return Err(wrong()),
    };
    Ok(cast(&array, data_type)?)
}

/// For each row a list of (label, probability), the most probable first.
pub fn probability_lists(
    classes: &[ClassValue],
    probabilities: &[f64],
    valid: Option<&NullBuffer>,
    top_k: Option<usize>,
    data_type: &DataType,
) -> Result<ArrayRef> {
    let count = classes.len();
    let kept = top_k.unwrap_or(count).min(count);
    let rows = probabilities.len() / count.max(1);
    let mut positions = Vec::with_capacity(rows * kept);
    let mut values = Vec::with_capacity(rows * kept);
    for row in probabilities.chunks_exact(count.max(1)) {
        for &class in &by_probability(row)[..kept] {
            positions.push(class);
            values.push(row[class as usize]);
        }
    }
    let fields = probability_fields(data_type);
    let labels = class_array(classes, &positions, None, data_type)?;
    let entries = StructArray::new(
        fields.clone(),
        vec![labels, Arc::new(Float64Array::from(values))],
        None,
    );
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(kept, rows));
    Ok(Arc::new(ListArray::new(
        item,
        offsets,
        Arc::new(entries),
        valid.cloned(),
    )))
}

/// The positions of a row's classes, most probable first, ties by label.
fn by_probability(row: &[f64]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    order.sort_by(|left, right| row[*right as usize].total_cmp(&row[*left as usize]));
    order
}

fn probability_fields(label: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("label", label.clone(), true),
        Field::new("prob", DataType::Float64, false),
    ])
}

/// The type of the probabilities of a label of this type.
pub fn probabilities_type(label: &DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(
        DataType::Struct(probability_fields(label)),
        true,
    )))
}
