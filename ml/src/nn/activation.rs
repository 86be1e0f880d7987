//! The activation functions between layers, each one operation, forward and backward: so a step keeps their values, and nothing
//! else.

use std::ops::Range;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Shape, Tensor};

use super::values::{Float, is_half, with_elements, with_float, written};
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::kernels::KernelActivation;
#[cfg(feature = "cuda")]
use crate::device::layer_kernels::{self, Numbers};
use crate::graph::{Attribute, Graph, Value};
use crate::named::named_enum;
use crate::simd::simd_fn;

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
    if is_half(x) && x.device().is_cpu() {
        let y = activate(activation, &x.to_dtype(DType::F32)?)?;
        return Ok(y.to_dtype(x.dtype())?);
    }
    Ok(x.contiguous()?.apply_op1(Activate(activation))?)
}

impl Activation {
    /// The nodes of the function.
    pub fn draw(self, graph: &mut Graph, x: &Value) -> Value {
        match self {
            Self::Relu => graph.node("Relu", &[x], vec![]),
            Self::Tanh => graph.node("Tanh", &[x], vec![]),
            Self::Sigmoid => graph.node("Sigmoid", &[x], vec![]),
            Self::LeakyRelu => {
                let alpha = Attribute::Number(0.01);
                graph.node("LeakyRelu", &[x], vec![("alpha", alpha)])
            }
            Self::Silu => {
                let sigmoid = graph.node("Sigmoid", &[x], vec![]);
                graph.node("Mul", &[x, &sigmoid], vec![])
            }
            Self::Gelu => {
                let half = graph.numbers("half", &[], &[0.5]);
                let root = graph.numbers("root", &[], &[std::f64::consts::FRAC_1_SQRT_2]);
                let scaled = graph.node("Mul", &[x, &root], vec![]);
                let erf = graph.node("Erf", &[&scaled], vec![]);
                let halved = graph.node("Mul", &[&erf, &half], vec![]);
                let normal = graph.node("Add", &[&halved, &half], vec![]);
                graph.node("Mul", &[x, &normal], vec![])
            }
        }
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
            Self::Tanh => z.tanh(),
            // 1 / (1 + exp(-z)) would overflow.
            Self::Sigmoid => T::of(0.5) * (T::of(0.5) * z).tanh() + T::of(0.5),
        }
    }

    /// `dy` times the slope where the value is `y`.
    #[inline(always)]
    pub(super) fn slope<T: Float>(self, y: T, dy: T) -> T {
        match self {
            // At 0 the slope is 0, as in PyTorch.
            Self::Relu if y > T::zero() => dy,
            Self::Relu => T::zero(),
            Self::Tanh => dy * (T::one() - y * y),
            Self::Sigmoid => dy * y * (T::one() - y),
        }
    }

    /// `dy` times the slopes where the values are `y`, on the host.
    pub(super) fn slopes<T: Float>(self, y: &Tensor, dy: &Tensor) -> candle_core::Result<Tensor> {
        slopes::<T>(self.into(), y, y, dy)
    }
}

impl From<Fused> for Activation {
    fn from(fused: Fused) -> Self {
        match fused {
            Fused::Relu => Self::Relu,
            Fused::Tanh => Self::Tanh,
            Fused::Sigmoid => Self::Sigmoid,
        }
    }
}

simd_fn! {
    /// Replaces each `z` in some columns of a matrix by the value at `z + bias`; each row has a bias.
    pub(super) fn finish<'a, T: Float>(
        activation: Option<Fused>,
        z: &'a mut [T],
        bias: &'a [T],
        columns: &'a Range<usize>,
    ) {
        match activation {
            None => replace(z, bias, columns, |z| z),
            Some(Fused::Relu) => replace(z, bias, columns, |z| Fused::Relu.value(z)),
            Some(Fused::Tanh) => replace(z, bias, columns, |z| Fused::Tanh.value(z)),
            Some(Fused::Sigmoid) => replace(z, bias, columns, |z| Fused::Sigmoid.value(z)),
        }
    }
}

simd_fn! {
    /// Writes the values at `x`.
    fn write_values<'a, T: Float>(activation: Activation, x: &'a [T], y: &'a mut [T]) {
        match activation {
            Activation::Relu => write(y, x, |x| Fused::Relu.value(x)),
            Activation::Tanh => write(y, x, |x| Fused::Tanh.value(x)),
            Activation::Sigmoid => write(y, x, |x| Fused::Sigmoid.value(x)),
            Activation::Gelu => write(y, x, |x| x * normal(x)),
            Activation::Silu => write(y, x, |x| x * Fused::Sigmoid.value(x)),
            Activation::LeakyRelu => write(y, x, |x| leaky(x, x)),
        }
    }
}

