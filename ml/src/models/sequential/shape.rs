//! `flatten`, `reshape(size, …)` and `transpose`

use super::layer::{Input, Layer, Placed, numbers};
use super::text::{Arguments, invalid, whole};
use crate::Result;

/// The most dimensions of a row.
pub(super) const DIMENSIONS_MAX: usize = 6;
const SIZE_MAX: usize = 1 << 24;

/// The dimensions of the output; all numbers as a vector if there are none.
#[derive(Debug)]
struct Reshape(Vec<usize>);

pub(super) fn read_flatten(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Reshape(vec![])))
}

pub(super) fn read_reshape(arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    let sizes = arguments.rest();
    if sizes.is_empty() || sizes.len() > DIMENSIONS_MAX {
        return Err(invalid(format!(
            "{} sizes; expected from 1 to {DIMENSIONS_MAX}",
            sizes.len()
        )));
    }
    let sizes = sizes.iter().map(|size| whole("size", size, 1..=SIZE_MAX));
    Ok(Box::new(Reshape(sizes.collect::<Result<_>>()?)))
}

pub(super) fn read_transpose(_arguments: &mut Arguments<'_>) -> Result<Box<dyn Layer>> {
    Ok(Box::new(Transpose))
}

impl Layer for Reshape {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let count: usize = input.shape.iter().product();
        let output = match self.0.as_slice() {
            [] => vec![count],
            sizes if numbers(sizes) == Some(count) => sizes.to_vec(),
            sizes => {
                return Err(invalid(format!(
                    "an output of {sizes:?} has not as many numbers as its input of {:?}",
                    input.shape
                )));
            }
        };
        let (sizes, of_graph) = (output.clone(), output.clone());
        Ok(Placed {
            flops: 0,
            ..Placed::new(input, output, move |x, _| {
                let mut shape = vec![x.dim(0)?];
                shape.extend(&sizes);
                Ok(x.reshape(shape)?)
            })
        }
        .drawn(move |x, drawing| Ok(drawing.graph.reshape(x, &of_graph))))
    }
}

/// Exchanges the last two dimensions.
#[derive(Debug)]
struct Transpose;

impl Layer for Transpose {
    fn place(&self, input: &Input<'_>) -> Result<Placed> {
        let [outer @ .., down, across] = input.shape else {
            return Err(input.needs("two dimensions or more"));
        };
        let output = [outer, &[*across, *down]].concat();
        let mut order: Vec<usize> = (0..=output.len()).collect();
        order.swap(output.len() - 1, output.len());
        Ok(Placed {
            flops: 0,
            ..Placed::new(input, output, |x, _| Ok(x.t()?.contiguous()?))
        }
        .drawn(move |x, drawing| Ok(drawing.graph.transpose(x, &order))))
    }
}
