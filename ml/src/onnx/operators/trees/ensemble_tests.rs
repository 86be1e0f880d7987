//! Tests of the walk through trees.

use super::*;

/// A tree of one comparison with 0.5, whose leaves weigh 1 for true and 2 for false.
fn stump(compare: Compare, threshold: f64, nan_is_true: bool) -> Trees {
    let weight = |value: f64| Weight { target: 0, value };
    let branch = Node::Branch {
        feature: 0,
        compare,
        threshold,
        nan_is_true,
        next: [1, 2],
    };
    Trees {
        nodes: vec![
            branch,
            Node::Leaf { weights: 0..1 },
            Node::Leaf { weights: 1..2 },
        ],
        roots: vec![0],
        weights: vec![weight(1.0), weight(2.0)],
        base_values: vec![],
        targets: 1,
        features: 1,
        is_double: false,
    }
}

#[test]
fn comparisons_hold_at_the_threshold_and_at_the_ends() {
    let below = 0.5f32.next_down();
    let values = [
        0.5,
        below,
        0.5f32.next_up(),
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.0,
        -0.0,
    ];
    let thresholds = [
        0.5,
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN,
        f32::MAX,
    ];
    for threshold in thresholds {
        for nan_is_true in [false, true] {
            let holds = |compare: Compare, value: f32| match compare {
                Compare::LessOrEqual => value <= threshold,
                Compare::Less => value < threshold,
                Compare::GreaterOrEqual => value >= threshold,
                Compare::Greater => value > threshold,
                Compare::Equal => value == threshold,
                Compare::NotEqual => value != threshold,
            };
            for compare in [
                Compare::LessOrEqual,
                Compare::Less,
                Compare::GreaterOrEqual,
                Compare::Greater,
                Compare::Equal,
                Compare::NotEqual,
            ] {
                let trees = stump(compare, threshold.into(), nan_is_true);
                let ensemble = Ensemble::<f32>::of(&trees, Aggregate::Sum).unwrap();
                let found = ensemble.scores(&values, 1);
                let expected = values.map(|value| {
                    match holds(compare, value) || (value.is_nan() && nan_is_true) {
                        true => 1.0,
                        false => 2.0,
                    }
                });
                assert_eq!(found, expected, "{compare:?} {threshold} {nan_is_true}");
            }
        }
    }
}

#[test]
fn rows_of_all_blocks_are_walked() {
    let trees = stump(Compare::LessOrEqual, 0.5, false);
    let ensemble = Ensemble::<f64>::of(&trees, Aggregate::Sum).unwrap();
    for rows in [
        0,
        1,
        7,
        8,
        9,
        BLOCK_ROWS - 1,
        BLOCK_ROWS,
        3 * BLOCK_ROWS + 5,
    ] {
        let values: Vec<f64> = (0..rows).map(|row| (row % 2) as f64).collect();
        let expected: Vec<f64> = values.iter().map(|value| value + 1.0).collect();
        assert_eq!(ensemble.scores(&values, 1), expected, "{rows}");
    }
}
