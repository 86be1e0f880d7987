//! L-BFGS and the normal equation on the shards of a training, with the records of epochs.

use std::time::Instant;

use super::lbfgs::{self, End};
use super::normal_equation;
use crate::Result;
use crate::data::precision::Precision;
use crate::model::flat::{penalised, variables};
use crate::model::network::Mode;
use crate::train::control::EpochRecord;
use crate::train::training::{Solution, Training};

const ITERATIONS_DEFAULT: usize = 500;

/// Rows of one pass through a linear model.
pub(crate) const BATCH_ROWS: usize = 4_096;

impl Training<'_> {
    /// L-BFGS on the mean loss of all training rows, in f64.
    pub(crate) fn lbfgs(&self) -> Result<Solution> {
        let specs = self.network.parameters();
        let penalised = penalised(specs);
        let weigh = |penalty: f64| {
            penalised
                .iter()
                .map(|is| if *is { penalty } else { 0.0 })
                .collect::<Vec<f64>>()
        };
        let l2 = weigh(self.l2);
        let settings = lbfgs::Settings {
            iterations_max: self.options.epochs.unwrap_or(ITERATIONS_DEFAULT),
            gradient_tolerance: 1e-7,
            l1: weigh(self.options.l1_reg),
        };
        let mut history = Vec::new();
        let mut began = Instant::now();
        // The solver accepts the last point that it evaluates in an iteration, so this is the loss of the accepted point.
        let loss = std::cell::Cell::new(0.0);
        let function = |weights: &[f64]| {
            let (mut value, mut gradient) = self.full_gradient(weights)?;
            loss.set(value);
            for ((weight, slope), l2) in weights.iter().zip(&mut gradient).zip(&l2) {
                value += 0.5 * l2 * weight * weight;
                *slope += l2 * weight;
            }
            Ok((value, gradient))
        };
        let on_iteration = |iteration: usize| {
            let duration_ms = began.elapsed().as_millis() as u64;
            let record = EpochRecord {
                epoch: iteration,
                train_loss: loss.get(),
                eval_loss: None,
                learn_rate: None,
                duration_ms,
            };
            began = Instant::now();
            self.report_epoch(&record);
            history.push(record);
            Ok(!self.is_out_of_time()?)
        };
        let found = lbfgs::minimise(
            self.first_weights().into_owned(),
            &settings,
            function,
            on_iteration,
        )?;
        let iterations = history.len();
        let notice = match found.end {
            End::Converged => None,
            End::Stopped => Some(self.out_of_time(iterations)),
            End::Exhausted => Some(format!(
                "optimizer lbfgs has not converged after {iterations} iterations; raise epochs, or l2_reg"
            )),
        };
        Ok(Solution {
            weights: self.in_precision(found.x),
            history,
            notice,
        })
    }

    fn full_gradient(&self, weights: &[f64]) -> Result<(f64, Vec<f64>)> {
        let variables = variables(self.network.parameters(), weights, &self.device)?;
        let mut buffers = Vec::with_capacity(self.prepared.shards.len());
        for shard in &self.prepared.shards {
            let mut sum = vec![0.0f64; weights.len()];
            let (mut loss, mut weight) = (0.0, 0.0);
            for range in shard.train.ranges(BATCH_ROWS) {
                self.control.stop.check()?;
                let chunk = shard.train.narrow(range)?;
                let at = self.gradient(&variables, &chunk, Mode::Inference, &mut sum)?;
                loss += at.loss;
                weight += at.weight;
            }
            sum.extend([loss, weight]);
            buffers.push((shard.number, sum));
        }
        let mut sum = self.collective.all_reduce_f64(buffers)?;
        let (weight, loss) = (sum.pop().unwrap_or(0.0), sum.pop().unwrap_or(0.0));
        if !loss.is_finite() {
            return Err(self.diverged(1));
        }
        sum.iter_mut().for_each(|slope| *slope /= weight);
        Ok((loss / weight, sum))
    }

    /// The weights in the precision of the model.
    fn in_precision(&self, weights: Vec<f64>) -> Vec<f64> {
        match self.model_type.precision() {
            Precision::Single => weights.into_iter().map(|w| f64::from(w as f32)).collect(),
            Precision::Double => weights,
        }
    }

    /// Least squares in closed form.
    pub(crate) fn solve(&self) -> Result<Solution> {
        let began = Instant::now();
        let shape = self.prepared.encoder.shape();
        let rows = self.prepared.train_rows();
        let check = || self.control.stop.check();
        let l2 = self.l2;
        let found = normal_equation::solve(
            &self.prepared.shards,
            shape,
            l2,
            rows,
            self.collective,
            &check,
        )?;
        let weights = self.in_precision(found);
        let record = EpochRecord {
            epoch: 1,
            train_loss: self
                .mean_loss(&weights, |shard| &shard.train)?
                .unwrap_or(f64::NAN),
            eval_loss: self.mean_loss(&weights, |shard| &shard.eval)?,
            learn_rate: None,
            duration_ms: began.elapsed().as_millis() as u64,
        };
        self.report_epoch(&record);
        Ok(Solution {
            weights,
            history: vec![record],
            notice: None,
        })
    }
}
