//! [`TargetKind`]: what a model predicts of a target, before its rows are read; the NULLs and the sets of its labels.

use arrow::array::{Array, ArrayRef};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;

use crate::data::apart::parts;
use crate::data::coerce::canonical_array;
use crate::data::columns::Column;
use crate::data::labels::{ClassValue, Task, class_values};
use crate::data::lists::Lists;
use crate::data::types::{canonical_type, is_number, item_type, type_name};
use crate::{Error, Result};

/// A list that is a target has no more numbers: each is an output of a layer.
pub(crate) const TARGET_NUMBERS_MAX: usize = 65_536;

/// What a model predicts of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TargetKind {
    /// A number.
    Number,
    /// A list of numbers of one length.
    Vector,
    /// One of several classes.
    Class,
    /// A set of labels, as a list.
    Set,
}

impl TargetKind {
    /// The kind of a target of this type. An integer is a number to a regressor and a class to a classifier, and so are the elements
    /// of lists of integers; the type decides about the others. `None` for a type that no model predicts.
    fn of(data_type: &DataType, task: Task) -> Option<Self> {
        match canonical_type(data_type) {
            DataType::Boolean | DataType::Utf8 | DataType::Date32 => Some(Self::Class),
            integer if integer.is_integer() => Some(match task {
                Task::Regression => Self::Number,
                Task::Classification => Self::Class,
            }),
            number if is_number(&number) => Some(Self::Number),
            list => match canonical_type(&item_type(&list)?) {
                DataType::Utf8 | DataType::Date32 => Some(Self::Set),
                item if item.is_integer() && task == Task::Classification => Some(Self::Set),
                item if is_number(&item) => Some(Self::Vector),
                _ => None,
            },
        }
    }

    /// The task of a model that predicts such a target.
    pub fn task(self) -> Task {
        match self {
            Self::Number | Self::Vector => Task::Regression,
            Self::Class | Self::Set => Task::Classification,
        }
    }
}

/// What a model type says about targets.
#[derive(Debug, Clone, Copy)]
pub struct Predictor<'a> {
    /// The name of the model type.
    pub model_type: &'a str,
    /// The task of a model of one target.
    pub task: Task,
    /// What a user does to get a model of the other task.
    pub other_task: &'a str,
    /// Whether its models may predict several targets, or lists.
    pub takes_several: bool,
}

impl Predictor<'_> {
    /// The kinds of these targets.
    ///
    /// # Errors
    /// [`Error::Type`] with the remedy if the model type predicts no target of a type, [`Error::Unsupported`] if it does not
    /// predict several.
    pub fn kinds(&self, targets: &[Column]) -> Result<Vec<TargetKind>> {
        let kinds = targets.iter().map(|target| match targets {
            [_] => self.only_kind(target),
            _ => self.kind(target),
        });
        let kinds = kinds.collect::<Result<Vec<_>>>()?;
        if !kinds.iter().any(|kind| kind.task() == self.task) {
            return Err(self.no_target_of_the_task(targets));
        }
        let is_list = |kind: &TargetKind| matches!(kind, TargetKind::Vector | TargetKind::Set);
        let has_several = kinds.len() > 1 || kinds.iter().any(is_list);
        match has_several && !self.takes_several {
            true => Err(Error::Unsupported(format!(
                "a model of type {} has one target with one value in a row; use a dnn model, or train a model for each",
                self.model_type
            ))),
            false => Ok(kinds),
        }
    }

    /// The kind of the only target, which has the task of the model type.
    fn only_kind(&self, target: &Column) -> Result<TargetKind> {
        let Column { name, data_type } = target;
        let kind = TargetKind::of(data_type, self.task);
        let kind = kind.filter(|kind| kind.task() == self.task);
        kind.ok_or_else(|| {
            let needs = match self.task {
                Task::Regression => "a regressor needs a number",
                Task::Classification => "a classifier needs a string, integer, boolean or date",
            };
            Error::Type(format!(
                "label \"{name}\" is {}, {needs}; CAST it, or {}",
                type_name(data_type),
                self.other_task
            ))
        })
    }

    /// The kind of one of several targets.
    fn kind(&self, target: &Column) -> Result<TargetKind> {
        let Column { name, data_type } = target;
        TargetKind::of(data_type, self.task).ok_or_else(|| {
            Error::Type(format!(
                "label \"{name}\" is {}, which no model predicts; leave it out, or CAST it to a number, string, boolean, date, \
                 or list of numbers or strings",
                type_name(data_type)
            ))
        })
    }

    fn no_target_of_the_task(&self, targets: &[Column]) -> Error {
        let names: Vec<String> = targets
            .iter()
            .map(|target| format!("\"{}\"", target.name))
            .collect();
        let missing = match self.task {
            Task::Regression => "a number",
            Task::Classification => "a string, integer, boolean or date",
        };
        Error::Type(format!(
            "none of the labels {} is {missing}, and a model of type {} predicts one; {}",
            names.join(", "),
            self.model_type,
            self.other_task
        ))
    }
}

/// Which rows have a label, in each of its elements; `None` means all rows.
///
/// # Errors
/// [`Error::Invalid`] for lists of several lengths.
pub(crate) fn valid_labels(
    name: &str,
    labels: &ArrayRef,
    kind: TargetKind,
) -> Result<Option<NullBuffer>> {
    match kind {
        TargetKind::Number | TargetKind::Class => Ok(labels.logical_nulls()),
        TargetKind::Vector => Ok(parts(name, labels, None)?.valid),
        TargetKind::Set => Ok(Some(sets(labels)?.iter().map(Option::is_some).collect())),
    }
}

