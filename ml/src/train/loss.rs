//! Losses and their gradients with respect to a network's outputs.
//!
//! This module computes gradients in f64 from the outputs and passes them to autograd as constants: candle's binary
//! cross-entropy overflows for confident predictions, and its derivatives of `relu` and `abs` at 0 do not fit the loss.

use crate::data::labels::Labels;
use crate::nn::softmax;
use crate::{Error, Result};

/// The function that training minimises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Half the squared difference; one output per row.
    Squared,
    /// Binary cross-entropy of a logit; one output per row, labels 0 and 1.
    Binary,
    /// Cross-entropy of logits, one for each class; labels are class positions.
    Classes(usize),
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
    /// The loss that fits these labels.
    pub fn of(labels: &Labels) -> Self {
        match labels.class_count() {
            0 => Loss::Squared,
            2 => Loss::Binary,
            classes => Loss::Classes(classes),
        }
    }

    /// Outputs per row.
    pub fn outputs(self) -> usize {
        match self {
            Loss::Squared | Loss::Binary => 1,
            Loss::Classes(classes) => classes,
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

    fn row(self, outputs: &[f64], label: f64, gradient: &mut [f64]) -> Result<f64> {
        match self {
            Loss::Squared => {
                let difference = outputs[0] - label;
                gradient[0] = difference;
                Ok(0.5 * difference * difference)
            }
            Loss::Binary => {
                let logit = outputs[0];
                gradient[0] = sigmoid(logit) - label;
                Ok(logit.max(0.0) - logit * label + (-logit.abs()).exp().ln_1p())
            }
            Loss::Classes(classes) => {
                let class = label as usize;
                if class >= classes {
                    return Err(Error::Internal(format!("class {class} of {classes}")));
                }
                gradient.copy_from_slice(outputs);
                let log_sum = softmax(gradient);
                gradient[class] -= 1.0;
                Ok(log_sum - outputs[class])
            }
        }
    }
}

/// 1 / (1 + exp(-x)), without overflow.
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        let e = x.exp();
        e / (1.0 + e)
    }
}
