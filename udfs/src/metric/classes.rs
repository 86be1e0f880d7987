//! `accuracy`, `precision`, `recall`, `f1` of labels and predicted labels.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, StringArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, UInt64Type};
use datafusion_common::{Result, ScalarValue, exec_err};
use datafusion_expr::type_coercion::binary::comparison_coercion;
use datafusion_expr::{Accumulator, AggregateUDF};
use vatic_metrics::{ClassCounts, Confusion, Scores};

use super::udaf::{Metric, metric_function};
use crate::doc::Doc;

pub(super) fn functions() -> Vec<AggregateUDF> {
    [&ACCURACY, &PRECISION, &RECALL, &F1]
        .map(metric_function)
        .into()
}

static ACCURACY: Metric = Metric {
    doc: Doc {
        name: "accuracy",
        syntax: "accuracy(label, predicted)",
        gives: "aggregate: the share of rows whose label was predicted",
        example: "SELECT accuracy(y, p) FROM (VALUES ('a', 'a'), ('b', 'a')) AS t(y, p)",
    },
    coerce: |types| match types {
        [_, _] => classes(types),
        _ => None,
    },
    takes: "a label and a predicted label of one type",
    state,
    accumulator: || Classes::boxed(|confusion, _| confusion.accuracy()),
};

static PRECISION: Metric = Metric {
    doc: Doc {
        name: "precision",
        syntax: "precision(label, predicted [, class])",
        gives: "aggregate: of the rows predicted to be of a class, the share that is; without a class the mean over classes",
        example: "SELECT precision(y, p), precision(y, p, 'a') FROM (VALUES ('a', 'a'), ('b', 'a')) AS t(y, p)",
    },
    coerce: classes,
    takes: TAKES,
    state,
    accumulator: || Classes::boxed(|confusion, class| Some(scores(confusion, class)?.precision)),
};

static RECALL: Metric = Metric {
    doc: Doc {
        name: "recall",
        syntax: "recall(label, predicted [, class])",
        gives: "aggregate: of the rows of a class, the share that was predicted; without a class the mean over classes",
        example: "SELECT recall(y, p), recall(y, p, 'a') FROM (VALUES ('a', 'a'), ('b', 'a')) AS t(y, p)",
    },
    coerce: classes,
    takes: TAKES,
    state,
    accumulator: || Classes::boxed(|confusion, class| Some(scores(confusion, class)?.recall)),
};

static F1: Metric = Metric {
    doc: Doc {
        name: "f1",
        syntax: "f1(label, predicted [, class])",
        gives: "aggregate: the harmonic mean of precision and recall; without a class the mean over classes",
        example: "SELECT f1(y, p), f1(y, p, 'a') FROM (VALUES ('a', 'a'), ('b', 'a')) AS t(y, p)",
    },
    coerce: classes,
    takes: TAKES,
    state,
    accumulator: || Classes::boxed(|confusion, class| Some(scores(confusion, class)?.f1)),
};

const TAKES: &str = "a label, a predicted label and, if wanted, a class, all of one type";

/// The common type in which labels are compared, once for each argument.
fn classes(types: &[DataType]) -> Option<Vec<DataType>> {
    let (first, others) = types.split_first()?;
    let common = others.iter().try_fold(first.clone(), |common, other| {
        comparison_coercion(&common, other)
    })?;
    let is_class = matches!(
        common,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Boolean
            | DataType::Null
    ) || common.is_integer()
        || common.is_temporal();
    let is_count = (2..=3).contains(&types.len());
    (is_class && is_count).then(|| vec![common; types.len()])
}

fn scores(confusion: &Confusion<String>, class: Option<&String>) -> Option<Scores> {
    match class {
        Some(class) => confusion.scores_of(class),
        None => confusion.macro_scores(),
    }
}

/// Computes a metric from the counts and the requested class, if there is one.
type Evaluate = fn(&Confusion<String>, Option<&String>) -> Option<f64>;

