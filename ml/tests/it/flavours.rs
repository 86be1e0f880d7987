//! Equal values give the same model and the same predictions, whatever their types, encodings, slices and batches.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, DictionaryArray, FixedSizeListArray, Float32Array,
    Float64Array, Int16Array, Int32Array, Int64Array, LargeListArray, LargeListViewArray,
    LargeStringArray, ListArray, ListViewArray, RecordBatch, RecordBatchOptions, RunArray,
    StringArray, StringViewArray, TimestampMicrosecondArray, TimestampMillisecondArray,
    TimestampNanosecondArray, TimestampSecondArray, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Float64Type, Int32Type, Schema};
use vatic_ml::data::coerce::canonical_array;
use vatic_ml::model::options::{DataSplit, NullHandling, TrainOptions};
use vatic_ml::model::trained::TrainedModel;
use vatic_ml::train::fit::Trained;
use vatic_ml::train::shard::content_hashes;

use crate::{batch_of, model, noise, predict, train};

const CASES: u64 = 2_000;
/// One case of this many trains a model.
const TRAINS: u64 = 50;

/// A row: an array of three, a small whole number, a word, a second, and the label.
#[derive(Debug, Clone)]
struct Row {
    array: Option<[f64; 3]>,
    whole: Option<i64>,
    word: Option<&'static str>,
    second: Option<i64>,
    label: f64,
}

struct Draw(Box<dyn FnMut() -> f64>);

impl Draw {
    fn new(seed: u64) -> Self {
        let mut draw = noise(seed);
        for _ in 0..8 {
            draw();
        }
        Self(Box::new(draw))
    }

    /// A number below `end`.
    fn below(&mut self, end: usize) -> usize {
        ((self.0)().abs() * end as f64) as usize % end
    }

    fn row(&mut self, with_nulls: bool) -> Row {
        let is_null = |draw: &mut Self| with_nulls && draw.below(12) == 0;
        let array = [0; 3].map(|_| self.below(400) as f64 / 4.0);
        let whole = self.below(120) as i64;
        let word = ["red", "green", "blue", ""][self.below(4)];
        let second = 1_000_000 * self.below(4_000) as i64;
        let label = array[0] - 2.0 * array[1] + whole as f64;
        Row {
            array: (!is_null(self)).then_some(array),
            whole: (!is_null(self)).then_some(whole),
            word: (!is_null(self)).then_some(word),
            second: (!is_null(self)).then_some(second),
            label,
        }
    }
}

fn lists(rows: &[Row], flavour: usize) -> ArrayRef {
    let values = rows.iter().flat_map(|row| row.array.unwrap_or([7.0; 3]));
    let valid: NullBuffer = rows.iter().map(|row| row.array.is_some()).collect();
    let (values, data_type): (ArrayRef, DataType) = match flavour % 2 {
        0 => (
            Arc::new(Float64Array::from_iter_values(values)),
            DataType::Float64,
        ),
        // Multiples of 1/4 are exact in both types.
        _ => (
            Arc::new(Float32Array::from_iter_values(values.map(|x| x as f32))),
            DataType::Float32,
        ),
    };
    let item = Arc::new(Field::new_list_field(data_type, true));
    let lengths = || std::iter::repeat_n(3, rows.len());
    let starts = (0..rows.len()).map(|row| 3 * row);
    match flavour / 2 {
        0 => Arc::new(ListArray::new(
            item,
            OffsetBuffer::from_lengths(lengths()),
            values,
            Some(valid),
        )),
        1 => Arc::new(LargeListArray::new(
            item,
            OffsetBuffer::from_lengths(lengths()),
            values,
            Some(valid),
        )),
        2 => Arc::new(FixedSizeListArray::new(item, 3, values, Some(valid))),
        3 => Arc::new(ListViewArray::new(
            item,
            starts.map(|start| start as i32).collect::<Vec<_>>().into(),
            ScalarBuffer::from(vec![3; rows.len()]),
            values,
            Some(valid),
        )),
        _ => Arc::new(LargeListViewArray::new(
            item,
            starts.map(|start| start as i64).collect::<Vec<_>>().into(),
            ScalarBuffer::from(vec![3; rows.len()]),
            values,
            Some(valid),
        )),
    }
}

