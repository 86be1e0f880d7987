//! The functions between the layers of pretrained models: of each number by itself.
//!
//! On the host each is a loop of vector instructions: exponentials are polynomials ([`Float::quick_exp`]), which agree with those
//! of the standard library to about 1e-7. `activation` has the functions of models that TRAIN makes.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::activation::{Activation, activate};
use super::values::{Float, with_elements, with_float, written};
use crate::Result;
use crate::simd::simd_fn;

/// A function of each number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pointwise {
    /// max(0, x)
    Relu,
    /// min(6, max(0, x))
    Relu6,
    /// x Φ(x), with the Gaussian distribution function.
    Gelu,
    /// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2
    GeluTanh,
    /// x / (1 + exp(-1.702 x))
    QuickGelu,
    /// x / (1 + exp(-x))
    Silu,
    /// 1 / (1 + exp(-x))
    Sigmoid,
    /// The hyperbolic tangent.
    Tanh,
    /// x min(6, max(0, x + 3)) / 6
    HardSwish,
    /// min(6, max(0, x + 3)) / 6
    HardSigmoid,
}

impl Pointwise {
    /// The function that Hugging Face calls `name`.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "relu" => Self::Relu,
            "relu6" => Self::Relu6,
            "gelu" | "gelu_python" => Self::Gelu,
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "quick_gelu" => Self::QuickGelu,
            "silu" | "swish" => Self::Silu,
            "sigmoid" => Self::Sigmoid,
            "tanh" => Self::Tanh,
            "hardswish" => Self::HardSwish,
            _ => return None,
        })
    }
}

/// Applies `function` to each element of `x`.
pub fn pointwise(function: Pointwise, x: &Tensor) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => Ok(x.contiguous()?.apply_op1(Apply(function))?),
        false => of_tensors(function, x),
    }
}

/// Writes the values of `function` at `x` to `y`, which has as many elements.
pub fn write_pointwise(function: Pointwise, x: &[f32], y: &mut [f32]) {
    write_values(function, x, y);
}

/// The function by operations that every device has.
fn of_tensors(function: Pointwise, x: &Tensor) -> Result<Tensor> {
    let own = |activation| activate(activation, x);
    let six = |x: Tensor| x.clamp(0.0, 6.0);
    Ok(match function {
        Pointwise::Relu => own(Activation::Relu)?,
        Pointwise::Gelu => own(Activation::Gelu)?,
        Pointwise::Silu => own(Activation::Silu)?,
        Pointwise::Sigmoid => own(Activation::Sigmoid)?,
        Pointwise::Tanh => own(Activation::Tanh)?,
        Pointwise::Relu6 => six(x.clone())?,
        Pointwise::HardSigmoid => (six((x + 3.0)?)? / 6.0)?,
        Pointwise::HardSwish => (x * (six((x + 3.0)?)? / 6.0)?)?,
        Pointwise::QuickGelu => (x * activate(Activation::Sigmoid, &(x * 1.702)?)?)?,
        Pointwise::GeluTanh => {
            let inner = ((x.powf(3.0)? * 0.044_715)? + x)?;
            let tanh = (inner * SQRT_2_OVER_PI)?.tanh()?;
            (x * ((tanh + 1.0)? * 0.5)?)?
        }
    })
}

const SQRT_2_OVER_PI: f64 = 0.797_884_560_802_865_4;

/// `$work` with `$name` as the function that `$function` is, known when `$work` is compiled: a loop that asks which function it is
/// for each number is no loop of vectors.
macro_rules! with_function {
    ($function:expr, $name:ident => $work:expr) => {
        with_function!($function, $name => $work,
            Relu Relu6 Gelu GeluTanh QuickGelu Silu Sigmoid Tanh HardSwish HardSigmoid)
    };
    ($function:expr, $name:ident => $work:expr, $($variant:ident)*) => {
        match $function {
            $(Pointwise::$variant => {
                let $name = Pointwise::$variant;
                $work
            })*
        }
    };
}

