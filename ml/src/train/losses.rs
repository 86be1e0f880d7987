//! [`Losses`]: the loss of all targets of a model, which training minimises, from the outputs of its network.
//!
//! ```text
//! outputs of a row:  │ a: 1 │ b: a logit for each of 3 classes │ c: 7 │
//!                       │                 │                       └ the mean of the losses of the elements, or labels of a set
//!                       └─────────────────┴── sum, each times the weight of its target
//! ```

use crate::data::columns::Column;
use crate::data::labels::Labels;
use crate::data::rows::weight_of_row;
use crate::data::targets::TargetKind;
use crate::model::options::{LossName, TrainOptions};
use crate::train::loss::{Loss, LossSum};
use crate::{Error, Result};

/// The losses of the targets of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses(Vec<Head>);

/// The loss of one target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Head {
    /// The loss of each of its numbers.
    pub(crate) loss: Loss,
    /// The numbers of its label in a row: those of a list or a set, each with an output.
    pub(crate) numbers: usize,
    /// The factor of its loss.
    pub(crate) weight: f64,
}

impl Head {
    /// Its columns among the outputs of a network.
    pub(crate) fn outputs(self) -> usize {
        self.numbers * self.loss.outputs()
    }

    /// The factor of the loss of each of its numbers.
    pub(crate) fn factor(self) -> f64 {
        self.weight / self.numbers as f64
    }
}

impl Losses {
    /// The losses that the options choose for these targets and labels. A loss of the other task than that of a target does not
    /// concern the target.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the chosen loss is for no target, or an option names a target that there is not.
    pub fn of(targets: &[Column], labels: &[Labels], options: &TrainOptions) -> Result<Self> {
        let is_for = |loss: LossName, labels: &Labels| loss.task() == labels.task();
        let chosen = options.loss;
        let is_for_none = chosen.is_some_and(|loss| !labels.iter().any(|of| is_for(loss, of)));
        let head = |(labels, weight): (&Labels, f64)| {
            let chosen = chosen.filter(|loss| is_for_none || is_for(*loss, labels));
            let name = chosen.unwrap_or(LossName::default_of(labels.task()));
            Ok(Head {
                loss: Loss::of(labels, name, options)?,
                numbers: labels.numbers(),
                weight,
            })
        };
        let weights = target_weights(targets, options)?;
        let heads = labels.iter().zip(weights).map(head);
        Ok(Self(heads.collect::<Result<_>>()?))
    }

    /// The loss of each target.
    pub(crate) fn heads(&self) -> &[Head] {
        &self.0
    }

    /// The loss if there is one target with one number in a row.
    pub(crate) fn only(&self) -> Option<Loss> {
        match self.0[..] {
            [
                Head {
                    loss, numbers: 1, ..
                },
            ] => Some(loss),
            _ => None,
        }
    }

    /// The factor from a mean loss to the reported loss. That of one target is in its units; those of several targets have no
    /// common unit, so their sum is reported as it is minimised.
    pub(crate) fn unit(&self, labels: &[Labels]) -> f64 {
        match (&self.0[..], labels) {
            ([head], [labels]) => head.loss.unit(match labels {
                Labels::Number { std, .. } | Labels::Numbers { std, .. } => *std,
                Labels::Count { .. }
                | Labels::Counts { .. }
                | Labels::Classes { .. }
                | Labels::Set { .. } => 1.0,
            }),
            _ => 1.0,
        }
    }

