//! Tests of damaged model files: loading fails with an error that names the file, never with a panic or a wrong model.

use std::fs;
use std::sync::Arc;

use arrow::array::{Float64Array, Int64Array, RecordBatch, StringArray};

use super::*;
use crate::artifact::sha256;
use crate::collective::LocalCollective;
use crate::data::columns::{Column, Columns};
use crate::model::options::TrainOptions;
use crate::model::{Outputs, Wanted};
use crate::train::control::Control;
use crate::train::fit::{TrainSpec, fit};
use crate::train::raw::RankRows;

fn predict(model: &dyn Model, batch: &RecordBatch) -> Outputs {
    let wanted = Wanted {
        outputs: vec![0, 1],
        ..Wanted::default()
    };
    model.run(model.encode(batch).unwrap(), &wanted).unwrap()
}

fn read(directory: &Path, files: &[ModelFile]) -> Result<Arc<dyn Model>> {
    let files = Files::new(directory, files.to_vec());
    TrainedLoader::new(Arc::default()).load(&files, &LoadOptions::on(&HOST))
}

fn rows() -> RecordBatch {
    let x = Float64Array::from_iter_values((0..60).map(f64::from));
    let colour = StringArray::from_iter_values((0..60).map(|row| ["red", "blue"][row % 2]));
    let label = Int64Array::from_iter_values((0..60).map(|row| i64::from(row > 30)));
    RecordBatch::try_from_iter([
        ("x", Arc::new(x) as _),
        ("colour", Arc::new(colour) as _),
        ("label", Arc::new(label) as _),
    ])
    .unwrap()
}

fn trained() -> Trained {
    let batch = rows();
    let schema = batch.schema();
    let columns = schema.fields().iter().map(|field| Column {
        name: field.name().clone(),
        data_type: field.data_type().clone(),
    });
    let mut features: Vec<Column> = columns.collect();
    let targets = vec![features.pop().unwrap()];
    let options = TrainOptions {
        model_type: "dnn_classifier".into(),
        hidden_units: vec![4],
        epochs: Some(2),
        shards: Some(1),
        ..Default::default()
    };
    let spec = TrainSpec {
        columns: Columns { features, targets },
        options,
        shards: 1,
        base: None,
    };
    let rows = RankRows {
        batches: vec![batch],
        hashes: vec![(0..60).collect()],
        ..RankRows::default()
    };
    let collective = LocalCollective::group(1).remove(0);
    fit(
        &spec,
        ModelTypes::default().get("dnn_classifier").unwrap(),
        rows,
        &collective,
        &Control::default(),
    )
    .unwrap()
}

fn written() -> (tempfile::TempDir, Vec<ModelFile>) {
    let directory = tempfile::tempdir().unwrap();
    let files = write(
        &trained(),
        ModelTypes::default().get("dnn_classifier").unwrap(),
        directory.path(),
    )
    .unwrap();
    (directory, files)
}

/// The error of reading after `damage` to the file. With `forged`, the manifest's hash and length are made to agree.
fn read_damaged(name: &str, forged: bool, damage: impl FnOnce(&mut Vec<u8>)) -> String {
    let (directory, mut files) = written();
    let path = directory.path().join(name);
    let mut content = fs::read(&path).unwrap();
    damage(&mut content);
    fs::write(&path, &content).unwrap();
    if forged {
        let file = files.iter_mut().find(|file| file.name == name).unwrap();
        *file = ModelFile {
            name: name.into(),
            bytes: content.len() as u64,
            sha256: sha256(&content),
        };
    }
    read(directory.path(), &files).unwrap_err().to_string()
}

#[test]
fn what_was_written_predicts_the_same() {
    let (directory, files) = written();
    let model = read(directory.path(), &files).unwrap();
    let batch = rows().project(&[0, 1]).unwrap();
    let types = ModelTypes::default();
    let model_type = types.get("dnn_classifier").unwrap();
    let before = trained().model(model_type, &HOST).unwrap();
    assert_eq!(before.signature(), model.signature());
    let (before, after) = (predict(&before, &batch), predict(model.as_ref(), &batch));
    assert_eq!(after.columns, before.columns);
}

#[test]
fn a_loaded_model_needs_its_files_no_more() {
    let (directory, files) = written();
    let model = read(directory.path(), &files).unwrap();
    let batch = rows().project(&[0, 1]).unwrap();
    let before = predict(model.as_ref(), &batch);
    fs::write(directory.path().join(WEIGHTS_FILE), [0_u8; 8]).unwrap();
    fs::remove_file(directory.path().join(CONFIG_FILE)).unwrap();
    let after = predict(model.as_ref(), &batch);
    assert_eq!(after.columns, before.columns);
    assert!(read(directory.path(), &files).is_err());
}

