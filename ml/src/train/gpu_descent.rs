//! [`GpuDescent`]: minibatch descent with rows, weights, loss and optimiser on a GPU.
//!
//! With one shard and without `clip_norm`, a step only queues work: the host waits once an epoch, for the loss. With several shards, the
//! gradients of the shards come to the host, where the ranks sum them in the fixed tree. So the result depends on the
//! number of shards, and not on the number of ranks.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{
    CpuStorage, CudaDevice, CudaStorage, CustomOp1, DType, Device, Layout, Shape, Tensor, Var,
    WithDType,
};

use crate::data::inputs::Inputs;
use crate::data::rows::{Rows, weight_of_row};
use crate::device::gpu_memory;
use crate::device::kernels::{self, KernelLoss, KernelStep};
use crate::model::flat::{add_tensor, gradient_of, tensors, variables};
use crate::model::network::{Mode, Parameter, ParameterKind};
use crate::model::trained::one_head;
use crate::train::average;
use crate::train::descent::{Descent, Step};
use crate::train::loss::Loss;
use crate::train::losses::Losses;
use crate::train::optim::{MomentScales, OptimizerState, Penalty, clip_norm};
use crate::train::prepare::Shard;
use crate::train::running::{self, MOMENTUM};
use crate::train::training::Training;
use crate::{Error, Result};

/// The share of a GPU's free memory that rows may take; the rest is for values between the layers.
const ROWS_SHARE: f64 = 0.6;

pub(crate) struct GpuDescent<'a> {
    training: &'a Training<'a>,
    gpu: &'a CudaDevice,
    variables: Vec<Var>,
    /// The moving average of each parameter, if the training has one.
    average: Option<Vec<Tensor>>,
    moments: Vec<GpuMoments>,
    /// Steps taken, for Adam.
    steps: i32,
    /// For each shard of this rank, its rows on the GPU; none if all rows together take too much memory.
    resident: Vec<GpuRows>,
    orders: Vec<Vec<u32>>,
    /// The orders on the GPU, if the rows are there.
    gpu_orders: Vec<Tensor>,
    /// The sum of losses of each shard of this rank since the last call of `take_loss`.
    losses: Vec<CudaSlice<f64>>,
    /// The sum of the weights of the rows of all ranks in that time.
    weight: f64,
}

/// The rows of a shard.
struct GpuRows {
    inputs: Inputs,
    /// `[rows]`, or `[rows, numbers]` if a row has several numbers.
    labels: Tensor,
    /// `[rows]`, or `[rows, targets]` if there are several targets.
    weights: Tensor,
}

/// What the rows of a shard give to a step.
struct OfShard {
    /// The gradient of each parameter; zeros for a statistic.
    gradients: Vec<Tensor>,
    /// What the network measured, in the order of its statistics.
    statistics: Vec<Tensor>,
}

/// The moments of a parameter.
enum GpuMoments {
    Adamw {
        mean: CudaSlice<f32>,
        square: CudaSlice<f32>,
    },
    Sgd {
        velocity: CudaSlice<f32>,
    },
}

impl<'a> GpuDescent<'a> {
    pub(crate) fn new(
        training: &'a Training<'a>,
        gpu: &'a CudaDevice,
        weights: &[f32],
        average: Option<&[f32]>,
        state: &OptimizerState,
    ) -> Result<Self> {
        let specs = training.network.parameters();
        let mut moments = Vec::with_capacity(specs.len());
        let mut start = 0;
        for spec in specs {
            let range = start..start + spec.len();
            start = range.end;
            let upload = |values: &[f32]| gpu.clone_htod(&values[range.clone()]);
            moments.push(match state {
                OptimizerState::Adamw { mean, square, .. } => GpuMoments::Adamw {
                    mean: upload(mean)?,
                    square: upload(square)?,
                },
                OptimizerState::Sgd { velocity } => GpuMoments::Sgd {
                    velocity: upload(velocity)?,
                },
                OptimizerState::Als => {
                    let message = "alternating least squares has no steps on a GPU";
                    return Err(Error::Internal(message.into()));
                }
            });
        }
        let shards = &training.prepared.shards;
        let resident = resident(training, gpu)?;
        Ok(Self {
            training,
            gpu,
            variables: variables(specs, weights, &training.device)?,
            average: average
                .map(|average| tensors(specs, average, &training.device))
                .transpose()?,
            moments,
            steps: match state {
                OptimizerState::Adamw { steps, .. } => *steps,
                OptimizerState::Sgd { .. } | OptimizerState::Als => 0,
            },
            resident,
            orders: vec![],
            gpu_orders: vec![],
            losses: zeros(gpu, shards.len())?,
            weight: 0.0,
        })
    }

