//! The two layers behind the attention of a transformer, with a function between them.
//!
//! ```text
//! z = x W₁ + b₁                    for each block of rows
//! y = activation(z) W₂ + b₂        or, with a gate, activation(left half of z) * right half of z
//! ```
//! Without gradients, z is memory of one block, which bias and activation pass once; with gradients, the parts are layers of
//! their own, since their backward passes need what is between them.

use candle_core::Tensor;

use super::linear::linear;
use super::pointwise::{Pointwise, finish_rows, gate_rows, pointwise};
use super::product::{Matrix, MatrixMut, write_product};
use super::values::{Float, is_half, with_elements, with_float};
use crate::simd::simd_fn;
use crate::{Error, Result, stop};

/// The bytes of the numbers between the layers, about. They leave the cache of a core, but hardly the one behind it, and the
/// product packs the weights once for each block.
const MIDDLE_BYTES: usize = 3 << 19;
/// The fewest rows of a block: packing the weights takes as long as the products of about three rows.
const ROWS_MIN: usize = 192;
/// The rows of all blocks but the last are a multiple of those that each kernel of a product takes.
const ROWS_STEP: usize = 24;

/// second(activation(first(`x`))), for `x` `[rows, inputs]`. A layer is its weight, `[inputs, wide]` and `[wide, outputs]`, and its
/// bias. A row of the result depends on no other row.
///
/// # Errors
/// [`Error::Internal`] for sizes that do not fit; [`Error::Cancelled`].
pub fn feed_forward(
    x: &Tensor,
    first: (&Tensor, Option<&Tensor>),
    activation: Pointwise,
    second: (&Tensor, Option<&Tensor>),
) -> Result<Tensor> {
    let function = Between {
        activation,
        is_gated: false,
    };
    run(x, first, function, second)
}

/// second(activation(left(`x`)) * right(`x`)), where `left` and `right` are the halves of the columns of the first layer,
/// `[inputs, 2 wide]`.
///
/// Dauphin et al., "Language modeling with gated convolutional networks", 2017.
///
/// # Errors
/// As [`feed_forward`].
pub fn gated_feed_forward(
    x: &Tensor,
    first: (&Tensor, Option<&Tensor>),
    activation: Pointwise,
    second: (&Tensor, Option<&Tensor>),
) -> Result<Tensor> {
    let function = Between {
        activation,
        is_gated: true,
    };
    run(x, first, function, second)
}

