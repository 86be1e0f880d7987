//! Packed attention against its definition, against PyTorch, and against itself for other devices and other batches.

use candle_core::{DType, Device, Tensor, Var};

use super::attention::sizes_of;
use super::padded::of_tensors;
use super::{PackedAttention, Sequences, packed_attention};

const LENGTHS: [usize; 5] = [1, 300, 2, 17, 48];

fn numbers(shape: &[usize], step: f64) -> Tensor {
    let count = shape.iter().product::<usize>();
    let values: Vec<f64> = (0..count).map(|n| (n as f64 * step).sin()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn how(heads: usize, causal: bool, window: Option<usize>) -> PackedAttention {
    PackedAttention {
        heads,
        scale: None,
        causal,
        window,
    }
}

/// Each way to attend, with the numbers of a head's bias.
fn ways() -> Vec<(PackedAttention, Option<usize>)> {
    let scaled = PackedAttention {
        scale: Some(0.3),
        ..how(2, true, None)
    };
    vec![
        (how(2, false, None), None),
        (how(2, true, None), None),
        (how(2, false, Some(5)), None),
        (how(2, true, Some(40)), None),
        (scaled, None),
        (how(2, false, None), Some(9)),
        (how(2, false, None), Some(799)),
        (how(2, true, Some(70)), Some(33)),
    ]
}

/// The definition: one number after the other.
fn expected(
    qkv: &Tensor,
    bias: Option<&Tensor>,
    sequences: &Sequences,
    how: &PackedAttention,
) -> Vec<f64> {
    let columns = qkv.dim(1).unwrap();
    let (width, of_head) = (columns / 3, columns / 3 / how.heads);
    let distances = bias.map_or(1, |bias| bias.dim(1).unwrap()) as isize;
    let (qkv, bias) = (flat(qkv), bias.map(flat));
    let scale = how.scale.unwrap_or(1.0 / (of_head as f64).sqrt());
    let mut y = vec![0.0; sequences.tokens() * width];
    for tokens in sequences.ranges() {
        for (head, query) in (0..how.heads).flat_map(|h| tokens.clone().map(move |q| (h, q))) {
            let at = |token: usize, part: usize, n: usize| {
                qkv[token * columns + part * width + head * of_head + n]
            };
            let sees = |key: usize| {
                let is_near = how
                    .window
                    .is_none_or(|window| key.abs_diff(query) <= window);
                is_near && !(how.causal && key > query)
            };
            let keys: Vec<usize> = tokens.clone().filter(|key| sees(*key)).collect();
            let score = |key: usize| {
                let product: f64 = (0..of_head).map(|n| at(query, 0, n) * at(key, 1, n)).sum();
                let most = (distances - 1) / 2;
                let distance = (key as isize - query as isize).clamp(-most, most);
                let place = head * distances as usize + (distance + most) as usize;
                product * scale + bias.as_ref().map_or(0.0, |bias| bias[place])
            };
            let powers: Vec<f64> = keys.iter().map(|&key| score(key).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for n in 0..of_head {
                let weighted = keys.iter().zip(&powers);
                let mean: f64 = weighted.map(|(&key, power)| power * at(key, 2, n)).sum();
                y[query * width + head * of_head + n] = mean / sum;
            }
        }
    }
    y
}

fn worst(found: &Tensor, expected: &[f64]) -> f64 {
    let found = flat(found);
    assert_eq!(found.len(), expected.len());
    assert!(found.iter().all(|number| number.is_finite()));
    let pairs = found.iter().zip(expected);
    let errors = pairs.map(|(found, expected)| (found - expected).abs());
    errors.fold(0.0, f64::max)
}

#[test]
fn means_are_those_of_the_definition() {
    let sequences = Sequences::of_lengths(LENGTHS);
    for of_head in [4, 8, 32, 48] {
        let qkv = numbers(&[sequences.tokens(), 6 * of_head], 0.7);
        let qkv = qkv.to_dtype(DType::F32).unwrap();
        let wide = qkv.to_dtype(DType::F64).unwrap();
        for (how, distances) in ways() {
            let bias = distances.map(|count| numbers(&[2, count], 1.3));
            let bias = bias.map(|bias| bias.to_dtype(DType::F32).unwrap());
            let wide_bias = bias.as_ref().map(|bias| bias.to_dtype(DType::F64).unwrap());
            let (bias, wide_bias) = (bias.as_ref(), wide_bias.as_ref());
            let expected = expected(&wide, wide_bias, &sequences, &how);
            let name = format!("{how:?}, bias {distances:?}, heads of {of_head}");
            let found = packed_attention(&qkv, bias, &sequences, &how).unwrap();
            assert_eq!(found.dims(), [sequences.tokens(), 2 * of_head]);
            let error = worst(&found, &expected);
            assert!(error < 5e-6, "{name}: {error}");
            let found = packed_attention(&wide, wide_bias, &sequences, &how).unwrap();
            let error = worst(&found, &expected);
            assert!(error < 1e-12, "{name}, f64: {error}");
            let shape = wide_bias.map(Tensor::shape);
            let sizes = sizes_of(wide.shape(), shape, &sequences, &how).unwrap();
            let found = of_tensors(&wide, wide_bias, &sequences, &sizes).unwrap();
            let error = worst(&found, &expected);
            assert!(error < 1e-12, "{name}, of tensors: {error}");
        }
    }
}

/// The slopes of the argument and of the bias, if the result's are `factors`.
fn slopes(y: &Tensor, factors: &Tensor, variables: &[&Var]) -> Vec<Tensor> {
    let sum = (y * factors).unwrap().sum_all().unwrap();
    let gradients = sum.backward().unwrap();
    let of = |variable: &&Var| gradients.get(variable).unwrap().clone();
    variables.iter().map(of).collect()
}

#[test]
fn slopes_of_long_sequences_are_those_of_tensors() {
    let sequences = Sequences::of_lengths([3, 0, 290, 1, 16]);
    let cases = [
        (4, DType::F64, 1e-11),
        (8, DType::F32, 2e-4),
        (32, DType::F32, 2e-4),
    ];
    for (of_head, dtype, error_max) in cases {
        for (how, distances) in ways() {
            let rounded = |shape: &[usize], step| numbers(shape, step).to_dtype(dtype).unwrap();
            let qkv = rounded(&[310, 6 * of_head], 0.7);
            let factors = rounded(&[310, 2 * of_head], 2.1);
            let bias = distances.map(|count| rounded(&[2, count], 1.3));
            let of_type = |dtype, run: &dyn Fn(&Tensor, Option<&Tensor>) -> Tensor| {
                let var =
                    |tensor: &Tensor| Var::from_tensor(&tensor.to_dtype(dtype).unwrap()).unwrap();
                let (qkv, bias) = (var(&qkv), bias.as_ref().map(var));
                let y = run(&qkv, bias.as_ref().map(Var::as_tensor));
                let variables: Vec<&Var> = std::iter::once(&qkv).chain(&bias).collect();
                slopes(&y, &factors.to_dtype(dtype).unwrap(), &variables)
            };
            let found = of_type(dtype, &|qkv, bias| {
                packed_attention(qkv, bias, &sequences, &how).unwrap()
            });
            let expected = of_type(DType::F64, &|qkv, bias| {
                let shape = bias.map(Tensor::shape);
                let sizes = sizes_of(qkv.shape(), shape, &sequences, &how).unwrap();
                of_tensors(qkv, bias, &sequences, &sizes).unwrap()
            });
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!(found.dims(), expected.dims());
                let error = worst(found, &flat(expected));
                let name = format!("{how:?}, bias {distances:?}, {dtype:?}");
                assert!(error < error_max, "{name}, heads of {of_head}: {error}");
            }
        }
    }
}

#[test]
fn a_sequence_does_not_depend_on_the_others() {
    let sequences = Sequences::of_lengths(LENGTHS);
    let qkv = numbers(&[sequences.tokens(), 6 * 32], 0.7);
    let qkv = qkv.to_dtype(DType::F32).unwrap();
    for (how, distances) in ways() {
        let bias = distances.map(|count| numbers(&[2, count], 1.3).to_dtype(DType::F32).unwrap());
        let together = packed_attention(&qkv, bias.as_ref(), &sequences, &how).unwrap();
        for tokens in sequences.ranges() {
            let of_range = |all: &Tensor| all.narrow(0, tokens.start, tokens.len()).unwrap();
            let one = Sequences::of_lengths([tokens.len()]);
            let alone = packed_attention(&of_range(&qkv), bias.as_ref(), &one, &how).unwrap();
            assert_eq!(
                flat(&alone),
                flat(&of_range(&together)),
                "{how:?} {tokens:?}"
            );
        }
    }
}

#[test]
fn there_may_be_no_sequence_and_no_token() {
    let how = how(2, false, None);
    for lengths in [vec![], vec![0, 0]] {
        let sequences = Sequences::of_lengths(lengths);
        for (dtype, of_head) in [(DType::F32, 8), (DType::F64, 3)] {
            let qkv = Tensor::zeros((0, 6 * of_head), dtype, &Device::Cpu).unwrap();
            let found = packed_attention(&qkv, None, &sequences, &how).unwrap();
            assert_eq!(found.dims(), [0, 2 * of_head]);
            let sizes = sizes_of(qkv.shape(), None, &sequences, &how).unwrap();
            let found = of_tensors(&qkv, None, &sequences, &sizes).unwrap();
            assert_eq!(found.dims(), [0, 2 * of_head]);
        }
    }
    let (some, none) = (
        Sequences::of_lengths([0, 2, 0, 1]),
        Sequences::of_lengths([2, 1]),
    );
    let qkv = numbers(&[3, 48], 0.7).to_dtype(DType::F32).unwrap();
    let found = [some, none].map(|sequences| packed_attention(&qkv, None, &sequences, &how));
    let [with_empty, without] = found.map(|found| flat(&found.unwrap()));
    assert_eq!(with_empty, without);
}

#[test]
fn sizes_that_do_not_fit_are_an_error() {
    let qkv = numbers(&[3, 24], 0.7);
    let fails = |bias: Option<&Tensor>, lengths: [usize; 2], heads: usize| {
        let sequences = Sequences::of_lengths(lengths);
        packed_attention(&qkv, bias, &sequences, &how(heads, false, None)).is_err()
    };
    assert!(!fails(None, [1, 2], 4));
    assert!(fails(None, [1, 3], 4));
    assert!(fails(None, [1, 2], 3));
    assert!(fails(None, [1, 2], 0));
    assert!(!fails(Some(&numbers(&[4, 5], 1.0)), [1, 2], 4));
    assert!(fails(Some(&numbers(&[2, 5], 1.0)), [1, 2], 4));
    assert!(fails(Some(&numbers(&[4, 4], 1.0)), [1, 2], 4));
    assert!(fails(Some(&numbers(&[5], 1.0)), [1, 2], 4));
    let bias = numbers(&[4, 5], 1.0).to_dtype(DType::F32).unwrap();
    assert!(fails(Some(&bias), [1, 2], 4));
}

/// `scaled_dot_product_attention` of PyTorch 2.15 for each sequence, in f64, with the scores of other tokens at -∞.
#[test]
fn means_are_those_of_pytorch() {
    let sequences = Sequences::of_lengths([1, 4]);
    let (qkv, bias) = (numbers(&[5, 12], 0.7), numbers(&[2, 5], 1.3));
    let first = [
        -0.631_266_637_872,
        0.016_813_900_484,
        0.656_986_598_719,
        0.988_168_233_877,
    ];
    let unscaled = PackedAttention {
        scale: Some(1.0),
        ..how(2, true, None)
    };
    let cases: [(PackedAttention, Option<&Tensor>, [f64; 16]); 4] = [
        (how(2, false, None), None, PLAIN),
        (how(2, false, None), Some(&bias), WITH_BIAS),
        (unscaled, None, CAUSAL),
        (how(2, false, Some(1)), None, WITH_WINDOW),
    ];
    for (how, bias, rest) in cases {
        let found = packed_attention(&qkv, bias, &sequences, &how).unwrap();
        let expected: Vec<f64> = first.into_iter().chain(rest).collect();
        let error = worst(&found, &expected);
        assert!(error < 1e-11, "{how:?}: {error}");
    }
}

const PLAIN: [f64; 16] = [
    -0.102_501_280_859,
    -0.202_369_774_152,
    0.310_356_652_233,
    0.322_699_557_543,
    0.676_057_388_788,
    0.626_852_497_213,
    0.208_118_356_949,
    0.042_909_776_896,
    0.069_655_417_633,
    -0.064_660_574_212,
    -0.180_872_165_934,
    -0.405_579_589_316,
    -0.080_574_713_475,
    -0.167_049_645_394,
    0.331_807_867_964,
    0.354_425_745_636,
];

const WITH_BIAS: [f64; 16] = [
    0.152_954_512_531,
    0.013_774_828_493,
    0.318_703_926_777,
    0.166_326_105_189,
    0.820_672_089_267,
    0.697_643_803_338,
    0.090_574_430_957,
    -0.251_741_472_018,
    -0.217_306_634_338,
    -0.428_336_404_347,
    -0.521_976_351_251,
    -0.459_816_941_776,
    -0.163_757_863_175,
    -0.036_557_916_163,
    0.479_711_331_020,
    0.602_168_509_612,
];

const CAUSAL: [f64; 16] = [
    0.990_607_355_695,
    0.845_746_831_143,
    0.303_118_356_746,
    -0.382_071_417_184,
    0.927_598_791_784,
    0.766_726_024_024,
    -0.176_721_042_477,
    -0.460_840_261_063,
    -0.192_758_658_737,
    -0.372_019_060_915,
    -0.440_621_000_729,
    -0.455_125_872_652,
    -0.185_565_407_190,
    -0.307_522_143_127,
    0.442_123_816_757,
    0.545_054_338_569,
];

const WITH_WINDOW: [f64; 16] = [
    -0.115_679_000_670,
    -0.541_677_914_932,
    -0.343_851_088_618,
    -0.488_275_774_974,
    0.473_277_319_394,
    0.512_613_907_669,
    0.198_637_038_717,
    0.195_215_507_233,
    -0.131_097_042_777,
    -0.263_114_498_946,
    -0.361_233_896_738,
    -0.414_340_038_985,
    -0.069_198_159_285,
    0.317_690_018_205,
    0.612_743_368_005,
    0.708_731_576_950,
];
