//! Convolutions in f32, which have kernels of their own, and in f64: their outputs and gradients against PyTorch
//! (`fixtures/convolutions.py`), and their determinism.

use candle_core::{DType, Tensor, Var};
use vatic_ml::nn::{
    Activation, Convolution, Pooling, Window, convolution, convolution_and_squares, pool,
};

use crate::layers::{numbers, reversed};

#[derive(serde::Deserialize)]
struct Case {
    shape: [usize; 9],
    activation: Option<Activation>,
    sums: Sums,
}

/// Four sums of the elements of a tensor times whole numbers, each with the sum of the absolute values.
type OfTensor = [[f64; 2]; 4];

#[derive(serde::Deserialize)]
struct Sums {
    y: OfTensor,
    dx: OfTensor,
    dw: OfTensor,
    db: OfTensor,
}

fn cases() -> Vec<Case> {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("fixtures/convolutions.json")).unwrap();
    assert_eq!(cases.len(), 12);
    cases
}

/// The output, and the gradients of input, weights and bias.
fn compute(case: &Case, dtype: DType) -> [Tensor; 4] {
    let [
        rows,
        groups,
        channels,
        outputs,
        height,
        width,
        kernel,
        stride,
        padding,
    ] = case.shape;
    let variable = |values: Tensor| Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap();
    let weight = reversed(&[outputs, channels / groups, kernel, kernel]);
    let x = variable(numbers(&[rows, channels, height, width]));
    let weight = variable((weight / 8.0).unwrap());
    let bias = variable((numbers(&[outputs]) + 2.34e-5).unwrap());
    let layer = Convolution {
        window: Window::square(kernel, stride, padding),
        groups,
    };
    let y = convolution(&x, &weight, &bias, layer, case.activation).unwrap();
    let slopes = reversed(y.dims()).to_dtype(dtype).unwrap();
    let sum = (&y * slopes).unwrap().sum_all().unwrap();
    let gradients = sum.backward().unwrap();
    let gradient = |variable: &Var| gradients.get(variable).unwrap().clone();
    [y, gradient(&x), gradient(&weight), gradient(&bias)]
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    tensor.to_vec1().unwrap()
}

#[test]
fn convolutions_agree_with_pytorch() {
    for case in cases() {
        for (dtype, error_max) in [(DType::F32, 1e-6), (DType::F64, 1e-9)] {
            let found = compute(&case, dtype);
            let Sums { y, dx, dw, db } = &case.sums;
            for ((found, name), expected) in found
                .iter()
                .zip(["y", "dx", "dw", "db"])
                .zip([y, dx, dw, db])
            {
                let values = flat(found);
                for (number, [sum, scale]) in expected.iter().enumerate() {
                    let factor = |index: usize| (index * (2 * number + 3) + number) % 17;
                    let terms = values.iter().enumerate();
                    let terms = terms.map(|(index, value)| value * (factor(index) as f64 - 8.0));
                    let error = (terms.sum::<f64>() - sum).abs() / scale.max(1.0);
                    assert!(
                        error < error_max,
                        "{name} of {:?} {:?}, {dtype:?}, sum {number}: {error}",
                        case.shape,
                        case.activation
                    );
                }
            }
        }
    }
}

#[test]
fn each_number_is_that_of_double_precision() {
    for case in cases() {
        let [single, double] = [DType::F32, DType::F64].map(|dtype| compute(&case, dtype));
        for (name, (single, double)) in ["y", "dx", "dw", "db"]
            .iter()
            .zip(single.iter().zip(&double))
        {
            let (single, double) = (flat(single), flat(double));
            let scale = double
                .iter()
                .fold(1.0f64, |max, value| max.max(value.abs()));
            let pairs = single.iter().zip(&double);
            let worst = pairs.fold(0.0f64, |max, (a, b)| max.max((a - b).abs()));
            assert!(
                worst < 1e-5 * scale,
                "{name} of {:?}: {worst}, largest {scale}",
                case.shape
            );
        }
    }
}

#[test]
fn a_pool_behind_a_convolution_is_its_parts() {
    for (channels, groups, activation) in [
        (3, 1, None),
        (3, 1, Some(Activation::Relu)),
        (6, 6, Some(Activation::Tanh)),
        (6, 2, Some(Activation::Gelu)),
    ] {
        let layer = Convolution {
            window: Window::square(3, 1, 1),
            groups,
        };
        for dtype in [DType::F32, DType::F64] {
            let variable =
                |values: Tensor| Var::from_tensor(&values.to_dtype(dtype).unwrap()).unwrap();
            let x = variable(numbers(&[3, channels, 7, 10]));
            let weight = variable(reversed(&[12, channels / groups, 3, 3]));
            let bias = variable(numbers(&[12]));
            let parts = convolution(&x, &weight, &bias, layer, activation).unwrap();
            let parts = pool(&parts, Window::square(2, 2, 0), Pooling::Max).unwrap();
            let one = convolution_and_squares(&x, &weight, &bias, layer, activation).unwrap();
            assert_eq!(one.dims(), [3, 12, 3, 5]);
            assert_eq!(flat(&one), flat(&parts));
            let slopes = reversed(one.dims()).to_dtype(dtype).unwrap();
            let gradients = [&one, &parts].map(|y| {
                let sum = (y * &slopes).unwrap().sum_all().unwrap();
                sum.backward().unwrap()
            });
            for variable in [&x, &weight, &bias] {
                let [one, parts] = gradients.each_ref().map(|all| all.get(variable).unwrap());
                assert_eq!(flat(one), flat(parts), "{activation:?} {dtype:?}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_bits_whatever_is_beside_it() {
    let window = Window::square(3, 1, 1);
    for (channels, groups) in [(5, 1), (6, 6)] {
        let layer = Convolution { window, groups };
        let single = |values: Tensor| values.to_dtype(DType::F32).unwrap();
        let x = single(numbers(&[7, channels, 9, 10]));
        let weight = single(reversed(&[12, channels / groups, 3, 3]));
        let bias = single(numbers(&[12]));
        let compute = |x: &Tensor| {
            let relu = Some(Activation::Relu);
            flat(&convolution(x, &weight, &bias, layer, relu).unwrap())
        };
        let together = compute(&x);
        let rows = (0..7).map(|row| compute(&x.narrow(0, row, 1).unwrap()));
        assert_eq!(rows.flatten().collect::<Vec<f64>>(), together);
    }
}
