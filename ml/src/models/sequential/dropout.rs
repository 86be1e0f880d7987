//! `dropout(share)`

use std::slice::Iter;

use candle_core::Tensor;

use super::layer::{Function, Input, Layer, Placed};
use super::text::Arguments;
use crate::Result;
use crate::model::network::Mode;
use crate::nn::dropout;

#[derive(Debug, Clone, Copy)]
struct Dropout {
    share: f64,
}

pub(super) fn read(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    let share = arguments.share("share")?;
    Ok(Box::new(Dropout { share }))
}

/// The bytes of a mask that take the memory of a number.
const MASKS_OF_NUMBER: usize = size_of::<f32>();

impl Layer for Dropout {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let numbers: usize = input.shape.iter().product();
        Ok(Placed {
            flops: 0,
            inner_numbers: numbers.div_ceil(MASKS_OF_NUMBER),
            ..Placed::plain(input, input.shape.to_vec(), *self)
        })
    }

    fn can_end(&self) -> bool {
        false
    }
}

impl Function for Dropout {
    fn forward(
        &self,
        x: &Tensor,
        _parameters: &mut Iter<'_, Tensor>,
        mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        match mode {
            Mode::Training { random, .. } if self.share > 0.0 => dropout(x, self.share, random),
            Mode::Training { .. } | Mode::Inference => Ok(x.clone()),
        }
    }
}