impl Pointwise {
    /// The value at `x`.
    #[inline(always)]
    fn value<T: Float>(self, x: T) -> T {
        let of = T::of;
        match self {
            // NaN stays NaN.
            Self::Relu if x <= T::zero() => T::zero(),
            Self::Relu => x,
            Self::Relu6 => six(x),
            Self::Gelu => x * x.quick_normal(),
            // (1 + tanh(u)) / 2 is the logistic function of 2 u.
            Self::GeluTanh => x * logistic(tanh_inner(x)),
            Self::QuickGelu => x * logistic(of(1.702) * x),
            Self::Silu => x * logistic(x),
            Self::Sigmoid => logistic(x),
            Self::Tanh => of(2.0) * logistic(of(2.0) * x) - T::one(),
            Self::HardSwish => x * six(x + of(3.0)) / of(6.0),
            Self::HardSigmoid => six(x + of(3.0)) / of(6.0),
        }
    }

    /// The slope at `x`; where there are two, the one of PyTorch.
    #[inline(always)]
    fn slope<T: Float>(self, x: T) -> T {
        let of = T::of;
        match self {
            Self::Relu if x > T::zero() => T::one(),
            Self::Relu => T::zero(),
            Self::Relu6 => inside(x, [0.0, 6.0], T::one()),
            Self::Gelu => {
                let at_zero = of(FRAC_1_SQRT_TAU);
                x.quick_normal() + x * at_zero * (of(-0.5) * x * x).quick_exp()
            }
            Self::GeluTanh => {
                let slope = of(2.0 * SQRT_2_OVER_PI) * (T::one() + of(3.0 * 0.044_715) * x * x);
                gated_slope(x, tanh_inner(x), slope)
            }
            Self::QuickGelu => gated_slope(x, of(1.702) * x, of(1.702)),
            Self::Silu => gated_slope(x, x, T::one()),
            Self::Sigmoid => {
                let s = logistic(x);
                s * (T::one() - s)
            }
            Self::Tanh => {
                let s = logistic(of(2.0) * x);
                of(4.0) * s * (T::one() - s)
            }
            Self::HardSwish if x >= of(3.0) => T::one(),
            Self::HardSwish => inside(x, [-3.0, 3.0], (of(2.0) * x + of(3.0)) / of(6.0)),
            Self::HardSigmoid => inside(x, [-3.0, 3.0], of(1.0 / 6.0)),
        }
    }
}

/// 1 / √(2 π)
const FRAC_1_SQRT_TAU: f64 =
    0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

#[inline(always)]
fn six<T: Float>(x: T) -> T {
    let most = T::of(6.0);
    match (x < T::zero(), x > most) {
        (true, _) => T::zero(),
        (_, true) => most,
        _ => x,
    }
}

#[inline(always)]
fn logistic<T: Float>(x: T) -> T {
    T::one() / (T::one() + (T::zero() - x).quick_exp())
}

/// The slope of x times the logistic function of `u`, which has this slope.
#[inline(always)]
fn gated_slope<T: Float>(x: T, u: T, slope: T) -> T {
    let s = logistic(u);
    s + x * s * (T::one() - s) * slope
}

/// `slope` if `x` is between the two numbers, else 0.
#[inline(always)]
fn inside<T: Float>(x: T, [low, high]: [f64; 2], slope: T) -> T {
    match x > T::of(low) && x < T::of(high) {
        true => slope,
        false => T::zero(),
    }
}

/// Twice the number of which GELU in its approximate form takes the hyperbolic tangent.
#[inline(always)]
fn tanh_inner<T: Float>(x: T) -> T {
    T::of(2.0 * SQRT_2_OVER_PI) * (x + T::of(0.044_715) * x * x * x)
}

simd_fn! {
    /// Writes the values at `x`.
    fn write_values<'a, T: Float>(function: Pointwise, x: &'a [T], y: &'a mut [T]) {
        with_function!(function, f => {
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = f.value(x));
        });
    }
}

simd_fn! {
    /// Writes `dy` times the slopes at `x`.
    fn write_slopes<'a, T: Float>(function: Pointwise, x: &'a [T], dy: &'a [T], dx: &'a mut [T]) {
        with_function!(function, f => {
            let pairs = x.iter().zip(dy);
            dx.iter_mut().zip(pairs).for_each(|(dx, (&x, &dy))| *dx = dy * f.slope(x));
        });
    }
}

