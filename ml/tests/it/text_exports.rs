//! Trained models of texts as directories that transformers and sentence-transformers open: what the files say, and that they predict the
//! same. `tests/clients/graphs/test_texts.py` opens such directories with these libraries.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use candle_core::Device;
use serde_json::{Value, json};
use vatic_ml::artifact::{Files, Loader, ModelFile, TrainedLoader, write};
use vatic_ml::model::compute::LoadOptions;
use vatic_ml::model::options::{Freeze, TextPooling, TrainOptions};
use vatic_ml::model::{Model, Outputs, Wanted};
use vatic_ml::nn::Activation;
use vatic_ml::pretrained::PretrainedLoader;
use vatic_ml::train::fit::Trained;

use super::directories::{self, check_close};
use super::tuning;
use crate::{batch_of, model_type, spec_of, train_spec};

/// Relative to the package, where cargo runs tests.
const DATA: &str = "../sql-tests/data";

fn loader() -> TrainedLoader {
    TrainedLoader::new(Arc::default()).with_texts(Arc::new(PretrainedLoader))
}

/// A short training on rows of texts, from an encoder.
fn trained(
    base: &Path,
    options: &TrainOptions,
    (batch, hashes): &(RecordBatch, Vec<u128>),
) -> Trained {
    let mut spec = spec_of(batch, options);
    spec.base = Some(directories::open(base).unwrap());
    train_spec(&spec, Duration::ZERO, batch, hashes, 1).unwrap()
}

fn options(freeze: Freeze) -> TrainOptions {
    TrainOptions {
        epochs: Some(3),
        batch_size: Some(8),
        learn_rate: 0.02,
        ..tuning::options(freeze)
    }
}

/// The files of a version, as a training publishes them.
fn version(trained: &Trained, base: &Path, directory: &Path) -> Files {
    let model_type = model_type(&trained.config.options.model_type);
    let mut known = write(trained, model_type, directory).unwrap();
    for file in directories::files(base).unwrap().known() {
        let name = format!("base/{}", file.name);
        let to = directory.join(&name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(base.join(&file.name), &to).unwrap();
        known.push(ModelFile {
            name,
            ..file.clone()
        });
    }
    Files::new(directory, known)
}

/// The exported directory of a version.
fn exported(trained: &Trained, base: &Path) -> tempfile::TempDir {
    let of_version = tempfile::tempdir().unwrap();
    let files = version(trained, base, of_version.path());
    let directory = tempfile::tempdir().unwrap();
    for (name, content) in loader().exported(&files).unwrap().unwrap() {
        let to = directory.path().join(name);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, content).unwrap();
    }
    directory
}

fn reopened(directory: &Path) -> Arc<dyn Model> {
    let files = directories::files(directory).unwrap();
    assert!(loader().takes(&files));
    // A directory that others open is exported as it is.
    assert!(loader().exported(&files).unwrap().is_none());
    let model = loader().load(&files, &LoadOptions::on(&Device::Cpu));
    model.unwrap()
}

fn predicted(model: &dyn Model, batch: &RecordBatch) -> Outputs {
    let wanted = Wanted {
        outputs: vec![0],
        scores: true,
        ..Wanted::default()
    };
    let texts = batch.project(&[0]).unwrap();
    model.run(model.encode(&texts).unwrap(), &wanted).unwrap()
}

fn config(directory: &Path) -> Value {
    let content = fs::read(directory.join("config.json")).unwrap();
    serde_json::from_slice(&content).unwrap()
}

/// The texts of the fixture with another label.
fn with_label(name: &str, label: ArrayRef) -> (RecordBatch, Vec<u128>) {
    let (batch, hashes) = tuning::rows(1);
    let texts = Arc::clone(batch.column(0));
    (batch_of(vec![("body", texts), (name, label)]), hashes)
}

/// The probabilities of logits.
fn softmax(logits: &[f64]) -> Vec<f64> {
    let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / sum).collect()
}

