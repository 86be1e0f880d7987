//! Models of images in the files of Hugging Face and timm: their outputs against those of the libraries (`fixtures/vision.py`).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow::datatypes::DataType;
use candle_core::Device;
use safetensors::SafeTensors;
use serde::Deserialize;
use serde_json::json;
use vatic_ml::Result;
use vatic_ml::artifact::Loader;
use vatic_ml::data::signature::PortKind;
use vatic_ml::model::compute::LoadOptions;
use vatic_ml::model::tokens::{TokenCount, chunks};
use vatic_ml::model::{Model, Outputs, Wanted};
use vatic_ml::pretrained::TextTowerLoader;

use super::directories::{Copied, check_close, embeddings, files, open};
use crate::batch_of;

/// Relative to the package, where cargo runs tests.
pub(super) const MODELS: &str = "../sql-tests/data/models";

#[derive(Deserialize)]
struct Fixture {
    pictures: Vec<String>,
    texts: Vec<String>,
    models: BTreeMap<String, Expected>,
}

#[derive(Deserialize)]
struct Expected {
    /// Of each picture.
    embedding: Vec<Vec<f64>>,
    /// Of each picture the probability of each class, in ascending order of the classes.
    probabilities: Option<Vec<Vec<f64>>>,
    /// Of each text.
    texts: Option<Vec<Vec<f64>>>,
}

fn fixture() -> Fixture {
    serde_json::from_str(include_str!("fixtures/vision.json")).unwrap()
}

fn pictures(names: &[String]) -> Vec<Vec<u8>> {
    let pictures = names.iter();
    pictures
        .map(|name| fs::read(Path::new(MODELS).join(name)).unwrap())
        .collect()
}

pub(super) fn batch(column: impl Array + 'static) -> RecordBatch {
    batch_of(vec![("bytes", Arc::new(column) as ArrayRef)])
}

/// All outputs of a model.
pub(super) fn run(model: &dyn Model, batch: &RecordBatch) -> Outputs {
    let wanted = Wanted {
        outputs: (0..model.signature().outputs.len()).collect(),
        scores: true,
        ..Wanted::default()
    };
    model.run(model.encode(batch).unwrap(), &wanted).unwrap()
}

#[test]
fn outputs_are_those_of_the_libraries() {
    let fixture = fixture();
    let pictures = pictures(&fixture.pictures);
    let batch = batch(BinaryArray::from_iter_values(&pictures));
    for (name, expected) in &fixture.models {
        let model = open(&Path::new(MODELS).join(name)).unwrap();
        let outputs = run(model.as_ref(), &batch);
        for (found, expected) in embeddings(&outputs).iter().zip(&expected.embedding) {
            check_close(name, found, expected, 1e-5);
        }
        let Some(probabilities) = &expected.probabilities else {
            assert_eq!(outputs.columns.len(), 1, "{name}");
            continue;
        };
        check_close(name, &outputs.scores, &probabilities.concat(), 1e-5);
        let classes = ["bird", "cat", "dog"];
        let labels = outputs.columns[0].as_string::<i32>();
        for (label, probabilities) in labels.iter().zip(probabilities) {
            let pairs = probabilities.iter().zip(classes);
            let most = pairs.max_by(|left, right| left.0.total_cmp(right.0));
            assert_eq!(label, most.map(|(_, class)| class), "{name}");
        }
    }
}

#[test]
fn rows_without_an_image_have_no_output_and_the_others_the_same() {
    let fixture = fixture();
    let model = open(&Path::new(MODELS).join("vit")).unwrap();
    let pictures = pictures(&fixture.pictures);
    let rows = [
        Some(pictures[0].as_slice()),
        None,
        Some(b"no picture".as_slice()),
        Some(pictures[1].as_slice()),
    ];
    let outputs = run(model.as_ref(), &batch(BinaryViewArray::from_iter(rows)));
    assert_eq!(outputs.report.null_rows(), 1);
    assert_eq!(outputs.report.null_column.as_deref(), Some("bytes"));
    let failures = &outputs.report.failures;
    let [(2, cause)] = failures.as_slice() else {
        panic!("{failures:?}")
    };
    assert!(cause.contains("column \"bytes\" holds no image: the 10 bytes are no JPEG"));
    for column in &outputs.columns {
        let valid: Vec<bool> = (0..4).map(|row| column.is_valid(row)).collect();
        assert_eq!(valid, [true, false, false, true]);
    }
    let found = embeddings(&outputs);
    let expected = &fixture.models["vit"].embedding;
    check_close("first", &found[0], &expected[0], 1e-5);
    check_close("last", &found[3], &expected[1], 1e-5);
    let nothing = run(
        model.as_ref(),
        &batch(BinaryArray::from_iter_values([b""; 0])),
    );
    assert!(nothing.columns.iter().all(|column| column.is_empty()));
}

/// The tower of texts of a model.
pub(super) fn open_texts(directory: &Path) -> Result<Arc<dyn Model>> {
    TextTowerLoader.load(&files(directory)?, &LoadOptions::on(&Device::Cpu))
}

