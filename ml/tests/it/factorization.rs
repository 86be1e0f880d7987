//! Vectors of users and items by alternating least squares, against other minimisers of the same sums.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use vatic_ml::artifact::{self, Files, Loader, TrainedLoader};
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::LoadOptions;
use vatic_ml::model::options::{BaseModel, DataSplit, Feedback, TrainOptions};
use vatic_ml::model::recommender::Side;
use vatic_ml::model::{Model, Wanted};
use vatic_ml::train::fit::Trained;

use crate::{batch_of, model, model_type, predict, spec_of, train, train_spec};

const USERS: i64 = 30;
const ITEMS: i64 = 20;

type Rows = (RecordBatch, Vec<u128>);

/// Pairs of a user and an item, each with a label.
fn rows(pairs: &[(i64, i64, f64)]) -> Rows {
    let users = pairs.iter().map(|(user, ..)| *user);
    let items = pairs.iter().map(|(_, item, _)| *item);
    let labels = pairs.iter().map(|(.., label)| *label);
    let batch = batch_of(vec![
        ("user_id", Arc::new(Int64Array::from_iter_values(users))),
        ("item_id", Arc::new(Int64Array::from_iter_values(items))),
        ("label", Arc::new(Float64Array::from_iter_values(labels))),
    ]);
    let hash = |row: u128| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (batch, (0..pairs.len() as u128).map(hash).collect())
}

fn remainder(user: i64, item: i64) -> i64 {
    (7 * user + 11 * item + user * user * item + item * item * user) % 5
}

fn all_pairs() -> impl Iterator<Item = (i64, i64)> {
    (0..USERS).flat_map(|user| (0..ITEMS).map(move |item| (user, item)))
}

/// Ratings that two numbers of each user and item explain, but for some noise.
fn rating((user, item): (i64, i64)) -> f64 {
    let (u, i) = (user as f64, item as f64);
    let biases = 3.0 + 0.5 * u.sin() + 0.3 * (2.0 * i).cos();
    let first = (1.3 * u).sin() * (0.7 * i).cos();
    let second = 0.5 * (0.4 * u).cos() * (1.9 * i).sin();
    biases + first + second + 0.2 * (7.1 * u + 3.3 * i).sin()
}

fn ratings() -> Rows {
    let rated = all_pairs().filter(|(user, item)| remainder(*user, *item) < 3);
    let rated: Vec<_> = rated.map(|pair| (pair.0, pair.1, rating(pair))).collect();
    rows(&rated)
}

/// Two groups of users that take the items of their group, and some of the other.
fn taken() -> Rows {
    let strength = |(user, item): (i64, i64)| {
        let remainder = remainder(user, item);
        match user % 2 == item % 2 {
            true if remainder < 4 => (1 + remainder % 3) as f64,
            false if remainder == 0 && (user + item) % 4 == 1 => 1.0,
            _ => 0.0,
        }
    };
    let pairs = all_pairs().map(|pair| (pair.0, pair.1, strength(pair)));
    let taken: Vec<_> = pairs.filter(|(.., strength)| *strength > 0.0).collect();
    rows(&taken)
}

/// Two factors, and every row trains.
fn options(epochs: usize) -> TrainOptions {
    TrainOptions {
        model_type: "matrix_factorization".into(),
        num_factors: Some(2),
        l2_reg: Some(0.1),
        epochs: Some(epochs),
        early_stop: false,
        data_split: DataSplit::None,
        ..Default::default()
    }
}

fn implicit(epochs: usize) -> TrainOptions {
    TrainOptions {
        feedback: Some(Feedback::Implicit),
        wals_alpha: Some(5.0),
        ..options(epochs)
    }
}

fn metric(trained: &Trained, name: &str) -> f64 {
    let mut metrics = trained.metrics.iter();
    let metric = metrics.find(|metric| metric.name == name).unwrap();
    metric.value.unwrap()
}

/// The predictions for pairs of users and items.
fn scores(trained: &Trained, pairs: &[(i64, i64)]) -> Vec<f64> {
    let pairs: Vec<_> = pairs.iter().map(|pair| (pair.0, pair.1, 0.0)).collect();
    let (batch, _) = rows(&pairs);
    predict(&model(trained), &batch.project(&[0, 1]).unwrap()).scores
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < tolerance, "{found} {expected}");
    }
}