#[test]
fn layers_become_modules_behind_the_encoder() {
    let rows = tuning::rows(1);
    let cases = [
        ("text_encoder", Freeze::Encoder, None, vec![]),
        ("text_encoder", Freeze::None, None, vec![6, 4]),
        (
            "text_encoder",
            Freeze::Embeddings,
            Some(TextPooling::Cls),
            vec![],
        ),
        // Weights in two files, of 16 bits, with names that begin as those of a model for gaps.
        (
            "text_models/minilm",
            Freeze::Encoder,
            Some(TextPooling::Mean),
            vec![5],
        ),
        ("text_models/minilm", Freeze::None, None, vec![]),
        // The encoder is in a folder, and there is a dense layer behind pooling of two kinds.
        ("text_models/dense", Freeze::None, None, vec![]),
        (
            "text_models/dense",
            Freeze::Encoder,
            Some(TextPooling::Cls),
            vec![],
        ),
        // No list of modules.
        ("text_models/distilbert", Freeze::None, None, vec![]),
        // A prompt before each text.
        ("text_models/xlm_roberta", Freeze::None, None, vec![]),
        // A head with a norm in transformers.
        (
            "text_models/modernbert",
            Freeze::Embeddings,
            Some(TextPooling::Cls),
            vec![12],
        ),
    ];
    for (base, freeze, pooling, hidden_units) in cases {
        let base = Path::new(DATA).join(base);
        let mut options = options(freeze);
        options.text.pooling = pooling;
        options.hidden_units = hidden_units;
        options.activation = Activation::Gelu;
        let what = format!("{} {freeze:?} {pooling:?}", base.display());
        let trained = trained(&base, &options, &rows);
        let directory = exported(&trained, &base);
        let model = trained.whole(model_type("text_classifier")).unwrap();
        let expected = predicted(model.as_ref(), &rows.0);

        let again = reopened(directory.path());
        assert_eq!(again.signature(), model.signature(), "{what}");
        let found = predicted(again.as_ref(), &rows.0);
        assert_eq!(found.columns, expected.columns, "{what}");
        check_close(&what, &found.scores, &expected.scores, 1e-6);

        // As an encoder, the directory gives logits.
        let encoder = directories::open(directory.path()).unwrap();
        let logits = directories::embeddings(&predicted(encoder.as_ref(), &rows.0));
        let scores: Vec<f64> = logits.iter().flat_map(|row| softmax(row)).collect();
        check_close(&what, &scores, &expected.scores, 1e-5);

        let config = config(directory.path());
        let names = json!({"0": "0", "1": "1", "2": "2"});
        assert_eq!(config["id2label"], names, "{what}");
        assert_eq!(
            config["label2id"],
            json!({"0": 0, "1": 1, "2": 2}),
            "{what}"
        );
        assert_eq!(config["problem_type"], "single_label_classification");
        assert_eq!(config["dtype"], "float32");
        let architecture = config["architectures"][0].as_str().unwrap();
        assert!(architecture.ends_with("Model"), "{architecture}");
        assert!(
            !directory
                .path()
                .join("model.safetensors.index.json")
                .exists()
        );
    }
}

#[test]
fn layers_that_a_family_has_become_its_head() {
    let rows = tuning::rows(1);
    let cases = [
        (
            "text_encoder",
            8,
            Freeze::None,
            Activation::Tanh,
            "BertForSequenceClassification",
        ),
        (
            "text_models/roberta",
            12,
            Freeze::Encoder,
            Activation::Tanh,
            "RobertaForSequenceClassification",
        ),
        (
            "text_models/distilbert",
            12,
            Freeze::Embeddings,
            Activation::Relu,
            "DistilBertForSequenceClassification",
        ),
        (
            "text_models/electra",
            12,
            Freeze::None,
            Activation::Gelu,
            "ElectraForSequenceClassification",
        ),
    ];
    for (base, width, freeze, activation, architecture) in cases {
        let base = Path::new(DATA).join(base);
        let mut options = options(freeze);
        options.text.pooling = Some(TextPooling::Cls);
        options.hidden_units = vec![width];
        options.activation = activation;
        let trained = trained(&base, &options, &rows);
        let directory = exported(&trained, &base);
        let model = trained.whole(model_type("text_classifier")).unwrap();
        let expected = predicted(model.as_ref(), &rows.0);
        let found = predicted(reopened(directory.path()).as_ref(), &rows.0);
        assert_eq!(found.columns, expected.columns, "{architecture}");
        check_close(architecture, &found.scores, &expected.scores, 1e-6);

        // The head of the library, whose classes are texts.
        let config = config(directory.path());
        assert_eq!(config["architectures"], json!([architecture]));
        assert!(!directory.path().join("modules.json").exists());
        let classifier = directories::open(directory.path()).unwrap();
        let found = predicted(classifier.as_ref(), &rows.0);
        check_close(architecture, &found.scores, &expected.scores, 1e-5);
    }
}

