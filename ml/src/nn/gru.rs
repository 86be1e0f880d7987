//! The GRU cell.
//!
//! ```text
//! reset, update = sigmoid of a product each, of the input and of the output before
//! candidate = tanh(product of the input + reset · product of the output before)
//! result = (1 - update) · candidate + update · output before
//! ```
//! The products are in PyTorch's order: reset, update, candidate.

use candle_core::Tensor;

use super::activation::{Activation, activate};
use super::lstm::{of_sigmoid, of_tanh};
use super::recurrence::{Recurrence, Slopes, Step};
use crate::Result;

pub(super) struct Gru;

/// The values of a step.
pub(super) struct Kept {
    reset: Tensor,
    update: Tensor,
    candidate: Tensor,
    /// The product of the output before that is part of the candidate.
    product: Tensor,
}

impl Recurrence for Gru {
    type Memory = ();
    type Kept = Kept;

    fn start(_zeros: &Tensor) {}

    fn step(input: &Tensor, product: &Tensor, output: &Tensor, _memory: &()) -> Result<Step<Self>> {
        let units = output.dim(0)?;
        let gates = (input.narrow(0, 0, 2 * units)? + product.narrow(0, 0, 2 * units)?)?;
        let opened = activate(Activation::Sigmoid, &gates)?;
        let (reset, update) = (opened.narrow(0, 0, units)?, opened.narrow(0, units, units)?);
        let product = product.narrow(0, 2 * units, units)?;
        let candidate = (input.narrow(0, 2 * units, units)? + (&reset * &product)?)?.tanh()?;
        let change = (&update * (output - &candidate)?)?;
        Ok(Step {
            output: (&candidate + change)?,
            memory: (),
            kept: Kept {
                reset,
                update,
                candidate,
                product,
            },
        })
    }

    fn slopes(
        kept: &Kept,
        output: &Tensor,
        of_output: &Tensor,
        _of_memory: &(),
    ) -> candle_core::Result<Slopes<Self>> {
        let of_before = (of_output * &kept.update)?;
        let of_candidate = ((of_output - &of_before)? * of_tanh(&kept.candidate)?)?;
        let of_update = (of_output * (output - &kept.candidate)?)?;
        let of_update = (of_update * of_sigmoid(&kept.update)?)?;
        let of_reset = ((&of_candidate * &kept.product)? * of_sigmoid(&kept.reset)?)?;
        let of_product = (&of_candidate * &kept.reset)?;
        Ok(Slopes {
            input: Tensor::cat(&[&of_reset, &of_update, &of_candidate], 0)?,
            product: Tensor::cat(&[&of_reset, &of_update, &of_product], 0)?,
            output: Some(of_before),
            memory: (),
        })
    }
}