/// The numbers are those of the minimum that PyTorch's L-BFGS finds in f64 from eight random starts, on the sum of squares of all
/// ratings and the penalties; NumPy's least squares, one user or item after the other, agree.
#[test]
fn ratings_are_those_of_the_minimum() {
    let (batch, hashes) = ratings();
    let trained = train(&batch, &hashes, &options(200), 2).unwrap();
    assert_eq!(trained.optimizer.name(), "als");
    assert_eq!((trained.train_rows, trained.history.len()), (360, 200));
    assert_close(&[metric(&trained, "rmse")], &[0.161_187_8], 1e-4);
    assert_close(&[metric(&trained, "mae")], &[0.130_257_0], 1e-4);
    assert_close(&[trained.train_loss.sqrt()], &[0.161_187_8], 1e-4);
    let pairs = [(0, 0), (0, 1), (7, 3), (12, 19), (29, 5)];
    let expected = [
        3.381_652_6,
        3.181_220_1,
        3.685_037_4,
        3.105_438_7,
        2.495_687_5,
    ];
    assert_close(&scores(&trained, &pairs), &expected, 1e-3);
    // Who is new has no vector and no bias: the mean and the bias of the other.
    let new = scores(&trained, &[(99, 3), (7, 99), (99, 99)]);
    assert_close(&new, &[3.227_695_5, 3.354_268_3, 3.087_754_5], 1e-3);
}

/// Like [`ratings_are_those_of_the_minimum`]: L-BFGS on the sum over all 600 pairs. The metrics are computed in Python from its
/// scores.
#[test]
fn scores_of_implicit_feedback_are_those_of_the_minimum() {
    let (batch, hashes) = taken();
    let trained = train(&batch, &hashes, &implicit(300), 2).unwrap();
    assert_eq!((trained.train_rows, trained.eval_loss), (270, None));
    assert_close(&[trained.train_loss], &[0.489_049_9], 1e-4);
    let pairs = [(0, 0), (0, 1), (7, 3), (12, 19), (29, 5), (3, 1)];
    let expected = [
        0.959_851_8,
        0.245_093_2,
        1.017_056_9,
        -0.002_187_1,
        0.975_694_9,
        0.887_241_7,
    ];
    assert_close(&scores(&trained, &pairs), &expected, 2e-3);
    assert_close(&[metric(&trained, "recall_at_10")], &[0.904_444_4], 5e-3);
    assert_close(&[metric(&trained, "ndcg_at_10")], &[0.949_711_1], 5e-3);
    assert_close(&[metric(&trained, "map_at_10")], &[0.904_136_9], 5e-3);
    // An unknown user is taken to want nothing.
    assert_eq!(scores(&trained, &[(99, 3)]), [0.0]);
}

#[test]
fn a_pair_in_two_rows_has_the_sum_of_their_strengths() {
    let pairs = |twice: bool| {
        let pairs = (0..40).map(|at| (at % 8, at % 5, 2.0));
        let half = |(user, item, _): (i64, i64, f64)| [(user, item, 1.0), (user, item, 1.0)];
        match twice {
            true => rows(&pairs.flat_map(half).collect::<Vec<_>>()),
            false => rows(&pairs.collect::<Vec<_>>()),
        }
    };
    let ((once, hashes), (twice, more)) = (pairs(false), pairs(true));
    let once = train(&once, &hashes, &implicit(5), 1).unwrap();
    let twice = train(&twice, &more, &implicit(5), 1).unwrap();
    assert_eq!(twice.weights, once.weights);
    // The mean is one over rows.
    assert_close(&[2.0 * twice.train_loss], &[once.train_loss], 1e-9);
}

#[test]
fn any_number_of_workers_gives_the_same_factors() {
    let split = DataSplit::Hash { eval_fraction: 0.2 };
    for (rows, options) in [(ratings(), options(4)), (taken(), implicit(4))] {
        let options = TrainOptions {
            data_split: split.clone(),
            ..options
        };
        let alone = train(&rows.0, &rows.1, &options, 1).unwrap();
        assert!(alone.eval_rows > 20);
        for workers in [2, 3, 8] {
            let together = train(&rows.0, &rows.1, &options, workers).unwrap();
            assert_eq!(together.weights, alone.weights, "{workers} workers");
            assert_eq!(together.metrics, alone.metrics);
            assert_eq!(
                (together.train_loss, together.eval_loss),
                (alone.train_loss, alone.eval_loss)
            );
        }
    }
}

