//! The format ONNX: one file that ends with `.onnx`, and files beside it with the values of large tensors. A build without the
//! feature `onnx` knows the format and refuses its files.

use std::sync::Arc;

use crate::artifact::{Files, Loader};
use crate::model::Model;
use crate::model::compute::{ComputeType, LoadOptions};
use crate::{Error, Result};

/// The name of the format.
pub const ONNX: &str = "onnx";
/// The end of the name of a file.
const EXTENSION: &str = ".onnx";
/// The end of the name of a file with the weights of a model in another format.
const WEIGHTS: &str = ".safetensors";
/// The most that a message of the format has.
const BYTES_MAX: u64 = 2 << 30;

/// Opens models in ONNX.
#[derive(Debug)]
pub struct OnnxLoader;

impl Loader for OnnxLoader {
    fn format(&self) -> &str {
        ONNX
    }

    /// A directory of Hugging Face or timm may hold the same model in ONNX, too.
    fn takes(&self, files: &Files) -> bool {
        let mut names = files.known().iter();
        let has_weights = names.any(|file| file.name.ends_with(WEIGHTS));
        !has_weights && candidates(files).next().is_some()
    }

    /// Numbers of a graph have the types that its exporter chose, so no other type can be asked for.
    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        if let Some(other) = options.compute.filter(|of| *of != ComputeType::F32) {
            return Err(Error::Unsupported(format!(
                "models in ONNX compute in the types of their file, not in {other}; leave out dtype"
            )));
        }
        let names: Vec<&str> = candidates(files).collect();
        match names.as_slice() {
            [name] => open(name, files),
            [] => Err(Error::Corrupt(format!("no file ends with {EXTENSION}"))),
            several => Err(Error::Unsupported(format!(
                "{} end with {EXTENSION}; give the file of one model",
                several.join(", ")
            ))),
        }
    }

    /// The file as it was imported.
    fn onnx(&self, files: &Files, _name: &str) -> Result<Vec<u8>> {
        match files.known() {
            [file] => files.read(&file.name, BYTES_MAX),
            _ => Err(Error::Unsupported(
                "it is more than one file; write TO 'directory/' to export them all".into(),
            )),
        }
    }
}

/// The files that may be the model.
fn candidates(files: &Files) -> impl Iterator<Item = &str> {
    let names = files.known().iter().map(|file| file.name.as_str());
    names.filter(|name| name.to_ascii_lowercase().ends_with(EXTENSION))
}

#[cfg(feature = "onnx")]
fn open(name: &str, files: &Files) -> Result<Arc<dyn Model>> {
    let content = files.read(name, BYTES_MAX)?;
    let mut read = |other: &str| files.read(other, u64::MAX);
    let model = crate::onnx::model::OnnxModel::open(name, &content, &mut read)?;
    Ok(Arc::new(model))
}

#[cfg(not(feature = "onnx"))]
fn open(name: &str, _files: &Files) -> Result<Arc<dyn Model>> {
    Err(Error::Unsupported(format!(
        "{name} is a model in ONNX, which this build of vatic does not run; build it with the feature onnx"
    )))
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;
    use crate::artifact::ModelFile;
    use crate::device::HOST;

    #[test]
    fn a_file_of_three_gibibytes_is_refused_before_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = 3 << 30;
        let file = File::create(directory.path().join("m.onnx")).unwrap();
        // A hole, which takes no room on the disk.
        file.set_len(bytes).unwrap();
        let known = ModelFile {
            name: "m.onnx".into(),
            bytes,
            sha256: String::new(),
        };
        let files = Files::new(directory.path(), vec![known]);
        let mut found = vec![OnnxLoader.onnx(&files, "m").map(drop)];
        if cfg!(feature = "onnx") {
            found.push(OnnxLoader.load(&files, &LoadOptions::on(&HOST)).map(drop));
        }
        for result in found {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::Corrupt(_)), "{error}");
            let expected = "m.onnx: 3221225472 bytes, at most 2147483648 are read";
            assert_eq!(error.to_string(), expected);
        }
    }
}
