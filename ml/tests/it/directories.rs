//! Directories with pre-trained models: opened as they are, or copies with changes; and what the models give.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Float32Type;
use candle_core::Device;
use serde_json::Value;
use vatic_ml::artifact::{Files, Loader, describe_file};
use vatic_ml::model::compute::LoadOptions;
use vatic_ml::model::{Model, Outputs};
use vatic_ml::pretrained::PretrainedLoader;
use vatic_ml::{Error, Result};

/// The files of a directory, and of the folders in it that its model has.
pub(super) fn files(directory: &Path) -> Result<Files> {
    let mut all = names(directory, "");
    for folder in PretrainedLoader.folders(&described(directory, &all))? {
        if directory.join(&folder).is_dir() {
            all.extend(names(directory, &folder));
        }
    }
    Ok(described(directory, &all))
}

/// The files of a folder of a directory, with the name of the folder.
fn names(directory: &Path, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(directory.join(folder)).unwrap();
    let files = entries
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file());
    let names = files.map(|entry| entry.file_name().into_string().unwrap());
    names
        .map(|name| match folder {
            "" => name,
            folder => format!("{folder}/{name}"),
        })
        .collect()
}

fn described(directory: &Path, names: &[String]) -> Files {
    let files = names.iter();
    let files = files.map(|name| describe_file(directory, name).unwrap());
    Files::new(directory, files.collect())
}

/// The model of a directory.
pub(super) fn open(directory: &Path) -> Result<Arc<dyn Model>> {
    // The loader knows a directory before it says which folders belong to it.
    let outermost = described(directory, &names(directory, ""));
    assert!(PretrainedLoader.takes(&outermost));
    PretrainedLoader.load(&files(directory)?, &LoadOptions::on(&Device::Cpu))
}

/// A copy of a directory, whose files may be changed.
pub(super) struct Copied(tempfile::TempDir);

impl Copied {
    pub(super) fn of(directory: &Path) -> Self {
        let copy = tempfile::tempdir().unwrap();
        copy_directory(directory, copy.path());
        Self(copy)
    }

    pub(super) fn directory(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    /// Changes the values of a JSON file, which is made if there is none.
    pub(super) fn with(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let text = fs::read_to_string(self.path(file)).unwrap_or("{}".into());
        let mut value: Value = serde_json::from_str(&text).unwrap();
        change(&mut value);
        fs::write(self.path(file), value.to_string()).unwrap();
        self
    }

    pub(super) fn without(self, file: &str) -> Self {
        fs::remove_file(self.path(file)).unwrap();
        self
    }

    /// Why it is not opened.
    pub(super) fn error(&self) -> Error {
        open(self.directory()).unwrap_err()
    }

    pub(super) fn message(&self) -> String {
        self.error().to_string()
    }
}

fn copy_directory(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => {
                fs::create_dir(&to).unwrap();
                copy_directory(&path, &to);
            }
            false => {
                fs::copy(&path, to).unwrap();
            }
        }
    }
}

/// The vectors of rows, which are the last output.
pub(super) fn embeddings(outputs: &Outputs) -> Vec<Vec<f64>> {
    let vectors = outputs.columns.last().unwrap().as_fixed_size_list();
    let rows = (0..vectors.len()).map(|row| vectors.value(row));
    rows.map(|row| {
        let values = row.as_primitive::<Float32Type>().values();
        values.iter().map(|value| f64::from(*value)).collect()
    })
    .collect()
}

/// Compares numbers, with a difference of up to `allowed` of each number, or of 1 for a smaller one.
pub(super) fn check_close(what: &str, found: &[f64], expected: &[f64], allowed: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let error = (found - expected).abs();
        assert!(
            error <= allowed * expected.abs().max(1.0),
            "{what}: {found}, expected {expected}"
        );
    }
}