#[test]
fn vectors_of_texts_are_those_of_the_libraries() {
    let fixture = fixture();
    let texts = batch(StringArray::from_iter_values(&fixture.texts));
    for (name, expected) in &fixture.models {
        let Some(expected) = &expected.texts else {
            continue;
        };
        let model = open_texts(&Path::new(MODELS).join(name)).unwrap();
        assert_eq!(model.signature().inputs[0].kind, PortKind::Text);
        let found = embeddings(&run(model.as_ref(), &texts));
        for (found, expected) in found.iter().zip(expected) {
            check_close(name, found, expected, 1e-5);
        }
        // Longer texts beside a text do not change its vector.
        let rows = [None, Some(fixture.texts[0].as_str())];
        let outputs = run(model.as_ref(), &batch(StringViewArray::from_iter(rows)));
        assert_eq!(outputs.report.null_rows(), 1);
        assert!(outputs.columns[0].is_null(0));
        check_close(name, &embeddings(&outputs)[1], &expected[0], 1e-5);
    }
}

/// The numbers are those of the library tokenizers 0.23 for Python.
#[test]
fn texts_are_counted_and_divided_as_their_tokenizer_does() {
    let model = open_texts(&Path::new(MODELS).join("clip")).unwrap();
    let tokens = model.tokens().unwrap();
    assert_eq!(tokens.tokens_max(), 22);
    let animals = "a cat and a dog and a bird and a fish";
    let letters = "x".repeat(40);
    let long = "word ".repeat(10_000);
    for (text, count, is_cut) in [
        ("", 2, false),
        ("a cat", 4, false),
        ("A photo of a Dog!", 12, false),
        (animals, 24, true),
        (letters.as_str(), 24, true),
        (long.as_str(), 24, true),
    ] {
        let expected = TokenCount {
            tokens: count,
            is_cut,
        };
        assert_eq!(tokens.count(text), Ok(expected), "{text:.20}");
    }
    let parts = |size, overlap| -> Vec<&str> {
        let found = chunks(tokens, animals, size, overlap).unwrap();
        found.into_iter().map(|part| &animals[part]).collect()
    };
    assert_eq!(
        parts(8, 0),
        ["a cat and a dog a", "nd a bird a", "nd a fish"]
    );
    let expected = [
        "a cat and a dog a",
        "a dog and a bi",
        "a bird and",
        "and a fish",
    ];
    assert_eq!(parts(8, 3), expected);
    assert_eq!(parts(23, 0), [animals]);
    // A letter of two tokens is not divided.
    let text = "wörd ünd";
    let found = chunks(tokens, text, 3, 0).unwrap();
    let found: Vec<&str> = found.into_iter().map(|part| &text[part]).collect();
    assert_eq!(found, ["wö", "rd ü", "ünd"]);
}

#[test]
fn a_prompt_that_a_model_does_not_have_is_refused() {
    let model = open_texts(&Path::new(MODELS).join("clip")).unwrap();
    assert!(model.for_call(&Wanted::default()).unwrap().is_none());
    let wanted = Wanted {
        prompt: Some("query".into()),
        ..Wanted::default()
    };
    let error = model.for_call(&wanted).unwrap_err().to_string();
    assert!(error.contains("none of the name \"query\""), "{error}");
}

#[test]
fn a_model_tells_its_ports_and_its_memory() {
    let model = open(&Path::new(MODELS).join("resnet_basic")).unwrap();
    let signature = model.signature();
    let names = signature.outputs.iter().map(|port| port.name.as_str());
    let expected = ["predicted_label", "predicted_label_probs", "embedding"];
    assert!(names.eq(expected));
    assert_eq!(signature.inputs[0].kind, PortKind::Image);
    assert_eq!(signature.inputs[0].data_type, DataType::Binary);
    let classes = signature.labels().next().unwrap().classes.iter();
    let classes: Vec<String> = classes.map(ToString::to_string).collect();
    assert_eq!(classes, ["bird", "cat", "dog"]);
    assert_eq!(signature.outputs[2].kind, PortKind::Vector { width: 12 });
    // The weights are f32 in the file, too; statistics of batches become parts of other weights.
    let file = fs::metadata(Path::new(MODELS).join("resnet_basic/model.safetensors")).unwrap();
    assert!(model.bytes() > 0 && model.bytes() < file.len() as usize);
    assert!(model.working_bytes(9) > 9 * 3 * 32 * 32 * 4);
    assert!(model.working_bytes(100) > model.working_bytes(1));
    let pictures = pictures(&fixture().pictures);
    let batch = batch(BinaryArray::from_iter_values(&pictures));
    assert!(model.encoding_bytes(&batch) >= 45 * 37 * 3);
}

#[test]
fn weights_in_parts_are_put_together() {
    let copied = Copied::of(&Path::new(MODELS).join("vit"));
    let file = copied.path("model.safetensors");
    let content = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&content).unwrap().tensors();
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let mut map = BTreeMap::new();
    for (part, tensors) in [("first.safetensors", first), ("second.safetensors", second)] {
        let views = tensors.iter().map(|(name, view)| (name, view));
        fs::write(
            copied.path(part),
            safetensors::serialize(views, None).unwrap(),
        )
        .unwrap();
        map.extend(tensors.iter().map(|(name, _)| (name.clone(), part)));
    }
    fs::remove_file(&file).unwrap();
    let index = json!({"metadata": {}, "weight_map": map}).to_string();
    fs::write(copied.path("model.safetensors.index.json"), index).unwrap();
    let fixture = fixture();
    let batch = batch(BinaryArray::from_iter_values(pictures(&fixture.pictures)));
    let model = open(copied.directory()).unwrap();
    let found = embeddings(&run(model.as_ref(), &batch));
    check_close(
        "parts",
        &found[0],
        &fixture.models["vit"].embedding[0],
        1e-5,
    );
    fs::remove_file(copied.path("second.safetensors")).unwrap();
    let error = copied.error().to_string();
    assert!(error.contains("names the part \"second.safetensors\", which is missing"));
}
