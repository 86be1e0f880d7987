//! The activation functions between layers.

use candle_core::Tensor;

use crate::Result;
use crate::named::named_enum;

named_enum! {
    /// The activation function between layers.
    Activation {
        /// max(0, x)
        Relu = "relu",
        /// x Φ(x), with the exact Gaussian distribution function.
        Gelu = "gelu",
        /// x / (1 + exp(-x))
        Silu = "silu",
        /// The hyperbolic tangent.
        Tanh = "tanh",
        /// 1 / (1 + exp(-x))
        Sigmoid = "sigmoid",
        /// x, or a hundredth of x if it is below 0.
        LeakyRelu = "leaky_relu",
    }
}

/// Applies `activation` to each element.
pub fn activate(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        // The product with a constant mask has slope 0 at 0, as in PyTorch.
        Activation::Relu => Ok((x * x.gt(0.0)?.to_dtype(x.dtype())?)?),
        Activation::Gelu => {
            let distribution = ((x * std::f64::consts::FRAC_1_SQRT_2)?
                .erf()?
                .affine(0.5, 0.5))?;
            Ok((x * distribution)?)
        }
        Activation::Silu => Ok((x * sigmoid(x)?)?),
        Activation::Tanh => Ok(x.tanh()?),
        Activation::Sigmoid => sigmoid(x),
        Activation::LeakyRelu => {
            let slope = x.gt(0.0)?.to_dtype(x.dtype())?.affine(0.99, 0.01)?;
            Ok((x * slope)?)
        }
    }
}

/// Computed from tanh, because 1 / (1 + exp(-x)) has no derivative once the exponential overflows.
pub(super) fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok((x * 0.5)?.tanh()?.affine(0.5, 0.5)?)
}
