//! Trainings with several targets, lists of numbers and sets of labels; `target_losses` has their losses.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeListArray, Float64Array, Int64Array,
    ListArray, ListBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{DataType, Float64Type};
use vatic_ml::artifact::{self, Files, Loader, TrainedLoader};
use vatic_ml::data::labels::{ClassValue, Labels};
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::LoadOptions;
use vatic_ml::model::options::{DataSplit, NullHandling, TrainOptions};
use vatic_ml::model::{Model, Wanted};
use vatic_ml::train::fit::Trained;

use crate::{batch_of, model, model_type, noise, predict, spec_of_targets, train, train_spec};

const ROWS: usize = 400;

/// Numbers `a` and `b`; a number, two classes, three classes, a list and a set that depend on them.
fn rows() -> (RecordBatch, Vec<u128>) {
    let mut draw = noise(5);
    let inputs: Vec<[f64; 2]> = (0..ROWS).map(|_| [draw(), draw()]).collect();
    let numbers = |of: &dyn Fn(f64, f64) -> f64| -> ArrayRef {
        Arc::new(Float64Array::from_iter_values(
            inputs.iter().map(|[a, b]| of(*a, *b)),
        ))
    };
    let flags = inputs.iter().map(|[a, b]| Some(a + b > 0.0));
    let kinds = inputs.iter().map(|[a, _]| match a {
        low if *low < -0.3 => "low",
        high if *high > 0.3 => "high",
        _ => "middle",
    });
    let paths = inputs.iter().map(|[a, b]| {
        let path = [100.0 + a, 200.0 + 2.0 * b, 300.0 + a - b];
        Some(path.map(Some).to_vec())
    });
    let paths = ListArray::from_iter_primitive::<Float64Type, _, _>(paths);
    let mut tags = ListBuilder::new(StringBuilder::new());
    for [a, b] in &inputs {
        let all = [("left", *a < 0.0), ("up", *b > 0.3), ("far", a.abs() > 0.5)];
        let tags_of_row = all.iter().filter(|(_, applies)| *applies);
        tags.append_value(tags_of_row.map(|(tag, _)| Some(*tag)));
    }
    let batch = batch_of(vec![
        ("a", numbers(&|a, _| a)),
        ("b", numbers(&|_, b| b)),
        ("price", numbers(&|a, b| 5_000.0 + 1_000.0 * (a - 2.0 * b))),
        ("flag", Arc::new(flags.collect::<BooleanArray>())),
        ("kind", Arc::new(StringArray::from_iter_values(kinds))),
        ("path", Arc::new(paths)),
        ("tags", Arc::new(tags.finish())),
    ]);
    let hashes = (0..ROWS as u128).map(|row| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060));
    (batch, hashes.collect())
}

fn options(model_type: &str) -> TrainOptions {
    TrainOptions {
        model_type: model_type.into(),
        hidden_units: vec![16],
        epochs: Some(40),
        learn_rate: 0.02,
        ..TrainOptions::default()
    }
}

/// A training on columns `a` and `b` with these targets.
fn trained(targets: &[&str], options: &TrainOptions, workers: usize) -> Trained {
    let (batch, hashes) = rows();
    let columns = ["a", "b"].iter().chain(targets);
    let columns = columns.map(|name| batch.schema().index_of(name).unwrap());
    let batch = batch.project(&columns.collect::<Vec<_>>()).unwrap();
    let spec = spec_of_targets(&batch, targets.len(), options);
    train_spec(&spec, Duration::ZERO, &batch, &hashes, workers).unwrap()
}

fn metric(trained: &Trained, name: &str) -> f64 {
    let mut metrics = trained.metrics.iter();
    let found = metrics.find(|metric| metric.full_name() == name);
    found.and_then(|metric| metric.value).unwrap_or(f64::NAN)
}

fn features() -> RecordBatch {
    rows().0.project(&[0, 1]).unwrap()
}

