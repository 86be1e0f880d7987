//! [`Targets`]: what is learnt of the targets before the first step, and their labels as the numbers of a loss.

use arrow::array::{ArrayRef, RecordBatch};

use crate::data::apart::parts;
use crate::data::columns::Columns;
use crate::data::encode::standardise::Standardiser;
use crate::data::heads::joined;
use crate::data::labels::{ClassValue, Labels, class_position, class_values, numbers};
use crate::data::targets::{TargetKind, sets};
use crate::model::options::{LossName, TrainOptions};
use crate::train::base::Base;
use crate::train::label_counts::LabelCounts;
use crate::{Error, Result};

/// The targets of a training.
pub(crate) struct Targets(Vec<Target>);

struct Target {
    name: String,
    labels: Labels,
    /// The weight of each class.
    class_weights: Vec<f64>,
}

/// The numbers of each target in a row that are standardised. Classes and sets have one that is 0: sums over ranks are never
/// empty.
pub(crate) fn widths(kinds: &[TargetKind], counts: &[LabelCounts]) -> Vec<usize> {
    let targets = kinds.iter().zip(counts);
    let widths = targets.map(|(kind, counts)| match kind {
        TargetKind::Number | TargetKind::Class | TargetKind::Set => 1,
        TargetKind::Vector => counts.length.unwrap_or(0),
    });
    widths.collect()
}

