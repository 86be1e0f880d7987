//! Gradients of the layers of encoders of texts against finite differences.

use candle_core::Device;
use vatic_ml::nn::{
    PackedAttention, Pointwise, Rotary, Sequences, add_norm, feed_forward, gated_feed_forward,
    packed_attention, pointwise,
};

use crate::gradients::check_within;

#[test]
fn gradients_of_packed_attention() {
    let sequences = Sequences::of_lengths([1, 4, 0, 3]);
    for (causal, window) in [
        (false, None),
        (true, None),
        (false, Some(1)),
        (true, Some(1)),
    ] {
        for scale in [None, Some(0.7)] {
            let how = PackedAttention {
                heads: 2,
                scale,
                causal,
                window,
            };
            check_within(1e-7, &format!("{how:?}"), &[&[8, 12]], |v| {
                packed_attention(&v[0], None, &sequences, &how)
            });
            // Distances of two and more count as one.
            let shapes: [&[usize]; 2] = [&[8, 12], &[2, 3]];
            check_within(1e-7, &format!("{how:?} with bias"), &shapes, |v| {
                packed_attention(&v[0], Some(&v[1]), &sequences, &how)
            });
        }
    }
}

#[test]
fn gradients_of_rotary_positions() {
    let sequences = Sequences::of_lengths([1, 3]);
    let rotary = Rotary::new(4, 3, 10.0, &Device::Cpu).unwrap();
    check_within(1e-7, "rotary", &[&[4, 10]], |v| {
        rotary.forward(&v[0], 2, &sequences)
    });
}

#[test]
fn gradients_of_feed_forward_layers() {
    let shapes: [&[usize]; 5] = [&[3, 4], &[4, 6], &[6], &[6, 2], &[2]];
    check_within(1e-7, "feed forward", &shapes, |v| {
        let (first, second) = ((&v[1], Some(&v[2])), (&v[3], Some(&v[4])));
        feed_forward(&v[0], first, Pointwise::Gelu, second)
    });
    let shapes: [&[usize]; 3] = [&[3, 4], &[4, 6], &[6, 2]];
    check_within(1e-7, "feed forward without bias", &shapes, |v| {
        feed_forward(&v[0], (&v[1], None), Pointwise::GeluTanh, (&v[2], None))
    });
    let shapes: [&[usize]; 5] = [&[3, 4], &[4, 6], &[6], &[3, 2], &[2]];
    check_within(1e-7, "gated feed forward", &shapes, |v| {
        let (first, second) = ((&v[1], Some(&v[2])), (&v[3], Some(&v[4])));
        gated_feed_forward(&v[0], first, Pointwise::Silu, second)
    });
}

#[test]
fn gradients_of_the_norm_of_a_sum() {
    let shapes: [&[usize]; 4] = [&[3, 5], &[3, 5], &[5], &[5]];
    check_within(1e-7, "norm of a sum", &shapes, |v| {
        add_norm(&v[0], &v[1], &v[2], &v[3], 1e-12)
    });
}

#[test]
fn gradients_of_pointwise_functions() {
    // The numbers are between -1 and 1, and 6 x between -6 and 6.
    for function in [
        Pointwise::Relu,
        Pointwise::Relu6,
        Pointwise::Gelu,
        Pointwise::GeluTanh,
        Pointwise::QuickGelu,
        Pointwise::Silu,
        Pointwise::Sigmoid,
        Pointwise::Tanh,
        Pointwise::HardSwish,
        Pointwise::HardSigmoid,
    ] {
        check_within(1e-7, &format!("{function:?}"), &[&[4, 5]], |v| {
            pointwise(function, &(&v[0] * 6.0)?)
        });
    }
}
