//! [`Loss`]: the loss of one target and its gradient with respect to the outputs of a network; `losses` joins those of all targets.
//!
//! This module computes gradients in f64 from the outputs and passes them to autograd as constants: candle's binary
//! cross-entropy overflows for confident predictions, and its derivatives of `relu` and `abs` at 0 do not fit the loss.
//! The kernel `loss` of `device/kernels.cu` has the same formulas.

use crate::data::labels::Labels;
use crate::model::options::{LossName, TrainOptions};
use crate::nn::{sigmoid, softmax};
use crate::{Error, Result};

const FOCAL_GAMMA_DEFAULT: f64 = 2.0;
const HUBER_DELTA_DEFAULT: f64 = 1.0;
const QUANTILE_DEFAULT: f64 = 0.5;

/// The function of one target that training minimises.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    /// Half the squared difference; one output per row.
    Squared,
    /// The absolute difference; one output per row.
    Absolute,
    /// Half the squared difference up to `delta`, beyond it the line that goes on from there; one output per row. Huber,
    /// "Robust estimation of a location parameter", 1964.
    Huber {
        /// The largest difference that is squared.
        delta: f64,
    },
    /// The pinball loss: a label above the output weighs `quantile`, one below it 1 - `quantile`; one output per row.
    /// Koenker and Bassett, "Regression quantiles", 1978.
    Quantile {
        /// The share of the labels below the output at the minimum.
        quantile: f64,
    },
    /// Half the Poisson deviance of a count from the exponential of the output plus `offset`, divided by the mean count, so that
    /// slopes do not depend on the unit of the counts; one output per row.
    Poisson {
        /// The logarithm of the mean count, so that an output of 0 is the mean.
        offset: f64,
    },
    /// Binary cross-entropy of a logit; one output per row, labels 0 and 1.
    Binary {
        /// The share of a label that both classes get equally.
        smoothing: f64,
    },
    /// Cross-entropy of logits, one for each class; labels are class positions. Szegedy et al., "Rethinking the Inception
    /// architecture for computer vision", 2016.
    Classes {
        /// The number of classes.
        classes: usize,
        /// The share of a label that all classes get equally.
        smoothing: f64,
    },
    /// Focal loss of a logit; one output per row, labels 0 and 1.
    BinaryFocal {
        /// The exponent of the probability of the wrong class.
        gamma: f64,
    },
    /// Focal loss of logits, one for each class; labels are class positions. Lin et al., "Focal loss for dense object
    /// detection", 2017.
    ClassesFocal {
        /// The number of classes.
        classes: usize,
        /// The exponent of the probability of the wrong classes.
        gamma: f64,
    },
}

/// The weighted sum of a loss over rows, and its gradient.
#[derive(Debug, Clone, PartialEq)]
pub struct LossSum {
    /// The sum of weight times loss.
    pub loss: f64,
    /// The sum of weights.
    pub weight: f64,
    /// The derivative of `loss` with respect to each output, row-major `[rows, outputs]`.
    pub gradient: Vec<f64>,
}

impl Loss {
    /// The loss of this name for these labels, for each element of lists, or for each label of sets.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the loss is for other labels.
    pub fn of(labels: &Labels, name: LossName, options: &TrainOptions) -> Result<Self> {
        Ok(match (name, labels) {
            (LossName::Mse, Labels::Number { .. } | Labels::Numbers { .. }) => Loss::Squared,
            (LossName::Mae, Labels::Number { .. } | Labels::Numbers { .. }) => Loss::Absolute,
            (LossName::Huber, Labels::Number { std, .. } | Labels::Numbers { std, .. }) => {
                Loss::Huber {
                    delta: options.huber_delta.unwrap_or(HUBER_DELTA_DEFAULT) / std,
                }
            }
            (LossName::Quantile, Labels::Number { .. } | Labels::Numbers { .. }) => {
                Loss::Quantile {
                    quantile: options.quantile.unwrap_or(QUANTILE_DEFAULT),
                }
            }
            (LossName::Poisson, Labels::Count { mean } | Labels::Counts { mean, .. }) => {
                Loss::Poisson { offset: mean.ln() }
            }
            (LossName::CrossEntropy, Labels::Classes { values }) => {
                let smoothing = options.label_smoothing;
                match values.len() {
                    2 => Loss::Binary { smoothing },
                    classes => Loss::Classes { classes, smoothing },
                }
            }
            (LossName::CrossEntropy, Labels::Set { .. }) => Loss::Binary {
                smoothing: options.label_smoothing,
            },
            (LossName::Focal, Labels::Set { .. }) => Loss::BinaryFocal {
                gamma: options.focal_gamma.unwrap_or(FOCAL_GAMMA_DEFAULT),
            },
            (LossName::Focal, Labels::Classes { values }) => {
                let gamma = options.focal_gamma.unwrap_or(FOCAL_GAMMA_DEFAULT);
                match values.len() {
                    2 => Loss::BinaryFocal { gamma },
                    classes => Loss::ClassesFocal { classes, gamma },
                }
            }
            (
                LossName::Mse | LossName::Mae | LossName::Huber | LossName::Quantile,
                Labels::Count { .. }
                | Labels::Counts { .. }
                | Labels::Classes { .. }
                | Labels::Set { .. },
            )
            | (
                LossName::Poisson,
                Labels::Number { .. }
                | Labels::Numbers { .. }
                | Labels::Classes { .. }
                | Labels::Set { .. },
            )
            | (
                LossName::CrossEntropy | LossName::Focal,
                Labels::Number { .. }
                | Labels::Numbers { .. }
                | Labels::Count { .. }
                | Labels::Counts { .. },
            ) => {
                let name = name.name();
                let message = format!("loss = '{name}' does not fit the labels; leave it out");
                return Err(Error::Invalid(message));
            }
        })
    }