    /// The rows of a shard in a step.
    fn batch(&self, index: usize, shard: &Shard, step: &Step<'_>) -> Result<GpuRows> {
        let range = step.ranges[shard.number].clone();
        let (Some(rows), Some(order)) = (self.resident.get(index), self.gpu_orders.get(index))
        else {
            let rows = &self.orders[index][range];
            let rows = self.training.batch(shard, rows, step.epoch)?;
            return GpuRows::new(&rows, &self.training.device);
        };
        let order = order.narrow(0, range.start, range.len())?;
        Ok(GpuRows {
            inputs: rows.inputs.pick(&order)?,
            labels: rows.labels.index_select(&order, 0)?,
            weights: rows.weights.index_select(&order, 0)?,
        })
    }

    /// The gradients and statistics of the rows of a shard. Adds their loss to the sum.
    fn of_shard(&mut self, index: usize, shard: &Shard, step: &Step<'_>) -> Result<OfShard> {
        let training = self.training;
        let batch = self.batch(index, shard, step)?;
        let mut random = step.random(training.options.seed, shard.number);
        let mut statistics = vec![];
        let mode = Mode::Training {
            random: &mut random,
            statistics: &mut statistics,
        };
        let parameters = self
            .variables
            .iter()
            .map(|variable| variable.as_tensor().clone());
        let parameters: Vec<Tensor> = parameters.collect();
        let outputs = training.network.forward(&parameters, &batch.inputs, mode)?;
        let outputs = one_head(outputs)?.contiguous()?;
        let slopes = slopes(&training.losses, &outputs, &batch, &mut self.losses[index])?;
        let gradients = outputs.apply_op1(Slopes(slopes))?.backward()?;
        let specs = training.network.parameters();
        let all = self.variables.iter().zip(specs).map(|(variable, spec)| {
            Ok(match gradient_of(&gradients, variable, spec)? {
                Some(gradient) => gradient.contiguous()?,
                None => variable.zeros_like()?,
            })
        });
        Ok(OfShard {
            gradients: all.collect::<Result<_>>()?,
            statistics,
        })
    }

    /// A step of a training with one shard: the gradients stay on the GPU.
    fn step_of_one_shard(&mut self, shard: &Shard, step: &Step<'_>) -> Result<()> {
        let weight = self.shard_weight(0, shard, step);
        let OfShard {
            gradients,
            statistics,
        } = self.of_shard(0, shard, step)?;
        self.weight += f64::from(weight);
        if weight <= 0.0 {
            return Ok(());
        }
        let mut scale = 1.0 / weight;
        if let Some(norm_max) = self.training.options.clip_norm {
            let squares = gradients.iter().map(|gradient| {
                let gradient = gradient.to_dtype(DType::F64)?;
                Ok(gradient.sqr()?.sum_all()?.to_scalar::<f64>()?)
            });
            let squares = squares.collect::<Result<Vec<f64>>>()?;
            let norm = squares.iter().sum::<f64>().sqrt() * f64::from(scale);
            if norm > norm_max {
                scale *= (norm_max / norm) as f32;
            }
        }
        self.apply(&gradients, step, scale)?;
        self.follow(&statistics)?;
        self.follow_with_average(step)
    }

    /// A step of a training with several shards: the ranks sum the gradients on the host.
    fn step_of_shards(&mut self, step: &Step<'_>) -> Result<()> {
        let training = self.training;
        let (mut sum, weight) = self.sum_of_shards(step)?;
        self.weight += f64::from(weight);
        if weight <= 0.0 {
            return Ok(());
        }
        let specs = training.network.parameters();
        let mut statistics = sum.split_off(sum.len() - running::length(specs));
        if let Some(norm_max) = training.options.clip_norm {
            clip_norm(&mut sum, norm_max * f64::from(weight));
        }
        let gradients = tensors(specs, &sum, &training.device)?;
        self.apply(&gradients, step, 1.0 / weight)?;
        statistics.iter_mut().for_each(|sum| *sum /= weight);
        let specs: Vec<Parameter> = running::statistics(specs).cloned().collect();
        self.follow(&tensors(&specs, &statistics, &training.device)?)?;
        self.follow_with_average(step)
    }

