//! Convolution. Most convolutions of f32 have kernels of their own, in `direct`; the others, those of f64 among them, are products
//! of matrices, in `unfolded`. On a GPU, all have kernels.
//!
//! In each of them, the result of a row depends neither on the rows beside it nor on the number of threads.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};

use super::activation::{Activation, Fused, activate};
use super::direct::{Arguments, Direct, Group};
use super::given::give;
use super::unfolded::{Sizes, TILE_BYTES, Unfolded};
use super::values::{Float, Gradients, elements, storage, with_elements, with_float};
use super::window::Window;
use crate::Result;
use crate::device::HOST;
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

impl Convolution {
    /// The most memory that a convolution from and to so many channels of images of this size takes on the host besides its
    /// output.
    pub(crate) fn scratch_bytes(&self, [channels, outputs]: [usize; 2], size: [usize; 2]) -> usize {
        let Some(positions) = self.window.positions(size) else {
            return 0;
        };
        let group = Group {
            window: self.window,
            channels: channels / self.groups,
            outputs: outputs / self.groups,
            image: size,
            positions,
        };
        let depth = group.channels.saturating_mul(self.window.area());
        let numbers = depth
            .saturating_mul(positions[0])
            .saturating_mul(positions[1]);
        let of_products = match self.window.is_one_element() {
            true => 0,
            false => numbers.saturating_mul(size_of::<f64>()).min(TILE_BYTES),
        };
        of_products.max(Direct::scratch_bytes(&group, self.groups))
    }
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
    let operation = Convolve::new(x, convolution, activation);
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    let y = x.contiguous()?.apply_op3(&weight, &bias, operation)?;
    match activation {
        Some(activation) if operation.activation.is_none() => activate(activation, &y),
        _ => Ok(y),
    }
}

/// A convolution and its activation as one operation.
#[derive(Debug, Clone, Copy)]
pub(super) struct Convolve {
    window: Window,
    groups: usize,
    activation: Option<Fused>,
    pub(super) has_input_gradient: bool,
}

impl Convolve {
    /// The convolution of `x`, with the activation if it can be applied to its own result.
    pub(super) fn new(
        x: &Tensor,
        convolution: Convolution,
        activation: Option<Activation>,
    ) -> Self {
        Self {
            window: convolution.window,
            groups: convolution.groups,
            activation: Fused::of(activation),
            has_input_gradient: x.track_op(),
        }
    }

    /// The sizes of these arguments, if they fit each other.
    pub(super) fn sizes(
        &self,
        x: &Shape,
        weight: &Shape,
        bias: &Shape,
    ) -> candle_core::Result<Sizes> {
        let (rows, channels, height, width) = x.dims4()?;
        let (outputs, of_group, down, across) = weight.dims4()?;
        let has_numbers = ![of_group, outputs, height, width, down, across, self.groups]
            .iter()
            .chain(&self.window.stride)
            .any(|size| *size == 0);
        let fits = has_numbers
            && of_group * self.groups == channels
            && outputs.is_multiple_of(self.groups)
            && [down, across] == self.window.kernel
            && bias.dims() == [outputs];
        let positions = fits.then(|| self.window.positions([height, width]));
        let Some(positions) = positions.flatten() else {
            candle_core::bail!("convolution {self:?}: x {x:?}, weight {weight:?}, bias {bias:?}");
        };
        Ok(Sizes {
            rows,
            channels: of_group,
            outputs: outputs / self.groups,
            image: [height, width],
            positions,
            depth: of_group * self.window.area(),
        })
    }

    /// The convolution as products.
    fn unfolded(&self) -> Unfolded {
        Unfolded {
            window: self.window,
            groups: self.groups,
            activation: self.activation,
        }
    }