#[test]
fn a_network_learns_lists_and_gives_them() {
    let lists = options("dnn_regressor");
    let layers = TrainOptions {
        layers: ["linear(16)", "relu", "linear(3)"]
            .map(str::to_owned)
            .to_vec(),
        ..options("sequential")
    };
    for options in [lists, layers] {
        let alone = trained(&["path"], &options, 1);
        assert!(metric(&alone, "r2") > 0.9, "{:?}", alone.metrics);
        let [Labels::Numbers { means, .. }] = &alone.config.labels[..] else {
            panic!("{:?}", alone.config.labels)
        };
        let near = means.iter().zip([100.0, 200.0, 300.0]);
        assert!(
            near.clone().all(|(mean, near)| (mean - near).abs() < 0.2),
            "{means:?}"
        );
        let outputs = predict(&model(&alone), &features());
        let lists = outputs.columns[0].as_list::<i32>();
        assert_eq!((lists.len(), lists.value_length(7)), (ROWS, 3));
        let numbers = lists.values().as_primitive::<Float64Type>();
        assert_eq!(numbers.values().to_vec(), outputs.scores);
        assert!((numbers.value(1) - 200.0).abs() < 4.0);
        let together = trained(&["path"], &options, 3);
        assert_eq!(together.weights, alone.weights);
        assert_eq!(together.metrics, alone.metrics);
    }
}

#[test]
fn lists_of_one_length_are_the_same_target_in_any_type() {
    let (batch, hashes) = rows();
    let lists = batch.column_by_name("path").unwrap();
    let numbers = lists.as_list::<i32>().values();
    let item = Arc::new(arrow::datatypes::Field::new_list_field(
        DataType::Float64,
        true,
    ));
    let fixed = FixedSizeListArray::new(item, 3, Arc::clone(numbers), None);
    let train = |path: ArrayRef| {
        let batch = batch_of(vec![("a", Arc::clone(batch.column(0))), ("path", path)]);
        train(&batch, &hashes, &options("dnn_regressor"), 2).unwrap()
    };
    let (lists, fixed) = (train(Arc::clone(lists)), train(Arc::new(fixed)));
    assert_eq!(lists.weights, fixed.weights);
}

#[test]
fn the_reported_loss_of_lists_is_in_their_units() {
    let options = TrainOptions {
        data_split: DataSplit::None,
        epochs: Some(3),
        ..options("dnn_regressor")
    };
    let trained = trained(&["path"], &options, 2);
    let expected = metric(&trained, "mse");
    let error = (trained.train_loss / expected - 1.0).abs();
    assert!(error < 1e-6, "{}, expected {expected}", trained.train_loss);
}

#[test]
fn one_network_learns_several_targets() {
    let all = ["price", "flag", "kind", "path"];
    let layers = TrainOptions {
        layers: ["linear(16)", "relu", "linear(classes)"]
            .map(str::to_owned)
            .to_vec(),
        ..options("sequential")
    };
    for options in [options("dnn_regressor"), options("dnn_classifier"), layers] {
        let alone = trained(&all, &options, 1);
        for (name, least) in [
            ("price.r2", 0.9),
            ("flag.accuracy", 0.85),
            ("kind.accuracy", 0.75),
            ("path.r2", 0.8),
        ] {
            let found = metric(&alone, name);
            assert!(found > least, "{}: {name} {found}", options.model_type);
        }
        // The last layer has an output for the number, one for two classes, three for three, and three for the list.
        let model = model(&alone);
        let last = model.network().parameters().last().unwrap();
        assert_eq!(last.shape, [8]);
        let together = trained(&all, &options, 3);
        assert_eq!(together.weights, alone.weights);
        assert_eq!(together.metrics, alone.metrics);
        assert_eq!(together.eval_loss, alone.eval_loss);
    }
}

#[test]
fn each_output_is_of_its_target_whichever_are_read() {
    let trained = trained(
        &["price", "flag", "kind", "path"],
        &options("dnn_regressor"),
        2,
    );
    let model = model(&trained);
    let names = model.signature().outputs.iter();
    let names: Vec<&str> = names.map(|port| port.name.as_str()).collect();
    let expected = [
        "predicted_price",
        "predicted_flag",
        "predicted_flag_probs",
        "predicted_kind",
        "predicted_kind_probs",
        "predicted_path",
    ];
    assert_eq!(names, expected);
    let inputs = || model.encode(&features()).unwrap();
    let wanted = |outputs: &[usize], scores: bool| Wanted {
        outputs: outputs.to_vec(),
        scores,
        ..Wanted::default()
    };
    let all = model
        .run(inputs(), &wanted(&[0, 1, 2, 3, 4, 5], true))
        .unwrap();
    // A number, two and three probabilities, and three numbers.
    assert_eq!(all.scores.len(), ROWS * 9);
    for (port, column) in model.signature().outputs.iter().zip(&all.columns) {
        assert_eq!(column.data_type(), &port.data_type, "{}", port.name);
        assert_eq!(column.len(), ROWS);
    }
    let some = model.run(inputs(), &wanted(&[5, 3], false)).unwrap();
    assert_eq!(some.columns[0].as_ref(), all.columns[5].as_ref());
    assert_eq!(some.columns[1].as_ref(), all.columns[3].as_ref());
    assert!(some.scores.is_empty());
}