fn wholes(rows: &[Row], flavour: usize) -> ArrayRef {
    let values = rows.iter().map(|row| row.whole);
    match flavour {
        0 => Arc::new(values.collect::<Int64Array>()),
        1 => Arc::new(values.map(|v| v.map(|v| v as i32)).collect::<Int32Array>()),
        2 => Arc::new(values.map(|v| v.map(|v| v as i16)).collect::<Int16Array>()),
        3 => Arc::new(values.map(|v| v.map(|v| v as u64)).collect::<UInt64Array>()),
        4 => Arc::new(
            values
                .map(|v| v.map(|v| v as f64))
                .collect::<Float64Array>(),
        ),
        5 => {
            let cents: Decimal128Array = values.map(|v| v.map(|v| i128::from(v) * 100)).collect();
            Arc::new(cents.with_precision_and_scale(10, 2).unwrap())
        }
        6 => {
            let keys = Int32Array::from_iter(values.map(|v| v.map(|v| v as i32)));
            let known: ArrayRef = Arc::new(Int64Array::from_iter_values(0..120));
            Arc::new(DictionaryArray::<Int32Type>::new(keys, known))
        }
        _ => {
            let values: ArrayRef = Arc::new(values.collect::<Int64Array>());
            let ends = Int32Array::from_iter_values(1..=rows.len() as i32);
            Arc::new(RunArray::try_new(&ends, &values).unwrap())
        }
    }
}

fn words(rows: &[Row], flavour: usize) -> ArrayRef {
    let values = rows.iter().map(|row| row.word);
    match flavour {
        0 => Arc::new(values.collect::<StringArray>()),
        1 => Arc::new(values.collect::<LargeStringArray>()),
        2 => Arc::new(values.collect::<StringViewArray>()),
        3 => Arc::new(values.collect::<DictionaryArray<Int32Type>>()),
        _ => {
            let values: ArrayRef = Arc::new(values.collect::<StringArray>());
            let ends = Int32Array::from_iter_values(1..=rows.len() as i32);
            Arc::new(RunArray::try_new(&ends, &values).unwrap())
        }
    }
}

fn seconds(rows: &[Row], flavour: usize) -> ArrayRef {
    let values = |per_second: i64| {
        rows.iter()
            .map(move |row| row.second.map(|s| s * per_second))
    };
    let zone = (flavour / 4 == 1).then_some("+05:00");
    match flavour % 4 {
        0 => Arc::new(
            values(1)
                .collect::<TimestampSecondArray>()
                .with_timezone_opt(zone),
        ),
        1 => Arc::new(
            values(1_000)
                .collect::<TimestampMillisecondArray>()
                .with_timezone_opt(zone),
        ),
        2 => Arc::new(
            values(1_000_000)
                .collect::<TimestampMicrosecondArray>()
                .with_timezone_opt(zone),
        ),
        _ => Arc::new(
            values(1_000_000_000)
                .collect::<TimestampNanosecondArray>()
                .with_timezone_opt(zone),
        ),
    }
}

/// The features of rows, each column in its own flavour.
fn columns(rows: &[Row], flavours: [usize; 4]) -> Vec<(&'static str, ArrayRef)> {
    vec![
        ("array", lists(rows, flavours[0])),
        ("whole", wholes(rows, flavours[1])),
        ("word", words(rows, flavours[2])),
        ("second", seconds(rows, flavours[3])),
    ]
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let arrays = columns.iter().map(|(_, array)| Arc::clone(array)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(columns[0].1.len()));
    RecordBatch::try_new_with_options(schema, arrays, &options).unwrap()
}

/// The rows as slices of longer arrays, with other rows before and after.
fn sliced(rows: &[Row], draw: &mut Draw, flavours: [usize; 4]) -> RecordBatch {
    let (before, behind) = (draw.below(5), draw.below(5));
    let mut all: Vec<Row> = (0..before).map(|_| draw.row(true)).collect();
    all.extend_from_slice(rows);
    all.extend((0..behind).map(|_| draw.row(true)));
    let columns = columns(&all, flavours).into_iter();
    let columns = columns.map(|(name, array)| (name, array.slice(before, rows.len())));
    batch(columns.collect())
}

fn training() -> (Vec<Row>, TrainOptions) {
    let mut draw = Draw::new(3);
    let rows = (0..200).map(|_| draw.row(false)).collect();
    let options = TrainOptions {
        model_type: "linear_reg".into(),
        data_split: DataSplit::Hash { eval_fraction: 0.2 },
        null_handling: NullHandling::Impute,
        ..TrainOptions::default()
    };
    (rows, options)
}

