//! The activation functions between layers.

#[cfg(feature = "cuda")]
use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Shape};
use candle_core::{DType, Tensor};

use super::values::{Float, cpu_slice, is_half, part};
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::kernels::KernelActivation;
#[cfg(feature = "cuda")]
use crate::device::layer_kernels::{self, Numbers};
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

/// The activations whose slope follows from their value, so that a layer can apply them to its own result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fused {
    Relu,
    Tanh,
    Sigmoid,
}

impl Fused {
    /// The activation, if it is one of them.
    pub(super) fn of(activation: Option<Activation>) -> Option<Self> {
        match activation? {
            Activation::Relu => Some(Self::Relu),
            Activation::Tanh => Some(Self::Tanh),
            Activation::Sigmoid => Some(Self::Sigmoid),
            Activation::Gelu | Activation::Silu | Activation::LeakyRelu => None,
        }
    }

    /// The value at `z`.
    #[inline(always)]
    pub(super) fn value<T: Float>(self, z: T) -> T {
        match self {
            // NaN stays NaN.
            Self::Relu if z <= T::zero() => T::zero(),
            Self::Relu => z,
            Self::Tanh => T::from_f64(z.to_f64().tanh()),
            // 1 / (1 + exp(-z)) would overflow.
            Self::Sigmoid => T::from_f64(0.5 * (0.5 * z.to_f64()).tanh() + 0.5),
        }
    }

    /// `dy` times the slope where the value is `y`, on the host.
    pub(super) fn slopes<T: Float>(self, y: &Tensor, dy: &Tensor) -> candle_core::Result<Tensor> {
        let (y_storage, y_layout) = y.storage_and_layout();
        let (dy_storage, dy_layout) = dy.storage_and_layout();
        let y_values = part(cpu_slice::<T>(&y_storage)?, y_layout);
        let dy_values = part(cpu_slice::<T>(&dy_storage)?, dy_layout);
        let one = T::from_f64(1.0);
        let pairs = y_values.iter().zip(dy_values);
        let slopes = pairs.map(|(&y, &dy)| match self {
            // At 0 the slope is 0, as in PyTorch.
            Self::Relu if y > T::zero() => dy,
            Self::Relu => T::zero(),
            Self::Tanh => dy * (one - y * y),
            Self::Sigmoid => dy * y * (one - y),
        });
        Tensor::from_vec(slopes.collect::<Vec<T>>(), y.shape(), y.device())
    }
}

#[cfg(feature = "cuda")]
impl From<Option<Fused>> for KernelActivation {
    fn from(activation: Option<Fused>) -> Self {
        match activation {
            None => Self::None,
            Some(Fused::Relu) => Self::Relu,
            Some(Fused::Tanh) => Self::Tanh,
            Some(Fused::Sigmoid) => Self::Sigmoid,
        }
    }
}

/// Applies `activation` to each element.
pub fn activate(activation: Activation, x: &Tensor) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if x.device().is_cuda() && x.dtype() != DType::F64 {
        return Ok(x.contiguous()?.apply_op1(OnGpu(activation))?);
    }
    if is_half(x) && activation != Activation::Relu {
        let y = activate(activation, &x.to_dtype(DType::F32)?)?;
        return Ok(y.to_dtype(x.dtype())?);
    }
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

/// An activation as one kernel, forward and backward.
#[cfg(feature = "cuda")]
#[derive(Debug, Clone, Copy)]
struct OnGpu(Activation);

#[cfg(feature = "cuda")]
impl OnGpu {
    fn kernel(self) -> KernelActivation {
        match self.0 {
            Activation::Relu => KernelActivation::Relu,
            Activation::Gelu => KernelActivation::Gelu,
            Activation::Silu => KernelActivation::Silu,
            Activation::Tanh => KernelActivation::Tanh,
            Activation::Sigmoid => KernelActivation::Sigmoid,
            Activation::LeakyRelu => KernelActivation::LeakyRelu,
        }
    }
}

#[cfg(feature = "cuda")]
impl CustomOp1 for OnGpu {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        candle_core::bail!("activation: a kernel of a GPU met a tensor of the host")
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let y = layer_kernels::activation(Numbers::new(x, layout)?, self.kernel())?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let dy = dy.contiguous()?;
        let dx = layer_kernels::activation_slopes(x, &dy, self.kernel(), false)?;
        Ok(Some(dx))
    }
}
