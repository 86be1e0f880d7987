//! Models of images in the files of Hugging Face and timm: their outputs against those of the libraries (`fixtures/vision.py`), and
//! files that are not opened.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryViewArray, RecordBatch, StringArray,
    StringViewArray,
};
use arrow::datatypes::{DataType, Float32Type};
use candle_core::Device;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};
use vatic_ml::artifact::{Files, Loader, describe_file};
use vatic_ml::data::signature::PortKind;
use vatic_ml::model::compute::{ComputeType, LoadOptions};
use vatic_ml::model::tokens::{TokenCount, chunks};
use vatic_ml::model::{Model, Outputs, Wanted};
use vatic_ml::pretrained::{PretrainedLoader, TextTowerLoader};
use vatic_ml::{Error, Result};

use crate::batch_of;

/// Relative to the package, where cargo runs tests.
const MODELS: &str = "../sql-tests/data/models";

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

fn files(directory: &Path) -> Files {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let known = names.map(|name| describe_file(directory, &name).unwrap());
    Files::new(directory, known.collect())
}

fn open(directory: &Path) -> Result<Arc<dyn Model>> {
    let files = files(directory);
    assert!(PretrainedLoader.takes(&files));
    PretrainedLoader.load(&files, &LoadOptions::on(&Device::Cpu))
}

fn pictures(names: &[String]) -> Vec<Vec<u8>> {
    let pictures = names.iter();
    pictures
        .map(|name| fs::read(Path::new(MODELS).join(name)).unwrap())
        .collect()
}

fn batch(column: impl Array + 'static) -> RecordBatch {
    batch_of(vec![("bytes", Arc::new(column) as ArrayRef)])
}

/// All outputs of a model.
fn run(model: &dyn Model, batch: &RecordBatch) -> Outputs {
    let wanted = Wanted {
        outputs: (0..model.signature().outputs.len()).collect(),
        scores: true,
        ..Wanted::default()
    };
    model.run(model.encode(batch).unwrap(), &wanted).unwrap()
}

fn embeddings(outputs: &Outputs) -> Vec<Vec<f64>> {
    let vectors = outputs.columns.last().unwrap().as_fixed_size_list();
    let rows = (0..vectors.len()).map(|row| vectors.value(row));
    rows.map(|row| {
        let values = row.as_primitive::<Float32Type>().values();
        values.iter().map(|value| f64::from(*value)).collect()
    })
    .collect()
}

fn check_close(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(
            error <= 1e-5 * expected.abs().max(1.0),
            "{what}: {found}, expected {expected}"
        );
    }
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
            check_close(name, found, expected);
        }
        let Some(probabilities) = &expected.probabilities else {
            assert_eq!(outputs.columns.len(), 1, "{name}");
            continue;
        };
        check_close(name, &outputs.scores, &probabilities.concat());
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
    check_close("first", &found[0], &expected[0]);
    check_close("last", &found[3], &expected[1]);
    let nothing = run(
        model.as_ref(),
        &batch(BinaryArray::from_iter_values([b""; 0])),
    );
    assert!(nothing.columns.iter().all(|column| column.is_empty()));
}

