//! [`Assessments`]: the accumulated predictions and labels of all targets of a model.

use arrow::array::{Array, ArrayRef};

use super::assessment::Assessment;
use super::metric::Metric;
use crate::bytes::{Reader, Writer};
use crate::data::labels::LabelForm;
use crate::data::signature::Label;
use crate::model::Outputs;
use crate::{Error, Result};

/// An assessment of each target.
#[derive(Debug, Clone, PartialEq)]
pub struct Assessments(pub Vec<Assessment>);

impl Assessments {
    /// Empty assessments of labels of these forms.
    pub fn new(forms: impl IntoIterator<Item = LabelForm>) -> Self {
        Self(forms.into_iter().map(Assessment::new).collect())
    }

    /// Counts the rows of a batch: the column of each label of a model, in their order, and its outputs with scores. A label
    /// without a column is not assessed.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a row has no output, or a label is none that the model could predict; [`Error::Unsupported`] if
    /// the outputs have no scores.
    pub fn add(
        &mut self,
        labels: &[(Label<'_>, Option<&ArrayRef>)],
        outputs: &Outputs,
    ) -> Result<()> {
        if let Some((_, cause)) = outputs.report.failures.first() {
            return Err(Error::Invalid(cause.clone()));
        }
        let columns = labels.iter().filter_map(|(_, column)| *column);
        let rows = columns.map(|column| column.len()).max().unwrap_or(0);
        let lengths = labels.iter();
        let lengths = lengths.map(|(label, _)| rows * label.form().scores());
        if lengths.clone().sum::<usize>() != outputs.scores.len() || labels.len() != self.0.len() {
            return Err(Error::Unsupported(format!(
                "the model returns no scores for metrics: {} for {rows} rows",
                outputs.scores.len()
            )));
        }
        let mut rest = outputs.scores.as_slice();
        for ((assessment, (label, column)), length) in self.0.iter_mut().zip(labels).zip(lengths) {
            let (scores, others) = rest.split_at(length);
            rest = others;
            if let Some(column) = column {
                assessment.add(label, column, scores, &outputs.report)?;
            }
        }
        Ok(())
    }

    /// Adds the rows of other assessments of the same model.
    ///
    /// # Errors
    /// [`Error::Internal`] if the others are of another model.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        if self.0.len() != other.0.len() {
            let message = "assessments of different models cannot be merged";
            return Err(Error::Internal(message.into()));
        }
        let mut targets = self.0.iter_mut().zip(other.0);
        targets.try_for_each(|(ours, theirs)| ours.merge(theirs))
    }

    /// The metrics of all targets, which have these names. If there are several, each metric names its target.
    pub fn metrics<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Metric> {
        let has_several = self.0.len() > 1;
        let targets = self.0.iter().zip(names);
        let metrics = targets.flat_map(|(assessment, name)| {
            let metrics = assessment.metrics().into_iter();
            metrics.map(move |metric| Metric {
                target: has_several.then(|| name.to_owned()),
                ..metric
            })
        });
        metrics.collect()
    }

    /// Memory of the assessments in bytes.
    pub fn bytes(&self) -> usize {
        self.0.iter().map(Assessment::bytes).sum()
    }

    /// The assessments as bytes, for another process.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Writer::default();
        bytes.count(self.0.len() as u64);
        self.0.iter().for_each(|target| target.write(&mut bytes));
        bytes.0
    }

    /// Reads the bytes of [`Assessments::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Internal`] if the bytes are malformed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let mut bytes = Reader(bytes);
        let targets = (0..bytes.count()?).map(|_| Assessment::read(&mut bytes));
        Ok(Self(targets.collect::<Result<_>>()?))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Float64Array, ListArray, StringArray};
    use arrow::datatypes::{DataType, Float64Type};

    use super::*;
    use crate::data::columns::Column;
    use crate::data::labels::ClassValue;
    use crate::data::signature::Values;

    fn column(name: &str) -> Column {
        Column {
            name: name.into(),
            data_type: DataType::Null,
        }
    }

    #[test]
    fn each_target_has_its_part_of_the_scores() {
        let targets = ["x", "kind", "path"].map(column);
        let classes = ["a", "b", "c"].map(|class| ClassValue::Text(class.into()));
        let label = |output: usize| Label {
            output,
            target: &targets[output],
            classes: if output == 1 { &classes[..] } else { &[] },
            values: if output == 2 {
                Values::Vector(2)
            } else {
                Values::One
            },
        };
        let labels = [0, 1, 2].map(label);
        let forms = || labels.iter().map(Label::form);
        let x: ArrayRef = Arc::new(Float64Array::from(vec![1.0, 2.0]));
        let kind: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None]));
        let path = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(1.0), Some(2.0)]),
            Some(vec![Some(3.0), None]),
        ]);
        let path: ArrayRef = Arc::new(path);
        let rows = [
            (labels[0], Some(&x)),
            (labels[1], Some(&kind)),
            (labels[2], Some(&path)),
        ];
        let outputs = Outputs {
            scores: vec![1.5, 2.0, 0.1, 0.8, 0.1, 0.2, 0.2, 0.6, 1.0, 4.0, 0.0, 0.0],
            ..Outputs::default()
        };
        let mut all = Assessments::new(forms());
        all.add(&rows, &outputs).unwrap();
        let counts = all.0.iter().map(|target| (target.rows(), target.null_rows));
        assert_eq!(counts.collect::<Vec<_>>(), [(2, 0), (1, 1), (1, 1)]);
        let metrics = all.metrics(["x", "kind", "path"]);
        let value = |name: &str| {
            let found = metrics.iter().find(|metric| metric.full_name() == name);
            found.and_then(|metric| metric.value)
        };
        assert_eq!(value("x.mae"), Some(0.25));
        assert_eq!(value("kind.accuracy"), Some(1.0));
        assert_eq!(value("path.mae"), Some(1.0));
        let read = Assessments::from_bytes(&all.to_bytes()).unwrap();
        assert_eq!(read, all);
        all.merge(read).unwrap();
        assert_eq!(all.0[2].rows(), 2);
        assert!(all.merge(Assessments::new(forms().take(2))).is_err());
        let few = Outputs {
            scores: vec![1.0; 11],
            ..Outputs::default()
        };
        let error = all.add(&rows, &few).unwrap_err().to_string();
        assert!(error.contains("11 for 2 rows"), "{error}");
        let long = ListArray::from_iter_primitive::<Float64Type, _, _>([
            Some(vec![Some(1.0); 2]),
            Some(vec![Some(1.0); 3]),
        ]);
        let long: ArrayRef = Arc::new(long);
        let rows = [
            (labels[0], Some(&x)),
            (labels[1], None),
            (labels[2], Some(&long)),
        ];
        let error = all.add(&rows, &outputs).unwrap_err().to_string();
        assert!(
            error.contains("\"path\" is an array of length 3"),
            "{error}"
        );
    }

    #[test]
    fn the_only_target_has_no_name_in_its_metrics() {
        let one = Assessments::new([LabelForm::Number]);
        let metrics = one.metrics(["y"]);
        assert!(metrics.iter().all(|metric| metric.target.is_none()));
        assert_eq!(metrics[0].full_name(), "mae");
    }
}
