//! `linear(outputs)`

use super::layer::{Input, Layer, Placed, operations};
use super::text::{Arguments, Width};
use crate::Result;
use crate::nn::linear;

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
        let activation = input.next;
        Ok(Placed {
            parameters: input.weight_and_bias(vec![inputs, outputs], inputs, outputs),
            flops: operations(&[2, inputs, outputs]),
            applied: usize::from(activation.is_some()),
            ..Placed::new(input, vec![outputs], move |x, pass| {
                linear(x, pass.parameter()?, pass.parameter()?, activation)
            })
        }
        .drawn(|x, drawing| {
            let (weight, bias) = (drawing.parameter()?, drawing.parameter()?);
            Ok(drawing.graph.node("Gemm", &[x, &weight, &bias], vec![]))
        }))
    }

    fn has_classes(&self) -> bool {
        self.outputs == Width::Classes
    }
}
