//! activation(x W + b) as one operation, forward and backward.
//!
//! ```text
//! forward   y  = activation(x W + b)         one product, then one pass over its result
//! backward  dz = dy * activation'(y), db     one pass
//!           dW = xᵀ dz,  dx = dz Wᵀ          two products; dx only if x has a gradient
//! ```
//! Each of several separate operations would pass over its own memory and add its gradient to zeros.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor, WithDType};

use super::activation::Fused;
use super::values::{cpu_slice, is_half, part};
use super::{Activation, activate};
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::{
    kernels,
    layer_kernels::{self, Numbers},
};
use crate::simd::simd_fn;

/// `x` `[rows, inputs]` times `weight` `[inputs, outputs]`, plus `bias` `[outputs]` on each row, through `activation`.
pub fn linear(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let fused = Fused::of(activation);
    let is_fusable = match x.device().is_cpu() {
        true => !is_half(x),
        false => cfg!(feature = "cuda") && x.dtype() != DType::F64,
    };
    if !is_fusable {
        let z = x.matmul(weight)?.broadcast_add(bias)?;
        return activation.map_or(Ok(z.clone()), |activation| activate(activation, &z));
    }
    let layer = Linear {
        activation: fused,
        has_input_gradient: x.track_op(),
    };
    let y = x
        .contiguous()?
        .apply_op3(&weight.contiguous()?, &bias.contiguous()?, layer)?;
    match activation {
        Some(activation) if fused.is_none() => activate(activation, &y),
        _ => Ok(y),
    }
}

