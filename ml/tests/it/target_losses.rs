//! The losses of several targets, lists and sets: values against numpy, gradients against finite differences.

use arrow::datatypes::DataType;
use vatic_ml::data::columns::Column;
use vatic_ml::data::labels::{ClassValue, Labels};
use vatic_ml::model::options::{LossName, TrainOptions};
use vatic_ml::train::losses::Losses;

const STEP: f64 = 1e-5;

/// A number, one of three classes, and a list of two numbers.
fn three_targets() -> (Vec<Column>, Vec<Labels>) {
    let columns = ["price", "kind", "path"].map(|name| Column {
        name: name.into(),
        data_type: DataType::Null,
    });
    let number = Labels::Number {
        mean: 4.0,
        std: 2.0,
    };
    let classes = Labels::Classes {
        values: (0..3).map(ClassValue::Integer).collect(),
    };
    let list = Labels::Numbers {
        means: vec![1.0, 2.0],
        std: 2.0,
    };
    (columns.into(), vec![number, classes, list])
}

/// The outputs, labels and weights of three rows.
const OUTPUTS: [f64; 18] = [
    0.3, 0.1, -1.0, 2.0, 0.5, -0.5, //
    -1.2, 0.0, 0.4, 0.2, 2.0, 1.0, //
    2.0, -3.0, 1.0, 1.5, -1.0, 0.25,
];
const LABELS: [f64; 12] = [
    0.1, 2.0, 0.0, 1.0, -1.0, 0.0, 2.5, 1.0, 1.0, 1.0, -1.5, -0.75,
];
const WEIGHTS: [f64; 9] = [1.0, 2.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0];

fn losses(options: &TrainOptions) -> Losses {
    let (columns, labels) = three_targets();
    Losses::of(&columns, &labels, options).unwrap()
}

/// Expected values: numpy, by the definitions of PyTorch's `CrossEntropyLoss` and `HuberLoss`, and half of `MSELoss`.
#[test]
fn the_loss_of_several_targets_is_the_sum_of_their_losses() {
    let weighted = TrainOptions {
        target_weights: vec![("Kind".into(), 0.25), ("path".into(), 3.0)],
        ..TrainOptions::default()
    };
    // In the units of the labels, whose deviation is 2.
    let huber = TrainOptions {
        loss: Some(LossName::Huber),
        huber_delta: Some(1.4),
        ..TrainOptions::default()
    };
    for (options, expected) in [
        (weighted, 4.040_121_942_990_086),
        (huber, 3.312_987_771_960_343_3),
    ] {
        let losses = losses(&options);
        let sum = losses.evaluate(&OUTPUTS, &LABELS, &WEIGHTS).unwrap();
        assert!((sum.loss - expected).abs() < 1e-12, "{}", sum.loss);
        assert!((sum.weight - 9.5 / 3.0).abs() < 1e-12, "{}", sum.weight);
        for output in 0..OUTPUTS.len() {
            let at = |offset: f64| {
                let mut moved = OUTPUTS;
                moved[output] += offset;
                losses.evaluate(&moved, &LABELS, &WEIGHTS).unwrap().loss
            };
            let expected = (at(STEP) - at(-STEP)) / (2.0 * STEP);
            let error = (sum.gradient[output] - expected).abs();
            assert!(error < 1e-8, "output {output}: {}", sum.gradient[output]);
        }
        let few = losses.evaluate(&OUTPUTS[1..], &LABELS, &WEIGHTS);
        assert!(
            few.unwrap_err()
                .to_string()
                .contains("17 outputs for 12 labels")
        );
    }
}

/// Expected value: numpy, by the definition of PyTorch's `PoissonNLLLoss`, less its minimum for each count, divided by the mean count.
#[test]
fn the_loss_of_a_list_is_the_mean_over_its_elements() {
    let counts = [Labels::Counts {
        length: 2,
        mean: 2.5,
    }];
    let options = TrainOptions {
        loss: Some(LossName::Poisson),
        ..TrainOptions::default()
    };
    let (columns, _) = three_targets();
    let losses = Losses::of(&columns[..1], &counts, &options).unwrap();
    let sum = losses.evaluate(&[0.3, -1.0, 0.7, 0.2], &[0.0, 3.0, 2.0, 0.5], &[1.0, 1.0]);
    let found = sum.unwrap().loss;
    assert!(
        (found - 3.839_096_448_740_811_2 / 2.5).abs() < 1e-12,
        "{found}"
    );
}

/// Expected values: numpy, by the definition of PyTorch's `BCEWithLogitsLoss`, with a label of 0.95 or 0.05 if smoothed.
#[test]
fn the_loss_of_a_set_is_the_mean_over_its_labels() {
    let sets = [Labels::Set {
        values: (0..3).map(ClassValue::Integer).collect(),
    }];
    let (columns, _) = three_targets();
    for (label_smoothing, expected) in
        [(0.0, 1.410_646_878_251_277_8), (0.1, 1.456_480_211_584_611)]
    {
        let options = TrainOptions {
            label_smoothing,
            ..TrainOptions::default()
        };
        let losses = Losses::of(&columns[..1], &sets, &options).unwrap();
        let (outputs, labels) = (
            [0.5, -1.0, 2.0, -3.0, 0.25, 0.0],
            [1.0, 0.0, 0.0, 0.0, 1.0, 1.0],
        );
        let found = losses
            .evaluate(&outputs, &labels, &[1.0, 1.0])
            .unwrap()
            .loss;
        assert!((found - expected).abs() < 1e-12, "{found}");
    }
}

#[test]
fn weights_and_losses_that_fit_no_target_are_refused() {
    let (columns, labels) = three_targets();
    let weights = |name: &str| TrainOptions {
        target_weights: vec![(name.into(), 2.0)],
        ..TrainOptions::default()
    };
    let error = |columns: &[Column], labels: &[Labels], options: &TrainOptions| {
        Losses::of(columns, labels, options)
            .unwrap_err()
            .to_string()
    };
    let found = error(&columns, &labels, &weights("size"));
    let expected =
        "target_weights names \"size\", which is not a target; the targets are price, kind, path";
    assert_eq!(found, expected);
    let twice = TrainOptions {
        target_weights: vec![("kind".into(), 2.0), ("Kind".into(), 3.0)],
        ..TrainOptions::default()
    };
    let found = error(&columns, &labels, &twice);
    assert_eq!(
        found,
        "target_weights names \"kind\" twice; keep one of them"
    );
    let found = error(&columns[..1], &labels[..1], &weights("price"));
    assert!(
        found.contains("no effect on a model of one target"),
        "{found}"
    );
    let focal = TrainOptions {
        loss: Some(LossName::Focal),
        ..TrainOptions::default()
    };
    assert!(Losses::of(&columns, &labels, &focal).is_ok());
    let found = error(
        &[columns[0].clone(), columns[2].clone()],
        &[labels[0].clone(), labels[2].clone()],
        &focal,
    );
    assert!(
        found.contains("loss = 'focal' does not fit the labels"),
        "{found}"
    );
}
