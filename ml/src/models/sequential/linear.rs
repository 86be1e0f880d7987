//! `linear(outputs)`

use std::slice::Iter;

use candle_core::Tensor;

use super::layer::{Function, Input, Layer, Placed, next, operations};
use super::text::{Arguments, Width};
use crate::Result;
use crate::model::network::Mode;
use crate::nn::{Activation, linear};

#[derive(Debug)]
struct Linear {
    outputs: Width,
}

pub(super) fn read(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    let outputs = arguments.width("outputs")?;
    Ok(Box::new(Linear { outputs }))
}

impl Layer for Linear {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let [inputs] = *input.shape else {
            return Err(input.needs("[numbers]; write 'flatten' before it"));
        };
        let outputs = self.outputs.number(input.outputs);
        Ok(Placed {
            parameters: input.weight_and_bias(vec![inputs, outputs], inputs, outputs),
            flops: operations(&[2, inputs, outputs]),
            ..Placed::plain(input, vec![outputs], Product { activation: None })
        })
    }

    fn has_classes(&self) -> bool {
        self.outputs == Width::Classes
    }
}

#[derive(Debug)]
struct Product {
    activation: Option<Activation>,
}

impl Function for Product {
    fn forward(
        &self,
        x: &Tensor,
        parameters: &mut Iter<'_, Tensor>,
        _mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        let (weight, bias) = (next(parameters)?, next(parameters)?);
        linear(x, weight, bias, self.activation)
    }

    fn fuse(&mut self, activation: Activation) -> bool {
        if self.activation.is_some() {
            return false;
        }
        self.activation = Some(activation);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_applies_one_activation_function_and_keeps_it() {
        let mut layer = Product { activation: None };
        assert!(layer.fuse(Activation::Relu));
        assert!(!layer.fuse(Activation::Tanh));
        assert_eq!(layer.activation, Some(Activation::Relu));
    }
}
