//! [`Recurrence`]: one step of the cell of a recurrent layer, forward and backward.

use candle_core::Tensor;

use crate::Result;

/// What a cell computes at a step, outside of autograd. Each tensor is `[numbers, rows]`.
pub(super) trait Recurrence: Sized + 'static {
    /// What a step hands to the next beside its output.
    type Memory;
    /// What the backward pass of a step needs.
    type Kept: Send + Sync + 'static;

    /// The memory before the first step, from zeros for each unit.
    fn start(zeros: &Tensor) -> Self::Memory;

    /// A step, from the products of its input and of the output before.
    fn step(
        input: &Tensor,
        product: &Tensor,
        output: &Tensor,
        memory: &Self::Memory,
    ) -> Result<Step<Self>>;

    /// The slopes of the loss before a step, from its slopes behind the step and the output before the step.
    fn slopes(
        kept: &Self::Kept,
        output: &Tensor,
        of_output: &Tensor,
        of_memory: &Self::Memory,
    ) -> candle_core::Result<Slopes<Self>>;
}

/// The results of a step.
pub(super) struct Step<R: Recurrence> {
    pub(super) output: Tensor,
    pub(super) memory: R::Memory,
    pub(super) kept: R::Kept,
}

/// The slopes of the loss with respect to the arguments of a step.
pub(super) struct Slopes<R: Recurrence> {
    pub(super) input: Tensor,
    pub(super) product: Tensor,
    /// Beside the slope that comes through the product.
    pub(super) output: Option<Tensor>,
    pub(super) memory: R::Memory,
}