/// Counts of classes, which are compared as text.
#[derive(Debug)]
struct Classes {
    confusion: Confusion<String>,
    class: Option<String>,
    evaluate: Evaluate,
}

fn list_of(data_type: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(data_type, true)))
}

/// The requested class; the classes; their hits, labels and predictions.
fn state() -> Vec<DataType> {
    let counts = [(); 3].map(|()| list_of(DataType::UInt64));
    [DataType::Utf8, list_of(DataType::Utf8)]
        .into_iter()
        .chain(counts)
        .collect()
}

impl Classes {
    fn boxed(evaluate: Evaluate) -> Box<dyn Accumulator> {
        Box::new(Self {
            confusion: Confusion::default(),
            class: None,
            evaluate,
        })
    }

    fn ask_for(&mut self, class: Option<&str>) -> Result<()> {
        match (&self.class, class) {
            (Some(known), Some(other)) if known != other => {
                exec_err!(
                    "the class of a metric must be the same in each row, found {known} and {other}"
                )
            }
            (None, Some(class)) => {
                self.class = Some(class.to_owned());
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl Accumulator for Classes {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let texts = values.iter().map(|values| cast(values, &DataType::Utf8));
        let texts = texts.collect::<Result<Vec<_>, _>>()?;
        let (labels, predicted) = (texts[0].as_string::<i32>(), texts[1].as_string::<i32>());
        if let Some(classes) = texts.get(2) {
            let mut classes = classes.as_string::<i32>().iter().flatten();
            classes.try_for_each(|class| self.ask_for(Some(class)))?;
        }
        let is_left_out = |row: usize| texts.get(2).is_some_and(|classes| classes.is_null(row));
        for (row, (label, predicted)) in labels.iter().zip(predicted).enumerate() {
            if is_left_out(row) {
                continue;
            }
            if let (Some(label), Some(predicted)) = (label, predicted) {
                self.confusion.add(Some(label.into()), predicted.into());
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        Ok(ScalarValue::Float64((self.evaluate)(
            &self.confusion,
            self.class.as_ref(),
        )))
    }

    fn size(&self) -> usize {
        let of_class =
            |(class, _): (&String, _)| class.capacity() + size_of::<(String, ClassCounts)>();
        size_of_val(self) + self.confusion.classes().map(of_class).sum::<usize>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let classes: StringArray = self
            .confusion
            .classes()
            .map(|(class, _)| Some(class))
            .collect();
        let mut state = vec![
            ScalarValue::Utf8(self.class.clone()),
            one_list(Arc::new(classes)),
        ];
        let parts: [fn(&ClassCounts) -> u64; 3] = [|c| c.hits, |c| c.labelled, |c| c.predicted];
        for part in parts {
            let counts = self.confusion.classes().map(|(_, counts)| part(counts));
            state.push(one_list(Arc::new(counts.collect::<UInt64Array>())));
        }
        Ok(state)
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let asked = states[0].as_string::<i32>();
        let list = |index: usize, row: usize| states[index].as_list::<i32>().value(row);
        for row in 0..asked.len() {
            self.ask_for(asked.is_valid(row).then(|| asked.value(row)))?;
            let classes = list(1, row);
            let classes = classes.as_string::<i32>();
            let [hits, labelled, predicted] =
                [2, 3, 4].map(|index| list(index, row).as_primitive::<UInt64Type>().clone());
            let counts = (0..classes.len()).map(|class| {
                let counts = ClassCounts {
                    hits: hits.value(class),
                    labelled: labelled.value(class),
                    predicted: predicted.value(class),
                };
                (classes.value(class).to_owned(), counts)
            });
            // Each row has one label.
            let rows = labelled.values().iter().sum();
            self.confusion.merge(Confusion::from_counts(rows, counts));
        }
        Ok(())
    }
}

/// A list as a scalar value.
pub(super) fn one_list(values: ArrayRef) -> ScalarValue {
    let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths([values.len()]);
    ScalarValue::List(Arc::new(ListArray::new(item, offsets, values, None)))
}