simd_fn! {
    /// Writes `dy` times the slopes at `x`, where the values are `y`.
    fn write_slopes<'a, T: Float>(
        activation: Activation,
        x: &'a [T],
        y: &'a [T],
        dy: &'a [T],
        dx: &'a mut [T],
    ) {
        match activation {
            Activation::Relu => write_both(dx, y, dy, |y, dy| Fused::Relu.slope(y, dy)),
            Activation::Tanh => write_both(dx, y, dy, |y, dy| Fused::Tanh.slope(y, dy)),
            Activation::Sigmoid => write_both(dx, y, dy, |y, dy| Fused::Sigmoid.slope(y, dy)),
            Activation::Gelu => write_both(dx, x, dy, |x, dy| dy * (normal(x) + x * density(x))),
            Activation::Silu => write_both(dx, x, dy, |x, dy| {
                let sigmoid = Fused::Sigmoid.value(x);
                dy * sigmoid * (T::one() + x * (T::one() - sigmoid))
            }),
            Activation::LeakyRelu => write_both(dx, x, dy, leaky),
        }
    }
}

/// The distribution function of the standard normal distribution.
#[inline(always)]
fn normal<T: Float>(x: T) -> T {
    T::of(0.5) * (x * T::of(std::f64::consts::FRAC_1_SQRT_2)).erf() + T::of(0.5)
}

/// The density of the standard normal distribution.
#[inline(always)]
fn density<T: Float>(x: T) -> T {
    let at_zero = 0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
    T::of(at_zero) * (T::of(-0.5) * x * x).exp()
}

/// `value`, or a hundredth of it if `x` is not above 0.
#[inline(always)]
fn leaky<T: Float>(x: T, value: T) -> T {
    match x > T::zero() {
        true => value,
        false => value * T::of(0.01),
    }
}

#[inline(always)]
fn replace<T: Float>(z: &mut [T], bias: &[T], columns: &Range<usize>, f: impl Fn(T) -> T) {
    let width = z.len() / bias.len().max(1);
    for (row, &bias) in z.chunks_exact_mut(width.max(1)).zip(bias) {
        let row = &mut row[columns.clone()];
        row.iter_mut().for_each(|z| *z = f(*z + bias));
    }
}

#[inline(always)]
fn write<T: Float>(to: &mut [T], x: &[T], f: impl Fn(T) -> T) {
    to.iter_mut().zip(x).for_each(|(to, &x)| *to = f(x));
}

#[inline(always)]
fn write_both<T: Float>(to: &mut [T], x: &[T], dy: &[T], f: impl Fn(T, T) -> T) {
    let pairs = x.iter().zip(dy);
    let all = to.iter_mut().zip(pairs);
    all.for_each(|(to, (&x, &dy))| *to = f(x, dy));
}

/// `dy` times the slopes of an activation at `x`, where its values are `y`, on the host.
fn slopes<T: Float>(
    activation: Activation,
    x: &Tensor,
    y: &Tensor,
    dy: &Tensor,
) -> candle_core::Result<Tensor> {
    let dx = with_elements([x, y, dy], |[x, y, dy]: [&[T]; 3]| {
        let mut dx = vec![T::zero(); x.len()];
        write_slopes(activation, x, y, dy, &mut dx);
        Ok(dx)
    })?;
    Tensor::from_vec(dx, x.shape(), x.device())
}

/// An activation as one operation.
#[derive(Debug, Clone, Copy)]
struct Activate(Activation);

impl CustomOp1 for Activate {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = with_float!(x.dtype(), T => {
            written::<T>(x, layout, |x, y| write_values(self.0, x, y))?
        });
        Ok((y, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let y = layer_kernels::activation(Numbers::new(x, layout)?, self.0.into())?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let dy = dy.contiguous()?;
            let dx = layer_kernels::activation_slopes(x, &dy, self.0.into(), false)?;
            return Ok(Some(dx));
        }
        with_float!(x.dtype(), T => Ok(Some(slopes::<T>(self.0, x, y, dy)?)))
    }
}

#[cfg(feature = "cuda")]
impl From<Activation> for KernelActivation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Relu => Self::Relu,
            Activation::Gelu => Self::Gelu,
            Activation::Silu => Self::Silu,
            Activation::Tanh => Self::Tanh,
            Activation::Sigmoid => Self::Sigmoid,
            Activation::LeakyRelu => Self::LeakyRelu,
        }
    }
}

#[cfg(feature = "cuda")]
impl From<Option<Fused>> for KernelActivation {
    fn from(activation: Option<Fused>) -> Self {
        activation.map_or(Self::None, |fused| Activation::from(fused).into())
    }
}
