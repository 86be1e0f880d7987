//! `residual(layer, …)`: the layers within it, plus its input.

use std::slice::Iter;

use candle_core::Tensor;

use super::layer::{Function, Input, Layer, Placed, Written, place_all};
use super::text::invalid;
use crate::model::network::Mode;
use crate::{Result, stop};

#[derive(Debug)]
pub(super) struct Residual(pub(super) Vec<Written>);

impl Layer for Residual {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let inner = place_all(&self.0, input)?;
        let output = inner
            .last()
            .map_or(input.shape, |last| last.output.as_slice());
        if output != input.shape {
            return Err(invalid(format!(
                "its layers make {output:?} of its input of {:?}; both must be the same",
                input.shape
            )));
        }
        let scratch_bytes = inner.iter().map(|layer| layer.scratch_bytes).max();
        let flops = inner.iter().map(|layer| layer.flops);
        let plain = Placed::plain(input, input.shape.to_vec(), Sum(vec![]));
        Ok(Placed {
            parameters: inner
                .iter()
                .flat_map(|layer| layer.parameters.iter().cloned())
                .collect(),
            flops: flops.fold(plain.flops, u64::saturating_add),
            inner_numbers: inner.iter().map(Placed::numbers).sum(),
            scratch_bytes: scratch_bytes.unwrap_or(0),
            function: Box::new(Sum(inner.into_iter().map(|layer| layer.function).collect())),
            output: plain.output,
        })
    }

    fn has_classes(&self) -> bool {
        self.0.iter().any(|written| written.layer.has_classes())
    }
}

#[derive(Debug)]
struct Sum(Vec<Box<dyn Function>>);

impl Function for Sum {
    fn forward(
        &self,
        x: &Tensor,
        parameters: &mut Iter<'_, Tensor>,
        mode: &mut Mode<'_>,
    ) -> Result<Tensor> {
        let mut y = x.clone();
        for function in &self.0 {
            stop::check()?;
            y = function.forward(&y, parameters, mode)?;
        }
        Ok((x + y)?)
    }
}