#[test]
fn a_model_of_one_target_is_described_as_before_there_could_be_several() {
    let (directory, _) = written();
    let config = fs::read(directory.path().join(CONFIG_FILE)).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(config["signature"]["target"]["name"], "label");
    let classes = &config["labels"]["classes"]["values"];
    assert_eq!(
        *classes,
        serde_json::json!([{"integer": 0}, {"integer": 1}])
    );
}

#[test]
fn the_files_of_a_model_are_known_by_their_description() {
    let (directory, files) = written();
    let takes = |files: &[ModelFile]| {
        let files = Files::new(directory.path(), files.to_vec());
        TrainedLoader::new(Arc::default()).takes(&files)
    };
    assert!(takes(&files));
    assert!(!takes(&files[..1]) && !takes(&files[1..]));
    // A description of another format.
    fs::remove_file(directory.path().join(CONFIG_FILE)).unwrap();
    let other = br#"{"architectures": ["BertModel"], "labels": [], "hidden_size": 8}"#;
    let other = write_file(directory.path(), CONFIG_FILE, other).unwrap();
    assert!(!takes(&[other, files[1].clone()]));
}

#[test]
fn types_in_which_the_model_does_not_compute_are_refused() {
    let (directory, files) = written();
    let files = Files::new(directory.path(), files);
    let loader = TrainedLoader::new(Arc::default());
    let load = |compute| {
        let options = LoadOptions {
            compute: Some(compute),
            ..LoadOptions::on(&HOST)
        };
        let model = loader.load(&files, &options)?;
        Ok::<_, Error>(model.compute_type())
    };
    assert_eq!(load(ComputeType::F32).unwrap(), ComputeType::F32);
    let error = load(ComputeType::F64).unwrap_err().to_string();
    assert!(error.contains("compute in f32, not f64"), "{error}");
    for compute in [ComputeType::Tf32, ComputeType::Bf16, ComputeType::F16] {
        let error = load(compute).unwrap_err().to_string();
        let expected = format!("dtype \"{compute}\" needs a GPU");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_is_found() {
    let (directory, files) = written();
    for name in [CONFIG_FILE, WEIGHTS_FILE] {
        let path = directory.path().join(name);
        let content = fs::read(&path).unwrap();
        for position in (0..content.len()).step_by(61) {
            let mut flipped = content.clone();
            flipped[position] ^= 1 << (position % 8);
            fs::write(&path, &flipped).unwrap();
            let error = read(directory.path(), &files).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("SHA-256"), "{error}");
            fs::write(&path, &content[..position]).unwrap();
            let error = read(directory.path(), &files).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("bytes"), "{error}");
        }
        fs::write(&path, &content).unwrap();
    }
    assert!(read(directory.path(), &files).is_ok());
}

#[test]
fn headers_that_lie_are_refused() {
    let header = |length: u64| {
        move |content: &mut Vec<u8>| content[..8].copy_from_slice(&length.to_le_bytes())
    };
    for (length, part) in [
        (0, ""),
        (1 << 63, "header"),
        (100_000_001, "header"),
        (50_000, ""),
    ] {
        let error = read_damaged(WEIGHTS_FILE, true, header(length));
        assert!(
            error.starts_with(WEIGHTS_FILE) && error.contains(part),
            "{length}: {error}"
        );
    }
    for bytes in [0, 7, 8, 100] {
        let error = read_damaged(WEIGHTS_FILE, true, |content| content.truncate(bytes));
        assert!(error.starts_with(WEIGHTS_FILE), "{bytes}: {error}");
    }
}

#[test]
fn headers_that_describe_no_tensors_are_refused() {
    let header = |text: Vec<u8>| {
        move |content: &mut Vec<u8>| {
            *content = (text.len() as u64).to_le_bytes().to_vec();
            content.extend(text);
        }
    };
    let tensor = r#"{"dtype":"F32","shape":[0],"data_offsets":[0,0]}"#;
    let many: Vec<String> = (0..20_000).map(|n| format!("\"t{n}\":{tensor}")).collect();
    // Of a name that stands twice, the last place counts; nothing stands before it.
    let first = r#""a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}"#;
    let second = r#""a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}"#;
    for (text, part) in [
        (b"{\"\xff\":1}".to_vec(), "UTF-8"),
        (b"{]".to_vec(), "JSON"),
        (b"[1]".to_vec(), "JSON"),
        (
            format!("{{\"a\":{}", "[".repeat(100_000)).into_bytes(),
            "JSON",
        ),
        (format!("{{{first},{second}}}").into_bytes(), "`a`"),
        (format!("{{{}}}", many.join(",")).into_bytes(), "is missing"),
        // Longer than any header of a model.
        (vec![b' '; 11 << 20], "a header of 11534336 bytes"),
    ] {
        let error = read_damaged(WEIGHTS_FILE, true, header(text));
        assert!(
            error.starts_with(WEIGHTS_FILE) && error.contains(part),
            "{part}: {error}"
        );
    }
}

