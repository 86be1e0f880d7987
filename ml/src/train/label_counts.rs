//! Counts of NULLs, numbers and classes among the labels of a target: of some rows, then of all, and the checks of them.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef};
use serde::{Deserialize, Serialize};

use crate::data::apart::parts;
use crate::data::columns::Column;
use crate::data::labels::{CLASSES_MAX, ClassValue, class_values, numbers};
use crate::data::targets::{TARGET_NUMBERS_MAX, TargetKind, sets};
use crate::{Error, Result};

/// The most classes that a notice names.
const NAMED_MAX: usize = 5;

/// The training and evaluation rows of a class.
type OfSplit = (u64, u64);

/// The counts of the labels of one target, in a form that a rank can send.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct LabelCounts {
    pub(crate) nulls: u64,
    pub(crate) not_finite: u64,
    below_zero: u64,
    /// The lowest number, or 0 if it is higher.
    lowest: f64,
    /// The length of the lists; `None` without one.
    pub(crate) length: Option<usize>,
    /// The rows of each class, or of each label of sets, ascending.
    classes: Vec<(ClassValue, OfSplit)>,
}

impl LabelCounts {
    /// Counts the labels of some rows, given by their columns and whether they train.
    pub(crate) fn of<'a>(
        target: &Column,
        kind: TargetKind,
        columns: impl Iterator<Item = (&'a ArrayRef, bool)>,
    ) -> Result<Self> {
        let mut counts = Self::default();
        for (labels, is_train) in columns {
            match kind {
                TargetKind::Number => counts.add_numbers(labels)?,
                TargetKind::Vector => counts.add_vectors(target, labels)?,
                TargetKind::Class => counts.add_classes(labels, is_train)?,
                TargetKind::Set => counts.add_sets(labels, is_train)?,
            }
        }
        Ok(counts)
    }

    fn add_numbers(&mut self, labels: &ArrayRef) -> Result<()> {
        self.nulls += labels.logical_null_count() as u64;
        for label in numbers(labels)?.iter().flatten() {
            self.add_row(&[label]);
        }
        Ok(())
    }

    fn add_vectors(&mut self, target: &Column, labels: &ArrayRef) -> Result<()> {
        let parts = parts(&target.name, labels, None)?;
        // The length of lists is known only from a row.
        let length = Some(parts.width).filter(|width| *width > 0);
        self.length = same_length(target, self.length, length)?;
        for row in 0..labels.len() {
            match parts.is_valid(row) {
                true => self.add_row(&parts.numbers[row * parts.width..][..parts.width]),
                false => self.nulls += 1,
            }
        }
        Ok(())
    }

    /// Counts the numbers of a row.
    fn add_row(&mut self, numbers: &[f64]) {
        if numbers.iter().any(|number| !number.is_finite()) {
            self.not_finite += 1;
            return;
        }
        let lowest = numbers.iter().copied().fold(0.0, f64::min);
        if lowest < 0.0 {
            self.below_zero += 1;
            self.lowest = self.lowest.min(lowest);
        }
    }

    fn add_sets(&mut self, labels: &ArrayRef, is_train: bool) -> Result<()> {
        let sets = sets(labels)?;
        self.nulls += sets.iter().filter(|set| set.is_none()).count() as u64;
        self.add_values(sets.into_iter().flatten().flatten(), is_train);
        Ok(())
    }

    fn add_classes(&mut self, labels: &ArrayRef, is_train: bool) -> Result<()> {
        self.nulls += labels.logical_null_count() as u64;
        self.add_values(class_values(labels)?.into_iter().flatten(), is_train);
        Ok(())
    }

    fn add_values(&mut self, values: impl Iterator<Item = ClassValue>, is_train: bool) {
        let mut classes: BTreeMap<ClassValue, OfSplit> =
            std::mem::take(&mut self.classes).into_iter().collect();
        for value in values {
            // The target is refused, so its other values need not be counted and sent.
            if classes.len() > CLASSES_MAX {
                break;
            }
            let (train, eval) = classes.entry(value).or_default();
            *if is_train { train } else { eval } += 1;
        }
        self.classes = classes.into_iter().collect();
    }

    /// Adds the counts of other rows.
    pub(crate) fn merge(&mut self, others: &Self, target: &Column) -> Result<()> {
        self.nulls += others.nulls;
        self.not_finite += others.not_finite;
        self.below_zero += others.below_zero;
        self.lowest = self.lowest.min(others.lowest);
        self.length = same_length(target, self.length, others.length)?;
        let mut classes: BTreeMap<ClassValue, OfSplit> =
            std::mem::take(&mut self.classes).into_iter().collect();
        for (value, (train, eval)) in &others.classes {
            let sum = classes.entry(value.clone()).or_default();
            sum.0 += train;
            sum.1 += eval;
        }
        self.classes = classes.into_iter().collect();
        Ok(())
    }

    /// The classes, ascending.
    pub(crate) fn values(&self) -> impl Iterator<Item = &ClassValue> {
        self.classes.iter().map(|(value, _)| value)
    }

    /// The training rows of each class.
    pub(crate) fn train_rows(&self) -> impl Iterator<Item = u64> {
        self.classes.iter().map(|(_, (train, _))| *train)
    }