#[test]
fn a_model_of_several_targets_survives_as_files() {
    let trained = trained(&["flag", "path"], &options("dnn_classifier"), 1);
    let directory = tempfile::tempdir().unwrap();
    let kind = model_type("dnn_classifier");
    let files = artifact::write(&trained, kind, directory.path()).unwrap();
    let files = Files::new(directory.path(), files);
    let device = DeviceName::Cpu.open().unwrap();
    let loader = TrainedLoader::new(Arc::default());
    let loaded = loader.load(&files, &LoadOptions::on(&device)).unwrap();
    let before = model(&trained);
    assert_eq!(before.signature(), loaded.signature());
    let wanted = Wanted {
        outputs: vec![0, 1, 2],
        ..Wanted::default()
    };
    let after = loaded.run(loaded.encode(&features()).unwrap(), &wanted);
    let before = before.run(before.encode(&features()).unwrap(), &wanted);
    assert_eq!(after.unwrap().columns, before.unwrap().columns);
}

#[test]
fn a_network_learns_sets_of_labels() {
    for (targets, prefix) in [(&["tags"][..], ""), (&["tags", "price"][..], "tags.")] {
        let alone = trained(targets, &options("dnn_classifier"), 1);
        let found = |name: &str| metric(&alone, &format!("{prefix}{name}"));
        assert!(
            found("f1") > 0.8 && found("f1_micro") > 0.8,
            "{:?}",
            alone.metrics
        );
        assert!(found("hamming_loss") < 0.2, "{:?}", alone.metrics);
        let Labels::Set { values } = &alone.config.labels[0] else {
            panic!("{:?}", alone.config.labels)
        };
        let names = ["far", "left", "up"].map(|name| ClassValue::Text(name.into()));
        assert_eq!(*values, names);
        let outputs = predict(&model(&alone), &features());
        let sets = outputs.columns[0].as_list::<i32>();
        let all = sets.values().as_string::<i32>();
        // The probabilities of a row that is predicted to be far to the left, and not up.
        let row = (0..ROWS).find(|row| {
            let set = sets.value_offsets()[*row] as usize..sets.value_offsets()[row + 1] as usize;
            set.len() == 2
                && set
                    .zip(["far", "left"])
                    .all(|(at, name)| all.value(at) == name)
        });
        let scores = &outputs.scores[row.unwrap() * 3..][..3];
        assert!(
            scores[0] >= 0.5 && scores[1] >= 0.5 && scores[2] < 0.5,
            "{scores:?}"
        );
        let together = trained(targets, &options("dnn_classifier"), 3);
        assert_eq!(together.weights, alone.weights);
        assert_eq!(together.metrics, alone.metrics);
    }
}

#[test]
fn sets_that_cannot_be_learnt_are_named() {
    let error = |of: &dyn Fn(usize) -> Vec<Option<String>>| {
        let mut tags = ListBuilder::new(StringBuilder::new());
        (0..ROWS).for_each(|row| tags.append_value(of(row)));
        let (batch, hashes) = rows();
        let a = Arc::clone(batch.column(0));
        let batch = batch_of(vec![("a", a), ("tags", Arc::new(tags.finish()))]);
        let trained = train(&batch, &hashes, &options("dnn_classifier"), 2);
        trained.map_or_else(|error| error.to_string(), |_| "learnt".to_owned())
    };
    let found = error(&|_| vec![]);
    assert!(
        found.contains("is an empty list in all training rows"),
        "{found}"
    );
    let found = error(&|row| {
        vec![
            Some(format!("{row} a")),
            Some(format!("{row} b")),
            Some(format!("{row} c")),
        ]
    });
    assert!(
        found.contains("lists of over 1000 distinct values"),
        "{found}"
    );
    let found = error(&|row| vec![(row != 9).then(|| "a".to_owned())]);
    assert!(
        found.contains("NULLs in the training rows: \"tags\" 1;"),
        "{found}"
    );
    // A label that applies to all rows is learnt, and so is one that repeats in a list.
    assert_eq!(
        error(&|_| vec![Some("a".into()), Some("a".into())]),
        "learnt"
    );
}

