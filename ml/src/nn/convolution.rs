//! Convolution as a product: the windows of an image side by side, times the weights.
//!
//! ```text
//! forward   y  = activation(W columns(x) + b)   one product for each row and group of channels
//! backward  dz = dy * activation'(y)
//!           dW = Σ dz columns(x)ᵀ, db           summed over the rows in their order
//!           dx = scattered Wᵀ dz                only if x has a gradient
//! ```
//! Each row has a product of its own, so its result does not depend on the rows beside it. The windows are copied again for
//! the gradient: kept, they would take as much memory as all other values together times the area of the window.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};

use super::activation::{Activation, Fused, activate};
use super::product::{Matrix, add_product, write_product};
use super::values::{Float, cpu_slice, part};
use super::window::Window;
use crate::Result;
#[cfg(feature = "cuda")]
use crate::device::layer_kernels::{self, KernelGroups, KernelWindow, Numbers};

/// How a convolution goes over its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// The window under which weights and inputs are multiplied.
    pub window: Window,
    /// The groups of channels that do not see each other.
    pub groups: usize,
}

/// The convolution of `x` `[rows, channels, height, width]` with `weight` `[outputs, channels / groups, height, width]` of the
/// window, plus `bias` `[outputs]`, through `activation`: `[rows, outputs, positions down, positions across]`. As in PyTorch, the
/// window is not flipped, and elements outside of the image are 0.
pub fn convolution(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    convolution: Convolution,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let layer = Layer {
        window: convolution.window,
        groups: convolution.groups,
        activation: Fused::of(activation),
        has_input_gradient: x.track_op(),
    };
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    let y = x.contiguous()?.apply_op3(&weight, &bias, layer)?;
    match activation {
        Some(activation) if layer.activation.is_none() => activate(activation, &y),
        _ => Ok(y),
    }
}

#[derive(Debug, Clone, Copy)]
struct Layer {
    window: Window,
    groups: usize,
    activation: Option<Fused>,
    has_input_gradient: bool,
}

/// The sizes of one group of channels of one row.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    rows: usize,
    /// Channels of the input.
    channels: usize,
    /// Channels of the output.
    outputs: usize,
    image: [usize; 2],
    positions: [usize; 2],
    /// The elements under the window in all channels.
    depth: usize,
}

impl Sizes {
    /// Elements of the input.
    fn inputs(&self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }

    /// Positions of the window.
    fn places(&self) -> usize {
        self.positions[0] * self.positions[1]
    }

    /// The output channels of a group.
    fn of_group<'a, T>(&self, values: &'a [T], group: usize) -> &'a [T] {
        &values[group * self.outputs * self.depth..][..self.outputs * self.depth]
    }
}

impl Layer {
    fn sizes(&self, x: &Shape, weight: &Shape, bias: &Shape) -> candle_core::Result<Sizes> {
        let (rows, channels, height, width) = x.dims4()?;
        let (outputs, of_group, down, across) = weight.dims4()?;
        let fits = of_group * self.groups == channels
            && outputs % self.groups == 0
            && [down, across] == self.window.kernel
            && bias.dims() == [outputs];
        match self.window.positions([height, width]) {
            Some(positions) if fits => Ok(Sizes {
                rows,
                channels: of_group,
                outputs: outputs / self.groups,
                image: [height, width],
                positions,
                depth: of_group * self.window.area(),
            }),
            _ => candle_core::bail!(
                "convolution {self:?}: x {x:?}, weight {weight:?}, bias {bias:?}"
            ),
        }
    }

