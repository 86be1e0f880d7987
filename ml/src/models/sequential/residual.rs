//! `residual(layer, …)`: the layers within it, plus its input.

use std::sync::Arc;

use super::layer::{Input, Layer, Placed, Written, draw_all, forward_all, operations, place_all};
use super::text::invalid;
use crate::Result;

#[derive(Debug)]
pub(super) struct Residual(pub(super) Vec<Written>);

impl Layer for Residual {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let inner = Arc::new(place_all(&self.0, input)?);
        let of_graph = Arc::clone(&inner);
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
        let normalised = inner.iter().filter_map(|layer| layer.normalised).min();
        let flops = inner.iter().map(|layer| layer.flops);
        Ok(Placed {
            parameters: inner
                .iter()
                .flat_map(|layer| layer.parameters.iter().cloned())
                .collect(),
            flops: flops.fold(operations(input.shape), u64::saturating_add),
            inner_numbers: inner.iter().map(Placed::numbers).sum(),
            scratch_bytes: scratch_bytes.unwrap_or(0),
            normalised,
            ..Placed::same_shape(input, move |x, pass| {
                Ok((x + forward_all(&inner, x, pass)?)?)
            })
        }
        .drawn(move |x, drawing| {
            let y = draw_all(&of_graph, x.clone(), drawing)?;
            Ok(drawing.graph.node("Add", &[x, &y], vec![]))
        }))
    }

    fn has_classes(&self) -> bool {
        self.0.iter().any(|written| written.layer.has_classes())
    }
}
