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
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};

use super::activation::Fused;
use super::given::{add_to_sum, give};
use super::product::{Matrix, MatrixMut, add_product};
use super::values::{Float, Gradients, elements, is_half, with_elements, with_float};
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
        match &mut y {
            CpuStorage::F32(y) => finish_rows(y, elements(bias, bias_layout)?, self.activation),
            CpuStorage::F64(y) => finish_rows(y, elements(bias, bias_layout)?, self.activation),
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
    ) -> candle_core::Result<Gradients> {
        let (dz, db) = self.slopes(y, &dy.contiguous()?)?;
        let dx = match self.has_input_gradient {
            true => Some(dz.matmul(&weight.t()?)?),
            false => None,
        };
        debug_assert_eq!(db.dims(), bias.dims());
        let is_single = x.device().is_cpu() && x.dtype() == DType::F32;
        let dw = match is_single && add_to_sum(weight, |sum| add_weight_slopes(x, &dz, sum))? {
            true => None,
            false => give(weight, x.t()?.matmul(&dz)?)?,
        };
        Ok((dx, dw, give(bias, db)?))
    }
}

/// Adds the slopes of the weights, xᵀ dz.
fn add_weight_slopes(x: &Tensor, dz: &Tensor, sum: &mut [f32]) -> candle_core::Result<()> {
    let ((rows, inputs), (_, outputs)) = (x.dims2()?, dz.dims2()?);
    with_elements([x, dz], |[x, dz]: [&[f32]; 2]| {
        let (x, dz) = (Matrix::new(x, rows, inputs), Matrix::new(dz, rows, outputs));
        let to = MatrixMut::new(sum, inputs, outputs);
        add_product(x.transposed(), dz, to);
        Ok(())
    })
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
    fn slopes(&self, y: &Tensor, dy: &Tensor) -> candle_core::Result<(Tensor, Tensor)> {
        #[cfg(feature = "cuda")]
        if y.device().is_cuda() {
            return kernels::slopes(y, dy, self.activation.into());
        }
        with_float!(y.dtype(), T => self.slopes_on_host::<T>(y, dy))
    }

    fn slopes_on_host<T: Float>(
        &self,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<(Tensor, Tensor)> {
        let (outputs, device) = (y.dim(1)?, y.device());
        let mut db = vec![T::zero(); outputs];
        let dz = with_elements([y, dy], |[y, dy]: [&[T]; 2]| {
            Ok(match self.activation {
                None => {
                    add_columns(dy, &mut db);
                    None
                }
                Some(activation) => {
                    let mut dz = vec![T::zero(); y.len()];
                    write_slopes(activation, y, dy, &mut dz, &mut db);
                    Some(dz)
                }
            })
        })?;
        let dz = match dz {
            Some(dz) => Tensor::from_vec(dz, y.shape(), device)?,
            None => dy.clone(),
        };
        Ok((dz, Tensor::from_vec(db, outputs, device)?))
    }
}

simd_fn! {
    /// Adds the bias to each row and applies the activation.
    fn finish_rows<'a, T: Float>(y: &'a mut [T], bias: &'a [T], activation: Option<Fused>) {
        match activation {
            None => map_rows(y, bias, |z| z),
            Some(Fused::Relu) => map_rows(y, bias, |z| Fused::Relu.value(z)),
            Some(Fused::Tanh) => map_rows(y, bias, |z| Fused::Tanh.value(z)),
            Some(Fused::Sigmoid) => map_rows(y, bias, |z| Fused::Sigmoid.value(z)),
        }
    }
}

simd_fn! {
    /// Writes `dz` and adds its columns to `db`.
    fn write_slopes<'a, T: Float>(
        activation: Fused,
        y: &'a [T],
        dy: &'a [T],
        dz: &'a mut [T],
        db: &'a mut [T],
    ) {
        match activation {
            Fused::Relu => slope_rows(y, dy, dz, db, |y, dy| Fused::Relu.slope(y, dy)),
            Fused::Tanh => slope_rows(y, dy, dz, db, |y, dy| Fused::Tanh.slope(y, dy)),
            Fused::Sigmoid => slope_rows(y, dy, dz, db, |y, dy| Fused::Sigmoid.slope(y, dy)),
        }
    }
}

simd_fn! {
    /// Adds the columns of `dy` to `db`.
    fn add_columns<'a, T: Float>(dy: &'a [T], db: &'a mut [T]) {
        for dy in dy.chunks_exact(db.len().max(1)) {
            db.iter_mut().zip(dy).for_each(|(sum, &dy)| *sum += dy);
        }
    }
}

#[inline(always)]
fn map_rows<T: Float>(y: &mut [T], bias: &[T], f: impl Fn(T) -> T) {
    for row in y.chunks_exact_mut(bias.len().max(1)) {
        row.iter_mut()
            .zip(bias)
            .for_each(|(y, &bias)| *y = f(*y + bias));
    }
}

#[inline(always)]
fn slope_rows<T: Float>(y: &[T], dy: &[T], dz: &mut [T], db: &mut [T], f: impl Fn(T, T) -> T) {
    let width = db.len().max(1);
    let rows = y.chunks_exact(width).zip(dy.chunks_exact(width));
    for ((y, dy), dz) in rows.zip(dz.chunks_exact_mut(width)) {
        for (((&y, &dy), dz), sum) in y.iter().zip(dy).zip(dz).zip(db.iter_mut()) {
            *dz = f(y, dy);
            *sum += *dz;
        }
    }
}
