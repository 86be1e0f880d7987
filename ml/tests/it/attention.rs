//! Gradients of attention against finite differences.

use candle_core::{Device, Tensor};
use vatic_ml::nn::{Attention, attention};

use crate::gradients::check_within;

/// A mask that lets each of three queries see the keys up to its own and one more.
fn causal() -> Tensor {
    let hidden = f64::NEG_INFINITY;
    let values = vec![
        0.0, 0.0, hidden, hidden, 0.0, 0.0, 0.0, hidden, 0.0, 0.0, 0.0, 0.0,
    ];
    Tensor::from_vec(values, (1, 3, 4), &Device::Cpu).unwrap()
}

#[test]
fn gradients_of_queries_keys_and_values() {
    for heads in [1, 3] {
        for mask in [None, Some(causal())] {
            let name = format!("{heads} heads, mask {}", mask.is_some());
            let shapes: [&[usize]; 3] = [&[2, 3, 6], &[2, 4, 6], &[2, 4, 6]];
            check_within(1e-7, &name, &shapes, |v| {
                let mask = mask.clone();
                attention(&v[0], &v[1], &v[2], Attention { heads, mask })
            });
        }
    }
}
