//! The functions between the layers of pretrained models: of each number by itself, in f32 and without gradients.
//!
//! On the host each is a loop of vector instructions: exponentials are polynomials ([`Float::quick_exp`]), which agree with those
//! of the standard library to about 1e-7. `activation` has the functions of models that TRAIN makes.

use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor};

use super::activation::{Activation, activate};
use super::values::{Float, elements, storage};
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

/// Applies `function` to each element of `x` (f32).
pub fn pointwise(function: Pointwise, x: &Tensor) -> Result<Tensor> {
    match x.device().is_cpu() {
        true => Ok(x.contiguous()?.apply_op1_no_bwd(&Apply(function))?),
        false => of_tensors(function, x),
    }
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

#[derive(Debug, Clone, Copy)]
struct Apply(Pointwise);

impl CustomOp1 for Apply {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let x = elements::<f32>(x, layout)?;
        let mut y = vec![0.0f32; x.len()];
        write_values(self.0, x, &mut y);
        Ok((storage(y), layout.shape().clone()))
    }
}

simd_fn! {
    /// Writes the values at `x`.
    fn write_values<'a>(function: Pointwise, x: &'a [f32], y: &'a mut [f32]) {
        match function {
            // NaN stays NaN.
            Pointwise::Relu => write(y, x, |x| if x <= 0.0 { 0.0 } else { x }),
            Pointwise::Relu6 => write(y, x, six),
            Pointwise::Gelu => write(y, x, |x| x * normal(x)),
            Pointwise::GeluTanh => write(y, x, |x| {
                let inner = SQRT_2_OVER_PI as f32 * (x + 0.044_715 * x * x * x);
                // (1 + tanh(u)) / 2 is the logistic function of 2 u.
                x * logistic(2.0 * inner)
            }),
            Pointwise::QuickGelu => write(y, x, |x| x * logistic(1.702 * x)),
            Pointwise::Silu => write(y, x, |x| x * logistic(x)),
            Pointwise::Sigmoid => write(y, x, logistic),
            Pointwise::Tanh => write(y, x, |x| 2.0 * logistic(2.0 * x) - 1.0),
            Pointwise::HardSwish => write(y, x, |x| x * six(x + 3.0) / 6.0),
            Pointwise::HardSigmoid => write(y, x, |x| six(x + 3.0) / 6.0),
        }
    }
}

#[inline(always)]
fn write(to: &mut [f32], x: &[f32], f: impl Fn(f32) -> f32) {
    to.iter_mut().zip(x).for_each(|(to, &x)| *to = f(x));
}

#[inline(always)]
fn six(x: f32) -> f32 {
    x.clamp(0.0, 6.0)
}

#[inline(always)]
fn logistic(x: f32) -> f32 {
    1.0 / (1.0 + (-x).quick_exp())
}

/// The distribution function of the standard normal distribution.
///
/// Abramowitz and Stegun, "Handbook of mathematical functions", 1964, 7.1.26: to 1.5e-7.
#[inline(always)]
fn normal(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let sum = ((1.061_405_4 * t - 1.453_152) * t + 1.421_413_8) * t - 0.284_496_75;
    let rest = (sum * t + 0.254_829_6) * t * (-z * z).quick_exp();
    match x < 0.0 {
        true => 0.5 * rest,
        false => 1.0 - 0.5 * rest,
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

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
    fn names_of_hugging_face() {
        assert_eq!(Pointwise::named("swish"), Some(Pointwise::Silu));
        assert_eq!(Pointwise::named("mish"), None);
    }
}
