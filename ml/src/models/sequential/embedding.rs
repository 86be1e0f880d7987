//! `embedding(count, width)`

use candle_core::DType;

use super::layer::{Input, Layer, Placed};
use super::text::{Arguments, WIDTH_MAX};
use crate::Result;
use crate::graph::ElementType;
use crate::model::network::{Init, ParameterKind};
use crate::nn::embedding;

/// Single precision holds all whole numbers up to this one.
const COUNT_MAX: usize = 1 << 24;

/// The encoder has checked that the numbers are ids: whole numbers below `count`.
#[derive(Debug)]
struct Embedding {
    count: usize,
    width: usize,
}

pub(super) fn read(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Embedding {
        count: arguments.whole("count", None, 1..=COUNT_MAX)?,
        width: arguments.whole("width", None, 1..=WIDTH_MAX)?,
    }))
}

impl Layer for Embedding {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let [length] = *input.shape else {
            return Err(input.needs("[length]"));
        };
        let shape = vec![self.count, self.width];
        let weight = input.parameter("weight", shape, Init::Normal, ParameterKind::Penalised);
        Ok(Placed {
            parameters: vec![weight],
            flops: 0,
            inner_numbers: length,
            ..Placed::new(input, vec![length, self.width], |x, pass| {
                let weight = pass.parameter()?;
                let (rows, length) = x.dims2()?;
                let ids = x.flatten_all()?.to_dtype(DType::U32)?;
                Ok(embedding(&ids, weight)?.reshape((rows, length, weight.dim(1)?))?)
            })
        }
        .drawn(|x, drawing| {
            let weight = drawing.parameter()?;
            let ids = drawing.graph.cast(x, ElementType::Int64);
            Ok(drawing.graph.node("Gather", &[&weight, &ids], vec![]))
        }))
    }

    fn ids(&self) -> Option<usize> {
        Some(self.count)
    }
}
