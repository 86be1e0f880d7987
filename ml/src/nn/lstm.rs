//! The LSTM cell.
//!
//! ```text
//! input, forget, output = sigmoid of a product each;  candidate = tanh of a product
//! memory = forget · memory + input · candidate
//! result = output · tanh(memory)
//! ```
//! The products are in PyTorch's order: input, forget, candidate, output.

use candle_core::Tensor;

use super::activation::{Activation, activate};
use super::recurrence::{Recurrence, Slopes, Step};
use crate::Result;

pub(super) struct Lstm;

/// The values of a step.
pub(super) struct Kept {
    input: Tensor,
    forget: Tensor,
    candidate: Tensor,
    output: Tensor,
    memory_before: Tensor,
    /// tanh(memory)
    squashed: Tensor,
}

impl Recurrence for Lstm {
    type Memory = Tensor;
    type Kept = Kept;

    fn start(zeros: &Tensor) -> Tensor {
        zeros.clone()
    }

    fn step(
        input: &Tensor,
        product: &Tensor,
        _output: &Tensor,
        memory: &Tensor,
    ) -> Result<Step<Self>> {
        let gates = (input + product)?;
        let units = memory.dim(0)?;
        let opened = activate(Activation::Sigmoid, &gates.narrow(0, 0, 2 * units)?)?;
        let (input, forget) = (opened.narrow(0, 0, units)?, opened.narrow(0, units, units)?);
        let candidate = gates.narrow(0, 2 * units, units)?.tanh()?;
        let output = activate(Activation::Sigmoid, &gates.narrow(0, 3 * units, units)?)?;
        let memory_after = ((&forget * memory)? + (&input * &candidate)?)?;
        let squashed = memory_after.tanh()?;
        Ok(Step {
            output: (&output * &squashed)?,
            memory: memory_after,
            kept: Kept {
                input,
                forget,
                candidate,
                output,
                memory_before: memory.clone(),
                squashed,
            },
        })
    }

    fn slopes(
        kept: &Kept,
        _output: &Tensor,
        of_output: &Tensor,
        of_memory: &Tensor,
    ) -> candle_core::Result<Slopes<Self>> {
        let through_tanh = ((of_output * &kept.output)? * of_tanh(&kept.squashed)?)?;
        let of_memory = (of_memory + through_tanh)?;
        let of_input = ((&of_memory * &kept.candidate)? * of_sigmoid(&kept.input)?)?;
        let of_forget = ((&of_memory * &kept.memory_before)? * of_sigmoid(&kept.forget)?)?;
        let of_candidate = ((&of_memory * &kept.input)? * of_tanh(&kept.candidate)?)?;
        let of_gate = ((of_output * &kept.squashed)? * of_sigmoid(&kept.output)?)?;
        let of_gates = Tensor::cat(&[of_input, of_forget, of_candidate, of_gate], 0)?;
        Ok(Slopes {
            input: of_gates.clone(),
            product: of_gates,
            output: None,
            memory: (of_memory * &kept.forget)?,
        })
    }
}

/// The slope of a sigmoid of this value.
pub(super) fn of_sigmoid(value: &Tensor) -> candle_core::Result<Tensor> {
    value - value.sqr()?
}

/// The slope of a tanh of this value.
pub(super) fn of_tanh(value: &Tensor) -> candle_core::Result<Tensor> {
    value.sqr()?.affine(-1.0, 1.0)
}
