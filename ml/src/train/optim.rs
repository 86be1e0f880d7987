//! Optimisers over one flat buffer of parameters, with public state.
//!
//! candle's AdamW hides its moments and its SGD has no momentum. Both optimisers here are a pass over flat vectors,
//! which a checkpoint can save.

use std::ops::Range;

use crate::simd::simd_fn;

/// The decay of the moving averages, as in PyTorch's defaults.
const BETA1: f32 = 0.9;
const BETA2: f32 = 0.999;
const EPSILON: f32 = 1e-8;
const MOMENTUM: f32 = 0.9;

/// An optimiser and its state.
#[derive(Debug, Clone, PartialEq)]
pub enum OptimizerState {
    /// Decoupled weight decay: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", 2019.
    Adamw {
        /// Moving average of the gradient.
        mean: Vec<f32>,
        /// Moving average of the squared gradient.
        square: Vec<f32>,
        /// Steps taken.
        steps: i32,
    },
    /// Momentum as in Sutskever et al., 2013, in PyTorch's form.
    Sgd {
        /// The running direction.
        velocity: Vec<f32>,
    },
    /// Alternating least squares, which takes no steps along a gradient and remembers nothing.
    Als,
}

/// The penalties on weights, applied by the optimiser.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Penalty {
    /// Penalty on the sum of absolute weights, in the gradient; a weight that would change its sign becomes exactly zero
    /// (Andrew and Gao, "Scalable training of L1-regularized log-linear models", 2007).
    pub l1: f32,
    /// Penalty on half the sum of squares, in the gradient.
    pub l2: f32,
    /// The share of the learning rate by which [`OptimizerState::Adamw`] shrinks weights apart from the gradient
    /// (Loshchilov and Hutter, 2019).
    pub decay: f32,
}

impl Penalty {
    /// The slope of the penalised loss at a weight, from the slope of the loss; at 0, the smallest slope that |w| allows.
    fn slope(self, weight: f32, slope: f32) -> f32 {
        let slope = slope + self.l2 * weight;
        match weight {
            _ if self.l1 == 0.0 => slope,
            0.0 => slope - slope.clamp(-self.l1, self.l1),
            weight => slope + self.l1 * weight.signum(),
        }
    }

    /// Whether a step would change the sign of a weight, which then becomes zero by the penalty.
    fn stops(self, from: f32, to: f32) -> bool {
        self.l1 > 0.0 && from * to < 0.0
    }
}

impl OptimizerState {
    /// Adam with decoupled weight decay.
    pub fn adamw(parameters: usize) -> Self {
        Self::Adamw {
            mean: vec![0.0; parameters],
            square: vec![0.0; parameters],
            steps: 0,
        }
    }

    /// Stochastic gradient descent with momentum.
    pub fn sgd(parameters: usize) -> Self {
        Self::Sgd {
            velocity: vec![0.0; parameters],
        }
    }

    /// Moves `parameters` against `gradient`. `penalised` is true for weights and false for biases.
    pub fn step(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        learn_rate: f32,
        penalty: Penalty,
        penalised: &[bool],
    ) {
        let rates = [(0..parameters.len(), learn_rate)];
        self.step_with_rates(parameters, gradient, &rates, penalty, penalised);
    }

    /// As [`OptimizerState::step`], with a learning rate for each of these ranges, which together are all parameters.
    pub fn step_with_rates(
        &mut self,
        parameters: &mut [f32],
        gradient: &[f32],
        rates: &[(Range<usize>, f32)],
        penalty: Penalty,
        penalised: &[bool],
    ) {
        if let Self::Adamw { steps, .. } = self {
            *steps += 1;
        }
        for (range, learn_rate) in rates {
            let (range, learn_rate) = (range.clone(), *learn_rate);
            let parameters = &mut parameters[range.clone()];
            let (gradient, penalised) = (&gradient[range.clone()], &penalised[range.clone()]);
            match self {
                Self::Adamw {
                    mean,
                    square,
                    steps,
                } => {
                    let scales = Scales {
                        moments: MomentScales::after(*steps),
                        learn_rate,
                        penalty,
                    };
                    let (mean, square) = (&mut mean[range.clone()], &mut square[range]);
                    adamw(parameters, gradient, mean, square, penalised, scales);
                }
                Self::Sgd { velocity } => {
                    let velocity = &mut velocity[range];
                    sgd(
                        parameters, gradient, velocity, penalised, learn_rate, penalty,
                    );
                }
                Self::Als => {}
            }
        }
    }
}

/// The factors that correct the moving averages of Adam, which start at zero.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MomentScales {
    pub(crate) mean: f32,
    pub(crate) square: f32,
}

impl MomentScales {
    /// The factors of the step of this number, from 1.
    pub(crate) fn after(steps: i32) -> Self {
        Self {
            mean: 1.0 / (1.0 - BETA1.powi(steps)),
            square: 1.0 / (1.0 - BETA2.powi(steps)),
        }
    }
}

struct Scales {
    moments: MomentScales,
    learn_rate: f32,
    penalty: Penalty,
}

