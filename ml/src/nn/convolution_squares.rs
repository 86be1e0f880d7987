//! A convolution and the pool behind it as one operation, whose output is never in memory as a whole: `direct/squares.rs`.

use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Shape, Tensor};

use super::activation::{Activation, Fused};
use super::convolution::{Convolution, Convolve, convolution, gradients};
use super::direct::{Arguments, Direct};
use super::pool::{Pooling, pool};
use super::values::{Gradients, elements, storage, with_elements};
use super::window::Window;
use crate::Result;

/// The greatest element of each square of 2 x 2 positions of a [`convolution`]: `[rows, outputs, positions down / 2, positions
/// across / 2]`. The gradient goes to the first greatest element.
pub fn convolution_and_squares(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    layer: Convolution,
    activation: Option<Activation>,
) -> Result<Tensor> {
    let convolve = Convolve::new(x, layer, activation);
    let is_fusable = activation.is_none() || Fused::of(activation).is_some();
    let direct = match x.device().is_cpu() && x.dtype() == DType::F32 && is_fusable {
        true => {
            let sizes = convolve.sizes(x.shape(), weight.shape(), bias.shape())?;
            let has_squares = sizes.positions.iter().all(|positions| *positions >= 2);
            convolve.direct(&sizes).filter(|_| has_squares)
        }
        false => None,
    };
    let Some(direct) = direct else {
        let y = convolution(x, weight, bias, layer, activation)?;
        return pool(&y, Window::square(2, 2, 0), Pooling::Max);
    };
    let operation = Squares {
        convolve,
        direct,
        wants_places: x.track_op() || weight.track_op() || bias.track_op(),
        places: OnceLock::new(),
    };
    let (weight, bias) = (weight.contiguous()?, bias.contiguous()?);
    Ok(x.contiguous()?.apply_op3(&weight, &bias, operation)?)
}

#[derive(Debug)]
struct Squares {
    convolve: Convolve,
    direct: Direct,
    /// Whether there will be a gradient.
    wants_places: bool,
    /// Where the greatest elements were.
    places: OnceLock<Vec<u8>>,
}

impl CustomOp3 for Squares {
    fn name(&self) -> &'static str {
        "convolution and squares"
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
        let (x_shape, weight_shape) = (x_layout.shape(), weight_layout.shape());
        let sizes = self
            .convolve
            .sizes(x_shape, weight_shape, bias_layout.shape())?;
        let (x, weight) = (elements(x, x_layout)?, elements(weight, weight_layout)?);
        let bias = elements(bias, bias_layout)?;
        let arguments = Arguments { x, weight, bias };
        let squares = self.direct.forward_squares(arguments, self.wants_places)?;
        self.places.get_or_init(|| squares.places);
        let [down, across] = sizes.positions;
        let shape = (
            x_shape.dims()[0],
            weight_shape.dims()[0],
            down / 2,
            across / 2,
        );
        Ok((storage(squares.y), shape.into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        y: &Tensor,
        dy: &Tensor,
    ) -> candle_core::Result<Gradients> {
        let Some(places) = self.places.get().filter(|_| self.wants_places) else {
            candle_core::bail!("a convolution without places of the greatest elements");
        };
        let slopes = with_elements([x, weight, bias, y, dy], |[x, weight, bias, y, dy]| {
            let (arguments, squares) = (Arguments { x, weight, bias }, (y, places.as_slice()));
            let has_input_gradient = self.convolve.has_input_gradient;
            let direct = &self.direct;
            Ok(direct.slopes_of_squares(arguments, squares, dy, has_input_gradient)?)
        })?;
        gradients([x, weight, bias], (slopes.dx, slopes.dw, slopes.db))
    }
}
