//! Limited-memory BFGS, and its orthant-wise form for the sum of absolute weights.
//!
//! Nocedal and Wright, "Numerical Optimization", 2006, algorithm 7.5; Andrew and Gao, "Scalable training of
//! L1-regularized log-linear models", 2007. The solver depends on numbers only, so all ranks with the same sums take the
//! same path.

use std::collections::VecDeque;

use crate::Result;

/// Pairs of steps and gradient changes kept.
pub(crate) const PAIRS_MAX: usize = 10;
/// Halvings of a step before giving up.
const HALVINGS_MAX: usize = 40;
const SUFFICIENT_DECREASE: f64 = 1e-4;

/// The stopping criteria, and the penalty on absolute values, which has no gradient at 0.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The maximum number of iterations.
    pub iterations_max: usize,
    /// Stop when no element of the gradient is larger.
    pub gradient_tolerance: f64,
    /// Weight of the absolute value of each parameter.
    pub l1: Vec<f64>,
}

/// Why a minimisation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The gradient is within its tolerance, or no step lowers the value any more.
    Converged,
    /// The iterations are used up.
    Exhausted,
    /// `on_iteration` ended the minimisation.
    Stopped,
}

/// The point that a minimisation found.
#[derive(Debug)]
pub(crate) struct Minimum {
    pub x: Vec<f64>,
    pub end: End,
}

/// Minimises `function` (value and gradient) plus `Σ l1 |x|` from `start`. `on_iteration` runs after each iteration
/// and returns whether to continue.
pub(crate) fn minimise(
    start: Vec<f64>,
    settings: &Settings,
    mut function: impl FnMut(&[f64]) -> Result<(f64, Vec<f64>)>,
    mut on_iteration: impl FnMut(usize) -> Result<bool>,
) -> Result<Minimum> {
    let has_l1 = settings.l1.iter().any(|weight| *weight > 0.0);
    let penalty = |x: &[f64]| {
        x.iter()
            .zip(&settings.l1)
            .map(|(x, weight)| weight * x.abs())
            .sum::<f64>()
    };
    let mut x = start;
    let (value, mut gradient) = function(&x)?;
    let mut value = value + penalty(&x);
    let mut history: VecDeque<(Vec<f64>, Vec<f64>, f64)> = VecDeque::with_capacity(PAIRS_MAX);
    let mut end = End::Exhausted;
    for iteration in 0..settings.iterations_max {
        let slope = steepest(&x, &gradient, &settings.l1);
        if slope
            .iter()
            .all(|element| element.abs() <= settings.gradient_tolerance)
        {
            end = End::Converged;
            break;
        }
        let mut direction = two_loop(&slope, &history);
        if has_l1 {
            // The quadratic model holds within an orthant only.
            direction
                .iter_mut()
                .zip(&slope)
                .filter(|(d, s)| **d * **s >= 0.0)
                .for_each(|(d, _)| *d = 0.0);
        }
        let mut descent = dot(&direction, &slope);
        if descent >= 0.0 {
            direction = slope.iter().map(|element| -element).collect();
            descent = dot(&direction, &slope);
            history.clear();
        }
        let first_step = 1.0 / dot(&slope, &slope).sqrt().max(1.0);
        let mut step = if history.is_empty() { first_step } else { 1.0 };
        let mut found = None;
        for _ in 0..HALVINGS_MAX {
            let next = advance(&x, &direction, step, has_l1.then_some(&slope));
            let (next_value, next_gradient) = function(&next)?;
            let next_value = next_value + penalty(&next);
            if next_value <= value + SUFFICIENT_DECREASE * step * descent {
                found = Some((next, next_value, next_gradient));
                break;
            }
            step *= 0.5;
        }
        let Some((next, next_value, next_gradient)) = found else {
            end = End::Converged;
            break;
        };
        remember(
            &mut history,
            difference(&next, &x),
            difference(&next_gradient, &gradient),
        );
        let has_converged = value - next_value <= 1e-15 * value.abs();
        (x, value, gradient) = (next, next_value, next_gradient);
        let continues = on_iteration(iteration + 1)?;
        if has_converged {
            end = End::Converged;
            break;
        }
        if !continues {
            end = End::Stopped;
            break;
        }
    }
    Ok(Minimum { x, end })
}

/// The gradient with the penalty. At 0, where |x| has none, the slope of the side that falls, or zero if both rise.
fn steepest(x: &[f64], gradient: &[f64], l1: &[f64]) -> Vec<f64> {
    let one = |((x, slope), weight): ((&f64, &f64), &f64)| match x {
        _ if *weight == 0.0 => *slope,
        x if *x > 0.0 => slope + weight,
        x if *x < 0.0 => slope - weight,
        _ if slope + weight < 0.0 => slope + weight,
        _ if slope - weight > 0.0 => slope - weight,
        _ => 0.0,
    };
    x.iter().zip(gradient).zip(l1).map(one).collect()
}