    /// The kernels for f32, if this processor has some for these sizes.
    pub(super) fn direct(&self, sizes: &Sizes) -> Option<Direct> {
        let group = Group {
            window: self.window,
            channels: sizes.channels,
            outputs: sizes.outputs,
            image: sizes.image,
            positions: sizes.positions,
        };
        Direct::new(group, self.activation)
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
        let sizes = self.sizes(x.shape(), weight.shape(), bias.shape())?;
        let arguments = [x, weight, bias];
        if let (DType::F32, Some(direct)) = (x.dtype(), self.direct(&sizes)) {
            let slopes = with_elements([x, weight, bias, y, dy], |[x, weight, bias, y, dy]| {
                let arguments = Arguments { x, weight, bias };
                Ok(direct.slopes(arguments, [y, dy], self.has_input_gradient)?)
            })?;
            return gradients(arguments, (slopes.dx, slopes.dw, slopes.db));
        }
        let dz = match self.activation {
            None => dy.clone(),
            Some(activation) => activation.slopes::<T>(y, dy)?,
        };
        let (dx, dw, db) = with_elements([x, weight, &dz], |[x, weights, dz]: [&[T]; 3]| {
            let unfolded = self.unfolded();
            let (dx, dw) = unfolded.slopes(&sizes, [x, weights, dz], self.has_input_gradient)?;
            Ok((dx, dw, unfolded.bias_slopes(&sizes, dz)))
        })?;
        gradients(arguments, (dx, dw, db))
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

/// Gradients on the host of x, the weights and the bias.
pub(super) fn gradients<T: Float>(
    [x, weight, bias]: [&Tensor; 3],
    (dx, dw, db): (Option<Vec<T>>, Vec<T>, Vec<T>),
) -> candle_core::Result<Gradients> {
    let dx = dx.map(|dx| Tensor::from_vec(dx, x.shape(), &HOST));
    let dw = Tensor::from_vec(dw, weight.shape(), &HOST)?;
    let db = Tensor::from_vec(db, bias.shape(), &HOST)?;
    Ok((dx.transpose()?, give(weight, dw)?, give(bias, db)?))
}

impl CustomOp3 for Convolve {
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
        let y = match (x, self.direct(&sizes)) {
            (CpuStorage::F32(_), Some(direct)) => {
                let (x, weight) = (elements(x, x_layout)?, elements(weight, weight_layout)?);
                let bias = elements(bias, bias_layout)?;
                storage(direct.forward(Arguments { x, weight, bias })?)
            }
            _ => with_float!(x.dtype(), T => {
                let x = elements::<T>(x, x_layout)?;
                let weight = elements(weight, weight_layout)?;
                storage(self.unfolded().forward(&sizes, x, weight, elements(bias, bias_layout)?)?)
            }),
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
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return self.gradients_on_gpu(x, weight, bias, y, dy);
        }
        with_float!(x.dtype(), T => self.gradients::<T>(x, weight, bias, y, dy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_do_not_fit_are_an_error() {
        let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32, &HOST).unwrap();
        let layer = Convolution {
            window: Window::square(3, 1, 0),
            groups: 1,
        };
        let run = |x: &[usize], weight: &[usize], layer: Convolution| {
            let bias = zeros(&weight[..1]);
            convolution(&zeros(x), &zeros(weight), &bias, layer, None)
        };
        let y = run(&[2, 4, 5, 5], &[6, 4, 3, 3], layer).unwrap();
        assert_eq!(y.dims(), [2, 6, 3, 3]);
        let without_rows = run(&[0, 4, 5, 5], &[6, 4, 3, 3], layer).unwrap();
        assert_eq!(without_rows.dims(), [0, 6, 3, 3]);
        for (x, weight) in [
            ([2, 4, 5, 5], [6, 3, 3, 3]),
            ([2, 4, 5, 5], [6, 4, 3, 2]),
            ([2, 4, 2, 5], [6, 4, 3, 3]),
            ([2, 4, 5, 5], [0, 4, 3, 3]),
            ([2, 0, 5, 5], [6, 0, 3, 3]),
        ] {
            assert!(run(&x, &weight, layer).is_err(), "{x:?} {weight:?}");
        }
        let no_groups = Convolution { groups: 0, ..layer };
        assert!(run(&[2, 0, 5, 5], &[6, 0, 3, 3], no_groups).is_err());
        let no_stride = Convolution {
            window: Window::square(3, 0, 0),
            ..layer
        };
        assert!(run(&[2, 4, 5, 5], &[6, 4, 3, 3], no_stride).is_err());
    }
}
