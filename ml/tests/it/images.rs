//! Columns of images: what is learnt of them, what they become, and random changes of them, the same for all worker counts.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    ListArray, RecordBatch, StructArray,
};
use arrow::buffer::{Buffer, OffsetBuffer};
use arrow::compute::filter;
use arrow::datatypes::{DataType, Field, Int64Type};
use vatic_ml::data::image::{ImageReader, Images};
use vatic_ml::data::signature::PortKind;
use vatic_ml::model::Model;
use vatic_ml::model::options::TrainOptions;
use vatic_ml::train::fit::Trained;

use crate::layers::images as arrays;
use crate::{batch_of, model, noise, predict, train};

/// So many RGB images of 8 x 6 pixels with a bright left or right half, as structs, and which half it is.
fn photos(count: usize) -> RecordBatch {
    let mut draw = noise(6);
    let (height, width) = (6, 8);
    let mut levels = vec![];
    for image in 0..count {
        for place in 0..height * width {
            let is_bright = (place % width < width / 2) == (image % 2 == 0);
            let base = if is_bright { 170.0 } else { 60.0 };
            for channel in 0..3 {
                levels.push((base + 20.0 * f64::from(channel) + 40.0 * draw()) as u8);
            }
        }
    }
    let item = Arc::new(Field::new_list_field(DataType::UInt8, false));
    let offsets = OffsetBuffer::from_lengths(vec![height * width * 3; count]);
    let levels = Arc::new(arrow::array::UInt8Array::from(levels));
    let pixels: ArrayRef = Arc::new(ListArray::new(item, offsets, levels, None));
    let size = |size: i32| Arc::new(Int32Array::from(vec![size; count])) as ArrayRef;
    let columns = [
        ("height", size(height as i32)),
        ("width", size(width as i32)),
        ("channels", size(3)),
        ("pixels", pixels),
    ];
    let columns = columns.map(|(name, array)| {
        let field = Field::new(name, array.data_type().clone(), true);
        (Arc::new(field), array)
    });
    let photos = StructArray::from(columns.to_vec());
    let label = Int64Array::from_iter_values((0..count as i64).map(|image| image % 2));
    let columns: Vec<(&str, ArrayRef)> =
        vec![("photo", Arc::new(photos)), ("label", Arc::new(label))];
    batch_of(columns)
}

fn hashes(count: usize) -> Vec<u128> {
    let hash = |row: u128| row.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    (0..count as u128).map(hash).collect()
}

fn options(augment: &[&str]) -> TrainOptions {
    TrainOptions {
        model_type: "cnn_classifier".into(),
        input_shape: vec![3, 5, 6],
        hidden_units: vec![8],
        epochs: Some(15),
        learn_rate: 0.01,
        seed: 5,
        augment: augment.iter().map(|text| (*text).to_owned()).collect(),
        ..TrainOptions::default()
    }
}

/// The rows as a training holds them: images as pixels.
fn held(photos: &RecordBatch, options: &TrainOptions) -> RecordBatch {
    let reader: ImageReader = options.image_reader().unwrap();
    let images = Images::of(photos.column(0)).unwrap();
    let mut pixels = vec![];
    for row in 0..photos.num_rows() {
        assert!(images.read(row, &reader, &mut pixels).unwrap());
    }
    let pixels = Buffer::from_vec(pixels);
    let pixels = FixedSizeBinaryArray::new(reader.numbers() as i32, pixels, None);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("photo", Arc::new(pixels)),
        ("label", Arc::clone(photos.column(1))),
    ];
    batch_of(columns)
}

fn trained(photos: &RecordBatch, options: &TrainOptions, workers: usize) -> Trained {
    let rows = held(photos, options);
    train(&rows, &hashes(rows.num_rows()), options, workers).unwrap()
}

const AUGMENT: [&str; 4] = ["shift(0.2)", "crop(0.7)", "rotate(20)", "colour(0.3)"];

#[test]
fn images_learn_and_do_not_depend_on_the_number_of_workers() {
    let photos = photos(240);
    let none: &[&str] = &[];
    for augment in [none, &AUGMENT[..]] {
        let options = options(augment);
        let alone = trained(&photos, &options, 1);
        for workers in [2, 3, 8] {
            let together = trained(&photos, &options, workers);
            assert_eq!(together.weights, alone.weights, "{augment:?}, {workers}");
            assert_eq!(together.config.encoders, alone.config.encoders);
        }
        let model = model(&alone);
        assert_eq!(model.signature().inputs[0].kind, PortKind::Image);
        let outputs = predict(&model, &photos.project(&[0]).unwrap());
        let predicted = outputs.columns[0].as_primitive::<Int64Type>();
        let labels = photos.column(1).as_primitive::<Int64Type>();
        let pairs = predicted.values().iter().zip(labels.values().iter());
        let right = pairs
            .filter(|(predicted, label)| predicted == label)
            .count();
        assert!(right > 220, "{augment:?}: {right} of 240");
    }
}