    /// Outputs per row.
    pub fn outputs(self) -> usize {
        match self {
            Loss::Squared
            | Loss::Absolute
            | Loss::Huber { .. }
            | Loss::Quantile { .. }
            | Loss::Poisson { .. }
            | Loss::Binary { .. }
            | Loss::BinaryFocal { .. } => 1,
            Loss::Classes { classes, .. } | Loss::ClassesFocal { classes, .. } => classes,
        }
    }

    /// The factor from this loss of labels with the standard deviation `std`, which a network learns divided by it, to the
    /// loss in the label's units. For `Squared`, that is the squared difference itself, not its half.
    pub(crate) fn unit(self, std: f64) -> f64 {
        match self {
            Loss::Squared => 2.0 * std * std,
            Loss::Huber { .. } => std * std,
            Loss::Absolute | Loss::Quantile { .. } => std,
            Loss::Poisson { offset } => offset.exp(),
            Loss::Binary { .. }
            | Loss::Classes { .. }
            | Loss::BinaryFocal { .. }
            | Loss::ClassesFocal { .. } => 1.0,
        }
    }

    /// The loss of `outputs` (row-major `[rows, self.outputs()]`) against one label and one weight per row.
    ///
    /// # Errors
    /// [`Error::Internal`] if the lengths disagree or a class label is out of range.
    pub fn evaluate(self, outputs: &[f64], labels: &[f64], weights: &[f64]) -> Result<LossSum> {
        let width = self.outputs();
        if outputs.len() != labels.len() * width || weights.len() != labels.len() {
            return Err(Error::Internal(format!(
                "{} outputs for {} labels",
                outputs.len(),
                labels.len()
            )));
        }
        let mut sum = LossSum {
            loss: 0.0,
            weight: 0.0,
            gradient: vec![0.0; outputs.len()],
        };
        for (row, (&label, &weight)) in labels.iter().zip(weights).enumerate() {
            let range = row * width..(row + 1) * width;
            let loss = self.row(
                &outputs[range.clone()],
                label,
                &mut sum.gradient[range.clone()],
            )?;
            sum.gradient[range]
                .iter_mut()
                .for_each(|slope| *slope *= weight);
            sum.loss += weight * loss;
            sum.weight += weight;
        }
        Ok(sum)
    }

    /// The loss of a row; writes its derivatives to `gradient`.
    pub(crate) fn row(self, outputs: &[f64], label: f64, gradient: &mut [f64]) -> Result<f64> {
        let (loss, slope) = match self {
            Loss::Squared => squared(outputs[0] - label),
            Loss::Absolute => absolute(outputs[0] - label),
            Loss::Huber { delta } => huber(outputs[0] - label, delta),
            Loss::Quantile { quantile } => pinball(outputs[0] - label, quantile),
            Loss::Poisson { offset } => poisson(outputs[0], label / offset.exp()),
            Loss::Binary { smoothing } => binary(outputs[0], label, smoothing),
            Loss::BinaryFocal { gamma } => binary_focal(outputs[0], label, gamma),
            Loss::Classes { classes, smoothing } => {
                let class = class_of(label, classes)?;
                return Ok(of_classes(outputs, class, smoothing, gradient));
            }
            Loss::ClassesFocal { classes, gamma } => {
                let class = class_of(label, classes)?;
                return Ok(focal_of_classes(outputs, class, gamma, gradient));
            }
        };
        gradient[0] = slope;
        Ok(loss)
    }
}