#[derive(Debug, Clone, Copy)]
struct Linear {
    activation: Option<Fused>,
    has_input_gradient: bool,
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        let size @ (_, rows, outputs, _) = product_size(x_layout, weight_layout, bias_layout)?;
        let mut y = x.matmul(weight, size, x_layout, weight_layout)?;
        match (&mut y, bias) {
            (CpuStorage::F32(y), CpuStorage::F32(bias)) => {
                f32::finish(y, part(bias, bias_layout), self.activation);
            }
            (CpuStorage::F64(y), CpuStorage::F64(bias)) => {
                f64::finish(y, part(bias, bias_layout), self.activation);
            }
            _ => candle_core::bail!("linear: neither f32 nor f64"),
        }
        Ok((y, (rows, outputs).into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> candle_core::Result<(CudaStorage, Shape)> {
        let (_, rows, outputs, inputs) = product_size(x_layout, weight_layout, bias_layout)?;
        let (x, weight) = (
            Numbers::new(x, x_layout)?,
            Numbers::new(weight, weight_layout)?,
        );
        let mut y = layer_kernels::product(x, weight, (rows, inputs, outputs))?;
        let bias = Numbers::new(bias, bias_layout)?;
        let elements = rows * outputs;
        layer_kernels::bias_activation(&mut y, bias, (elements, 1), self.activation.into())?;
        Ok((y, (rows, outputs).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let dy = dy.contiguous()?;
        let (dz, db) = match y.dtype() {
            #[cfg(feature = "cuda")]
            DType::F32 if y.device().is_cuda() => kernels::slopes(y, &dy, self.activation.into())?,
            DType::F32 => self.slopes::<f32>(y, &dy)?,
            _ => self.slopes::<f64>(y, &dy)?,
        };
        let dx = match self.has_input_gradient {
            true => Some(dz.matmul(&weight.t()?)?),
            false => None,
        };
        let dw = x.t()?.matmul(&dz)?;
        debug_assert_eq!(db.dims(), bias.dims());
        Ok((dx, Some(dw), Some(db)))
    }
}

/// The size of the product as candle wants it: `(1, rows, outputs, inputs)`.
fn product_size(
    x: &Layout,
    weight: &Layout,
    bias: &Layout,
) -> candle_core::Result<(usize, usize, usize, usize)> {
    let (rows, inputs) = x.shape().dims2()?;
    let (known_inputs, outputs) = weight.shape().dims2()?;
    if inputs != known_inputs || bias.dims() != [outputs] {
        candle_core::bail!(
            "linear: x {:?}, weight {:?}, bias {:?}",
            x.shape(),
            weight.shape(),
            bias.shape()
        );
    }
    Ok((1, rows, outputs, inputs))
}

impl Linear {
    /// The gradients with respect to x W + b and to b.
    fn slopes<T: Real>(&self, y: &Tensor, dy: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
        let mut db = vec![T::zero(); y.dim(1)?];
        let (dy_storage, dy_layout) = dy.storage_and_layout();
        let dy_values = part(cpu_slice::<T>(&dy_storage)?, dy_layout);
        let dz = match self.activation {
            None => {
                T::column_sums(dy_values, &mut db);
                dy.clone()
            }
            Some(activation) => {
                let (y_storage, y_layout) = y.storage_and_layout();
                let y_values = part(cpu_slice::<T>(&y_storage)?, y_layout);
                let mut dz = vec![T::zero(); y_values.len()];
                T::slopes(activation, y_values, dy_values, &mut dz, &mut db);
                Tensor::from_vec(dz, y.shape(), y.device())?
            }
        };
        let db = Tensor::from_vec(db, y.dim(1)?, y.device())?;
        Ok((dz, db))
    }
}

trait Real: WithDType + Default {
    /// Adds the bias to each row and applies the activation.
    fn finish(y: &mut [Self], bias: &[Self], activation: Option<Fused>);
    /// Writes `dz` and adds its columns to `db`.
    fn slopes(activation: Fused, y: &[Self], dy: &[Self], dz: &mut [Self], db: &mut [Self]);
    /// Adds the columns of `dy` to `db`.
    fn column_sums(dy: &[Self], db: &mut [Self]);
}

macro_rules! real {
    ($float:ident) => {
        impl Real for $float {
            fn finish(y: &mut [Self], bias: &[Self], activation: Option<Fused>) {
                simd_fn! {
                    fn run<'a>(y: &'a mut [$float], bias: &'a [$float], activation: Option<Fused>) {
                        match activation {
                            None => map_rows(y, bias, |z| z),
                            // NaN stays NaN.
                            Some(Fused::Relu) => map_rows(y, bias, |z| if z <= 0.0 { 0.0 } else { z }),
                            Some(Fused::Tanh) => map_rows(y, bias, |z: $float| z.tanh()),
                            Some(Fused::Sigmoid) => {
                                // 1 / (1 + exp(-z)) would overflow.
                                map_rows(y, bias, |z: $float| 0.5 * (0.5 * z).tanh() + 0.5);
                            }
                        }
                    }
                }
                run(y, bias, activation);
            }

            fn slopes(activation: Fused, y: &[Self], dy: &[Self], dz: &mut [Self], db: &mut [Self]) {
                simd_fn! {
                    fn run<'a>(
                        activation: Fused,
                        y: &'a [$float],
                        dy: &'a [$float],
                        dz: &'a mut [$float],
                        db: &'a mut [$float],
                    ) {
                        match activation {
                            // At 0 the slope is 0, as in PyTorch.
                            Fused::Relu => slope_rows(y, dy, dz, db, |y, dy| if y > 0.0 { dy } else { 0.0 }),
                            Fused::Tanh => slope_rows(y, dy, dz, db, |y, dy| dy * (1.0 - y * y)),
                            Fused::Sigmoid => slope_rows(y, dy, dz, db, |y, dy| dy * y * (1.0 - y)),
                        }
                    }
                }
                run(activation, y, dy, dz, db);
            }

            fn column_sums(dy: &[Self], db: &mut [Self]) {
                simd_fn! {
                    fn run<'a>(dy: &'a [$float], db: &'a mut [$float]) {
                        for dy in dy.chunks_exact(db.len().max(1)) {
                            db.iter_mut().zip(dy).for_each(|(sum, dy)| *sum += dy);
                        }
                    }
                }
                run(dy, db);
            }
        }
    };
}

real!(f32);
real!(f64);

#[inline(always)]
fn map_rows<T: Copy + std::ops::Add<Output = T>>(y: &mut [T], bias: &[T], f: impl Fn(T) -> T) {
    for row in y.chunks_exact_mut(bias.len().max(1)) {
        row.iter_mut()
            .zip(bias)
            .for_each(|(y, &bias)| *y = f(*y + bias));
    }
}

#[inline(always)]
fn slope_rows<T: Copy + std::ops::AddAssign>(
    y: &[T],
    dy: &[T],
    dz: &mut [T],
    db: &mut [T],
    f: impl Fn(T, T) -> T,
) {
    let width = db.len().max(1);
    let rows = y.chunks_exact(width).zip(dy.chunks_exact(width));
    for ((y, dy), dz) in rows.zip(dz.chunks_exact_mut(width)) {
        for (((&y, &dy), dz), sum) in y.iter().zip(dy).zip(dz).zip(db.iter_mut()) {
            *dz = f(y, dy);
            *sum += *dz;
        }
    }
}