#[test]
fn changes_depend_on_the_seed_and_statistics_do_not_depend_on_changes() {
    let photos = photos(120);
    let plain = trained(&photos, &options(&[]), 1);
    let flipped = trained(&photos, &options(&["flip"]), 1);
    assert_ne!(plain.weights, flipped.weights);
    assert_eq!(plain.config.encoders, flipped.config.encoders);
    let other = TrainOptions {
        seed: 6,
        ..options(&["flip"])
    };
    assert_ne!(trained(&photos, &other, 1).weights, flipped.weights);
    // A label that a flip exchanges cannot be learnt from changed rows.
    let loss = |trained: &Trained| trained.history.last().unwrap().train_loss;
    assert!(
        loss(&flipped) > 0.4 && loss(&plain) < 0.2,
        "{}",
        loss(&plain)
    );
}

#[test]
fn no_change_leaves_the_result_as_it_is() {
    let photos = photos(60);
    let plain = trained(&photos, &options(&[]), 1);
    let same = ["shift(0)", "crop(1)", "rotate(0)", "colour(0)"];
    let unchanged = trained(&photos, &options(&same), 2);
    assert_eq!(plain.weights, unchanged.weights);
}

/// As numpy: the mean and the deviation of all levels of a channel in the training rows, divided by 255.
#[test]
fn channels_have_the_statistics_of_the_training_rows() {
    let photos = photos(100);
    let options = TrainOptions {
        data_split: vatic_ml::model::options::DataSplit::None,
        epochs: Some(1),
        ..options(&[])
    };
    let rows = held(&photos, &options);
    let trained = trained(&photos, &options, 3);
    let image = trained.config.encoders[0].image.as_ref().unwrap();
    let pixels = rows.column(0).as_fixed_size_binary();
    for (channel, found) in image.channels.iter().enumerate() {
        let rows = pixels.iter().flatten();
        let levels = rows.flat_map(|row| row[30 * channel..30 * (channel + 1)].iter().copied());
        let levels: Vec<f64> = levels.map(|level| f64::from(level) / 255.0).collect();
        let count = levels.len() as f64;
        let mean = levels.iter().sum::<f64>() / count;
        let squares = levels.iter().map(|level| (level - mean).powi(2));
        let std = (squares.sum::<f64>() / count).sqrt();
        assert!((found.mean - mean).abs() < 1e-9, "{} {mean}", found.mean);
        assert!((found.std - std).abs() < 1e-9, "{} {std}", found.std);
    }
    let mut chosen = options.clone();
    chosen.image.mean = vec![0.485, 0.456, 0.406];
    let rows = train(&rows, &hashes(100), &chosen, 1).unwrap();
    let of_chosen = rows.config.encoders[0].image.as_ref().unwrap();
    let means: Vec<f64> = of_chosen
        .channels
        .iter()
        .map(|channel| channel.mean)
        .collect();
    assert_eq!(means, [0.485, 0.456, 0.406]);
    assert_eq!(of_chosen.channels[2].std, image.channels[2].std);
}

#[test]
fn arrays_of_images_change_too() {
    let (batch, hashes) = arrays(120);
    let options = TrainOptions {
        input_shape: vec![1, 6, 6],
        ..options(&["shift(0.2)", "rotate(10)", "colour(0.1)"])
    };
    let alone = train(&batch, &hashes, &options, 1).unwrap();
    let together = train(&batch, &hashes, &options, 3).unwrap();
    assert_eq!(together.weights, alone.weights);
    let plain = TrainOptions {
        augment: vec![],
        ..options
    };
    let plain = train(&batch, &hashes, &plain, 1).unwrap();
    assert_ne!(plain.weights, alone.weights);
}

#[test]
fn a_missing_image_has_no_prediction_and_a_wrong_one_is_a_failure() {
    let photos = photos(40);
    let options = TrainOptions {
        epochs: Some(1),
        ..options(&[])
    };
    let model = model(&trained(&photos, &options, 1));
    let column = photos.column(0);
    let kept: BooleanArray = (0..40).map(|row| Some(row < 2)).collect();
    let two = filter(column, &kept).unwrap();
    let null = arrow::array::new_null_array(two.data_type(), 1);
    let three = arrow::compute::concat(&[two.as_ref(), null.as_ref()]).unwrap();
    let outputs = predict(&model, &batch_of(vec![("photo", three)]));
    assert_eq!(outputs.columns[0].null_count(), 1);
    assert_eq!(outputs.report.null_column.as_deref(), Some("photo"));
    let texts: ArrayRef = Arc::new(arrow::array::BinaryArray::from_vec(vec![
        b"text".as_slice(),
    ]));
    let outputs = predict(&model, &batch_of(vec![("photo", texts)]));
    let (row, cause) = &outputs.report.failures[0];
    assert_eq!(*row, 0);
    assert!(cause.contains("no JPEG, PNG, WebP or GIF"), "{cause}");
}