simd_fn! {
    /// One pass over the parameters with their gradients and moments.
    fn adamw<'a>(
        parameters: &'a mut [f32],
        gradient: &'a [f32],
        mean: &'a mut [f32],
        square: &'a mut [f32],
        penalised: &'a [bool],
        scales: Scales,
    ) {
        let moments = mean.iter_mut().zip(square);
        let all = parameters.iter_mut().zip(gradient).zip(moments).zip(penalised);
        for (((parameter, &slope), (mean, square)), &penalised) in all {
            let penalty = if penalised { scales.penalty } else { Penalty::default() };
            let slope = penalty.slope(*parameter, slope);
            *mean = BETA1 * *mean + (1.0 - BETA1) * slope;
            *square = BETA2 * *square + (1.0 - BETA2) * slope * slope;
            let MomentScales { mean: of_mean, square: of_square } = scales.moments;
            let direction = *mean * of_mean / ((*square * of_square).sqrt() + EPSILON);
            let step = scales.learn_rate * (direction + penalty.decay * *parameter);
            let next = *parameter - step;
            // The remaining momentum would carry the weight beyond zero, so it is cleared.
            (*parameter, *mean) = match penalty.stops(*parameter, next) {
                true => (0.0, 0.0),
                false => (next, *mean),
            };
        }
    }
}

simd_fn! {
    fn sgd<'a>(
        parameters: &'a mut [f32],
        gradient: &'a [f32],
        velocity: &'a mut [f32],
        penalised: &'a [bool],
        learn_rate: f32,
        penalty: Penalty,
    ) {
        let all = parameters.iter_mut().zip(gradient).zip(velocity).zip(penalised);
        for (((parameter, &slope), velocity), &penalised) in all {
            let penalty = if penalised { penalty } else { Penalty::default() };
            *velocity = MOMENTUM * *velocity + penalty.slope(*parameter, slope);
            let next = *parameter - learn_rate * *velocity;
            (*parameter, *velocity) = match penalty.stops(*parameter, next) {
                true => (0.0, 0.0),
                false => (next, *velocity),
            };
        }
    }
}

/// Scales `gradient` down to length `norm_max` if it is longer.
pub fn clip_norm(gradient: &mut [f32], norm_max: f64) {
    let norm = gradient
        .iter()
        .map(|&slope| f64::from(slope).powi(2))
        .sum::<f64>()
        .sqrt();
    if norm > norm_max {
        let scale = (norm_max / norm) as f32;
        gradient.iter_mut().for_each(|slope| *slope *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descend(mut state: OptimizerState, learn_rate: f32, penalty: Penalty) -> f32 {
        let mut parameters = [5.0f32];
        for _ in 0..2_000 {
            let gradient = [parameters[0] - 2.0];
            state.step(&mut parameters, &gradient, learn_rate, penalty, &[true]);
        }
        parameters[0]
    }

    #[test]
    fn both_find_the_minimum_of_a_parabola() {
        assert!((descend(OptimizerState::adamw(1), 0.05, Penalty::default()) - 2.0).abs() < 1e-3);
        assert!((descend(OptimizerState::sgd(1), 0.05, Penalty::default()) - 2.0).abs() < 1e-5);
    }

    #[test]
    fn penalties_mean_the_same_for_both() {
        // The minimum of (w-2)²/2 + w²/2 is 1, of (w-2)²/2 + |w|/2 it is 1.5, of (w-2)²/2 + 3|w| it is 0.
        for (l1, l2, expected) in [(0.0, 1.0, 1.0), (0.5, 0.0, 1.5), (3.0, 0.0, 0.0)] {
            let penalty = Penalty { l1, l2, decay: 0.0 };
            for (state, learn_rate) in [
                (OptimizerState::sgd(1), 0.01),
                (OptimizerState::adamw(1), 0.01),
            ] {
                let found = descend(state.clone(), learn_rate, penalty);
                assert!(
                    (found - expected).abs() < 1e-2,
                    "{state:?} {penalty:?}: {found}"
                );
            }
        }
    }

    #[test]
    fn decay_shrinks_weights_apart_from_the_gradient() {
        let mut parameters = [1.0f32, 1.0];
        let penalty = Penalty {
            decay: 0.5,
            ..Penalty::default()
        };
        let mut state = OptimizerState::adamw(2);
        state.step(&mut parameters, &[0.0, 0.0], 0.1, penalty, &[true, false]);
        assert_eq!(parameters, [0.95, 1.0]);
    }

    #[test]
    fn the_first_adamw_step_is_the_learning_rate() {
        let mut parameters = [1.0f32, -1.0];
        let mut state = OptimizerState::adamw(2);
        state.step(
            &mut parameters,
            &[0.3, -7.0],
            0.01,
            Penalty::default(),
            &[true, true],
        );
        assert!((parameters[0] - 0.99).abs() < 1e-6 && (parameters[1] + 0.99).abs() < 1e-6);
    }

    #[test]
    fn a_long_gradient_is_scaled_down_and_a_short_one_kept() {
        let mut gradient = [3.0, 4.0];
        clip_norm(&mut gradient, 10.0);
        assert_eq!(gradient, [3.0, 4.0]);
        clip_norm(&mut gradient, 1.0);
        assert_eq!(gradient, [0.6, 0.8]);
    }
}
