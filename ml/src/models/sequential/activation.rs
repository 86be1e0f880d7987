//! `relu` and the other activation functions

use super::layer::{Input, Layer, Placed};
use super::text::{Arguments, invalid};
use crate::Result;
use crate::nn::{Activation, activate};

#[derive(Debug)]
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
        let activation = self.0;
        Ok(
            Placed::same_shape(input, move |x, _| activate(activation, x))
                .drawn(move |x, drawing| Ok(activation.draw(drawing.graph, x))),
        )
    }

    fn activation(&self) -> Option<Activation> {
        Some(self.0)
    }

    fn can_end(&self) -> bool {
        false
    }
}
