//! [`recurrent`]: a cell that goes over a sequence step by step.
//!
//! ```text
//! x ─ weight_ih, bias_ih ─▶ products of all steps at once ─┐
//!                                                        cell ─▶ output ─▶ next step
//! output of the step before ─ weight_hh, bias_hh ──────────┘
//! ```
//! The steps are one operation of autograd with a backward pass of its own. candle's backward pass would recurse once for each
//! operation of each step, and fill the gradient of each step with zeros up to the length of the sequence. Forward and
//! backward consist of candle operations, so they run on any device.
//!
//! Between the steps a column is a row of the batch, `[numbers, rows]`: so the gates of a cell are contiguous, and the weights
//! have the shapes that they have in PyTorch. `lstm` and `gru` are the cells. To add a cell, implement `Recurrence` of `recurrence`.

use candle_core::{CpuStorage, CustomOp3, Layout, Shape, Storage, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, backend::BackendStorage};

use super::gru::Gru;
use super::linear::linear;
use super::lstm::Lstm;
use super::recurrence::Recurrence;
use super::values::Gradients;
use crate::{Result, stop};

/// A cell of a recurrent layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// Long short-term memory: Hochreiter and Schmidhuber, 1997, with the forget gate of Gers et al., 2000.
    Lstm,
    /// The gated recurrent unit: Cho et al., 2014, with the reset gate behind the product, as in PyTorch.
    Gru,
}

impl Cell {
    /// The products that a unit needs at a step.
    pub fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// The weights of a recurrent layer, named and shaped as in PyTorch.
#[derive(Debug, Clone, Copy)]
pub struct CellWeights<'a> {
    /// The weights of the inputs, `[gates * units, features]`.
    pub weight_ih: &'a Tensor,
    /// The weights of the outputs of the step before, `[gates * units, units]`.
    pub weight_hh: &'a Tensor,
    /// The bias of the inputs, `[gates * units]`.
    pub bias_ih: &'a Tensor,
    /// The bias of the outputs of the step before, `[gates * units]`.
    pub bias_hh: &'a Tensor,
}

/// The order in which a cell goes over a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Backward,
}

/// The outputs of a cell at each step of `x` `[rows, length, features]`: `[length, units, rows]`.
///
/// # Errors
/// [`Error::Internal`](crate::Error::Internal) if the shapes do not match.
pub fn recurrent(
    cell: Cell,
    x: &Tensor,
    weights: CellWeights<'_>,
    direction: Direction,
) -> Result<Tensor> {
    let (rows, length, features) = x.dims3()?;
    let x = x.transpose(0, 1)?.reshape((length * rows, features))?;
    let products = linear(&x, &weights.weight_ih.t()?, weights.bias_ih, None)?;
    let products = products.reshape((length, rows, products.dim(1)?))?;
    let products = products.transpose(1, 2)?.contiguous()?;
    match cell {
        Cell::Lstm => over_steps::<Lstm>(&products, weights, direction),
        Cell::Gru => over_steps::<Gru>(&products, weights, direction),
    }
}

/// Goes over the products of the inputs, `[length, gates * units, rows]`.
fn over_steps<R: Recurrence>(
    products: &Tensor,
    weights: CellWeights<'_>,
    direction: Direction,
) -> Result<Tensor> {
    let (length, gates, rows) = products.dims3()?;
    let (weight, bias) = (weights.weight_hh, weights.bias_hh);
    let mut order: Vec<usize> = (0..length).collect();
    if direction == Direction::Backward {
        order.reverse();
    }
    let is_tracked = [products, weight, bias]
        .iter()
        .any(|tensor| tensor.track_op());
    let (inputs, across) = (products.detach(), weight.detach());
    let bias_column = bias.detach().reshape((gates, 1))?;
    let mut output = Tensor::zeros((weight.dim(1)?, rows), inputs.dtype(), inputs.device())?;
    let mut memory = R::start(&output);
    let mut outputs = vec![output.clone(); length];
    let mut kept = Vec::new();
    for &at in &order {
        stop::check()?;
        let product = across.matmul(&output)?.broadcast_add(&bias_column)?;
        let step = R::step(&inputs.get(at)?, &product, &output, &memory)?;
        (output, memory) = (step.output, step.memory);
        outputs[at] = output.clone();
        if is_tracked {
            kept.push(step.kept);
        }
    }
    let outputs = Tensor::stack(&outputs, 0)?;
    if !is_tracked {
        return Ok(outputs);
    }
    let steps = Steps::<R> {
        order,
        outputs,
        kept,
    };
    Ok(products.apply_op3(weight, bias, steps)?)
}

/// The steps of a sequence as one operation: of the products of the inputs, `weight_hh` and `bias_hh`.
struct Steps<R: Recurrence> {
    /// The steps in the order in which the cell went over them.
    order: Vec<usize>,
    /// `[length, units, rows]`.
    outputs: Tensor,
    /// In the order of the steps.
    kept: Vec<R::Kept>,
}

impl<R: Recurrence> Steps<R> {
    /// The output before the step of this number in `order`.
    fn output_before(&self, number: usize) -> candle_core::Result<Tensor> {
        match number.checked_sub(1) {
            Some(before) => self.outputs.get(self.order[before]),
            None => self.outputs.get(0)?.zeros_like(),
        }
    }
}

impl<R: Recurrence> CustomOp3 for Steps<R> {
    fn name(&self) -> &'static str {
        "recurrent"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let (storage, layout) = self.outputs.storage_and_layout();
        match &*storage {
            Storage::Cpu(storage) => Ok((storage.clone(), layout.shape().clone())),
            _ => candle_core::bail!("recurrent: the outputs are on another device"),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let (storage, layout) = self.outputs.storage_and_layout();
        match &*storage {
            Storage::Cuda(storage) => Ok((storage.try_clone(layout)?, layout.shape().clone())),
            _ => candle_core::bail!("recurrent: the outputs are on another device"),
        }
    }

    fn bwd(
        &self,
        _products: &Tensor,
        weight: &Tensor,
        _bias: &Tensor,
        _outputs: &Tensor,
        slopes: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let slopes = slopes.contiguous()?;
        let back = weight.detach().t()?;
        let zeros = self.output_before(0)?;
        let (mut of_output, mut of_memory) = (zeros.clone(), R::start(&zeros));
        let mut of_inputs = vec![zeros; self.order.len()];
        let (mut of_products, mut outputs) = (vec![], vec![]);
        for (number, (&at, kept)) in self.order.iter().zip(&self.kept).enumerate().rev() {
            stop::check()?;
            let output = self.output_before(number)?;
            let of_step = (slopes.get(at)? + of_output)?;
            let before = R::slopes(kept, &output, &of_step, &of_memory)?;
            let through = back.matmul(&before.product)?;
            of_output = match before.output {
                Some(beside) => (through + beside)?,
                None => through,
            };
            of_memory = before.memory;
            of_inputs[at] = before.input;
            of_products.push(before.product);
            outputs.push(output);
        }
        // One product for all steps.
        let of_products = Tensor::cat(&of_products, 1)?;
        let of_weight = of_products.matmul(&Tensor::cat(&outputs, 1)?.t()?)?;
        let of_bias = of_products.sum(1)?;
        let of_inputs = Tensor::stack(&of_inputs, 0)?;
        Ok((Some(of_inputs), Some(of_weight), Some(of_bias)))
    }
}
