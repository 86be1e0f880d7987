//! Models for tasks on texts: their outputs against those of transformers and sentence-transformers (`fixtures/text_tasks.py`), and
//! files that are not opened. The weights of a model follow from the names of its tensors, so the fixture has none.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringArray, StructArray};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use candle_core::Device;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;
use vatic_ml::artifact::{Files, Loader, describe_file};
use vatic_ml::data::signature::PortKind;
use vatic_ml::model::arguments::{Aggregation, Arguments, ZeroShot};
use vatic_ml::model::compute::LoadOptions;
use vatic_ml::model::{Batching, Model, Outputs, Wanted};
use vatic_ml::pretrained::{PretrainedLoader, TextPairLoader, ports_for};
use vatic_ml::{Error, Result};

use crate::batch_of;

/// The shape of each tensor by its name.
type Shapes = BTreeMap<String, Vec<usize>>;

#[derive(Deserialize)]
struct Fixture {
    texts: Vec<String>,
    pairs: Vec<(String, String)>,
    labels: Vec<String>,
    /// `tokenizer.json` and `tokenizer_config.json`.
    tokenizers: BTreeMap<String, [Value; 2]>,
    models: BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
struct Entry {
    config: Value,
    /// The shape of each tensor.
    tensors: BTreeMap<String, Vec<usize>>,
    tokenizer: String,
    /// Of each text: the probabilities of the labels in ascending order, or numbers.
    classes: Option<Vec<Vec<f64>>>,
    /// Of each pair: the probabilities of the labels in ascending order.
    pairs: Option<Vec<Vec<f64>>>,
    /// Of each pair.
    scores: Option<Vec<f64>>,
    zero_shot: Option<Vec<Expected>>,
    /// By aggregation, of each text.
    entities: Option<BTreeMap<String, Vec<Vec<Part>>>>,
    fills: Option<Fills>,
}

#[derive(Deserialize)]
struct Expected {
    hypothesis: String,
    multi_label: bool,
    texts: Vec<String>,
    probabilities: Vec<Vec<f64>>,
}

/// Label, score, text, start and end.
type Part = (String, f64, String, i64, i64);

#[derive(Deserialize)]
struct Fills {
    texts: Vec<String>,
    /// Token, score and text.
    found: Vec<Vec<(String, f64, String)>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/text_tasks.json")).unwrap()
}

/// As `numbers` in `text_tasks.py`.
fn numbers(name: &str, count: usize) -> Vec<f64> {
    let hash = |state: u32, byte: u8| (state ^ u32::from(byte)).wrapping_mul(16_777_619);
    let mut state = name.bytes().fold(2_166_136_261, hash);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state) / f64::from(1u32 << 31) - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// As `weights` in `text_tasks.py`.
fn weights(name: &str, shape: &[usize]) -> Vec<u8> {
    let numbers = numbers(name, shape.iter().product());
    let inputs = match name.contains("embeddings.") {
        true => 1,
        false => shape[1..].iter().product::<usize>(),
    };
    let weight = |x: f64| match shape.len() {
        1 if name.ends_with("bias") => x * 0.3,
        1 => 1.0 + 0.5 * x,
        _ => x * (1.5 * (3.0 / inputs as f64).sqrt()),
    };
    let numbers = numbers.into_iter().map(|x| weight(x) as f32);
    numbers.flat_map(f32::to_le_bytes).collect()
}

/// A directory with a model of the fixture.
struct Directory(TempDir);

impl Directory {
    fn of(fixture: &Fixture, name: &str) -> Self {
        let entry = &fixture.models[name];
        let directory = Self(tempfile::tempdir().unwrap());
        let [tokenizer, options] = &fixture.tokenizers[&entry.tokenizer];
        directory.write("tokenizer.json", tokenizer);
        directory.write("tokenizer_config.json", options);
        directory.write("config.json", &entry.config);
        directory.write_weights(&entry.tensors);
        directory
    }

    fn write(&self, file: &str, value: &Value) {
        fs::write(self.0.path().join(file), value.to_string()).unwrap();
    }

