//! The format GGUF: one file that ends with `.gguf`, with a model that writes text, its weights and its tokenizer.

use std::sync::Arc;

use crate::artifact::{Files, Loader};
use crate::model::Model;
use crate::model::compute::{ComputeType, LoadOptions};
use crate::pretrained::open_gguf;
use crate::{Error, Result};

/// The name of the format.
pub const GGUF: &str = "gguf";
/// The end of the name of a file.
const EXTENSION: &str = ".gguf";

/// Opens models in GGUF.
#[derive(Debug)]
pub struct GgufLoader;

impl Loader for GgufLoader {
    fn format(&self) -> &str {
        GGUF
    }

    /// The loaders before this one have taken a directory with the same model in another format.
    fn takes(&self, files: &Files) -> bool {
        candidates(files).next().is_some()
    }

    /// Weights have the types that their file has, and are computed with in f32.
    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        if let Some(other) = options.compute.filter(|of| *of != ComputeType::F32) {
            return Err(Error::Unsupported(format!(
                "models of format {GGUF} compute in f32, not {other}; leave out dtype"
            )));
        }
        let names: Vec<&str> = candidates(files).collect();
        match names.as_slice() {
            [name] => open_gguf(name, files.read(name, u64::MAX)?, &options.device),
            [] => Err(Error::Corrupt(format!("no file ends with {EXTENSION}"))),
            several => Err(Error::Unsupported(format!(
                "{} end with {EXTENSION}; give the file of one model",
                several.join(", ")
            ))),
        }
    }
}

/// The files that may be the model.
fn candidates(files: &Files) -> impl Iterator<Item = &str> {
    let names = files.known().iter().map(|file| file.name.as_str());
    names.filter(|name| name.to_ascii_lowercase().ends_with(EXTENSION))
}
