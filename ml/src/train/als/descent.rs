//! [`AlsDescent`]: alternating least squares as a descent, of which each step is a sweep over all users and all items.
//!
//! With the ratings r of a user, minimises Σ (r - bias of the item - own bias - own vector · vector of the item)² / 2 plus
//! `l2_reg` / 2 times the squares of the own vector and bias for each rating. With implicit feedback, minimises
//! Σ c (1 - own vector · vector of the item)² / 2 over the items that the user took, each with c = 1 + `wals_alpha` r, plus
//! Σ (own vector · vector of the item)² / 2 over all others, plus the same penalty.

use std::ops::Range;

use rayon::ThreadPool;
use rayon::prelude::*;

use crate::Result;
use crate::train::als::implicit::loss_of;
use crate::train::als::ratings::{Block, Ratings, counts, shares};
use crate::train::als::solve::System;
use crate::train::als::table::Table;
use crate::train::descent::{Descent, Step};
use crate::train::optim::OptimizerState;
use crate::train::training::Training;
use crate::worker::helpers;

/// Users or items that one thread solves for at once.
const IDS_AT_ONCE: usize = 128;

/// The numbers of a rating in memory: twice as it was sent, and in the blocks of its user and of its item.
const RATING_BYTES: usize = 4 * 12;

/// Memory of the ratings and of the sums of a training with so many weights and rows, in bytes.
pub(crate) fn working_bytes(weights: usize, rows: usize) -> usize {
    // The weights, the best ones, those of a sweep as messages, and as tensors for the loss, in f32 and in f64.
    let of_weights = weights.saturating_mul(40);
    of_weights.saturating_add(rows.saturating_mul(RATING_BYTES))
}

/// The users or the items.
struct Half {
    /// The ids that each rank solves for.
    shares: Vec<Range<usize>>,
    /// The ratings of the ids of this rank.
    block: Block,
    /// The ids of the other half.
    others: Range<usize>,
}

/// A descent by sweeps.
pub(crate) struct AlsDescent<'a> {
    training: &'a Training<'a>,
    table: Table,
    halves: [Half; 2],
    weights: Vec<f32>,
    threads: ThreadPool,
}

impl<'a> AlsDescent<'a> {
    /// A descent from these weights. Gathers the rows of all ranks.
    pub(crate) fn new(training: &'a Training<'a>, weights: Vec<f32>) -> Result<Self> {
        let table = Table::of(training)?;
        let ratings = Ratings::gather(training, |shard| &shard.train)?;
        let counts = counts(&ratings, table.ids);
        let (rank, ranks) = (training.collective.rank(), training.collective.world_size());
        let joins = training.options.implicit_alpha().is_some();
        let half = |is_first: bool| {
            let shares = shares(table.known(is_first), &counts, ranks);
            let block = Block::of(&ratings, is_first, shares[rank].clone(), joins);
            let others = table.known(!is_first);
            Half {
                shares,
                block,
                others,
            }
        };
        Ok(Self {
            halves: [half(true), half(false)],
            threads: helpers(training.control.threads.max(1))?,
            training,
            table,
            weights,
        })
    }

    /// Solves for the ids of this rank in a half, while the other half stays: their numbers, one id after the other.
    fn solve(&self, half: &Half) -> Result<Vec<f32>> {
        let options = self.training.options;
        let alpha = options.implicit_alpha();
        let problem = Problem {
            table: &self.table,
            weights: &self.weights,
            block: &half.block,
            gram: alpha.map(|_| self.table.gram(&self.weights, half.others.clone())),
            alpha,
            l2: self.training.l2,
        };
        let stop = &self.training.control.stop;
        let ids: Vec<usize> = half.block.ids.clone().collect();
        let solve = |ids: &[usize]| {
            stop.check()?;
            Ok(problem.solve(ids))
        };
        let parts = ids.par_chunks(IDS_AT_ONCE).map(solve);
        let parts = self
            .threads
            .install(|| parts.collect::<Result<Vec<Vec<f32>>>>())?;
        Ok(parts.concat())
    }

