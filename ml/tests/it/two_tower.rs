//! Networks for users and items, whose vectors' product is the prediction.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray};
use candle_core::{DType, Device, Tensor};
use vatic_ml::data::encode::shape::{ColumnShape, InputShape};
use vatic_ml::data::encode::tabular::{CATEGORIES, NUMBERS};
use vatic_ml::data::inputs::Inputs;
use vatic_ml::model::Model;
use vatic_ml::model::network::Mode;
use vatic_ml::model::options::{DataSplit, TrainOptions};
use vatic_ml::model::recommender::Side;
use vatic_ml::nn::Activation;
use vatic_ml::train::fit::Trained;

use crate::gradients::check_within;
use crate::{batch_of, model, model_type, noise, predict, train};

const USERS: usize = 40;
const ITEMS: usize = 12;

/// Each pair of a user and an item: the user takes those of one genre.
fn rows() -> (RecordBatch, Vec<u128>) {
    let pairs: Vec<(usize, usize)> = (0..USERS * ITEMS)
        .map(|at| (at / ITEMS, at % ITEMS))
        .collect();
    let batch = pairs_of(&pairs);
    let taken = pairs.iter().map(|(user, item)| user % 3 == item % 3);
    let taken: Vec<bool> = taken.collect();
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(BooleanArray::from(taken)));
    let names = ["user_id", "age", "item_id", "genre", "taken"];
    let batch = batch_of(names.into_iter().zip(columns).collect());
    let hash = |row: u128| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (batch, (0..pairs.len() as u128).map(hash).collect())
}

/// The features of these pairs.
fn pairs_of(pairs: &[(usize, usize)]) -> RecordBatch {
    let users = pairs.iter().map(|(user, _)| format!("user {user}"));
    let ages = pairs.iter().map(|(user, _)| (user * 7 % 50) as f64);
    let items = pairs.iter().map(|(_, item)| 1_000 + *item as i64);
    let genres = pairs
        .iter()
        .map(|(_, item)| ["drama", "noir", "sci-fi"][item % 3]);
    batch_of(vec![
        ("user_id", Arc::new(StringArray::from_iter_values(users))),
        ("age", Arc::new(Float64Array::from_iter_values(ages))),
        ("item_id", Arc::new(Int64Array::from_iter_values(items))),
        ("genre", Arc::new(StringArray::from_iter_values(genres))),
    ])
}

fn options(users: &[&str], items: &[&str]) -> TrainOptions {
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    TrainOptions {
        model_type: "two_tower".into(),
        user_cols: owned(users),
        item_cols: owned(items),
        num_factors: Some(4),
        hidden_units: vec![8],
        activation: Activation::Tanh,
        epochs: Some(30),
        learn_rate: 0.02,
        data_split: DataSplit::None,
        ..Default::default()
    }
}

fn accuracy(trained: &Trained) -> f64 {
    let mut metrics = trained.metrics.iter();
    let metric = metrics.find(|metric| metric.name == "accuracy").unwrap();
    metric.value.unwrap()
}

#[test]
fn gradients_are_those_of_finite_differences() {
    // The columns of the sides take turns, and one side has no numbers.
    let column = |name: &str, numbers, categories| ColumnShape {
        name: name.into(),
        numbers,
        categories,
    };
    let shape = |genre_numbers: usize| InputShape {
        numbers: 2 + genre_numbers,
        categories: 3,
        category_ids: 9,
        unseen_ids: vec![0, 3, 6],
        columns: vec![
            column("age", 0..2, 0..0),
            column("item_id", 2..2, 0..1),
            column("user_id", 2..2, 1..2),
            column("genre", 2..2 + genre_numbers, 2..3),
        ],
        ..InputShape::default()
    };
    for genre_numbers in [0, 3] {
        let shape = shape(genre_numbers);
        let options = options(&["user_id", "age"], &["item_id", "genre"]);
        let network = model_type("two_tower")
            .network(&shape, 1, &options)
            .unwrap();
        let mut draw = noise(8);
        let numbers: Vec<f64> = (0..4 * shape.numbers).map(|_| draw()).collect();
        let numbers = Tensor::from_vec(numbers, (4, shape.numbers), &Device::Cpu).unwrap();
        let ids: [u32; 12] = [1, 4, 7, 2, 5, 8, 1, 3, 6, 0, 4, 8];
        let ids = Tensor::from_slice(&ids, (4, 3), &Device::Cpu).unwrap();
        let inputs = Inputs::new(4).with(NUMBERS, numbers).unwrap();
        let inputs = inputs.with(CATEGORIES, ids).unwrap();
        let shapes = network.parameters().iter();
        let shapes: Vec<&[usize]> = shapes.map(|spec| spec.shape.as_slice()).collect();
        assert_eq!(shapes.len(), 2 + 4 + if genre_numbers > 0 { 4 } else { 3 });
        check_within(1e-8, "two_tower", &shapes, |parameters| {
            let mut outputs = network.forward(parameters, &inputs, Mode::Inference)?;
            assert_eq!(outputs[0].dims(), [4, 1]);
            assert_eq!(outputs[0].dtype(), DType::F64);
            Ok(outputs.remove(0))
        });
    }
}