#[test]
fn targets_that_cannot_be_learnt_are_named() {
    let x: ArrayRef = Arc::new(Float64Array::from_iter_values((0..40).map(f64::from)));
    let list = |row: u32, length: usize| Some(vec![Some(f64::from(row)); length]);
    let lists = |of: &dyn Fn(u32) -> Option<Vec<Option<f64>>>| -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(
            (0..40).map(of),
        ))
    };
    let error = |y: ArrayRef, z: ArrayRef, null_handling: NullHandling| {
        let batch = batch_of(vec![("x", Arc::clone(&x)), ("y", y), ("z", z)]);
        let options = TrainOptions {
            null_handling,
            ..options("dnn_regressor")
        };
        let spec = spec_of_targets(&batch, 2, &options);
        let hashes: Vec<u128> = (0..40).collect();
        let trained = train_spec(&spec, Duration::ZERO, &batch, &hashes, 1);
        trained.map_or_else(
            |error| error.to_string(),
            |trained| trained.skipped_rows.to_string(),
        )
    };
    let whole = || lists(&|row| list(row, 2));
    let ragged = || lists(&|row| list(row, 2 + usize::from(row == 9)));
    let found = error(ragged(), Arc::clone(&x), NullHandling::Error);
    assert!(
        found.contains("of length 2") && found.contains("of length 3"),
        "{found}"
    );
    let empty = || lists(&|row| list(row, 0));
    let found = error(empty(), Arc::clone(&x), NullHandling::Error);
    assert!(
        found.contains("label \"y\" holds no list with an element"),
        "{found}"
    );
    let infinite = || lists(&|row| Some(vec![Some(1.0 / f64::from(row)), Some(1.0)]));
    let found = error(infinite(), Arc::clone(&x), NullHandling::Error);
    assert!(
        found.contains("NaN or infinity in the training rows: \"y\" 1;"),
        "{found}"
    );
    // A NULL in one of the targets, or in an element.
    let holes = || {
        lists(&|row| match row {
            3 => None,
            4 | 5 => Some(vec![Some(1.0), None]),
            _ => list(row, 2),
        })
    };
    let null: ArrayRef = Arc::new(Int64Array::from_iter(
        (0..40).map(|row| (row != 8).then_some(row)),
    ));
    let found = error(holes(), Arc::clone(&null), NullHandling::Error);
    assert!(
        found.contains("NULLs in the training rows: \"y\" 3, \"z\" 1;"),
        "{found}"
    );
    let found = error(holes(), Arc::clone(&null), NullHandling::Impute);
    assert!(found.contains("a label cannot be imputed"), "{found}");
    assert_eq!(error(holes(), null, NullHandling::Skip), "4");
    let alike: ArrayRef = Arc::new(StringArray::from(vec!["same"; 40]));
    let found = error(whole(), alike, NullHandling::Error);
    assert!(
        found.contains("label \"z\" needs two different values"),
        "{found}"
    );
}

#[test]
fn class_weights_are_of_one_target() {
    let weighted = TrainOptions {
        class_weights: vec![("low".into(), 5.0)],
        ..options("dnn_classifier")
    };
    let (batch, hashes) = rows();
    let batch = batch.project(&[0, 1, 4, 3]).unwrap();
    let spec = spec_of_targets(&batch, 2, &weighted);
    let error = train_spec(&spec, Duration::ZERO, &batch, &hashes, 1).unwrap_err();
    assert!(
        error.to_string().contains("2 targets have classes"),
        "{error}"
    );
    let balanced = TrainOptions {
        auto_class_weights: true,
        ..options("dnn_classifier")
    };
    let balanced = trained(&["kind", "flag", "price"], &balanced, 2);
    let plain = trained(&["kind", "flag", "price"], &options("dnn_classifier"), 2);
    assert_ne!(balanced.weights, plain.weights);
    assert!(
        metric(&balanced, "kind.accuracy") > 0.7,
        "{:?}",
        balanced.metrics
    );
    // With one target that has classes, the weights are of its classes.
    let of_kind = trained(&["price", "kind"], &weighted, 2);
    assert!(
        metric(&of_kind, "kind.accuracy") > 0.5,
        "{:?}",
        of_kind.metrics
    );
}

#[test]
fn linear_models_have_one_target() {
    let (batch, hashes) = rows();
    let batch = batch.project(&[0, 1, 5]).unwrap();
    let error = train(&batch, &hashes, &options("linear_reg"), 1).unwrap_err();
    let expected = "a model of type linear_reg has one target with one value in a row";
    assert!(error.to_string().starts_with(expected), "{error}");
}
