//! `relu` and the other activation functions

use std::slice::Iter;

use candle_core::Tensor;

use super::layer::{Function, Input, Layer, Placed};
use super::text::{Arguments, invalid};
use crate::Result;
use crate::model::network::Mode;
use crate::nn::{Activation, activate};

#[derive(Debug, Clone, Copy)]
struct Activate(Activation);

pub(super) fn read(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    let known = Activation::ALL
        .iter()
        .find(|(name, _)| *name == arguments.name);
    let known = known.ok_or_else(|| invalid("it is no activation function"))?;
    Ok(Box::new(Activate(known.1)))
}

impl Layer for Activate {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        Ok(Placed::plain(input, input.shape.to_vec(), *self))
    }

    fn can_end(&self) -> bool {
        false
    }
}

impl Function for Activate {
    fn forward(
        &self,
        x: &Tensor,
        _parameters: &mut Iter<'_, Tensor>,
        _mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        activate(self.0, x)
    }

    fn activation(&self) -> Option<Activation> {
        Some(self.0)
    }
}