    fn write_weights(&self, tensors: &BTreeMap<String, Vec<usize>>) {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|(name, shape)| weights(name, shape))
            .collect();
        let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
            (
                name,
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        });
        let content = safetensors::serialize(views, None).unwrap();
        fs::write(self.0.path().join("model.safetensors"), content).unwrap();
    }

    fn files(&self) -> Files {
        files(self.0.path())
    }

    fn open(&self) -> Result<Arc<dyn Model>> {
        PretrainedLoader.load(&self.files(), &LoadOptions::on(&Device::Cpu))
    }
}

fn files(directory: &Path) -> Files {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let known = names.map(|name| describe_file(directory, &name).unwrap());
    Files::new(directory, known.collect())
}

fn column(texts: &[String]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(texts))
}

/// All outputs of a model for these columns.
fn run(model: &dyn Model, columns: Vec<ArrayRef>, top_k: Option<usize>) -> Outputs {
    let names = ["text", "text_pair"];
    let batch = batch_of(names.into_iter().zip(columns).collect());
    let wanted = Wanted {
        outputs: (0..model.signature().outputs.len()).collect(),
        top_k,
        ..Wanted::default()
    };
    let outputs = model.run(model.encode(&batch).unwrap(), &wanted).unwrap();
    assert!(outputs.report.failures.is_empty(), "{:?}", outputs.report);
    for (column, port) in outputs.columns.iter().zip(&model.signature().outputs) {
        assert_eq!(column.data_type(), &port.data_type, "{}", port.name);
        assert_eq!(column.len(), batch.num_rows(), "{}", port.name);
    }
    outputs
}

fn of_texts(model: &dyn Model, texts: &[String]) -> Outputs {
    run(model, vec![column(texts)], None)
}

fn of_pairs(model: &dyn Model, pairs: &[(String, String)]) -> Outputs {
    let (first, second): (Vec<String>, Vec<String>) = pairs.iter().cloned().unzip();
    run(model, vec![column(&first), column(&second)], None)
}

/// The structs of each row of a column of lists.
fn structs(column: &ArrayRef) -> Vec<StructArray> {
    let lists = column.as_list::<i32>();
    let rows = (0..lists.len()).map(|row| lists.value(row).as_struct().clone());
    rows.collect()
}

/// The probabilities of each row by label, in ascending order; or the numbers of each row.
fn by_label(model: &dyn Model, outputs: &Outputs) -> Vec<Vec<f64>> {
    let ports = model.signature().outputs.iter();
    let mut columns = ports.zip(&outputs.columns);
    let probabilities =
        columns.find(|(port, _)| matches!(port.kind, PortKind::Probabilities { .. }));
    if let Some((_, column)) = probabilities {
        let row = |row: &StructArray| {
            let labels = row.column(0).as_string::<i32>().iter().flatten();
            let numbers = row.column(1).as_primitive::<Float64Type>().values();
            let pairs: BTreeMap<&str, f64> = labels.zip(numbers.iter().copied()).collect();
            pairs.into_values().collect()
        };
        return structs(column).iter().map(row).collect();
    }
    let column = &outputs.columns[0];
    match column.data_type() {
        DataType::Float64 => {
            let numbers = column.as_primitive::<Float64Type>().values().iter();
            numbers.map(|number| vec![*number]).collect()
        }
        _ => {
            let lists = column.as_list::<i32>();
            let row = |row: usize| {
                lists
                    .value(row)
                    .as_primitive::<Float64Type>()
                    .values()
                    .to_vec()
            };
            (0..lists.len()).map(row).collect()
        }
    }
}

fn check_close(what: &str, found: &[Vec<f64>], expected: &[Vec<f64>]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (row, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.len(), expected.len(), "{what}, row {row}");
        for (found, expected) in found.iter().zip(expected) {
            let is_close = (found - expected).abs() <= 1e-5 * expected.abs().max(1.0);
            assert!(is_close, "{what}, row {row}: {found}, expected {expected}");
        }
    }
}

fn aggregation(name: &str) -> Aggregation {
    let mut all = Aggregation::ALL.iter();
    let found = all.find(|(known, _)| *known == name);
    found.unwrap().1
}