    /// The windows of a group of channels side by side, `[depth, positions]`.
    fn columns<'a, T: Float>(
        &self,
        sizes: &Sizes,
        image: &'a [T],
        scratch: &'a mut [T],
    ) -> Matrix<'a, T> {
        let places = sizes.places();
        if self.window.is_one_element() {
            return Matrix::new(image, sizes.depth, places);
        }
        let channels = image.chunks_exact(sizes.image[0] * sizes.image[1]);
        let columns = scratch.chunks_exact_mut(self.window.area() * places);
        for (channel, columns) in channels.zip(columns) {
            self.window.gather(channel, sizes.image, columns);
        }
        Matrix::new(scratch, sizes.depth, places)
    }

    fn forward<T: Float>(&self, sizes: &Sizes, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
        let (places, outputs) = (sizes.places(), sizes.outputs);
        let mut y = vec![T::zero(); sizes.rows * self.groups * outputs * places];
        let mut scratch = vec![T::zero(); sizes.depth * places];
        let images = x.chunks_exact(sizes.inputs());
        let results = y.chunks_exact_mut(outputs * places);
        for (index, (image, y)) in images.zip(results).enumerate() {
            let group = index % self.groups;
            let weight = Matrix::new(sizes.of_group(weight, group), outputs, sizes.depth);
            write_product(weight, self.columns(sizes, image, &mut scratch), y);
            let bias = &bias[group * outputs..][..outputs];
            for (y, &bias) in y.chunks_exact_mut(places).zip(bias) {
                match self.activation {
                    None => y.iter_mut().for_each(|y| *y += bias),
                    Some(activation) => {
                        y.iter_mut().for_each(|y| *y = activation.value(*y + bias));
                    }
                }
            }
        }
        y
    }

    /// The gradients with respect to x, the weights and the bias.
    fn gradients<T: Float>(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let sizes = &self.sizes(x.shape(), weight.shape(), bias.shape())?;
        let (places, outputs) = (sizes.places(), sizes.outputs);
        let dy = &dy.contiguous()?;
        let dz = match self.activation {
            None => dy.clone(),
            Some(activation) => activation.slopes::<T>(y, dy)?,
        };
        let (x_storage, x_layout) = x.storage_and_layout();
        let (weight_storage, weight_layout) = weight.storage_and_layout();
        let (dz_storage, dz_layout) = dz.storage_and_layout();
        let x_values = part(cpu_slice::<T>(&x_storage)?, x_layout);
        let weights = part(cpu_slice::<T>(&weight_storage)?, weight_layout);
        let dz_values = part(cpu_slice::<T>(&dz_storage)?, dz_layout);
        let mut dw = vec![T::zero(); weights.len()];
        let mut db = vec![T::zero(); self.groups * outputs];
        let mut dx = match self.has_input_gradient {
            true => vec![T::zero(); x_values.len()],
            false => vec![],
        };
        let mut scratch = vec![T::zero(); sizes.depth * places];
        let images = x_values.chunks_exact(sizes.inputs());
        let slopes = dz_values.chunks_exact(outputs * places);
        for (index, (image, dz)) in images.zip(slopes).enumerate() {
            let group = index % self.groups;
            let slopes = Matrix::new(dz, outputs, places);
            let columns = self.columns(sizes, image, &mut scratch);
            let of_group = &mut dw[group * outputs * sizes.depth..][..outputs * sizes.depth];
            add_product(slopes, columns.transposed(), of_group);
            let of_group = &mut db[group * outputs..][..outputs];
            for (db, dz) in of_group.iter_mut().zip(dz.chunks_exact(places)) {
                dz.iter().for_each(|&dz| *db += dz);
            }
            if self.has_input_gradient {
                let weight = Matrix::new(sizes.of_group(weights, group), outputs, sizes.depth);
                write_product(weight.transposed(), slopes, &mut scratch);
                let dx = &mut dx[index * sizes.inputs()..][..sizes.inputs()];
                let channels = dx.chunks_exact_mut(sizes.image[0] * sizes.image[1]);
                let columns = scratch.chunks_exact(self.window.area() * places);
                for (dx, columns) in channels.zip(columns) {
                    self.window.scatter(columns, sizes.image, dx);
                }
            }
        }
        let device = x.device();
        let dx = match self.has_input_gradient {
            true => Some(Tensor::from_vec(dx, x.shape(), device)?),
            false => None,
        };
        let dw = Tensor::from_vec(dw, weight.shape(), device)?;
        let db = Tensor::from_vec(db, bias.shape(), device)?;
        Ok((dx, Some(dw), Some(db)))
    }

    #[cfg(feature = "cuda")]
    fn gradients_on_gpu(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let sizes = self.sizes(x.shape(), weight.shape(), bias.shape())?;
        let dy = dy.contiguous()?;
        let dz = match self.activation {
            None => dy,
            fused => layer_kernels::activation_slopes(y, &dy, fused.into(), true)?,
        };
        let (window, groups) = self.of_kernel(&sizes);
        let wanted = self.has_input_gradient;
        let (dx, dw) = layer_kernels::convolution_slopes(x, weight, &dz, window, groups, wanted)?;
        let db = layer_kernels::channel_sums(&dz, groups.outputs)?;
        Ok((dx, Some(dw), Some(db)))
    }

    #[cfg(feature = "cuda")]
    fn of_kernel(&self, sizes: &Sizes) -> (KernelWindow, KernelGroups) {
        let window = self.window.on_gpu(sizes.image, sizes.positions);
        let groups = KernelGroups {
            channels: sizes.channels,
            outputs: self.groups * sizes.outputs,
            groups: self.groups,
        };
        (window, groups)
    }
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

impl CustomOp3 for Layer {
    fn name(&self) -> &'static str {
        "convolution"
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
        let sizes = self.sizes(x_layout.shape(), weight_layout.shape(), bias_layout.shape())?;
        let y = match x {
            CpuStorage::F32(x) => {
                let weight = part(weight.as_slice::<f32>()?, weight_layout);
                let bias = part(bias.as_slice::<f32>()?, bias_layout);
                CpuStorage::F32(self.forward(&sizes, part(x, x_layout), weight, bias))
            }
            CpuStorage::F64(x) => {
                let weight = part(weight.as_slice::<f64>()?, weight_layout);
                let bias = part(bias.as_slice::<f64>()?, bias_layout);
                CpuStorage::F64(self.forward(&sizes, part(x, x_layout), weight, bias))
            }
            _ => candle_core::bail!("convolution: neither f32 nor f64"),
        };
        let [down, across] = sizes.positions;
        let outputs = self.groups * sizes.outputs;
        Ok((y, (sizes.rows, outputs, down, across).into()))
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
        let sizes = self.sizes(x_layout.shape(), weight_layout.shape(), bias_layout.shape())?;
        let (window, groups) = self.of_kernel(&sizes);
        let (x, weight) = (
            Numbers::new(x, x_layout)?,
            Numbers::new(weight, weight_layout)?,
        );
        let mut y = layer_kernels::convolution(x, weight, sizes.rows, window, groups)?;
        let bias = Numbers::new(bias, bias_layout)?;
        let elements = sizes.rows * groups.outputs * sizes.places();
        let size = (elements, sizes.places());
        layer_kernels::bias_activation(&mut y, bias, size, self.activation.into())?;
        let [down, across] = sizes.positions;
        Ok((y, (sizes.rows, groups.outputs, down, across).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        match x.dtype() {
            #[cfg(feature = "cuda")]
            _ if x.device().is_cuda() => self.gradients_on_gpu(x, weight, bias, y, dy),
            DType::F32 => self.gradients::<f32>(x, weight, bias, y, dy),
            _ => self.gradients::<f64>(x, weight, bias, y, dy),
        }
    }
}
