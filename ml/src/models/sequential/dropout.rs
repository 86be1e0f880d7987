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

impl Layer for Dropout {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        Ok(Placed {
            flops: 0,
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