/// What is between the layers.
#[derive(Debug, Clone, Copy)]
struct Between {
    activation: Pointwise,
    is_gated: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sizes {
    rows: usize,
    inputs: usize,
    /// The columns of the first layer.
    columns: usize,
    /// The rows of the second one.
    wide: usize,
    outputs: usize,
}

/// The two layers, each with its weight and its bias.
#[derive(Debug, Clone, Copy)]
struct Layers<W> {
    first: (W, W),
    second: (W, W),
}

fn run(
    x: &Tensor,
    first: (&Tensor, Option<&Tensor>),
    between: Between,
    second: (&Tensor, Option<&Tensor>),
) -> Result<Tensor> {
    let bias = |(weight, bias): (&Tensor, Option<&Tensor>)| -> Result<Tensor> {
        Ok(match bias {
            Some(bias) => bias.clone(),
            None => Tensor::zeros(weight.dim(1)?, weight.dtype(), weight.device())?,
        })
    };
    let biases = [bias(first)?, bias(second)?];
    let layers = Layers {
        first: (first.0, &biases[0]),
        second: (second.0, &biases[1]),
    };
    let sizes = sizes_of(x, layers, between)?;
    let [w1, b1, w2, b2] = [first.0, &biases[0], second.0, &biases[1]];
    let all = [x, w1, b1, w2, b2];
    let has_gradients = all.iter().any(|tensor| tensor.track_op());
    match x.device().is_cpu() && !is_half(x) && !has_gradients {
        true => Ok(in_blocks(all, &sizes, between)?),
        false => of_layers(x, layers, between),
    }
}

/// The sizes, if they fit and none but that of the rows is 0.
fn sizes_of(x: &Tensor, layers: Layers<&Tensor>, between: Between) -> Result<Sizes> {
    let ((w1, b1), (w2, b2)) = (layers.first, layers.second);
    let ((rows, inputs), (of_first, columns), (wide, outputs)) =
        (x.dims2()?, w1.dims2()?, w2.dims2()?);
    let halves = if between.is_gated { 2 } else { 1 };
    let fits = of_first == inputs
        && columns == halves * wide
        && b1.dims() == [columns]
        && b2.dims() == [outputs]
        && inputs * wide * outputs > 0;
    match fits {
        true => Ok(Sizes {
            rows,
            inputs,
            columns,
            wide,
            outputs,
        }),
        false => Err(Error::Internal(format!(
            "feed forward {between:?}: x {:?}, first {:?} {:?}, second {:?} {:?}",
            x.shape(),
            w1.shape(),
            b1.shape(),
            w2.shape(),
            b2.shape()
        ))),
    }
}

/// The parts as layers of their own.
fn of_layers(x: &Tensor, layers: Layers<&Tensor>, between: Between) -> Result<Tensor> {
    let (weight, bias) = layers.first;
    let z = linear(x, weight, bias, None)?;
    let middle = match between.is_gated {
        false => pointwise(between.activation, &z)?,
        true => {
            let wide = z.dim(1)? / 2;
            let values = pointwise(between.activation, &z.narrow(1, 0, wide)?)?;
            (values * z.narrow(1, wide, wide)?)?
        }
    };
    let (weight, bias) = layers.second;
    linear(&middle, weight, bias, None)
}

/// The result for `x`, the weight and the bias of the first layer, and those of the second one.
fn in_blocks(all: [&Tensor; 5], sizes: &Sizes, between: Between) -> candle_core::Result<Tensor> {
    let [x, ..] = all;
    with_float!(x.dtype(), T => {
        let y = with_elements(all, |all: [&[T]; 5]| forward(all, sizes, between))?;
        Tensor::from_vec(y, (sizes.rows, sizes.outputs), x.device())
    })
}

fn forward<T: Float>(
    [x, w1, b1, w2, b2]: [&[T]; 5],
    sizes: &Sizes,
    between: Between,
) -> candle_core::Result<Vec<T>> {
    let Sizes {
        rows,
        inputs,
        columns,
        wide,
        outputs,
    } = *sizes;
    let at_once = rows_at_once(rows, columns * size_of::<T>());
    let mut y = vec![T::zero(); rows * outputs];
    let mut middle = vec![T::zero(); at_once * columns];
    let (w1, w2) = (
        Matrix::new(w1, inputs, columns),
        Matrix::new(w2, wide, outputs),
    );
    let blocks = x.chunks(at_once * inputs);
    for (x, y) in blocks.zip(y.chunks_mut(at_once * outputs)) {
        stop::check()?;
        let rows = x.len() / inputs;
        let z = &mut middle[..rows * columns];
        write_product(
            Matrix::new(x, rows, inputs),
            w1,
            MatrixMut::new(z, rows, columns),
        );
        match between.is_gated {
            false => finish_rows(between.activation, z, b1),
            true => gate_rows(between.activation, z, b1),
        }
        let values = Matrix::new(z, rows, columns).columns(0..wide);
        write_product(values, w2, MatrixMut::new(y, rows, outputs));
        add_to_rows(y, b2);
    }
    Ok(y)
}

/// The rows of a block, if the numbers between the layers have so many bytes for each row. The blocks are about equal.
fn rows_at_once(rows: usize, row_bytes: usize) -> usize {
    let most = (MIDDLE_BYTES / row_bytes).max(ROWS_MIN);
    let blocks = rows.div_ceil(most).max(1);
    rows.div_ceil(blocks)
        .next_multiple_of(ROWS_STEP)
        .max(ROWS_STEP)
}

simd_fn! {
    /// Adds the bias to each row.
    fn add_to_rows<'a, T: Float>(rows: &'a mut [T], bias: &'a [T]) {
        for row in rows.chunks_exact_mut(bias.len().max(1)) {
            row.iter_mut().zip(bias).for_each(|(y, &bias)| *y += bias);
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;

    fn numbers(shape: &[usize], step: f64) -> Tensor {
        let count = shape.iter().product::<usize>();
        let values: Vec<f64> = (0..count).map(|n| (n as f64 * step).sin()).collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    }

    fn flat(tensor: &Tensor) -> Vec<f64> {
        let tensor = tensor.to_dtype(DType::F64).unwrap();
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn worst(found: &Tensor, expected: &[f64]) -> f64 {
        let found = flat(found);
        assert_eq!(found.len(), expected.len());
        let pairs = found.iter().zip(expected);
        let errors = pairs.map(|(found, expected)| (found - expected).abs());
        errors.fold(0.0, f64::max)
    }

    /// `linear`, `gelu` and `silu` of PyTorch 2.15, in f64.
    #[test]
    fn values_are_those_of_pytorch() {
        let x = numbers(&[3, 4], 0.7);
        let (w1, b1) = (numbers(&[4, 6], 1.1), numbers(&[6], 0.3));
        let (w2, b2) = (numbers(&[6, 2], 1.7), (numbers(&[2], 2.9) + 0.5).unwrap());
        let narrow = numbers(&[3, 2], 1.7);
        let gelu = [
            -0.143_484_751_667,
            0.497_611_846_468,
            0.501_421_545_215,
            0.364_378_183_434,
            -0.913_552_354_168,
            0.757_549_010_392,
        ];
        let tanh = [
            -0.221_070_878_862,
            -0.359_412_702_486,
            0.307_790_967_348,
            -0.422_549_906_437,
            -0.656_450_699_260,
            0.161_467_600_499,
        ];
        let gated = [
            1.687_847_584_180,
            3.190_966_993_331,
            0.777_988_824_365,
            0.896_368_820_417,
            0.581_237_560_779,
            0.384_606_817_862,
        ];
        let variable = Var::from_tensor(&x).unwrap();
        for x in [&x, variable.as_tensor()] {
            let y = feed_forward(x, (&w1, Some(&b1)), Pointwise::Gelu, (&w2, Some(&b2)));
            assert!(worst(&y.unwrap(), &gelu) < 1e-11);
            let y = feed_forward(x, (&w1, None), Pointwise::GeluTanh, (&w2, None));
            assert!(worst(&y.unwrap(), &tanh) < 1e-11);
            let y = gated_feed_forward(x, (&w1, Some(&b1)), Pointwise::Silu, (&narrow, Some(&b2)));
            assert!(worst(&y.unwrap(), &gated) < 1e-11);
        }
    }

    #[test]
    fn blocks_of_rows_are_the_layers_one_after_the_other() {
        // 250 rows of 4,000 numbers are two blocks.
        let x = numbers(&[250, 8], 0.7);
        let (w1, b1) = (numbers(&[8, 4_000], 1.1), numbers(&[4_000], 0.3));
        let (w2, b2) = (numbers(&[4_000, 72], 1.7), numbers(&[72], 2.9));
        let (halves, of_half) = (numbers(&[2_000, 72], 1.7), numbers(&[72], 0.2));
        for (dtype, error_max) in [(DType::F64, 1e-9), (DType::F32, 2e-3)] {
            let all = [&x, &w1, &b1, &w2, &b2, &halves, &of_half];
            let [x, w1, b1, w2, b2, halves, of_half] =
                all.map(|tensor| tensor.to_dtype(dtype).unwrap());
            for is_gated in [false, true] {
                let (first, second) = match is_gated {
                    false => ((&w1, Some(&b1)), (&w2, Some(&b2))),
                    true => ((&w1, Some(&b1)), (&halves, Some(&of_half))),
                };
                let run = |x: &Tensor| match is_gated {
                    false => feed_forward(x, first, Pointwise::Gelu, second).unwrap(),
                    true => gated_feed_forward(x, first, Pointwise::Gelu, second).unwrap(),
                };
                let layers = run(Var::from_tensor(&x).unwrap().as_tensor());
                let blocks = run(&x);
                let error = worst(&blocks, &flat(&layers));
                assert!(error < error_max, "{dtype:?}, gated {is_gated}: {error}");
                // A row is the same beside others, and in another block.
                for (start, count) in [(0, 2), (130, 60), (248, 2)] {
                    let some = run(&x.narrow(0, start, count).unwrap());
                    let together = blocks.narrow(0, start, count).unwrap();
                    assert_eq!(flat(&some), flat(&together), "{dtype:?} {start}");
                }
            }
        }
    }

    #[test]
    fn no_row_and_sizes_that_do_not_fit() {
        let (w1, w2) = (numbers(&[4, 6], 1.1), numbers(&[6, 2], 1.7));
        let run = |x: &[usize], bias: Option<&Tensor>| {
            feed_forward(&numbers(x, 0.7), (&w1, bias), Pointwise::Relu, (&w2, None))
        };
        assert_eq!(run(&[0, 4], None).unwrap().dims(), [0, 2]);
        assert!(run(&[3, 5], None).is_err());
        assert!(run(&[3, 4], Some(&numbers(&[5], 1.0))).is_err());
        let x = numbers(&[3, 4], 0.7);
        let gated = gated_feed_forward(&x, (&w1, None), Pointwise::Relu, (&w2, None));
        assert!(gated.is_err());
    }

    #[test]
    fn blocks_are_about_equal() {
        assert_eq!(rows_at_once(0, 6_144), 24);
        assert_eq!(rows_at_once(5, 6_144), 24);
        assert_eq!(rows_at_once(256, 6_144), 264);
        assert_eq!(rows_at_once(300, 6_144), 168);
        assert_eq!(rows_at_once(1_000, 12_288), 168);
    }
}