    /// The gradients summed over all shards and ranks in the fixed tree, then the sums of the statistics; and the sum of the
    /// weights of their rows.
    fn sum_of_shards(&mut self, step: &Step<'_>) -> Result<(Vec<f32>, f32)> {
        let training = self.training;
        let specs = training.network.parameters();
        let weights: usize = specs.iter().map(Parameter::len).sum();
        let mut buffers = Vec::with_capacity(training.prepared.shards.len());
        for (index, shard) in training.prepared.shards.iter().enumerate() {
            training.control.stop.check()?;
            let mut sum = vec![0.0f32; weights + running::length(specs)];
            let weight = self.shard_weight(index, shard, step);
            if !step.ranges[shard.number].is_empty() {
                let of_shard = self.of_shard(index, shard, step)?;
                let mut rest = sum.as_mut_slice();
                for gradient in &of_shard.gradients {
                    let (ours, tail) = rest.split_at_mut(gradient.elem_count());
                    rest = tail;
                    add_tensor(ours, gradient)?;
                }
                running::add(specs, &of_shard.statistics, weight, rest)?;
            }
            sum.push(weight);
            buffers.push((shard.number, sum));
        }
        let mut sum = training.collective.all_reduce_f32(buffers)?;
        let weight = sum.pop().unwrap_or(0.0);
        Ok((sum, weight))
    }

    /// The sum of the weights of a shard's rows in a step.
    fn shard_weight(&self, index: usize, shard: &Shard, step: &Step<'_>) -> f32 {
        let rows = self.orders[index][step.ranges[shard.number].clone()].iter();
        let weight = |row: usize| {
            let (_, weights) = shard.train.labels_and_weights(&(row..row + 1));
            weight_of_row(weights)
        };
        rows.map(|&row| weight(row as usize)).sum::<f64>() as f32
    }

    /// Moves the weights against the gradients, which are multiplied by `scale` first.
    fn apply(&mut self, gradients: &[Tensor], step: &Step<'_>, scale: f32) -> Result<()> {
        self.steps += 1;
        let penalty = self.training.penalty();
        let specs = self.training.network.parameters();
        let rates = self.training.network.rates();
        let all = self.variables.iter().zip(gradients).zip(&mut self.moments);
        for (number, (((variable, gradient), moments), spec)) in all.zip(specs).enumerate() {
            let rate = rates.as_ref().and_then(|rates| rates.get(number));
            let Penalty { l1, l2, decay } = match spec.kind {
                ParameterKind::Penalised => penalty,
                ParameterKind::Free => Penalty::default(),
                ParameterKind::Statistic => continue,
            };
            let numbers = KernelStep {
                scale,
                learn_rate: step.learn_rate as f32 * rate.copied().unwrap_or(1.0),
                l1,
                l2,
            };
            match moments {
                GpuMoments::Adamw { mean, square } => {
                    let scales = MomentScales::after(self.steps);
                    kernels::adamw(
                        variable,
                        gradient,
                        (mean, square),
                        numbers,
                        (scales.mean, scales.square),
                        decay,
                    )?;
                }
                GpuMoments::Sgd { velocity } => {
                    kernels::sgd(variable, gradient, velocity, numbers)?;
                }
            }
        }
        Ok(())
    }

    /// Moves the running statistics towards those of a step.
    fn follow(&self, statistics: &[Tensor]) -> Result<()> {
        let specs = self.training.network.parameters();
        let running = self.variables.iter().zip(specs);
        let running = running.filter(|(_, spec)| spec.kind == ParameterKind::Statistic);
        let share = f64::from(MOMENTUM);
        for ((running, _), statistic) in running.zip(statistics) {
            let stays = (running.as_detached_tensor() * (1.0 - share))?;
            running.set(&(stays + (statistic * share)?)?)?;
        }
        Ok(())
    }

    /// Moves the average of the weights towards those after a step.
    fn follow_with_average(&mut self, step: &Step<'_>) -> Result<()> {
        let kept = f64::from(average::kept(self.training.ema_decay, step.taken));
        let all = self.average.iter_mut().flatten().zip(&self.variables);
        for (average, variable) in all {
            let way = (variable.as_detached_tensor() - &*average)?;
            *average = (&*average + (way * (1.0 - kept))?)?;
        }
        Ok(())
    }