#[test]
fn wrong_tensors_are_named() {
    let replace = |from: &'static str, to: &'static str| {
        move |content: &mut Vec<u8>| {
            let text = content.clone();
            let at = text
                .windows(from.len())
                .position(|window| window == from.as_bytes())
                .unwrap();
            content[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    };
    let error = read_damaged(WEIGHTS_FILE, true, replace("layer0.bias", "layer0.bios"));
    assert!(error.contains("\"layer0.bias\" is missing"), "{error}");
    let error = read_damaged(WEIGHTS_FILE, true, replace("\"F32\"", "\"I32\""));
    assert!(error.contains("I32"), "{error}");
    let nan = |content: &mut Vec<u8>| {
        let end = content.len();
        content[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    };
    assert!(read_damaged(WEIGHTS_FILE, true, nan).contains("NaN"));
}

#[test]
fn impossible_configurations_are_refused_before_memory_is_asked_for() {
    let edit = |from: &'static str, to: &'static str| {
        move |content: &mut Vec<u8>| {
            let text = String::from_utf8(content.clone()).unwrap();
            assert!(text.contains(from), "{from} is not in {text}");
            *content = text.replacen(from, to, 1).into_bytes();
        }
    };
    for (from, to, part) in [
        ("\"format_version\": 1", "\"format_version\": 2", "upgrade"),
        ("\"dnn_classifier\"", "\"transformer\"", "transformer"),
        (
            "\"dnn_classifier\"",
            "\"dnn_regressor\"",
            "the labels are classes, and a model of type dnn_regressor with these options predicts numbers",
        ),
        (
            "\"dnn_classifier\"",
            "\"sequential\"",
            "config.json: model type sequential needs layers",
        ),
        (
            "\"dnn_classifier\"",
            "\"sequential\", \"layers\": [\"linear(classes)\"], \"input_shape\": [0]",
            "config.json: input_shape = [0] has a size of 0",
        ),
        (
            "\"hidden_units\": [\n      4",
            "\"hidden_units\": [\n      999999999",
            "hidden layers",
        ),
        (
            "\"hidden_units\": [\n      4",
            "\"hidden_units\": [\n      -4",
            CONFIG_FILE,
        ),
        (
            "\"hidden_units\": [\n      4",
            "\"hidden_units\": [\n      5",
            "shape",
        ),
        ("\"std\": ", "\"std\": -", "statistics"),
        (
            "\"labels\": {",
            "\"labels\": [], \"others\": {",
            "labels of 0 targets, and 1 targets",
        ),
        (
            "\"labels\": {",
            "\"labels\": {\"numbers\": {\"means\": [0.0], \"std\": 1.0}}, \"others\": {",
            "the labels are numbers, and a model of type dnn_classifier with these options predicts classes",
        ),
        ("{", "", CONFIG_FILE),
    ] {
        let error = read_damaged(CONFIG_FILE, true, edit(from, to));
        assert!(error.contains(part), "{to}: {error}");
    }
    let huge = "\"hidden_units\": [\n      1000000, 1000000";
    let error = read_damaged(
        CONFIG_FILE,
        true,
        edit("\"hidden_units\": [\n      4", huge),
    );
    assert!(error.contains("more than"), "{error}");
    assert!(read_damaged(CONFIG_FILE, true, Vec::clear).starts_with(CONFIG_FILE));
}

#[test]
fn a_missing_file_and_a_link_are_refused() {
    let (directory, files) = written();
    let path = directory.path().join(WEIGHTS_FILE);
    let moved = directory.path().join("elsewhere");
    fs::rename(&path, &moved).unwrap();
    assert!(
        read(directory.path(), &files)
            .unwrap_err()
            .to_string()
            .contains("missing")
    );
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink(&moved, &path).unwrap();
        assert!(
            read(directory.path(), &files)
                .unwrap_err()
                .to_string()
                .contains("regular")
        );
    }
}