#[test]
fn numbers_and_two_classes_have_outputs_as_transformers_has_them() {
    let base = Path::new(DATA).join("text_encoder");
    let count = tuning::rows(1).1.len();
    let stars = Float64Array::from_iter_values((0..count).map(|row| 100.0 + 7.0 * row as f64));
    let moods = StringArray::from_iter_values((0..count).map(|row| ["up", "down"][row % 2]));

    let mut options = options(Freeze::Encoder);
    options.model_type = "text_regressor".into();
    let rows = with_label("stars", Arc::new(stars));
    let regressor = trained(&base, &options, &rows);
    let directory = exported(&regressor, &base);
    let described = config(directory.path());
    assert_eq!(described["id2label"], json!({"0": "stars"}));
    assert_eq!(described["problem_type"], "regression");
    let model = regressor.whole(model_type("text_regressor")).unwrap();
    let expected = predicted(model.as_ref(), &rows.0).scores;
    let encoder = directories::open(directory.path()).unwrap();
    let found = directories::embeddings(&predicted(encoder.as_ref(), &rows.0));
    check_close("a number", &found.concat(), &expected, 1e-5);

    options.model_type = "text_classifier".into();
    let rows = with_label("mood", Arc::new(moods));
    let classifier = trained(&base, &options, &rows);
    let directory = exported(&classifier, &base);
    let described = config(directory.path());
    assert_eq!(described["id2label"], json!({"0": "down", "1": "up"}));
    let model = classifier.whole(model_type("text_classifier")).unwrap();
    let expected = predicted(model.as_ref(), &rows.0).scores;
    let encoder = directories::open(directory.path()).unwrap();
    let logits = directories::embeddings(&predicted(encoder.as_ref(), &rows.0));
    assert!(logits.iter().all(|row| row.len() == 2 && row[0] == 0.0));
    let scores: Vec<f64> = logits.iter().flat_map(|row| softmax(row)).collect();
    check_close("two classes", &scores, &expected, 1e-5);
}

#[test]
fn damaged_files_of_a_directory_are_named() {
    let base = Path::new(DATA).join("text_encoder");
    let trained = trained(&base, &options(Freeze::None), &tuning::rows(1));
    let directory = exported(&trained, &base);
    let damaged = |name: &str, content: &str| {
        let path = directory.path().join(name);
        let before = fs::read(&path).unwrap();
        fs::write(&path, content).unwrap();
        let files = directories::files(directory.path()).unwrap();
        let error = loader().load(&files, &LoadOptions::on(&Device::Cpu));
        fs::write(&path, before).unwrap();
        error.unwrap_err().to_string()
    };
    for name in ["vatic.json", "vatic.safetensors", "config.json"] {
        let error = damaged(name, "{");
        assert!(error.starts_with(&format!("{name}: ")), "{error}");
    }
    let description = fs::read_to_string(directory.path().join("vatic.json")).unwrap();
    let mut description: Value = serde_json::from_str(&description).unwrap();
    description["labels"]["classes"]["values"] = json!([{"integer": 0}]);
    let error = damaged("vatic.json", &description.to_string());
    assert_eq!(error, "vatic.json: a single class");
}