    /// Downloads one vector of each parameter, and joins them.
    fn joined<'m>(
        &'m self,
        of: impl Fn(&'m GpuMoments) -> Option<&'m CudaSlice<f32>>,
    ) -> Result<Vec<f32>> {
        let mut all = vec![];
        for moments in &self.moments {
            if let Some(values) = of(moments) {
                all.extend(self.gpu.clone_dtoh(values)?);
            }
        }
        Ok(all)
    }
}

impl Descent for GpuDescent<'_> {
    fn begin(&mut self, orders: Vec<Vec<u32>>) -> Result<()> {
        self.gpu_orders = match self.resident.is_empty() {
            true => vec![],
            false => orders
                .iter()
                .map(|order| on_gpu(order, &self.training.device))
                .collect::<Result<_>>()?,
        };
        self.orders = orders;
        Ok(())
    }

    fn step(&mut self, step: &Step<'_>) -> Result<()> {
        match self.training.prepared.shards.as_slice() {
            [shard] if step.ranges.len() == 1 => self.step_of_one_shard(shard, step),
            _ => self.step_of_shards(step),
        }
    }

    fn take_loss(&mut self) -> Result<(f64, f64)> {
        let shards = &self.training.prepared.shards;
        let losses = std::mem::replace(&mut self.losses, zeros(self.gpu, shards.len())?);
        let losses = shards.iter().zip(&losses);
        let losses = losses.map(|(shard, loss)| Ok((shard.number, self.gpu.clone_dtoh(loss)?)));
        let losses = losses.collect::<Result<_>>()?;
        // The weights are those of all ranks already.
        let loss = self.training.collective.all_reduce_f64(losses)?;
        Ok((loss[0], std::mem::take(&mut self.weight)))
    }

    fn weights(&self) -> Result<Vec<f32>> {
        downloaded(self.variables.iter().map(|variable| variable.as_tensor()))
    }

    fn average(&self) -> Result<Option<Vec<f32>>> {
        self.average.as_ref().map(downloaded).transpose()
    }

    fn optimizer(&self) -> Result<OptimizerState> {
        Ok(match self.moments.first() {
            Some(GpuMoments::Sgd { .. }) => OptimizerState::Sgd {
                velocity: self.joined(|moments| match moments {
                    GpuMoments::Sgd { velocity } => Some(velocity),
                    GpuMoments::Adamw { .. } => None,
                })?,
            },
            _ => OptimizerState::Adamw {
                mean: self.joined(|moments| match moments {
                    GpuMoments::Adamw { mean, .. } => Some(mean),
                    GpuMoments::Sgd { .. } => None,
                })?,
                square: self.joined(|moments| match moments {
                    GpuMoments::Adamw { square, .. } => Some(square),
                    GpuMoments::Sgd { .. } => None,
                })?,
                steps: self.steps,
            },
        })
    }
}

impl GpuRows {
    fn new(rows: &Rows, device: &Device) -> Result<Self> {
        let numbers = |values: &[f64]| {
            let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
            let tensor = on_gpu(&values, device)?;
            match values.len() / rows.len().max(1) {
                0 | 1 => Ok(tensor),
                width => Ok::<_, Error>(tensor.reshape((rows.len(), width))?),
            }
        };
        Ok(Self {
            inputs: rows.inputs.to(device, DType::F32)?,
            labels: numbers(&rows.labels)?,
            weights: numbers(&rows.weights)?,
        })
    }
}

/// The rows of all shards on the GPU; none if they take too much of its memory, have more numbers than candle's kernels can
/// count, or have images that the host changes in each epoch.
fn resident(training: &Training<'_>, gpu: &CudaDevice) -> Result<Vec<GpuRows>> {
    if training.augmenter.is_some() {
        return Ok(vec![]);
    }
    let shards = &training.prepared.shards;
    let bytes: usize = shards.iter().map(|shard| bytes(&shard.train)).sum();
    let (free, _) = gpu_memory(gpu)?;
    let is_countable = |shard: &Shard| {
        let (rows, numbers) = (shard.train.len(), shard.train.inputs.elements());
        let of_step = numbers.div_ceil(rows.max(1)) * training.batch_size.min(rows);
        numbers.max(of_step) <= u32::MAX as usize
    };
    if bytes as f64 > free as f64 * ROWS_SHARE || !shards.iter().all(is_countable) {
        return Ok(vec![]);
    }
    let rows = shards.iter();
    let rows = rows.map(|shard| GpuRows::new(&shard.train, &training.device));
    match rows.collect() {
        // Other ranks may have taken the memory that was free.
        Err(Error::DeviceMemory(_)) => Ok(vec![]),
        rows => rows,
    }
}

