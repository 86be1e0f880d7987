//! The format ONNX: one file that ends with `.onnx`, and files beside it with the values of large tensors. tract runs it, or as another
//! format the library of onnxruntime that the user names. A build without the feature `onnx` knows both formats and refuses their
//! files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::artifact::{Files, Loader};
use crate::model::Model;
use crate::model::compute::{ComputeType, LoadOptions};
use crate::{Error, Result};

/// The name of the format.
pub const ONNX: &str = "onnx";
/// The name of the format of the same files, run by a library of onnxruntime.
pub const ONNXRUNTIME: &str = "onnxruntime";
/// The end of the name of a file.
const EXTENSION: &str = ".onnx";
/// The end of the name of a file with the weights of a model in another format.
const WEIGHTS: &str = ".safetensors";
/// The most that a message of the format has.
const BYTES_MAX: u64 = 2 << 30;
const BYTES_BEYOND: u64 = BYTES_MAX + 1;

/// Opens models in ONNX.
#[derive(Debug)]
pub struct OnnxLoader;

/// Opens models in ONNX on a library of onnxruntime. A file is such a model only if its user says so.
#[derive(Debug)]
pub struct OnnxRuntimeLoader {
    library: Option<PathBuf>,
}

impl OnnxRuntimeLoader {
    /// The loader for the library at this path; without a path, it refuses every model.
    pub fn new(library: Option<PathBuf>) -> Self {
        Self { library }
    }
}

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

    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        load(files, options, None)
    }

    fn onnx(&self, files: &Files, _name: &str) -> Result<Vec<u8>> {
        as_imported(files)
    }
}

impl Loader for OnnxRuntimeLoader {
    fn format(&self) -> &str {
        ONNXRUNTIME
    }

    fn takes(&self, _files: &Files) -> bool {
        false
    }

    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        let library = self.library.as_deref().ok_or_else(|| {
            Error::Unsupported(format!(
                "format {ONNXRUNTIME} needs the library of onnxruntime; start vatic, and each executor, with --onnxruntime PATH, or with \
                 onnxruntime = \"PATH\" in its configuration file"
            ))
        })?;
        load(files, options, Some(library))
    }

    fn onnx(&self, files: &Files, _name: &str) -> Result<Vec<u8>> {
        as_imported(files)
    }
}

/// Numbers of a graph have the types that its exporter chose, so no other type can be asked for.
fn load(files: &Files, options: &LoadOptions, library: Option<&Path>) -> Result<Arc<dyn Model>> {
    if let Some(other) = options.compute.filter(|of| *of != ComputeType::F32) {
        return Err(Error::Unsupported(format!(
            "models in ONNX compute in the types of their file, not in {other}; leave out dtype"
        )));
    }
    let names: Vec<&str> = candidates(files).collect();
    match names.as_slice() {
        [name] => open(name, files, library),
        [] => Err(Error::Corrupt(format!("no file ends with {EXTENSION}"))),
        several => Err(Error::Unsupported(format!(
            "{} end with {EXTENSION}; give the file of one model",
            several.join(", ")
        ))),
    }
}

/// The file as it was imported.
fn as_imported(files: &Files) -> Result<Vec<u8>> {
    match files.known() {
        [file] => content(&file.name, files),
        _ => Err(Error::Unsupported(
            "it is more than one file; write TO 'directory/' to export them all".into(),
        )),
    }
}

/// The content of the file of a graph.
fn content(name: &str, files: &Files) -> Result<Vec<u8>> {
    let known = files.known().iter().find(|file| file.name == name);
    match known.map(|file| file.bytes) {
        Some(BYTES_BEYOND..) => Err(Error::Unsupported(format!(
            "{name} has more than 2 GiB, the most that a file in ONNX holds; export the weights to files beside it (external data), and \
             give the directory"
        ))),
        _ => files.read(name, BYTES_MAX),
    }
}

/// The files that may be the model.
fn candidates(files: &Files) -> impl Iterator<Item = &str> {
    let names = files.known().iter().map(|file| file.name.as_str());
    names.filter(|name| name.to_ascii_lowercase().ends_with(EXTENSION))
}

#[cfg(feature = "onnx")]
fn open(name: &str, files: &Files, library: Option<&Path>) -> Result<Arc<dyn Model>> {
    let content = content(name, files)?;
    let mut read = |other: &str| files.read(other, u64::MAX);
    let model = crate::onnx::model::OnnxModel::open(name, &content, &mut read, library)?;
    Ok(Arc::new(model))
}

#[cfg(not(feature = "onnx"))]
fn open(name: &str, _files: &Files, _library: Option<&Path>) -> Result<Arc<dyn Model>> {
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
            assert!(matches!(error, Error::Unsupported(_)), "{error}");
            let expected = "m.onnx has more than 2 GiB";
            assert!(error.to_string().starts_with(expected), "{error}");
            assert!(error.to_string().contains("give the directory"), "{error}");
        }
    }

    #[test]
    fn a_model_for_onnxruntime_needs_the_library() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("m.onnx"), [0x08, 0x08]).unwrap();
        let known = crate::artifact::describe_file(directory.path(), "m.onnx").unwrap();
        let files = Files::new(directory.path(), vec![known]);
        let loader = OnnxRuntimeLoader::new(None);
        assert!(!loader.takes(&files));
        let error = loader.load(&files, &LoadOptions::on(&HOST)).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        assert!(error.to_string().contains("--onnxruntime PATH"), "{error}");
        assert_eq!(loader.onnx(&files, "m").unwrap(), [0x08, 0x08]);
    }
}