fn class_of(label: f64, classes: usize) -> Result<usize> {
    let class = label as usize;
    if class >= classes {
        return Err(Error::Internal(format!("class {class} of {classes}")));
    }
    Ok(class)
}

/// Loss and slope, by how much the output is above its label.
fn squared(difference: f64) -> (f64, f64) {
    (0.5 * difference * difference, difference)
}

/// At 0 the slope is 0, as in PyTorch; `signum` of 0 is 1.
fn absolute(difference: f64) -> (f64, f64) {
    let slope = match difference == 0.0 {
        true => 0.0,
        false => difference.signum(),
    };
    (difference.abs(), slope)
}

fn huber(difference: f64, delta: f64) -> (f64, f64) {
    let distance = difference.abs();
    match distance <= delta {
        true => squared(difference),
        false => (
            delta * (distance - 0.5 * delta),
            delta * difference.signum(),
        ),
    }
}

/// At 0 the slope is 0.
fn pinball(difference: f64, quantile: f64) -> (f64, f64) {
    let slope = match difference {
        above if above > 0.0 => 1.0 - quantile,
        below if below < 0.0 => -quantile,
        _ => 0.0,
    };
    (difference * slope, slope)
}

/// The loss of `torch.nn.PoissonNLLLoss(log_input=True)`, less its minimum for this count. The minimum does not change the
/// slope; without it, losses below 0 would have no relative decrease, by which early stopping goes.
fn poisson(logarithm: f64, count: f64) -> (f64, f64) {
    let expected = logarithm.exp();
    let rest = match count > 0.0 {
        true => count * (count.ln() - logarithm) - count,
        false => 0.0,
    };
    (expected + rest, expected - count)
}

fn binary(logit: f64, label: f64, smoothing: f64) -> (f64, f64) {
    let target = label * (1.0 - smoothing) + 0.5 * smoothing;
    let loss = logit.max(0.0) - logit * target + (-logit.abs()).exp().ln_1p();
    (loss, sigmoid(logit) - target)
}

fn binary_focal(logit: f64, label: f64, gamma: f64) -> (f64, f64) {
    let sign = 2.0 * label - 1.0;
    let of_right = sign * logit;
    let wrong = sigmoid(-of_right);
    let log_right = of_right.min(0.0) - (-of_right.abs()).exp().ln_1p();
    let (loss, slope) = focal(wrong, log_right, gamma);
    (loss, sign * slope * wrong)
}

fn of_classes(outputs: &[f64], class: usize, smoothing: f64, gradient: &mut [f64]) -> f64 {
    let classes = outputs.len() as f64;
    gradient.copy_from_slice(outputs);
    let log_sum = softmax(gradient);
    let of_each = smoothing / classes;
    gradient.iter_mut().for_each(|slope| *slope -= of_each);
    gradient[class] -= 1.0 - smoothing;
    let mean = outputs.iter().sum::<f64>() / classes;
    let log_right = outputs[class] - log_sum;
    smoothing * (outputs[class] - mean) - log_right
}

fn focal_of_classes(outputs: &[f64], class: usize, gamma: f64, gradient: &mut [f64]) -> f64 {
    gradient.copy_from_slice(outputs);
    let log_sum = softmax(gradient);
    // The difference from 1 would have no digits left for a likely class, the logarithm none of its small distance from 0.
    let (before, after) = (&gradient[..class], &gradient[class + 1..]);
    let wrong: f64 = before.iter().chain(after).sum();
    let log_right = match wrong < 0.5 {
        true => (-wrong).ln_1p(),
        false => outputs[class] - log_sum,
    };
    let (loss, slope) = focal(wrong, log_right, gamma);
    gradient.iter_mut().for_each(|share| *share *= -slope);
    gradient[class] = slope * wrong;
    loss
}

/// The focal loss where the other classes have the probability `wrong`, and its derivative with respect to the logarithm of
/// the right class's probability.
fn focal(wrong: f64, log_right: f64, gamma: f64) -> (f64, f64) {
    let factor = wrong.powf(gamma);
    // The ratio tends to -1 where both round to 0.
    let ratio = match wrong > 0.0 {
        true => log_right / wrong,
        false => -1.0,
    };
    let slope = factor * (gamma * (1.0 - wrong) * ratio - 1.0);
    (-factor * log_right, slope)
}