/// The gradient of the losses of all targets with respect to `outputs` `[rows, outputs]`; adds the losses to `total`.
fn slopes(
    losses: &Losses,
    outputs: &Tensor,
    rows: &GpuRows,
    total: &mut CudaSlice<f64>,
) -> Result<Tensor> {
    if let Some(loss) = losses.only() {
        let (labels, weights) = (&rows.labels, &rows.weights);
        return Ok(kernels::loss(
            outputs,
            labels,
            weights,
            kernel_loss(loss),
            total,
        )?);
    }
    let (outputs, heads) = (outputs.detach(), losses.heads());
    let (count, _) = outputs.dims2()?;
    let labels = rows
        .labels
        .reshape((count, rows.labels.elem_count() / count))?;
    let weights = rows.weights.reshape((count, heads.len()))?;
    let (mut output, mut number) = (0, 0);
    let mut all = Vec::with_capacity(heads.len());
    for (target, head) in heads.iter().enumerate() {
        // The kernel takes one label in a row, so each number of a list is a row.
        let of_head = outputs.narrow(1, output, head.outputs())?.contiguous()?;
        let of_head = of_head.reshape((count * head.numbers, head.loss.outputs()))?;
        let labels = labels.narrow(1, number, head.numbers)?.flatten_all()?;
        let weights = (weights.narrow(1, target, 1)? * head.factor())?;
        let weights = weights.broadcast_as((count, head.numbers))?.flatten_all()?;
        let (labels, weights) = (labels.contiguous()?, weights.contiguous()?);
        let slopes = kernels::loss(&of_head, &labels, &weights, kernel_loss(head.loss), total)?;
        all.push(slopes.reshape((count, head.outputs()))?);
        output += head.outputs();
        number += head.numbers;
    }
    Ok(Tensor::cat(&all, 1)?)
}

/// A loss with its constant, 0 if it has none.
fn kernel_loss(loss: Loss) -> (KernelLoss, f64) {
    match loss {
        Loss::Squared => (KernelLoss::Squared, 0.0),
        Loss::Absolute => (KernelLoss::Absolute, 0.0),
        Loss::Huber { delta } => (KernelLoss::Huber, delta),
        Loss::Quantile { quantile } => (KernelLoss::Quantile, quantile),
        Loss::Poisson { offset } => (KernelLoss::Poisson, offset),
        Loss::Binary { smoothing } => (KernelLoss::Binary, smoothing),
        Loss::Classes { smoothing, .. } => (KernelLoss::Classes, smoothing),
        Loss::BinaryFocal { gamma } => (KernelLoss::BinaryFocal, gamma),
        Loss::ClassesFocal { gamma, .. } => (KernelLoss::ClassesFocal, gamma),
    }
}

/// The values of all tensors, flat.
fn downloaded<'t>(tensors: impl IntoIterator<Item = &'t Tensor>) -> Result<Vec<f32>> {
    let mut all = vec![];
    for tensor in tensors {
        all.extend(tensor.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(all)
}

/// A zero for each of `count` shards.
fn zeros(gpu: &CudaDevice, count: usize) -> Result<Vec<CudaSlice<f64>>> {
    let zeros = (0..count).map(|_| Ok(gpu.alloc_zeros::<f64>(1)?));
    zeros.collect()
}

/// The values on a GPU; one zero for none, because CUDA has no empty memory.
fn on_gpu<T: WithDType>(values: &[T], device: &Device) -> Result<Tensor> {
    Ok(match values {
        [] => Tensor::zeros(1, T::DTYPE, device)?,
        values => Tensor::from_slice(values, values.len(), device)?,
    })
}

/// Memory of rows on a GPU, in bytes.
fn bytes(rows: &Rows) -> usize {
    rows.inputs.bytes() + (rows.labels.len() + rows.weights.len()) * size_of::<f32>()
}

/// A number whose derivative with respect to the outputs is given: where the backward pass begins.
struct Slopes(Tensor);

impl CustomOp1 for Slopes {
    fn name(&self) -> &'static str {
        "slopes"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("slopes: a step of a GPU met a tensor of the host")
    }

    fn cuda_fwd(
        &self,
        outputs: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let device = &outputs.device;
        let nothing = CudaStorage::wrap_cuda_slice(device.alloc_zeros::<f32>(1)?, device.clone());
        Ok((nothing, Shape::from(1)))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}
