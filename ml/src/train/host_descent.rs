//! [`HostDescent`]: minibatch descent on the host. Each step takes its share of every shard, and sums gradients over the
//! shards in a fixed tree.

use std::ops::Range;

use crate::Result;
use crate::model::flat::{penalised, rates, variables};
use crate::model::network::Mode;
use crate::train::average;
use crate::train::descent::{Descent, Step};
use crate::train::optim::{OptimizerState, clip_norm};
use crate::train::running;
use crate::train::training::Training;

/// A descent on the host.
pub(crate) struct HostDescent<'a> {
    training: &'a Training<'a>,
    weights: Vec<f32>,
    average: Option<Vec<f32>>,
    state: OptimizerState,
    penalised: Vec<bool>,
    /// The factor on the learning rate of each range of weights.
    rates: Vec<(Range<usize>, f32)>,
    orders: Vec<Vec<u32>>,
    loss: (f64, f64),
}

impl<'a> HostDescent<'a> {
    pub(crate) fn new(
        training: &'a Training<'a>,
        weights: Vec<f32>,
        average: Option<Vec<f32>>,
        state: OptimizerState,
    ) -> Self {
        Self {
            training,
            weights,
            average,
            state,
            penalised: penalised(training.network.parameters()),
            rates: rates(training.network),
            orders: vec![],
            loss: (0.0, 0.0),
        }
    }

    /// The gradient of the step's loss summed over all shards, then the sums of the statistics, the loss and the weights.
    fn gradient(&self, step: &Step<'_>) -> Result<Vec<f32>> {
        let training = self.training;
        let parameters = training.network.parameters();
        let variables = variables(parameters, &self.weights, &training.device)?;
        let mut buffers = Vec::with_capacity(self.orders.len());
        for (shard, order) in training.prepared.shards.iter().zip(&self.orders) {
            training.control.stop.check()?;
            let slice = &order[step.ranges[shard.number].clone()];
            let mut statistics = vec![0.0f32; running::length(parameters)];
            let (mut weight, mut loss) = (0.0, 0.0);
            // With room for what follows the gradient, which would be copied otherwise.
            let mut sum = Vec::with_capacity(self.weights.len() + statistics.len() + 2);
            sum.resize(self.weights.len(), 0.0f32);
            if !slice.is_empty() {
                let mut random = step.random(training.options.seed, shard.number);
                let mut measured = vec![];
                let batch = training.batch(shard, slice, step.epoch)?;
                let mode = Mode::Training {
                    random: &mut random,
                    statistics: &mut measured,
                };
                let at = training.gradient(&variables, &batch, mode, &mut sum)?;
                (weight, loss) = (at.weight as f32, at.loss as f32);
                running::add(parameters, &measured, weight, &mut statistics)?;
            }
            sum.extend(statistics);
            sum.extend([loss, weight]);
            buffers.push((shard.number, sum));
        }
        training.collective.all_reduce_f32(buffers)
    }
}

impl Descent for HostDescent<'_> {
    fn begin(&mut self, orders: Vec<Vec<u32>>) -> Result<()> {
        self.orders = orders;
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        let mut sum = self.gradient(step)?;
        let (weight, loss) = (sum.pop().unwrap_or(0.0), sum.pop().unwrap_or(0.0));
        if !loss.is_finite() || sum.iter().any(|slope| !slope.is_finite()) {
            return Err(self.training.diverged(step.epoch + 1));
        }
        self.loss.0 += f64::from(loss);
        self.loss.1 += f64::from(weight);
        if weight > 0.0 {
            sum.iter_mut().for_each(|slope| *slope /= weight);
            let statistics = sum.split_off(self.weights.len());
            if let Some(norm_max) = self.training.options.clip_norm {
                clip_norm(&mut sum, norm_max);
            }
            let penalty = self.training.penalty();
            let rates = self.rates.iter().map(|(range, rate)| {
                let learn_rate = step.learn_rate as f32 * rate;
                (range.clone(), learn_rate)
            });
            let rates: Vec<(Range<usize>, f32)> = rates.collect();
            let weights = &mut self.weights;
            self.state
                .step_with_rates(weights, &sum, &rates, penalty, &self.penalised);
            let parameters = self.training.network.parameters();
            running::follow(parameters, weights, &statistics);
            if let Some(average) = &mut self.average {
                let kept = average::kept(self.training.ema_decay, step.taken);
                average::follow(average, weights, kept);
            }
        }
        Ok(())
    }

    fn take_loss(&mut self) -> Result<(f64, f64)> {
        Ok(std::mem::take(&mut self.loss))
    }

    fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.weights.clone())
    }

    fn average(&self) -> Result<Option<Vec<f32>>> {
        Ok(self.average.clone())
    }

    fn optimizer(&self) -> Result<OptimizerState> {
        Ok(self.state.clone())
    }
}