/// The sets of a target: the labels of each row, ascending and each once. `None` for a row without a set, or with a NULL in it.
///
/// # Errors
/// [`Error::Invalid`] for a label that is none of the possible values.
pub(crate) fn sets(labels: &ArrayRef) -> Result<Vec<Option<Vec<ClassValue>>>> {
    let lists = Lists::of(&canonical_array(labels)?)?;
    let (start, values) = lists.used_values();
    let values = class_values(&values)?;
    let of_row = |(row, (first, length)): (usize, &(usize, usize))| {
        if !lists.is_valid(row) {
            return None;
        }
        let values = values[first - start..][..*length].iter().cloned();
        let mut set = values.collect::<Option<Vec<ClassValue>>>()?;
        set.sort_unstable();
        set.dedup();
        Some(set)
    };
    Ok(lists.rows.iter().enumerate().map(of_row).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::ListArray;
    use arrow::datatypes::{Field, Int32Type};

    use super::*;

    fn list(item: DataType) -> DataType {
        DataType::List(Arc::new(Field::new_list_field(item, true)))
    }

    fn kinds(task: Task, types: &[DataType]) -> Result<Vec<TargetKind>, String> {
        let predictor = Predictor {
            model_type: "net",
            task,
            other_task: "use the other one",
            takes_several: true,
        };
        let targets = types.iter().zip('a'..).map(|(data_type, name)| Column {
            name: name.into(),
            data_type: data_type.clone(),
        });
        let kinds = predictor.kinds(&targets.collect::<Vec<_>>());
        kinds.map_err(|error| error.to_string())
    }

    #[test]
    fn the_types_of_several_targets_decide_but_for_integers() {
        use TargetKind::{Class, Number, Set, Vector};
        let types = [
            DataType::Int64,
            DataType::Float32,
            DataType::Utf8View,
            DataType::Boolean,
            DataType::Decimal128(10, 2),
            list(DataType::Float64),
            list(DataType::LargeUtf8),
        ];
        let expected = [Number, Number, Class, Class, Number, Vector, Set];
        assert_eq!(kinds(Task::Regression, &types).unwrap(), expected);
        let expected = [Class, Number, Class, Class, Number, Vector, Set];
        assert_eq!(kinds(Task::Classification, &types).unwrap(), expected);
        let integers = [list(DataType::Int64)];
        assert_eq!(kinds(Task::Regression, &integers).unwrap(), [Vector]);
        assert_eq!(kinds(Task::Classification, &integers).unwrap(), [Set]);
    }

    #[test]
    fn a_target_has_the_task_of_its_model_type() {
        for (task, types, expected) in [
            (
                Task::Regression,
                vec![DataType::Utf8],
                "label \"a\" is utf8, a regressor needs a number; CAST it, or use the other one",
            ),
            (
                Task::Classification,
                vec![list(DataType::Float64)],
                "label \"a\" is list(float64), a classifier needs a string, integer, boolean or date; CAST it, or",
            ),
            (
                Task::Regression,
                vec![DataType::Utf8, DataType::Boolean],
                "none of the labels \"a\", \"b\" is a number, and a model of type net predicts one; use the other one",
            ),
            (
                Task::Classification,
                vec![DataType::Float64, DataType::Float64],
                "none of the labels \"a\", \"b\" is a string, integer, boolean or date, and",
            ),
            (
                Task::Regression,
                vec![DataType::Int8, list(list(DataType::Int8))],
                "label \"b\" is list(list(int8)), which no model predicts; leave it out",
            ),
        ] {
            let error = kinds(task, &types).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_set_has_each_label_once_whatever_the_list() {
        let rows = [
            Some(vec![Some(3), Some(1), Some(3)]),
            None,
            Some(vec![]),
            Some(vec![Some(2), None]),
            Some(vec![Some(1)]),
        ];
        let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(rows);
        let set = |values: &[i64]| {
            let values = values.iter().copied().map(ClassValue::Integer);
            Some(values.collect::<Vec<_>>())
        };
        let expected = [set(&[1, 3]), None, set(&[]), None, set(&[1])];
        let lists: ArrayRef = Arc::new(lists);
        for start in 0..5 {
            let found = sets(&lists.slice(start, 5 - start)).unwrap();
            assert_eq!(found, expected[start..]);
        }
        let valid = valid_labels("tags", &lists, TargetKind::Set)
            .unwrap()
            .unwrap();
        assert_eq!(valid.null_count(), 2);
    }

    #[test]
    fn a_model_type_may_have_one_target_only() {
        let linear = Predictor {
            model_type: "linear_reg",
            task: Task::Regression,
            other_task: "use a classifier",
            takes_several: false,
        };
        let column = |data_type| Column {
            name: "y".into(),
            data_type,
        };
        let number = || column(DataType::Int64);
        assert_eq!(linear.kinds(&[number()]).unwrap(), [TargetKind::Number]);
        for targets in [
            vec![number(), number()],
            vec![column(list(DataType::Int64))],
        ] {
            let error = linear.kinds(&targets).unwrap_err().to_string();
            assert!(
                error.starts_with("a model of type linear_reg has one target"),
                "{error}"
            );
        }
    }
}