simd_fn! {
    /// Replaces each number by the value at it plus its bias, in rows of as many numbers as there are biases.
    pub(super) fn finish_rows<'a, T: Float>(function: Pointwise, rows: &'a mut [T], bias: &'a [T]) {
        with_function!(function, f => {
            for row in rows.chunks_exact_mut(bias.len().max(1)) {
                row.iter_mut().zip(bias).for_each(|(x, &bias)| *x = f.value(*x + bias));
            }
        });
    }
}

simd_fn! {
    /// Adds its bias to each number of rows, then multiplies the values at the left half of each row by the right half. The
    /// products stand in the left half.
    pub(super) fn gate_rows<'a, T: Float>(function: Pointwise, rows: &'a mut [T], bias: &'a [T]) {
        let (of_left, of_right) = bias.split_at(bias.len() / 2);
        with_function!(function, f => {
            for row in rows.chunks_exact_mut(bias.len().max(1)) {
                let (left, right) = row.split_at_mut(of_left.len());
                let biases = of_left.iter().zip(of_right);
                let pairs = left.iter_mut().zip(right.iter());
                for ((x, &factor), (&of_x, &of_factor)) in pairs.zip(biases) {
                    *x = f.value(*x + of_x) * (factor + of_factor);
                }
            }
        });
    }
}

#[derive(Debug, Clone, Copy)]
struct Apply(Pointwise);

