//! x W + b.

use candle_core::Tensor;

use crate::Result;

/// `x` `[rows, inputs]` times `weight` `[inputs, outputs]`, plus `bias` `[outputs]` on each row.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(weight)?.broadcast_add(bias)?)
}