    /// Refuses labels that cannot be learnt. `from_zero` says what needs numbers from 0, if something does.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the cause.
    pub(crate) fn check(
        &self,
        target: &Column,
        kind: TargetKind,
        from_zero: Option<&str>,
    ) -> Result<()> {
        match kind {
            TargetKind::Number => {}
            TargetKind::Vector => self.check_length(target)?,
            TargetKind::Class => self.check_classes(target)?,
            TargetKind::Set => self.check_set(target)?,
        }
        match from_zero {
            Some(needs) if self.below_zero > 0 => Err(Error::Invalid(format!(
                "label \"{}\" is below 0 in {} rows, down to {}; {needs}",
                target.name, self.below_zero, self.lowest
            ))),
            _ => Ok(()),
        }
    }

    fn check_length(&self, target: &Column) -> Result<()> {
        let name = &target.name;
        match self.length {
            None => Err(Error::Invalid(format!(
                "label \"{name}\" holds no list with an element; leave it out"
            ))),
            Some(length) if length > TARGET_NUMBERS_MAX => Err(Error::Invalid(format!(
                "label \"{name}\" is a list of {length} numbers, at most {TARGET_NUMBERS_MAX} are possible; make it shorter"
            ))),
            Some(_) => Ok(()),
        }
    }

    fn check_set(&self, target: &Column) -> Result<()> {
        let name = &target.name;
        if self.classes.len() > CLASSES_MAX {
            return Err(Error::Invalid(format!(
                "label \"{name}\" has lists of over {CLASSES_MAX} distinct values, too many for a set; group the values"
            )));
        }
        match self.train_rows().sum::<u64>() {
            0 => Err(Error::Invalid(format!(
                "label \"{name}\" is an empty list in all training rows; leave it out"
            ))),
            _ => Ok(()),
        }
    }

    fn check_classes(&self, target: &Column) -> Result<()> {
        let name = &target.name;
        if self.classes.len() > CLASSES_MAX {
            return Err(Error::Invalid(format!(
                "label \"{name}\" has over {CLASSES_MAX} distinct values, too many for a classifier; use a regressor, or \
                 group the labels"
            )));
        }
        if self.train_rows().filter(|train| *train > 0).count() < 2 {
            let found = self.classes.iter().map(|(value, (train, eval))| {
                format!("{value} ({train} training rows, {eval} evaluation rows)")
            });
            return Err(Error::Invalid(format!(
                "label \"{name}\" needs two different values in the training rows; found {}",
                found.collect::<Vec<_>>().join(", ")
            )));
        }
        Ok(())
    }

    /// Notices for the user about labels that can be learnt: classes that one side of the split lacks.
    pub(crate) fn notices(&self, target: &Column) -> Vec<String> {
        let name = &target.name;
        let mut notices = vec![];
        let unseen = self.lacking(|(_, eval)| *eval == 0);
        if !unseen.is_empty() {
            notices.push(format!(
                "no evaluation row has these values of \"{name}\", so the metrics say nothing about them: {unseen}"
            ));
        }
        let untrained = self.lacking(|(train, _)| *train == 0);
        if !untrained.is_empty() {
            notices.push(format!(
                "no training row has these values of \"{name}\", so they are never predicted: {untrained}"
            ));
        }
        notices
    }

    /// The names of the classes that lack rows.
    fn lacking(&self, lacks: impl Fn(&OfSplit) -> bool) -> String {
        let lacking = self.classes.iter().filter(|(_, counts)| lacks(counts));
        let lacking: Vec<String> = lacking
            .map(|(value, (train, eval))| format!("{value} ({} rows)", train + eval))
            .collect();
        match lacking.len() {
            0..=NAMED_MAX => lacking.join(", "),
            count => format!(
                "{} and {} more",
                lacking[..NAMED_MAX].join(", "),
                count - NAMED_MAX
            ),
        }
    }
}

/// The length of the lists of both.
fn same_length(
    target: &Column,
    ours: Option<usize>,
    others: Option<usize>,
) -> Result<Option<usize>> {
    match (ours, others) {
        (Some(ours), Some(others)) if ours != others => Err(Error::Invalid(format!(
            "label \"{}\" holds lists of length {ours} and of length {others}; all lists of a target have one length",
            target.name
        ))),
        (Some(length), _) => Ok(Some(length)),
        (None, others) => Ok(others),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringArray;
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn classes_are_counted_up_to_the_limit_and_then_refused() {
        let target = Column {
            name: "id".into(),
            data_type: DataType::Utf8,
        };
        let counts = |values: std::ops::Range<usize>| {
            let texts = values.map(|value| value.to_string());
            let labels: ArrayRef = Arc::new(StringArray::from_iter_values(texts));
            LabelCounts::of(&target, TargetKind::Class, [(&labels, true)].into_iter()).unwrap()
        };
        let most = counts(0..CLASSES_MAX);
        most.check(&target, TargetKind::Class, None).unwrap();
        // What a worker counts and sends does not grow with the values.
        let more = counts(0..20 * CLASSES_MAX);
        assert_eq!(more.values().count(), CLASSES_MAX + 1);
        let refused = |counts: &LabelCounts| {
            let error = counts.check(&target, TargetKind::Class, None).unwrap_err();
            assert!(
                error.to_string().contains("label \"id\" has over"),
                "{error}"
            );
        };
        refused(&more);
        // Two shards that have too many together.
        let mut merged = most;
        merged.merge(&counts(5..CLASSES_MAX + 1), &target).unwrap();
        refused(&merged);
    }
}