impl CustomOp1 for Apply {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let y = with_float!(x.dtype(), T => {
            written::<T>(x, layout, |x, y| write_values(self.0, x, y))?
        });
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        with_float!(x.dtype(), T => {
            let dx = with_elements([x, dy], |[x, dy]: [&[T]; 2]| {
                let mut dx: Vec<T> = vec![0.0; x.len()];
                write_slopes(self.0, x, dy, &mut dx);
                Ok(dx)
            })?;
            Ok(Some(Tensor::from_vec(dx, x.shape(), x.device())?))
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    const ALL: [Pointwise; 10] = [
        Pointwise::Relu,
        Pointwise::Relu6,
        Pointwise::Gelu,
        Pointwise::GeluTanh,
        Pointwise::QuickGelu,
        Pointwise::Silu,
        Pointwise::Sigmoid,
        Pointwise::Tanh,
        Pointwise::HardSwish,
        Pointwise::HardSigmoid,
    ];

    fn exact(function: Pointwise, x: f64) -> f64 {
        let logistic = |x: f64| 1.0 / (1.0 + (-x).exp());
        let six = |x: f64| x.clamp(0.0, 6.0);
        match function {
            Pointwise::Relu => x.max(0.0),
            Pointwise::Relu6 => six(x),
            Pointwise::Gelu => {
                let erf = candle_core::cpu::erf::erf_f64(x * std::f64::consts::FRAC_1_SQRT_2);
                x * 0.5 * (1.0 + erf)
            }
            Pointwise::GeluTanh => {
                x * 0.5 * (1.0 + (SQRT_2_OVER_PI * (x + 0.044_715 * x.powi(3))).tanh())
            }
            Pointwise::QuickGelu => x * logistic(1.702 * x),
            Pointwise::Silu => x * logistic(x),
            Pointwise::Sigmoid => logistic(x),
            Pointwise::Tanh => x.tanh(),
            Pointwise::HardSwish => x * six(x + 3.0) / 6.0,
            Pointwise::HardSigmoid => six(x + 3.0) / 6.0,
        }
    }

    #[test]
    fn values_are_those_of_f64() {
        let xs: Vec<f32> = (-4_000..=4_000).map(|n| n as f32 * 0.01).collect();
        let x = Tensor::from_slice(&xs, xs.len(), &Device::Cpu).unwrap();
        for function in ALL {
            for y in [pointwise(function, &x), of_tensors(function, &x)] {
                let ys: Vec<f32> = y.unwrap().to_vec1().unwrap();
                for (x, y) in xs.iter().zip(ys) {
                    let expected = exact(function, f64::from(*x));
                    let error = (f64::from(y) - expected).abs();
                    let allowed = 1e-6 * expected.abs().max(1.0);
                    assert!(
                        error <= allowed,
                        "{function:?} of {x}: {y}, expected {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn slopes_are_those_of_pytorch() {
        let x = [-7.0, -3.0, -1.5, -0.2, 0.0, 0.4, 2.0, 3.0, 6.0, 7.0f64];
        // `torch.autograd.grad` of PyTorch 2.15, in f64.
        let all: [(Pointwise, [f64; 10]); 10] = [
            (
                Pointwise::Relu,
                [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0],
            ),
            (
                Pointwise::Relu6,
                [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0],
            ),
            (
                Pointwise::Gelu,
                [
                    0.0,
                    -0.011_945_647,
                    -0.127_469_192,
                    0.342_531_752,
                    0.5,
                    0.802_729_798,
                    1.085_231_801,
                    1.011_945_647,
                    1.000_000_035,
                    1.0,
                ],
            ),
            (
                Pointwise::GeluTanh,
                [
                    0.0,
                    -0.011_584_167,
                    -0.127_710_793,
                    0.342_541_851,
                    0.5,
                    0.802_658_834,
                    1.086_099_257,
                    1.011_584_167,
                    1.000_000_001,
                    1.0,
                ],
            ),
            (
                Pointwise::QuickGelu,
                [
                    -0.000_073_079,
                    -0.024_548_324,
                    -0.098_848_065,
                    0.333_030_658,
                    0.5,
                    0.815_824_908,
                    1.073_815_354,
                    1.024_548_324,
                    1.000_338_302,
                    1.000_073_079,
                ],
            ),
            (
                Pointwise::Silu,
                [
                    -0.005_460_497,
                    -0.088_104_106,
                    -0.041_294_154,
                    0.400_662_688,
                    0.5,
                    0.694_791_958,
                    1.090_784_249,
                    1.088_104_106,
                    1.012_326_433,
                    1.005_460_497,
                ],
            ),
            (
                Pointwise::Sigmoid,
                [
                    0.000_910_221,
                    0.045_176_66,
                    0.149_146_452,
                    0.247_516_573,
                    0.25,
                    0.240_260_746,
                    0.104_993_585,
                    0.045_176_66,
                    0.002_466_509,
                    0.000_910_221,
                ],
            ),
            (
                Pointwise::Tanh,
                [
                    0.000_003_326,
                    0.009_866_037,
                    0.180_706_639,
                    0.961_042_983,
                    1.0,
                    0.855_638_786,
                    0.070_650_825,
                    0.009_866_037,
                    0.000_024_577,
                    0.000_003_326,
                ],
            ),
            (
                Pointwise::HardSwish,
                [
                    0.0,
                    0.0,
                    0.0,
                    0.433_333_333,
                    0.5,
                    0.633_333_333,
                    1.166_666_667,
                    1.0,
                    1.0,
                    1.0,
                ],
            ),
            (
                Pointwise::HardSigmoid,
                [
                    0.0,
                    0.0,
                    0.166_666_667,
                    0.166_666_667,
                    0.166_666_667,
                    0.166_666_667,
                    0.166_666_667,
                    0.0,
                    0.0,
                    0.0,
                ],
            ),
        ];
        for (function, expected) in all {
            for (dtype, error_max) in [(DType::F64, 1e-8), (DType::F32, 1e-6)] {
                let x = Tensor::new(&x, &Device::Cpu)
                    .unwrap()
                    .to_dtype(dtype)
                    .unwrap();
                let x = Var::from_tensor(&x).unwrap();
                let y = pointwise(function, &x).unwrap();
                let gradients = y.sum_all().unwrap().backward().unwrap();
                let slopes = gradients.get(&x).unwrap().to_dtype(DType::F64).unwrap();
                let slopes = slopes.to_vec1::<f64>().unwrap();
                for (slope, expected) in slopes.iter().zip(expected) {
                    let error = (slope - expected).abs();
                    assert!(
                        error < error_max,
                        "{function:?} {dtype:?}: {slope}, expected {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn names_of_hugging_face() {
        assert_eq!(Pointwise::named("swish"), Some(Pointwise::Silu));
        assert_eq!(Pointwise::named("mish"), None);
    }
}