#[test]
fn the_product_of_the_vectors_is_the_prediction() {
    let (batch, hashes) = rows();
    let options = options(&["user_id", "age"], &["item_id", "genre"]);
    let trained = train(&batch, &hashes, &options, 2).unwrap();
    assert!(accuracy(&trained) > 0.95, "{}", accuracy(&trained));
    for workers in [1, 3] {
        let other = train(&batch, &hashes, &options, workers).unwrap();
        assert_eq!(other.weights, trained.weights, "{workers} workers");
    }
    let model = model(&trained);
    let recommender = model.recommender().unwrap();
    let sides = recommender.sides().clone();
    assert_eq!(
        (sides.users.as_slice(), sides.items.as_slice()),
        (&[0, 1][..], &[2, 3][..])
    );
    assert!(!sides.lists_items && recommender.known_items().unwrap().is_none());
    // Users and items that training did not see have their other columns.
    let pairs = pairs_of(&[(0, 0), (0, 1), (7, 10), (99, 4), (3, 77), (99, 77)]);
    let users = pairs.project(&sides.users).unwrap();
    let items = pairs.project(&sides.items).unwrap();
    let users = recommender.vectors(Side::User, &users).unwrap();
    let items = recommender.vectors(Side::Item, &items).unwrap();
    assert_eq!((users.width, items.width), (5, 5));
    assert_eq!((users.known, items.known), (vec![true; 6], vec![true; 6]));
    let probabilities = predict(&model, &pairs).scores;
    let vectors = users.values.chunks(5).zip(items.values.chunks(5));
    for (row, (user, item)) in vectors.enumerate() {
        let product = user.iter().zip(item).map(|(a, b)| a * b).sum();
        let score = recommender.score(product);
        let expected = probabilities[2 * row + 1];
        assert!((score - expected).abs() < 1e-6, "{score} {expected}");
    }
    assert!(probabilities[1] > 0.8 && probabilities[3] < 0.2);
}

#[test]
fn a_side_with_an_id_alone_knows_who_it_saw() {
    let (batch, hashes) = rows();
    let batch = batch.project(&[0, 2, 4]).unwrap();
    let options = options(&[], &[]);
    let trained = train(&batch, &hashes, &options, 1).unwrap();
    assert!(accuracy(&trained) > 0.95, "{}", accuracy(&trained));
    let model = model(&trained);
    let recommender = model.recommender().unwrap();
    assert!(recommender.sides().lists_items);
    let users = StringArray::from(vec![Some("user 1"), Some("nobody"), None]);
    let users = batch_of(vec![("user_id", Arc::new(users))]);
    let users = recommender.vectors(Side::User, &users).unwrap();
    assert_eq!(users.known, [true, false, false]);
    let (items, vectors) = recommender.known_items().unwrap().unwrap();
    let expected = Int64Array::from_iter_values((0..ITEMS as i64).map(|item| 1_000 + item));
    let expected: ArrayRef = Arc::new(expected);
    assert_eq!(&items, &expected);
    let products = vectors.values.chunks(5).map(|item| {
        let pairs = users.values[..5].iter().zip(item);
        pairs.map(|(a, b)| a * b).sum::<f32>()
    });
    for (item, product) in products.enumerate() {
        assert_eq!(
            recommender.score(product) > 0.5,
            item % 3 == 1,
            "item {item}"
        );
    }
}

#[test]
fn a_label_of_three_values_is_an_error() {
    let (batch, hashes) = rows();
    let labels = (0..batch.num_rows()).map(|row| ["no", "maybe", "yes"][row % 3]);
    let batch = batch_of(vec![
        ("user_id", Arc::clone(batch.column(0))),
        ("item_id", Arc::clone(batch.column(2))),
        ("label", Arc::new(StringArray::from_iter_values(labels))),
    ]);
    let error = train(&batch, &hashes, &options(&[], &[]), 1).unwrap_err();
    let error = error.to_string();
    assert!(
        error.starts_with("a two_tower needs a label of two values"),
        "{error}"
    );
}