fn check_entities(
    name: &str,
    model: &Arc<dyn Model>,
    texts: &[String],
    of: &BTreeMap<String, Vec<Vec<Part>>>,
) {
    for (way, expected) in of {
        let arguments = Arguments::Aggregation(aggregation(way));
        let model = Arc::clone(model).with_arguments(&arguments).unwrap();
        let outputs = of_texts(model.as_ref(), texts);
        let rows = structs(&outputs.columns[0]);
        for (row, (found, expected)) in rows.iter().zip(expected).enumerate() {
            let what = format!("{name}, {way}, row {row}");
            assert_eq!(found.len(), expected.len(), "{what}: {found:?}");
            let text = |at: usize| found.column(at).as_string::<i32>();
            let number = |at: usize| found.column(at).as_primitive::<Int64Type>();
            let scores = found.column(1).as_primitive::<Float64Type>();
            for (at, (label, score, part, start, end)) in expected.iter().enumerate() {
                assert_eq!(text(0).value(at), label, "{what}");
                assert!(
                    (scores.value(at) - score).abs() < 1e-5,
                    "{what}: {}",
                    scores.value(at)
                );
                assert_eq!(text(2).value(at), part, "{what}");
                assert_eq!(
                    (number(3).value(at), number(4).value(at)),
                    (*start, *end),
                    "{what}"
                );
            }
        }
    }
}

fn check_fills(name: &str, model: &dyn Model, fills: &Fills) {
    let outputs = run(model, vec![column(&fills.texts)], Some(3));
    let rows = structs(&outputs.columns[0]);
    assert_eq!(rows.len(), fills.found.len());
    for (row, (found, expected)) in rows.iter().zip(&fills.found).enumerate() {
        let what = format!("{name}, row {row}");
        assert_eq!(found.len(), 3, "{what}");
        let text = |at: usize| found.column(at).as_string::<i32>();
        let scores = found.column(1).as_primitive::<Float64Type>();
        for (at, (token, score, filled)) in expected.iter().enumerate() {
            assert_eq!(text(0).value(at), token, "{what}");
            assert!(
                (scores.value(at) - score).abs() < 1e-5,
                "{what}: {}",
                scores.value(at)
            );
            assert_eq!(text(2).value(at), filled, "{what}");
        }
    }
    // Five without a number.
    let outputs = of_texts(model, &fills.texts[..1]);
    assert_eq!(structs(&outputs.columns[0])[0].len(), 5, "{name}");
}