/// The ids are texts, and more than the values that a category may have.
#[test]
fn thousands_of_users_come_back_from_the_files_of_a_model() {
    let users: Vec<String> = (0..12_000).map(|user| format!("user {user}")).collect();
    let items = (0..12_000).map(|row| ["a", "b", "c"][row % 3]);
    let ratings = (0..12_000).map(|row| (row % 5 + row % 3) as f64);
    let batch = batch_of(vec![
        ("who", Arc::new(StringArray::from(users))),
        ("what", Arc::new(StringArray::from_iter_values(items))),
        ("label", Arc::new(Float64Array::from_iter_values(ratings))),
    ]);
    let options = TrainOptions {
        user_cols: vec!["who".into()],
        item_cols: vec!["what".into()],
        ..options(2)
    };
    let hashes: Vec<u128> = (0..12_000).collect();
    let trained = train(&batch, &hashes, &options, 3).unwrap();
    let keys = |column: usize| trained.config.encoders[column].keys.as_ref().unwrap();
    assert_eq!((keys(0).len(), keys(1).len()), (12_000, 3));

    let directory = tempfile::tempdir().unwrap();
    let kind = model_type("matrix_factorization");
    let files = artifact::write(&trained, kind, directory.path()).unwrap();
    let files = Files::new(directory.path(), files);
    let loader = TrainedLoader::new(Arc::default());
    let host = DeviceName::Cpu.open().unwrap();
    let loaded = loader.load(&files, &LoadOptions::on(&host)).unwrap();
    let features = batch.project(&[0, 1]).unwrap();
    let wanted = Wanted {
        outputs: vec![0],
        scores: true,
        ..Wanted::default()
    };
    let found = loaded.run(loaded.encode(&features).unwrap(), &wanted);
    assert_eq!(
        found.unwrap().scores,
        predict(&model(&trained), &features).scores
    );

    let recommender = loaded.recommender().unwrap();
    assert_eq!(recommender.sides().users, [0]);
    let (items, _) = recommender.known_items().unwrap().unwrap();
    let names: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", "c"]));
    assert_eq!(&items, &names);
    let some = StringArray::from(vec![Some("user 7"), None, Some("nobody")]);
    let some = batch_of(vec![("who", Arc::new(some))]);
    let vectors = recommender.vectors(Side::User, &some).unwrap();
    assert_eq!(
        (vectors.width, vectors.known),
        (4, vec![true, false, false])
    );
}

#[test]
fn a_base_keeps_who_has_no_new_ratings() {
    let all = ratings();
    let by_user = |is_wanted: fn(i64) -> bool| {
        let rated = all_pairs().filter(|(user, item)| remainder(*user, *item) < 3);
        let rated = rated.filter(|(user, _)| is_wanted(*user));
        rows(
            &rated
                .map(|pair| (pair.0, pair.1, rating(pair)))
                .collect::<Vec<_>>(),
        )
    };
    let early = by_user(|user| user < 20);
    let base = train(&early.0, &early.1, &options(30), 1).unwrap();
    let from_base = |(batch, hashes): &Rows, workers: usize| {
        let options = TrainOptions {
            base_model: Some(BaseModel {
                model: "r@1".into(),
                sha256: "0123".into(),
            }),
            ..options(30)
        };
        let mut spec = spec_of(batch, &options);
        let base: Arc<dyn Model> = Arc::new(model(&base));
        spec.base = Some(base);
        train_spec(&spec, Duration::ZERO, batch, hashes, workers).unwrap()
    };
    let late = by_user(|user| user >= 20);
    let more = from_base(&late, 2);
    let users = more.config.encoders[0].keys.as_ref().unwrap();
    assert_eq!((users.len(), more.weights.len()), (30, (31 + 21) * 3));
    assert_eq!(more.weights, from_base(&late, 3).weights);
    // The vectors of users come first, behind that of unknown ones.
    let kept = 2..2 * 21;
    assert_eq!(&more.weights[kept.clone()], &base.weights[kept]);
    assert_eq!(more.config.labels, base.config.labels);
    // The new users are known now.
    let pairs = [(20, 0), (25, 3), (29, 5)];
    let truth: Vec<f64> = pairs.iter().copied().map(rating).collect();
    let error = |trained: &Trained| -> f64 {
        let found = scores(trained, &pairs);
        let errors = found
            .iter()
            .zip(&truth)
            .map(|(found, truth)| (found - truth).abs());
        errors.sum()
    };
    assert!(
        error(&more) < error(&base),
        "{} {}",
        error(&more),
        error(&base)
    );
    // From the vectors of a base, all rows reach the minimum sooner.
    let again = from_base(&all, 1);
    let fresh = train(&all.0, &all.1, &options(30), 1).unwrap();
    let first = |trained: &Trained| trained.history[0].train_loss;
    assert!(first(&again) < first(&fresh));
}

#[test]
fn strengths_below_zero_are_an_error() {
    let (batch, hashes) = rows(&[(1, 1, 1.0), (2, 1, -0.5), (3, 2, 2.0), (1, 2, 0.0)]);
    let error = train(&batch, &hashes, &implicit(1), 1)
        .unwrap_err()
        .to_string();
    let expected = "label \"label\" is below 0 in 1 rows, down to -0.5; implicit feedback needs strengths from 0: filter these rows";
    assert!(error.contains(expected), "{error}");
}