impl Targets {
    /// Learns the targets from the counts of their labels and the statistics of their numbers, one target after the other. With a
    /// base model, the labels keep the meaning that they have for it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a class weight of a class that there is not, and for labels that the base model does not know.
    pub(crate) fn learn(
        columns: &Columns,
        kinds: &[TargetKind],
        counts: &[LabelCounts],
        mut standardisers: &[Standardiser],
        (options, base): (&TrainOptions, Option<Base<'_>>),
    ) -> Result<Self> {
        let mut targets = Vec::with_capacity(kinds.len());
        let of_targets = columns.targets.iter().zip(kinds).zip(counts);
        let of_targets = of_targets.zip(widths(kinds, counts)).enumerate();
        for (number, (((column, kind), counts), width)) in of_targets {
            let (ours, others) = standardisers.split_at(width);
            standardisers = others;
            let is_count = options.loss == Some(LossName::Poisson);
            let mut labels = match options.implicit_alpha() {
                // A strength is compared with 0, so 0 keeps its place.
                Some(_) => Labels::Number {
                    mean: 0.0,
                    std: 1.0,
                },
                None => labels(*kind, ours, counts, is_count),
            };
            if let Some(base) = base {
                labels = base.labels(number, column, &labels)?;
            }
            targets.push(Target {
                name: column.name.clone(),
                class_weights: class_weights(&labels, counts, options)?,
                labels,
            });
        }
        Ok(Self(targets))
    }

    /// The labels of each target.
    pub(crate) fn labels(&self) -> Vec<Labels> {
        self.0.iter().map(|target| target.labels.clone()).collect()
    }

    /// The numbers of the labels and weights of a row.
    pub(crate) fn numbers(&self) -> usize {
        let targets = self.0.iter();
        targets.map(|target| target.labels.numbers() + 1).sum()
    }

    /// The labels and the weights of the rows of a part, row-major. The columns of the targets begin at `first`.
    pub(crate) fn encode(&self, part: &RecordBatch, first: usize) -> Result<(Vec<f64>, Vec<f64>)> {
        let targets = self.0.iter().enumerate();
        let encoded = targets.map(|(number, target)| target.encode(part.column(first + number)));
        let (labels, weights): (Vec<_>, Vec<_>) =
            encoded.collect::<Result<Vec<_>>>()?.into_iter().unzip();
        let rows = part.num_rows();
        Ok((joined(labels, rows), joined(weights, rows)))
    }
}

impl Target {
    /// The labels and the weights of rows, row-major.
    fn encode(&self, column: &ArrayRef) -> Result<(Vec<f64>, Vec<f64>)> {
        let standardised = |mean: f64, std: f64| move |label: f64| (label - mean) / std;
        let labels = match &self.labels {
            Labels::Number { mean, std } => in_rows(column, standardised(*mean, *std))?,
            Labels::Count { .. } => in_rows(column, |label| label)?,
            Labels::Numbers { means, std } => {
                let numbers = parts(&self.name, column, Some(means.len()))?.numbers;
                let pairs = numbers.iter().zip(means.iter().cycle());
                pairs.map(|(label, mean)| (label - mean) / std).collect()
            }
            Labels::Counts { length, .. } => {
                parts(&self.name, column, Some(*length))?.numbers.to_vec()
            }
            Labels::Set { values } => indicators(values, column)?,
            Labels::Classes { values } => {
                let positions = class_values(column)?
                    .into_iter()
                    .map(|value| value.and_then(|value| class_position(values, &value)));
                let positions = positions.collect::<Option<Vec<u32>>>();
                let positions = positions.ok_or_else(unknown)?;
                let weights = positions.iter();
                let weights = weights.map(|&position| self.class_weights[position as usize]);
                let weights = weights.collect();
                return Ok((positions.into_iter().map(f64::from).collect(), weights));
            }
        };
        Ok((labels, vec![1.0; column.len()]))
    }
}

/// For each row and each of these labels, 1 if it is in the set of the row, else 0.
fn indicators(values: &[ClassValue], column: &ArrayRef) -> Result<Vec<f64>> {
    let mut indicators = vec![0.0; column.len() * values.len()];
    let rows = indicators.chunks_exact_mut(values.len().max(1));
    for (row, set) in rows.zip(sets(column)?) {
        for label in set.unwrap_or_default() {
            let position = class_position(values, &label).ok_or_else(unknown)?;
            row[position as usize] = 1.0;
        }
    }
    Ok(indicators)
}

fn unknown() -> Error {
    Error::Internal("a label without a class".into())
}

/// The labels of a target of one number.
fn in_rows(column: &ArrayRef, of: impl Fn(f64) -> f64) -> Result<Vec<f64>> {
    let numbers = numbers(column)?;
    Ok(numbers.values().iter().map(|&label| of(label)).collect())
}

/// The meaning of the outputs for a target.
fn labels(
    kind: TargetKind,
    standardisers: &[Standardiser],
    counts: &LabelCounts,
    is_count: bool,
) -> Labels {
    let means = standardisers.iter().map(|of| of.mean);
    let mean = means.clone().sum::<f64>() / standardisers.len().max(1) as f64;
    // Counts that are all 0 have a mean whose logarithm a network cannot add to.
    let mean_count = if mean > 0.0 { mean } else { 1.0 };
    // The elements of a list have one deviation; where one does not vary beside its mean, it is 1.
    let mut deviations = standardisers.iter().map(|of| of.std);
    let std = deviations.find(|std| *std != 1.0).unwrap_or(1.0);
    match (kind, is_count) {
        (TargetKind::Number, true) => Labels::Count { mean: mean_count },
        (TargetKind::Number, false) => Labels::Number { mean, std },
        (TargetKind::Vector, true) => Labels::Counts {
            length: standardisers.len(),
            mean: mean_count,
        },
        (TargetKind::Vector, false) => Labels::Numbers {
            means: means.collect(),
            std,
        },
        (TargetKind::Class, _) => Labels::Classes {
            values: counts.values().cloned().collect(),
        },
        (TargetKind::Set, _) => Labels::Set {
            values: counts.values().cloned().collect(),
        },
    }
}

fn class_weights(
    labels: &Labels,
    counts: &LabelCounts,
    options: &TrainOptions,
) -> Result<Vec<f64>> {
    let Labels::Classes { values } = labels else {
        return Ok(vec![]);
    };
    let mut weights = vec![1.0; values.len()];
    if options.auto_class_weights {
        let rows = counts.train_rows().sum::<u64>() as f64;
        let trained = counts.train_rows().filter(|train| *train > 0).count() as f64;
        let with_rows = counts.values().zip(counts.train_rows());
        for (value, train) in with_rows.filter(|(_, train)| *train > 0) {
            // A base model may have more classes than the rows.
            if let Some(position) = class_position(values, value) {
                weights[position as usize] = rows / (trained * train as f64);
            }
        }
    }
    for (name, weight) in &options.class_weights {
        let position = values.iter().position(|value| value.to_string() == *name);
        let position = position.ok_or_else(|| {
            let known = values.iter().take(20).map(ToString::to_string);
            let known = known.collect::<Vec<_>>().join(", ");
            Error::Invalid(format!(
                "class_weights names \"{name}\", which is not a label; the labels are {known}"
            ))
        })?;
        weights[position] = *weight;
    }
    Ok(weights)
}
