//! The gradients of the layers of a perceptron, checked against central finite differences in f64.

use candle_core::{DType, Device, Tensor, Var};
use vatic_ml::data::encode::shape::InputShape;
use vatic_ml::data::encode::tabular::{CATEGORIES, NUMBERS};
use vatic_ml::data::inputs::Inputs;
use vatic_ml::model::network::{Mode, Network};
use vatic_ml::model::options::TrainOptions;
use vatic_ml::models::Mlp;
use vatic_ml::nn::{Activation, activate, dropout, embedding_sum, linear};
use vatic_ml::{Result, random};

use crate::noise;

const STEP: f64 = 1e-5;

/// Compares the gradient of `Σ function(variables) · c` with finite differences, for every element of every variable.
fn check(name: &str, shapes: &[&[usize]], function: impl Fn(&[Tensor]) -> Result<Tensor>) {
    check_within(1e-8, name, shapes, function);
}

/// Like [`check`], for functions that are so curved that finite differences have a larger error.
pub(crate) fn check_within(
    error_max: f64,
    name: &str,
    shapes: &[&[usize]],
    function: impl Fn(&[Tensor]) -> Result<Tensor>,
) {
    let mut draw = noise(3);
    let values: Vec<Vec<f64>> = shapes
        .iter()
        .map(|shape| (0..shape.iter().product()).map(|_| draw()).collect())
        .collect();
    let tensors = |values: &[Vec<f64>]| -> Vec<Var> {
        let pairs = values.iter().zip(shapes);
        pairs
            .map(|(values, shape)| Var::from_slice(values, *shape, &Device::Cpu).unwrap())
            .collect()
    };
    let objective = |variables: &[Var]| {
        let parameters: Vec<Tensor> = variables
            .iter()
            .map(|variable| variable.as_tensor().clone())
            .collect();
        let output = function(&parameters).unwrap();
        let mut draw = noise(5);
        let factors: Vec<f64> = (0..output.elem_count()).map(|_| draw()).collect();
        let factors = Tensor::from_vec(factors, output.shape(), &Device::Cpu).unwrap();
        (output * factors).unwrap().sum_all().unwrap()
    };
    let variables = tensors(&values);
    let gradients = objective(&variables).backward().unwrap();
    for (index, variable) in variables.iter().enumerate() {
        let gradient = gradients
            .get(variable)
            .unwrap_or_else(|| panic!("{name}: variable {index} has no gradient"));
        let gradient = gradient.flatten_all().unwrap().to_vec1::<f64>().unwrap();
        for element in 0..gradient.len() {
            let at = |offset: f64| {
                let mut moved = values.clone();
                moved[index][element] += offset;
                objective(&tensors(&moved)).to_scalar::<f64>().unwrap()
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let error = (gradient[element] - expected).abs() / (1.0 + expected.abs());
            assert!(
                error < error_max,
                "{name}: variable {index}[{element}] is {}, expected {expected}",
                gradient[element]
            );
        }
    }
}

#[test]
fn linear_layer() {
    let all = Activation::ALL
        .iter()
        .map(|(_, activation)| Some(*activation));
    for activation in all.chain([None]) {
        check(
            &format!("linear {activation:?}"),
            &[&[4, 3], &[3, 2], &[2]],
            |v| linear(&v[0], &v[1], &v[2], activation),
        );
    }
}

#[test]
fn a_fused_layer_is_its_parts() {
    let draw = |count: usize, seed: u64| {
        let mut draw = noise(seed);
        (0..count).map(|_| draw() as f32).collect::<Vec<f32>>()
    };
    let x = Var::from_vec(draw(300 * 5, 1), (300, 5), &Device::Cpu).unwrap();
    let w = Var::from_vec(draw(5 * 33, 2), (5, 33), &Device::Cpu).unwrap();
    let b = Var::from_vec(draw(33, 3), 33, &Device::Cpu).unwrap();
    for (name, activation) in Activation::ALL {
        let fused = linear(&x, &w, &b, Some(*activation)).unwrap();
        let z = x.matmul(&w).unwrap().broadcast_add(&b).unwrap();
        let parts = activate(*activation, &z).unwrap();
        let flat = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let near = |left: &Tensor, right: &Tensor| {
            let pairs = flat(left).into_iter().zip(flat(right));
            assert!(pairs.clone().all(|(l, r)| (l - r).abs() < 1e-4), "{name}");
            assert!(pairs.clone().any(|(l, _)| l != 0.0), "{name}");
        };
        near(&fused, &parts);
        let gradients =
            [&fused, &parts].map(|y| y.sqr().unwrap().sum_all().unwrap().backward().unwrap());
        for variable in [&x, &w, &b] {
            let [fused, parts] = gradients.each_ref().map(|all| all.get(variable).unwrap());
            let scale = flat(parts)
                .iter()
                .fold(1.0f32, |max, slope| max.max(slope.abs()));
            let divide = |tensor: &Tensor| (tensor / f64::from(scale)).unwrap();
            near(&divide(fused), &divide(parts));
        }
    }
}

#[test]
fn embedding_with_a_repeated_category() {
    let ids = Tensor::new(&[0u32, 3, 1, 3, 3, 4], &Device::Cpu).unwrap();
    check("embedding_sum", &[&[5, 2]], |v| {
        embedding_sum(&ids, &v[0], 3)
    });
}

#[test]
fn activations() {
    for (name, activation) in Activation::ALL {
        check(name, &[&[3, 4]], |v| activate(*activation, &v[0]));
    }
}

#[test]
fn activations_far_from_zero_have_finite_gradients() {
    for (name, activation) in Activation::ALL {
        let x = Var::new(&[-1e4f32, -100.0, 0.0, 100.0, 1e4], &Device::Cpu).unwrap();
        let gradients = activate(*activation, &x)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let gradient = gradients.get(&x).unwrap().to_vec1::<f32>().unwrap();
        assert!(
            gradient.iter().all(|slope| slope.is_finite()),
            "{name}: {gradient:?}"
        );
    }
}

#[test]
fn relu_is_flat_at_zero() {
    let x = Var::new(&[0.0f32], &Device::Cpu).unwrap();
    let gradients = activate(Activation::Relu, &x)
        .unwrap()
        .sum_all()
        .unwrap()
        .backward()
        .unwrap();
    assert_eq!(gradients.get(&x).unwrap().to_vec1::<f32>().unwrap(), [0.0]);
}

#[test]
fn relu_of_infinities_and_of_nan() {
    let x = Var::new(
        &[f32::NEG_INFINITY, -0.0, 0.5, f32::INFINITY, f32::NAN],
        &Device::Cpu,
    )
    .unwrap();
    let y = activate(Activation::Relu, &x).unwrap();
    let gradients = y.sum_all().unwrap().backward().unwrap();
    let y = y.to_vec1::<f32>().unwrap();
    assert_eq!(y[..4], [0.0, 0.0, 0.5, f32::INFINITY]);
    assert!(y[4].is_nan());
    let slopes = gradients.get(&x).unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(slopes[..4], [0.0, 0.0, 1.0, 1.0]);
}

#[test]
fn activations_have_the_values_of_their_definitions() {
    let x = Tensor::new(&[-3.0f64, -0.5, 0.0, 0.25, 2.0], &Device::Cpu).unwrap();
    // From Python: 0.5 * x * (1 + erf(x / sqrt(2))), x / (1 + exp(-x)).
    for (activation, expected) in [
        (
            Activation::Gelu,
            [
                -0.004_049_694_094_890_31,
                -0.154_268_769_362_993_44,
                0.0,
                0.149_676_581_420_730_93,
                1.954_499_736_103_641_6,
            ],
        ),
        (
            Activation::Silu,
            [
                -0.142_277_619_532_700_35,
                -0.188_770_334_399_072_7,
                0.0,
                0.140_544_125_221_449_52,
                1.761_594_155_955_764_6,
            ],
        ),
        (Activation::LeakyRelu, [-0.03, -0.005, 0.0, 0.25, 2.0]),
    ] {
        for (dtype, error_max) in [(DType::F64, 1e-12), (DType::F32, 1e-6)] {
            let y = activate(activation, &x.to_dtype(dtype).unwrap()).unwrap();
            let y = y.to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
            let mut pairs = y.iter().zip(expected);
            assert!(
                pairs.all(|(y, expected)| (y - expected).abs() < error_max),
                "{activation:?}: {y:?}"
            );
        }
    }
}

#[test]
fn dropout_with_its_mask_held() {
    check("dropout", &[&[4, 5]], |v| {
        dropout(&v[0], 0.4, &mut random::stream(1, "test", &[]))
    });
}

#[test]
fn dropout_keeps_the_expected_value() {
    let ones = Tensor::ones(100_000, DType::F32, &Device::Cpu).unwrap();
    let dropped = dropout(&ones, 0.3, &mut random::stream(1, "test", &[])).unwrap();
    let mean = dropped.mean_all().unwrap().to_scalar::<f32>().unwrap();
    assert!((mean - 1.0).abs() < 0.01, "{mean}");
}

#[test]
fn perceptron_of_numbers_and_categories() {
    let shape = InputShape {
        numbers: 2,
        categories: 2,
        category_ids: 5,
        unseen_ids: vec![0, 3],
        ..InputShape::default()
    };
    let numbers = Tensor::new(&[[0.1f64, -0.5], [0.7, 0.2], [-0.3, 0.9]], &Device::Cpu).unwrap();
    let categories = Tensor::new(&[[1u32, 4], [2, 4], [0, 3]], &Device::Cpu).unwrap();
    let inputs = Inputs::new(3).with(NUMBERS, numbers).unwrap();
    let inputs = inputs.with(CATEGORIES, categories).unwrap();
    let options = TrainOptions {
        activation: Activation::Gelu,
        ..Default::default()
    };
    let network = Mlp::new(&shape, &[4, 3], 2, &options);
    let shapes: Vec<&[usize]> = network
        .parameters()
        .iter()
        .map(|spec| spec.shape.as_slice())
        .collect();
    check("mlp", &shapes, |v| {
        let outputs = network.forward(v, &inputs, Mode::Inference);
        outputs.map(|mut outputs| outputs.remove(0))
    });
}