#[test]
fn outputs_are_those_of_transformers_for_each_family_and_task() {
    let fixture = fixture();
    assert!(fixture.models.len() > 40);
    for (name, entry) in &fixture.models {
        let model = Directory::of(&fixture, name).open();
        let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
        if let Some(expected) = &entry.classes {
            let outputs = of_texts(model.as_ref(), &fixture.texts);
            check_close(name, &by_label(model.as_ref(), &outputs), expected);
        }
        if let Some(expected) = &entry.pairs {
            let outputs = of_pairs(model.as_ref(), &fixture.pairs);
            check_close(name, &by_label(model.as_ref(), &outputs), expected);
        }
        if let Some(expected) = &entry.scores {
            let outputs = of_pairs(model.as_ref(), &fixture.pairs);
            let expected: Vec<Vec<f64>> = expected.iter().map(|score| vec![*score]).collect();
            check_close(name, &by_label(model.as_ref(), &outputs), &expected);
        }
        for of in entry.zero_shot.iter().flatten() {
            let mut labels = fixture.labels.clone();
            labels.sort_unstable();
            let arguments = Arguments::ZeroShot(ZeroShot {
                labels,
                hypothesis: of.hypothesis.clone(),
                multi_label: of.multi_label,
            });
            let bound = Arc::clone(&model).with_arguments(&arguments).unwrap();
            // What a plan is made of is what the model has.
            let ports = ports_for(&arguments, model.signature(), &model.batching()).unwrap();
            assert_eq!(&ports.0, bound.signature());
            assert_eq!(ports.1, bound.batching());
            let outputs = of_texts(bound.as_ref(), &of.texts);
            let what = format!("{name}, {}, {}", of.hypothesis, of.multi_label);
            check_close(
                &what,
                &by_label(bound.as_ref(), &outputs),
                &of.probabilities,
            );
        }
        if let Some(expected) = &entry.entities {
            check_entities(name, &model, &fixture.texts, expected);
        }
        if let Some(fills) = &entry.fills {
            check_fills(name, model.as_ref(), fills);
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_rows_beside_it() {
    let fixture = fixture();
    for name in ["modernbert inference", "deberta_v2 inference"] {
        let model = Directory::of(&fixture, name).open().unwrap();
        let all = by_label(model.as_ref(), &of_pairs(model.as_ref(), &fixture.pairs));
        for (row, expected) in all.iter().enumerate() {
            let outputs = of_pairs(model.as_ref(), &fixture.pairs[row..=row]);
            let found = by_label(model.as_ref(), &outputs);
            for (found, expected) in found[0].iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{name}, row {row}");
            }
        }
    }
}

#[test]
fn rows_without_texts_have_no_outputs_and_one_that_fails_has_a_cause() {
    let fixture = fixture();
    let open = |name: &str| Directory::of(&fixture, name).open().unwrap();
    let texts = || Arc::new(StringArray::from(vec![Some("the film"), None])) as ArrayRef;
    let all = |model: &dyn Model| Wanted {
        outputs: (0..model.signature().outputs.len()).collect(),
        ..Wanted::default()
    };
    for name in ["bert classes", "bert tokens", "bert set", "bert numbers"] {
        let model = open(name);
        let batch = batch_of(vec![("body", texts())]);
        let inputs = model.encode(&batch).unwrap();
        assert_eq!(inputs.report.null_column.as_deref(), Some("body"));
        let outputs = model.run(inputs, &all(model.as_ref())).unwrap();
        for column in outputs.columns {
            let nulls: Vec<bool> = (0..2).map(|row| column.is_null(row)).collect();
            assert_eq!(nulls, [false, true], "{name}");
        }
    }
    let model = open("bert inference");
    let second: ArrayRef = Arc::new(StringArray::from(vec![None, Some("a")]));
    let batch = batch_of(vec![("text", texts()), ("text_pair", second)]);
    let inputs = model.encode(&batch).unwrap();
    assert_eq!(inputs.report.null_rows(), 2);
    let outputs = model.run(inputs, &all(model.as_ref())).unwrap();
    assert_eq!(outputs.columns[0].null_count(), 2);
    // A text without a mask, one with two, and one that is cut off before its mask.
    let model = open("bert mask");
    let long = format!("{}[MASK]", "the film was great ".repeat(30));
    let texts = ["a film", "[MASK] and [MASK]", "a [MASK]", &long].map(str::to_owned);
    let batch = batch_of(vec![("text", column(&texts))]);
    let outputs = model
        .run(model.encode(&batch).unwrap(), &all(model.as_ref()))
        .unwrap();
    let causes: Vec<(usize, &str)> = outputs
        .report
        .failures
        .iter()
        .map(|(row, cause)| (*row, cause.split(": ").last().unwrap()))
        .collect();
    let none = "there is no [MASK] within its first 40 tokens";
    let several = "there are 2 [MASK], and the model fills one";
    assert_eq!(causes, [(0, none), (1, several), (3, none)]);
    let nulls: Vec<bool> = (0..4).map(|row| outputs.columns[0].is_null(row)).collect();
    assert_eq!(nulls, [true, true, false, true]);
    let empty = batch_of(vec![("text", column(&[]))]);
    let outputs = model
        .run(model.encode(&empty).unwrap(), &all(model.as_ref()))
        .unwrap();
    assert_eq!(outputs.columns[0].len(), 0);
}

#[test]
fn a_model_tells_its_ports_and_takes_arguments_of_its_task() {
    let fixture = fixture();
    let directory = Directory::of(&fixture, "bert classes");
    let model = directory.open().unwrap();
    let names = |model: &dyn Model| -> Vec<String> {
        let inputs = model.signature().inputs.iter();
        inputs.map(|port| port.name.clone()).collect()
    };
    assert_eq!(names(model.as_ref()), ["text"]);
    assert!(matches!(model.batching(), Batching::Tokens { input, .. } if input == "text"));
    let facts = model.facts();
    assert!(facts.contains(&("tokens_max".to_owned(), "40".to_owned())));
    let mask = Directory::of(&fixture, "roberta mask").open().unwrap();
    assert!(
        mask.facts()
            .contains(&("mask".to_owned(), "<mask>".to_owned()))
    );
    // Whoever says so gets a classifier of two texts.
    let options = LoadOptions::on(&Device::Cpu);
    let pair = TextPairLoader.load(&directory.files(), &options).unwrap();
    assert_eq!(names(pair.as_ref()), ["text", "text_pair"]);
    let tokens = Directory::of(&fixture, "bert tokens");
    let error = TextPairLoader.load(&tokens.files(), &options).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("BertForTokenClassification takes one text"),
        "{error}"
    );
    let labels = |label: &str| {
        Arguments::ZeroShot(ZeroShot {
            labels: vec![label.to_owned()],
            hypothesis: "{}".into(),
            multi_label: true,
        })
    };
    let error = Arc::clone(&model).with_arguments(&labels("a")).unwrap_err();
    assert!(matches!(error, Error::Invalid(_)), "{error}");
    let error = model.with_arguments(&Arguments::Aggregation(Aggregation::First));
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("a model that classifies tokens")
    );
    let inference = Directory::of(&fixture, "bert inference").open().unwrap();
    let long = "the team won the match ".repeat(20);
    let error = inference
        .with_arguments(&labels(&long))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("leaves no room for a text: both together have at most 37 tokens"),
        "{error}"
    );
}