/// x + step · direction; with `slope`, elements that would change sign become zero.
fn advance(x: &[f64], direction: &[f64], step: f64, slope: Option<&Vec<f64>>) -> Vec<f64> {
    let mut next: Vec<f64> = x.iter().zip(direction).map(|(x, d)| x + step * d).collect();
    if let Some(slope) = slope {
        for ((next, x), slope) in next.iter_mut().zip(x).zip(slope) {
            let orthant = if *x == 0.0 {
                -slope.signum()
            } else {
                x.signum()
            };
            if *next * orthant < 0.0 {
                *next = 0.0;
            }
        }
    }
    next
}

fn two_loop(slope: &[f64], history: &VecDeque<(Vec<f64>, Vec<f64>, f64)>) -> Vec<f64> {
    let mut direction: Vec<f64> = slope.iter().map(|element| -element).collect();
    let mut factors = Vec::with_capacity(history.len());
    for (step, change, inverse) in history.iter().rev() {
        let factor = inverse * dot(step, &direction);
        direction
            .iter_mut()
            .zip(change)
            .for_each(|(d, change)| *d -= factor * change);
        factors.push(factor);
    }
    if let Some((step, change, _)) = history.back() {
        let scale = dot(step, change) / dot(change, change);
        direction.iter_mut().for_each(|element| *element *= scale);
    }
    for ((step, change, inverse), factor) in history.iter().zip(factors.into_iter().rev()) {
        let correction = factor - inverse * dot(change, &direction);
        direction
            .iter_mut()
            .zip(step)
            .for_each(|(d, step)| *d += correction * step);
    }
    direction
}

fn remember(history: &mut VecDeque<(Vec<f64>, Vec<f64>, f64)>, step: Vec<f64>, change: Vec<f64>) {
    let curvature = dot(&step, &change);
    // Only a pair of positive curvature keeps the approximation positive definite.
    if curvature > 1e-14 * dot(&change, &change) {
        if history.len() == PAIRS_MAX {
            history.pop_front();
        }
        history.push_back((step, change, 1.0 / curvature));
    }
}

fn dot(left: &[f64], right: &[f64]) -> f64 {
    left.iter()
        .zip(right)
        .map(|(left, right)| left * right)
        .sum()
}

fn difference(left: &[f64], right: &[f64]) -> Vec<f64> {
    left.iter()
        .zip(right)
        .map(|(left, right)| left - right)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(l1: f64, parameters: usize) -> Settings {
        Settings {
            iterations_max: 500,
            gradient_tolerance: 1e-10,
            l1: vec![l1; parameters],
        }
    }

    #[test]
    fn finds_the_bottom_of_the_rosenbrock_valley() {
        let function = |x: &[f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            Ok((
                a * a + 100.0 * b * b,
                vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b],
            ))
        };
        let found = minimise(vec![-1.2, 1.0], &settings(0.0, 2), function, |_| Ok(true)).unwrap();
        let (x, end) = (found.x, found.end);
        assert_eq!(end, End::Converged);
        assert!(
            (x[0] - 1.0).abs() < 1e-6 && (x[1] - 1.0).abs() < 1e-6,
            "{x:?}"
        );
    }

    #[test]
    fn absolute_penalty_soft_thresholds() {
        // The minimum of Σ (x - c)²/2 + |x| is c shrunk by 1 towards zero.
        let centre = [3.0, 0.5, -2.0];
        let function = |x: &[f64]| {
            let gradient: Vec<f64> = x.iter().zip(centre).map(|(x, c)| x - c).collect();
            Ok((gradient.iter().map(|g| g * g / 2.0).sum(), gradient))
        };
        let x = minimise(vec![0.0; 3], &settings(1.0, 3), function, |_| Ok(true))
            .unwrap()
            .x;
        assert!(
            (x[0] - 2.0).abs() < 1e-8 && x[1] == 0.0 && (x[2] + 1.0).abs() < 1e-8,
            "{x:?}"
        );
    }

    #[test]
    fn a_minimisation_says_why_it_ended() {
        let function = |x: &[f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            Ok((
                a * a + 100.0 * b * b,
                vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b],
            ))
        };
        let end = |iterations_max: usize, stop_after: usize| {
            let settings = Settings {
                iterations_max,
                ..settings(0.0, 2)
            };
            let go_on = |iteration| Ok(iteration < stop_after);
            let found = minimise(vec![-1.2, 1.0], &settings, function, go_on);
            found.unwrap().end
        };
        assert_eq!(end(500, 500), End::Converged);
        assert_eq!(end(3, 500), End::Exhausted);
        assert_eq!(end(500, 3), End::Stopped);
    }
}