    /// Solves for all ids of a half, each on its rank.
    fn sweep(&mut self, half: usize) -> Result<()> {
        let ours = self.solve(&self.halves[half])?;
        let ours = ours
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let all = self.training.collective.all_gather(ours)?;
        let width = self.table.numbers();
        for (share, message) in self.halves[half].shares.iter().zip(&all) {
            let numbers = message.as_chunks::<4>().0.iter();
            let numbers: Vec<f32> = numbers.map(|bytes| f32::from_le_bytes(*bytes)).collect();
            for (id, numbers) in share.clone().zip(numbers.chunks_exact(width)) {
                self.table.set(&mut self.weights, id, numbers);
            }
        }
        Ok(())
    }
}

/// What the users or items of a block are solved from.
struct Problem<'a> {
    table: &'a Table,
    weights: &'a [f32],
    block: &'a Block,
    /// The sum of the outer products of all vectors of the other half, for implicit feedback.
    gram: Option<Vec<f64>>,
    alpha: Option<f64>,
    l2: f64,
}

impl Problem<'_> {
    /// The numbers of these ids, one after the other. An id without ratings keeps those that it has.
    fn solve(&self, ids: &[usize]) -> Vec<f32> {
        let width = self.table.numbers();
        let mut system = System::new(width);
        let mut x = vec![1.0; width];
        let mut found = Vec::with_capacity(ids.len() * width);
        for &id in ids {
            if self.block.of_id(id).0.is_empty() {
                found.extend(self.table.get(self.weights, id));
                continue;
            }
            let count = self.fill(&mut system, &mut x, id);
            system.penalise(self.l2 * count as f64);
            found.extend(system.solve().iter().map(|number| *number as f32));
        }
        found
    }

    /// Fills in the system of an id without the penalty, and returns the number of ratings that count. `x` ends with 1 if there are
    /// biases.
    fn fill(&self, system: &mut System, x: &mut [f64], id: usize) -> usize {
        system.reset(self.gram.as_deref());
        let (others, labels) = self.block.of_id(id);
        let mut count = 0;
        for (other, label) in others.iter().zip(labels) {
            let (other, label) = (*other as usize, f64::from(*label));
            let vector = self.table.vector(self.weights, other);
            x.iter_mut()
                .zip(vector)
                .for_each(|(x, number)| *x = f64::from(*number));
            match self.alpha {
                // The matrix has each item with a weight of 1 already.
                Some(alpha) if label > 0.0 => {
                    system.add(x, alpha * label, 1.0 + alpha * label);
                }
                // Taken as often as an item that is not there: never.
                Some(_) => continue,
                None => {
                    let bias = self.table.bias(self.weights, other);
                    system.add(x, 1.0, label - f64::from(bias));
                }
            }
            count += 1;
        }
        count
    }
}

impl Descent for AlsDescent<'_> {
    fn begin(&mut self, _orders: Vec<Vec<u32>>) -> Result<()> {
        Ok(())
    }

    fn step(&mut self, _step: &Step<'_>) -> Result<()> {
        self.sweep(0)?;
        self.sweep(1)
    }

    fn take_loss(&mut self) -> Result<(f64, f64)> {
        let mean = match self.training.options.implicit_alpha() {
            Some(_) => {
                let block = &self.halves[0].block;
                loss_of(self.training, &self.table, &self.weights, block)?
            }
            None => {
                let weights: Vec<f64> = self.weights.iter().copied().map(f64::from).collect();
                let mean = self.training.mean_loss(&weights, |shard| &shard.train)?;
                mean.unwrap_or(f64::NAN)
            }
        };
        Ok((mean, 1.0))
    }

    fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.weights.clone())
    }

    fn optimizer(&self) -> Result<OptimizerState> {
        Ok(OptimizerState::Als)
    }
}