fn open_texts(directory: &Path) -> Result<Arc<dyn Model>> {
    TextTowerLoader.load(&files(directory), &LoadOptions::on(&Device::Cpu))
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
            check_close(name, found, expected);
        }
        // Longer texts beside a text do not change its vector.
        let rows = [None, Some(fixture.texts[0].as_str())];
        let outputs = run(model.as_ref(), &batch(StringViewArray::from_iter(rows)));
        assert_eq!(outputs.report.null_rows(), 1);
        assert!(outputs.columns[0].is_null(0));
        check_close(name, &embeddings(&outputs)[1], &expected[0]);
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
fn towers_of_texts_need_their_tokenizer() {
    assert!(!TextTowerLoader.takes(&files(&Path::new(MODELS).join("clip"))));
    let error = |copied: &Copied| open_texts(copied.0.path()).unwrap_err().to_string();
    let copied = Copied::of("clip");
    fs::remove_file(copied.path("tokenizer.json")).unwrap();
    assert!(error(&copied).contains("tokenizer.json: the directory has no such file"));
    let copied = Copied::of("clip");
    fs::write(copied.path("tokenizer.json"), "{}").unwrap();
    assert!(error(&copied).starts_with("tokenizer.json: "));
    let short = Copied::of("clip").with("config.json", |config| {
        config["text_config"]["max_position_embeddings"] = json!(2);
    });
    let expected = "tokenizer.json: adds 2 tokens to each text, the model takes 2";
    assert_eq!(error(&short), expected);
    let large = Copied::of("clip").with("config.json", |config| {
        config["text_config"]["vocab_size"] = json!(1_000_000);
    });
    assert!(error(&large).contains("token_embedding.weight\" is F16 of shape [196, 12], expected"));
    let expected = "ViTForImageClassification has no tower of texts";
    assert!(error(&Copied::of("vit")).contains(expected));
    // A token that the model does not know is a failure of its row.
    let copied = Copied::of("siglip").with("tokenizer.json", |tokenizer| {
        tokenizer["model"]["vocab"]["z"] = json!(5_000);
    });
    let model = open_texts(copied.0.path()).unwrap();
    let outputs = run(model.as_ref(), &batch(StringArray::from(vec!["a", "zz"])));
    let failures = &outputs.report.failures;
    let [(1, cause)] = failures.as_slice() else {
        panic!("{failures:?}")
    };
    assert!(
        cause.contains("its token 5000 is none of the 96"),
        "{cause}"
    );
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

/// A copy of a model whose files may be changed.
struct Copied(tempfile::TempDir);

impl Copied {
    fn of(model: &str) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for entry in fs::read_dir(Path::new(MODELS).join(model)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        Self(copy)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Changes the values of a JSON file.
    fn with(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let text = fs::read_to_string(self.path(file)).unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        fs::write(self.path(file), value.to_string()).unwrap();
        self
    }

    fn with_value(self, name: &str, value: Value) -> Self {
        self.with("config.json", |config| config[name] = value)
    }

    /// Replaces a tensor, or leaves it out.
    fn with_tensor(self, name: &str, tensor: Option<(Dtype, &[usize], &[u8])>) -> Self {
        let file = self.path("model.safetensors");
        let content = fs::read(&file).unwrap();
        let tensors = SafeTensors::deserialize(&content).unwrap();
        let mut all: BTreeMap<String, TensorView<'_>> = tensors.tensors().into_iter().collect();
        all.remove(name);
        if let Some((dtype, shape, bytes)) = tensor {
            let view = TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
            all.insert(name.into(), view);
        }
        let changed = safetensors::serialize(all, None).unwrap();
        fs::write(&file, changed).unwrap();
        self
    }

    fn error(&self) -> Error {
        open(self.0.path()).unwrap_err()
    }
}

#[test]
fn damaged_weights_are_refused_by_the_name_of_the_tensor() {
    let bias = "classifier.bias";
    let numbers = [0u8; 12];
    for (tensor, expected) in [
        (None, "tensor \"classifier.bias\" is missing"),
        (
            Some((Dtype::F32, &[1, 3][..], &numbers[..])),
            "tensor \"classifier.bias\" is F32 of shape [1, 3], expected F32, F16 or BF16 of shape [3]",
        ),
        (
            Some((Dtype::I32, &[3][..], &numbers[..])),
            "\"classifier.bias\" is I32 of shape [3]",
        ),
    ] {
        let error = Copied::of("vit").with_tensor(bias, tensor).error();
        assert!(matches!(error, Error::Corrupt(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
    let more = Some((Dtype::F32, &[3][..], &numbers[..]));
    let error = Copied::of("vit").with_tensor("vit.registers", more).error();
    let expected = "tensor \"vit.registers\" is not expected; ViTForImageClassification has no";
    assert!(error.to_string().contains(expected), "{error}");
    // The numbers of batches of a training have no effect.
    let counter = Some((Dtype::I32, &[3][..], &numbers[..]));
    let name = "resnet.embedder.embedder.normalization.num_batches_tracked";
    let counted = Copied::of("resnet_basic").with_tensor(name, counter);
    assert!(open(counted.0.path()).is_ok());
}

#[test]
fn descriptions_that_do_not_fit_are_refused() {
    for (model, name, value, expected) in [
        (
            "vit",
            "num_hidden_layers",
            json!(1_000_000_000),
            "num_hidden_layers is 1000000000; expected a whole number from 1 to 1000",
        ),
        (
            "vit",
            "num_hidden_layers",
            json!(3),
            "tensor \"vit.encoder.layer.2.attention.attention.query.weight\" is missing",
        ),
        (
            "vit",
            "num_hidden_layers",
            json!(1),
            "tensor \"vit.encoder.layer.1.attention.attention.key.bias\" is not expected",
        ),
        (
            "vit",
            "hidden_size",
            json!(24),
            "expected F32, F16 or BF16 of shape [24, 3, 8, 8]",
        ),
        (
            "vit",
            "num_attention_heads",
            json!(5),
            "num_attention_heads is 5, which does not divide the width 12",
        ),
        (
            "vit",
            "image_size",
            json!(64),
            "image_size is [64, 64], the image processor makes images of 32 x 32",
        ),
        (
            "vit",
            "hidden_act",
            json!("mish"),
            "hidden_act is \"mish\", which is not supported",
        ),
        (
            "vit",
            "num_channels",
            json!(2),
            "num_channels is 2; expected 1 or 3",
        ),
        (
            "vit",
            "id2label",
            json!({"0": "a", "1": "b"}),
            "id2label has 2 names, the model has 3 outputs",
        ),
        (
            "vit",
            "problem_type",
            json!("regression"),
            "config.json: regression is not supported",
        ),
        (
            "vit",
            "architectures",
            json!(["ViTForMaskedImageModeling"]),
            "the architecture ViTForMaskedImageModeling is not supported; this build opens ResNetForImageClassification",
        ),
        ("vit", "architectures", json!([]), ""),
        (
            "resnet_basic",
            "depths",
            json!([1]),
            "depths and hidden_sizes have different lengths",
        ),
        (
            "resnet_basic",
            "layer_type",
            json!("wide"),
            "layer_type is \"wide\"; expected basic or bottleneck",
        ),
        (
            "resnet_basic",
            "hidden_sizes",
            json!([8, 0]),
            "hidden_sizes is [8,0]; expected a list",
        ),
        (
            "convnext",
            "num_stages",
            json!(3),
            "num_stages is 3, depths and hidden_sizes have other lengths",
        ),
        (
            "mobilenet_v2",
            "output_stride",
            json!(16),
            "output_stride is 16",
        ),
        (
            "efficientnet",
            "depth_coefficient",
            json!(1e12),
            "depth_coefficient is 1000000000000",
        ),
        (
            "efficientnet",
            "pooling_type",
            json!("max"),
            "pooling_type is \"max\", and this build opens only",
        ),
        (
            "timm_resnet18",
            "architecture",
            json!("resnet18d"),
            "the architecture resnet18d is not supported; this build opens resnet18",
        ),
        (
            "timm_resnet18",
            "global_pool",
            json!("catavgmax"),
            "global_pool \"catavgmax\" of resnet18 is not supported; avg is",
        ),
        (
            "timm_resnet18",
            "model_args",
            json!({"global_pool": "max"}),
            "global_pool \"max\" of resnet18 is not supported; avg is",
        ),
        (
            "timm_vit",
            "model_args",
            json!({"global_pool": "map"}),
            "global_pool \"map\" of",
        ),
        (
            "timm_resnet18",
            "model_args",
            json!({"output_stride": 8}),
            "the argument output_stride of resnet18 in model_args",
        ),
        ("timm_resnet18", "architecture", json!("resnet34"), ""),
        (
            "timm_vit",
            "model_args",
            json!({"num_heads": 5}),
            "num_attention_heads is 5, which does not divide",
        ),
    ] {
        let copied = Copied::of(model).with_value(name, value);
        if expected.is_empty() {
            // What the weights say, or the type of the model, is enough.
            assert!(open(copied.0.path()).is_ok(), "{model}: {name}");
            continue;
        }
        let error = copied.error();
        let text = error.to_string();
        assert!(text.contains(expected), "{model}: {text}");
        if ["not supported", "opens only"]
            .iter()
            .any(|words| text.contains(words))
        {
            assert!(matches!(error, Error::Unsupported(_)), "{text}");
        }
    }
}

#[test]
fn images_that_are_too_small_for_a_network_are_refused_when_it_is_opened() {
    let processor = json!({"do_resize": true, "size": {"height": 4, "width": 4}, "resample": 2, "do_normalize": false});
    let copied = Copied::of("convnext").with("preprocessor_config.json", |old| *old = processor);
    let error = copied.error();
    assert!(matches!(error, Error::Unsupported(_)));
    let expected = "too small for the model: layer convnext.encoder.stages.1.downsampling_layer.1 gets 1 x 1 pixels";
    assert!(error.to_string().contains(expected), "{error}");
}

#[test]
fn files_that_are_missing_or_execute_code_are_named() {
    let copied = Copied::of("vit");
    let weights = copied.path("model.safetensors");
    fs::rename(&weights, copied.path("pytorch_model.bin")).unwrap();
    let error = copied.error();
    assert!(matches!(error, Error::Unsupported(_)));
    assert!(
        error
            .to_string()
            .contains("pytorch_model.bin, a pickle, which executes code")
    );
    let copied = Copied::of("vit");
    fs::remove_file(copied.path("preprocessor_config.json")).unwrap();
    let error = copied.error().to_string();
    assert!(error.contains("preprocessor_config.json: the directory has no such file"));
    let options = LoadOptions {
        device: Device::Cpu,
        compute: Some(ComputeType::F64),
    };
    let files = files(&Path::new(MODELS).join("vit"));
    let error = PretrainedLoader.load(&files, &options).unwrap_err();
    assert!(error.to_string().contains("compute in f32, not f64"));
}

#[test]
fn weights_in_parts_are_put_together() {
    let copied = Copied::of("vit");
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
    let model = open(copied.0.path()).unwrap();
    let found = embeddings(&run(model.as_ref(), &batch));
    check_close("parts", &found[0], &fixture.models["vit"].embedding[0]);
    fs::remove_file(copied.path("second.safetensors")).unwrap();
    let error = copied.error().to_string();
    assert!(error.contains("names the part \"second.safetensors\", which is missing"));
}