    /// The loss of `outputs` against `labels`, and its gradient. All are row-major: the outputs and the labels of the targets
    /// side by side, and a weight for each target.
    ///
    /// # Errors
    /// [`Error::Internal`] if the lengths disagree or a class label is out of range.
    pub fn evaluate(&self, outputs: &[f64], labels: &[f64], weights: &[f64]) -> Result<LossSum> {
        if let Some(loss) = self.only() {
            return loss.evaluate(outputs, labels, weights);
        }
        let heads = self.heads();
        let width = heads.iter().map(|head| head.outputs()).sum::<usize>();
        let numbers = heads.iter().map(|head| head.numbers).sum::<usize>();
        let (width, numbers, targets) = (width.max(1), numbers.max(1), heads.len().max(1));
        let rows = weights.len() / targets;
        let expected = [rows * width, rows * numbers, rows * targets];
        if [outputs.len(), labels.len(), weights.len()] != expected {
            return Err(Error::Internal(format!(
                "{} outputs for {} labels of {rows} rows",
                outputs.len(),
                labels.len()
            )));
        }
        let mut gradient = vec![0.0; outputs.len()];
        let (mut loss, mut weight) = (0.0, 0.0);
        let of_rows = outputs
            .chunks_exact(width)
            .zip(labels.chunks_exact(numbers));
        let of_rows = of_rows.zip(weights.chunks_exact(targets));
        for (slopes, ((outputs, labels), weights)) in gradient.chunks_exact_mut(width).zip(of_rows)
        {
            loss += self.row(outputs, labels, weights, slopes)?;
            weight += weight_of_row(weights);
        }
        Ok(LossSum {
            loss,
            weight,
            gradient,
        })
    }

    /// The weighted loss of a row; writes its derivatives to `gradient`.
    fn row(
        &self,
        outputs: &[f64],
        labels: &[f64],
        weights: &[f64],
        gradient: &mut [f64],
    ) -> Result<f64> {
        let (mut sum, mut output, mut labels) = (0.0, 0, labels.iter());
        for (head, weight) in self.0.iter().zip(weights) {
            let factor = weight * head.factor();
            for &label in labels.by_ref().take(head.numbers) {
                let of_number = output..output + head.loss.outputs();
                output = of_number.end;
                let slopes = &mut gradient[of_number.clone()];
                sum += factor * head.loss.row(&outputs[of_number], label, slopes)?;
                slopes.iter_mut().for_each(|slope| *slope *= factor);
            }
        }
        Ok(sum)
    }
}

/// Refuses weights of targets and of classes that do not fit the targets, whose kinds these are.
///
/// # Errors
/// [`Error::Invalid`] with the remedy.
pub fn check_weights(
    targets: &[Column],
    kinds: &[TargetKind],
    options: &TrainOptions,
) -> Result<()> {
    target_weights(targets, options)?;
    let with_classes = kinds.iter().filter(|kind| **kind == TargetKind::Class);
    let problem = match (with_classes.count(), options.class_weights.is_empty()) {
        (0, true) if options.auto_class_weights => {
            "auto_class_weights weighs the classes of targets with one class in a row, and there is none; leave it out".to_owned()
        }
        (0, false) => {
            "class_weights names the classes of a target with one class in a row, and there is none; leave it out".to_owned()
        }
        (_, true) | (1, false) => return Ok(()),
        (several, false) => format!(
            "class_weights names the classes of one target, and {several} targets have classes; use auto_class_weights, or \
             train a model for each target"
        ),
    };
    Err(Error::Invalid(problem))
}

/// The weight of each target.
///
/// # Errors
/// [`Error::Invalid`] if the option names a target that there is not, or a target twice, or there is one target only.
fn target_weights(targets: &[Column], options: &TrainOptions) -> Result<Vec<f64>> {
    let mut weights = vec![1.0; targets.len()];
    let mut is_named = vec![false; targets.len()];
    if !options.target_weights.is_empty() && targets.len() == 1 {
        let message =
            "option \"target_weights\" has no effect on a model of one target; leave it out";
        return Err(Error::Invalid(message.into()));
    }
    for (name, weight) in &options.target_weights {
        let is_meant = |target: &Column| target.name.eq_ignore_ascii_case(name);
        let Some(position) = targets.iter().position(is_meant) else {
            let known: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
            return Err(Error::Invalid(format!(
                "target_weights names \"{name}\", which is not a target; the targets are {}",
                known.join(", ")
            )));
        };
        if std::mem::replace(&mut is_named[position], true) {
            let target = &targets[position].name;
            return Err(Error::Invalid(format!(
                "target_weights names \"{target}\" twice; keep one of them"
            )));
        }
        weights[position] = *weight;
    }
    Ok(weights)
}