#[test]
fn files_that_make_no_model_are_refused() {
    let fixture = fixture();
    let check = |name: &str, change: &dyn Fn(&mut Value, &mut Shapes), expected: &str| {
        let directory = Directory::of(&fixture, name);
        let mut config = fixture.models[name].config.clone();
        let mut tensors = fixture.models[name].tensors.clone();
        change(&mut config, &mut tensors);
        directory.write("config.json", &config);
        directory.write_weights(&tensors);
        let error = directory.open().unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    };
    check(
        "bert classes",
        &|config, _| config["id2label"] = json!({"0": "a", "1": "b", "2": "c"}),
        "id2label has 3 names, the model has 2 outputs",
    );
    check(
        "bert classes",
        &|config, _| config["problem_type"] = json!("ranking"),
        "problem_type \"ranking\" is not supported",
    );
    check(
        "bert classes",
        &|config, _| config["architectures"] = json!(["BertForQuestionAnswering"]),
        "the architecture BertForQuestionAnswering is not supported; this build opens",
    );
    check(
        "bert classes",
        &|_, tensors| {
            tensors.insert("classifier.weight".into(), vec![2, 13]);
        },
        "tensor \"classifier.weight\" is F32 of shape [2, 13], expected",
    );
    check(
        "bert classes",
        &|_, tensors| {
            tensors.insert("classifier.scale".into(), vec![2]);
        },
        "tensor \"classifier.scale\" is not expected",
    );
    check(
        "bert classes",
        &|_, tensors| {
            tensors.remove("bert.pooler.dense.bias");
        },
        "tensor \"bert.pooler.dense.bias\" is missing",
    );
    check(
        "modernbert_mean inference",
        &|config, _| config["classifier_pooling"] = json!("max"),
        "classifier_pooling is \"max\"; expected \"cls\" or \"mean\"",
    );
    check(
        "bert mask",
        &|_, tensors| {
            tensors.insert("cls.predictions.bias".into(), vec![5]);
        },
        "tensor \"cls.predictions.bias\" is F32 of shape [5], expected",
    );
    let directory = Directory::of(&fixture, "bert mask");
    let [mut tokenizer, mut options] = fixture.tokenizers["bert"].clone();
    let text = tokenizer.to_string().replace("[MASK]", "[GAP]");
    tokenizer = serde_json::from_str(&text).unwrap();
    options["mask_token"] = Value::Null;
    directory.write("tokenizer.json", &tokenizer);
    directory.write("tokenizer_config.json", &options);
    let error = directory.open().unwrap_err().to_string();
    assert!(error.contains("has no token [MASK] or <mask>"), "{error}");
    let directory = Directory::of(&fixture, "bert classes");
    options["model_max_length"] = json!(3);
    directory.write("tokenizer_config.json", &options);
    let error = directory.open().unwrap_err().to_string();
    let expected = "adds 2 tokens to a text and 3 to two texts, the model takes 3";
    assert!(error.contains(expected), "{error}");
}
