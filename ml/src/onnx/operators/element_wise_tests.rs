//! Tests of functions of a number.

use tract_onnx::pb::AttributeProto;
use tract_onnx::prelude::tensor1;

use super::super::examples::{close, node, number, text};
use super::*;

const INPUTS: [f64; 8] = [1.0, -2.5, 0.3, 3.5, 100.0, -800.0, f64::NAN, f64::INFINITY];

fn of(name: &str, attributes: &[AttributeProto]) -> ElementWise {
    ElementWise::read(&node(name, attributes)).unwrap()
}

/// Checks a function of the inputs in double precision.
fn check(name: &str, attributes: &[AttributeProto], expected: [f64; 8]) {
    let outputs = of(name, attributes).run(&[&tensor1(&INPUTS)]).unwrap();
    assert_eq!(outputs[0].datum_type(), DatumType::F64, "{name}");
    let found = doubles(&outputs[0]).unwrap();
    for (found, expected) in found.iter().zip(expected) {
        let is_same = *found == expected || (found.is_nan() && expected.is_nan());
        let is_close = (found - expected).abs() <= 1e-8 * expected.abs();
        assert!(is_same || is_close, "{name}: {found} for {expected}");
    }
}

/// The values are those of onnxruntime 1.32 on doubles; of scipy 1.17 for `Erf`, `Gelu`, `HardSwish` and `Softplus`, which onnxruntime
/// computes in single precision only, or with a constant in single precision.
#[test]
fn double_precision_numbers_are_as_in_onnxruntime() {
    use std::f64::consts::LN_2;
    let (nan, infinity) = (f64::NAN, f64::INFINITY);
    check(
        "Erf",
        &[],
        [
            0.8427007929497148,
            -0.999593047982555,
            0.3286267594591274,
            0.9999992569016276,
            1.0,
            -1.0,
            nan,
            1.0,
        ],
    );
    check(
        "Gelu",
        &[],
        [
            0.8413447460685429,
            -0.01552416331444033,
            0.18537342665668577,
            3.4991857982233756,
            100.0,
            0.0,
            nan,
            infinity,
        ],
    );
    check(
        "Gelu",
        &[text("approximate", "tanh")],
        [
            0.8411919906082768,
            -0.015084266089998577,
            0.18537092354275922,
            3.499383802344626,
            100.0,
            0.0,
            nan,
            infinity,
        ],
    );
    check(
        "HardSwish",
        &[],
        [
            2.0 / 3.0,
            -2.5 / 12.0,
            0.165,
            3.5,
            100.0,
            0.0,
            nan,
            infinity,
        ],
    );
    check(
        "LeakyRelu",
        &[],
        [
            1.0,
            -0.024999999441206455,
            0.3,
            3.5,
            100.0,
            -7.999999821186066,
            nan,
            infinity,
        ],
    );
    check(
        "LeakyRelu",
        &[number("alpha", 0.3)],
        [
            1.0,
            -0.7500000298023224,
            0.3,
            3.5,
            100.0,
            -240.00000953674316,
            nan,
            infinity,
        ],
    );
    check(
        "Round",
        &[],
        [1.0, -2.0, 0.0, 4.0, 100.0, -800.0, nan, infinity],
    );
    check(
        "Sigmoid",
        &[],
        [
            0.7310585786300049,
            0.07585818002124345,
            0.574442516811659,
            0.9706877692486436,
            1.0,
            0.0,
            nan,
            1.0,
        ],
    );
    check(
        "Softplus",
        &[],
        [
            1.3132616875182228,
            0.07888973429254963,
            0.854355244468527,
            3.5297504182726205,
            100.0,
            0.0,
            nan,
            infinity,
        ],
    );
    check(
        "Swish",
        &[],
        [
            0.7310585786300049,
            -0.18964545005310862,
            0.1723327550434977,
            3.397407192370253,
            100.0,
            0.0,
            nan,
            infinity,
        ],
    );
    check(
        "Swish",
        &[number("alpha", 1.7)],
        [
            0.8455347411442324,
            -0.03515906347577119,
            0.18744194334656464,
            3.490903264346104,
            100.0,
            0.0,
            nan,
            infinity,
        ],
    );
    let zeros = of("Softplus", &[]).run(&[&tensor1(&[0.0, -infinity])]);
    let zeros = doubles(&zeros.unwrap()[0]).unwrap();
    assert!(
        (zeros[0] - LN_2).abs() < 1e-15 && zeros[1] == 0.0,
        "{zeros:?}"
    );
}

/// The values are those of onnxruntime 1.32.
#[test]
fn single_precision_numbers_for_which_tract_has_other_values_are_as_in_onnxruntime() {
    let inputs = tensor1(&[1.0f32, -2.5, 100.0, 800.0, -100.0]);
    let softplus = of("Softplus", &[]);
    assert!((softplus.function.of_tract)(softplus.alpha).is_none());
    let outputs = softplus.run(&[&inputs]).unwrap();
    close(&outputs[0], &[1.31326, 0.0788897, 100.0, 800.0, 0.0]);
    let swish = of("Swish", &[number("alpha", 1.7)]);
    assert!((swish.function.of_tract)(swish.alpha).is_none());
    let outputs = swish.run(&[&inputs]).unwrap();
    close(&outputs[0], &[0.845535, -0.0351591, 100.0, 800.0, 0.0]);
    let swish = of("Swish", &[]);
    assert!((swish.function.of_tract)(swish.alpha).is_some());
}

#[test]
fn integers_are_refused() {
    let integers = Shaped::new(DatumType::I64, []);
    let error = of("Softplus", &[]).outputs(&[integers]).unwrap_err();
    assert_eq!(error.to_string(), "Softplus takes floats, and gets I64");
}