/// Trains on columns as a query returns them: in canonical form, with content hashes.
fn trained(batch: &RecordBatch, rows: &[Row], options: &TrainOptions) -> Trained {
    let labels: ArrayRef = Arc::new(Float64Array::from_iter_values(
        rows.iter().map(|row| row.label),
    ));
    let schema = batch.schema();
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let columns = batch.columns().iter().chain([&labels]);
    let columns: Vec<ArrayRef> = columns.map(|c| canonical_array(c).unwrap()).collect();
    let hashes = content_hashes(&columns.iter().collect::<Vec<_>>()).unwrap();
    let columns = names.chain(["label"]).zip(columns).collect();
    train(&batch_of(columns), &hashes, options, 2).unwrap()
}

fn predicted(model: &TrainedModel, batch: &RecordBatch) -> Vec<Option<f64>> {
    let outputs = predict(model, batch);
    assert_eq!(outputs.report.failures, []);
    let labels = outputs.columns[0].as_primitive::<Float64Type>();
    labels.iter().collect()
}

fn assert_close(found: &[Option<f64>], expected: &[Option<f64>], case: u64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        let is_close = match (found, expected) {
            (Some(found), Some(expected)) => {
                (found - expected).abs() <= 1e-9 * expected.abs().max(1.0)
            }
            (None, None) => true,
            _ => false,
        };
        assert!(is_close, "case {case}: {found:?}, expected {expected:?}");
    }
}

#[test]
fn predictions_scores_and_trainings_do_not_depend_on_how_rows_come() {
    let (known, options) = training();
    let plain = batch(columns(&known, [4, 0, 0, 2]));
    let base = trained(&plain, &known, &options);
    let model = model(&base);
    for case in 0..CASES {
        let mut draw = Draw::new(case);
        let count = 1 + draw.below(30);
        let rows: Vec<Row> = (0..count).map(|_| draw.row(true)).collect();
        let expected = predicted(&model, &batch(columns(&rows, [4, 0, 0, 2])));
        let flavours = [10, 8, 5, 8].map(|flavours| draw.below(flavours));
        let whole = sliced(&rows, &mut draw, flavours);
        assert_close(&predicted(&model, &whole), &expected, case);
        // The same rows as several batches.
        let cut = draw.below(count + 1);
        let parts = [whole.slice(0, cut), whole.slice(cut, count - cut)];
        let parts = parts.iter().filter(|part| part.num_rows() > 0);
        let apart: Vec<_> = parts.flat_map(|part| predicted(&model, part)).collect();
        assert_close(&apart, &expected, case);
        // The scores for metrics are the predictions.
        let scores = predict(&model, &whole).scores.into_iter();
        let scores = scores.zip(&expected).map(|(score, row)| row.map(|_| score));
        assert_close(&scores.collect::<Vec<_>>(), &expected, case);
        if case % TRAINS == 0 {
            // Numbers keep their type in training; their encodings and the flavours of lists do not matter.
            let lists = [0, 2, 4, 6, 8][draw.below(5)];
            let flavours = [lists, [0, 6, 7][draw.below(3)], draw.below(5), 2];
            let again = trained(&sliced(&known, &mut draw, flavours), &known, &options);
            assert_eq!(again.weights, base.weights, "case {case}, {flavours:?}");
            assert_eq!(again.rows_hash, base.rows_hash, "case {case}, {flavours:?}");
        }
    }
}

#[test]
fn what_does_not_fit_is_a_failure_of_its_row() {
    let (known, options) = training();
    let base = trained(&batch(columns(&known, [4, 0, 0, 2])), &known, &options);
    let model = model(&base);
    let rows: Vec<Row> = known[..4].to_vec();
    let mut columns = columns(&rows, [4, 0, 0, 2]);
    columns[1].1 = Arc::new(Float64Array::from(vec![
        Some(1.0),
        Some(2.5),
        None,
        Some(4.0),
    ]));
    columns[0].1 = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>([
        Some(vec![Some(1.0); 3]),
        Some(vec![Some(1.0); 3]),
        Some(vec![Some(1.0); 3]),
        Some(vec![Some(1.0); 2]),
    ]));
    let outputs = predict(&model, &batch(columns));
    let report = &outputs.report;
    let failing: Vec<usize> = report.failures.iter().map(|(row, _)| *row).collect();
    assert_eq!(failing, [1, 3], "{:?}", report.failures);
    assert!(report.failures[0].1.contains("2.5 in column \"whole\""));
    assert!(report.failures[1].1.contains("length 2"));
    let valid: Vec<bool> = (0..4).map(|row| outputs.columns[0].is_valid(row)).collect();
    assert_eq!(
        (valid, report.null_rows()),
        (vec![true, false, false, false], 1)
    );
}
