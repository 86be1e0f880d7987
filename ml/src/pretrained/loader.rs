//! [`PretrainedLoader`]: opens the directories of Hugging Face and timm. [`TextTowerLoader`]: opens their towers of texts;
//! [`TextPairLoader`]: their classifiers as classifiers of two texts.

use std::sync::Arc;

use serde_json::Value;

use super::config::{Config, JSON_BYTES_MAX};
use super::families::family_of;
use super::family::{Origin, Source};
use super::texts::directory::directory_of;
use super::texts::families::open_pair;
use super::texts::modules::{encoder_files, folders};
use crate::artifact::{CONFIG_FILE, Files, Loader, TextDirectory, TextHead, TextLoader};
use crate::device::HOST;
use crate::model::Model;
use crate::model::compute::{ComputeType, LoadOptions};
use crate::{Error, Result};

/// The name of the format.
pub const HUGGING_FACE: &str = "huggingface";
/// The name of the format of the same files, opened as their tower of texts.
pub const HUGGING_FACE_TEXT: &str = "huggingface_text";

/// The name of the format of the same files, opened as a classifier of two texts.
pub const HUGGING_FACE_PAIR: &str = "huggingface_pair";

/// Opens models as Hugging Face and timm save them.
#[derive(Debug)]
pub struct PretrainedLoader;

/// Opens the tower of texts of a model that has a tower of images, too. A directory is such a model only if its user says so.
#[derive(Debug)]
pub struct TextTowerLoader;

/// Opens a classifier of texts that takes two texts together, where no file says so. A directory is such a model only if its user
/// says so.
#[derive(Debug)]
pub struct TextPairLoader;

impl Loader for PretrainedLoader {
    fn format(&self) -> &str {
        HUGGING_FACE
    }

    fn takes(&self, files: &Files) -> bool {
        let described = |config: &Config| {
            let names = ["architectures", "model_type", "architecture"];
            names.iter().any(|name| config.get(name).is_some())
        };
        // The encoder of an older model of sentence-transformers is in a folder, which is not there yet.
        let is_described =
            files.has(CONFIG_FILE) && read_config(files).is_ok_and(|config| described(&config));
        is_described || folders(files).is_ok_and(|folders| !folders.is_empty())
    }

    fn folders(&self, files: &Files) -> Result<Vec<String>> {
        folders(files)
    }

    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        let of_network = encoder_files(files)?;
        let source = source(files, &of_network, options)?;
        (family_of(&source)?.open)(&source)
    }
}

impl TextLoader for PretrainedLoader {
    fn with_head(&self, files: &Files, head: &TextHead) -> Result<TextDirectory> {
        let options = LoadOptions::on(&HOST);
        let of_network = encoder_files(files)?;
        directory_of(&source(files, &of_network, &options)?, head)
    }
}

impl Loader for TextTowerLoader {
    fn format(&self) -> &str {
        HUGGING_FACE_TEXT
    }

    fn takes(&self, _files: &Files) -> bool {
        false
    }

    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        let source = source(files, files, options)?;
        match family_of(&source)?.open_texts {
            Some(open) => open(&source),
            None => Err(Error::Unsupported(format!(
                "{} has no tower of texts; leave out the format {HUGGING_FACE_TEXT}",
                source.architecture
            ))),
        }
    }
}

impl Loader for TextPairLoader {
    fn format(&self) -> &str {
        HUGGING_FACE_PAIR
    }

    fn takes(&self, _files: &Files) -> bool {
        false
    }

    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        open_pair(&source(files, files, options)?)
    }
}

/// What a family opens, and its architecture.
fn source<'a>(root: &'a Files, files: &'a Files, options: &'a LoadOptions) -> Result<Source<'a>> {
    if let Some(other) = options.compute.filter(|wanted| *wanted != ComputeType::F32) {
        return Err(Error::Unsupported(format!(
            "models of format {HUGGING_FACE} compute in f32, not {other}; leave out dtype"
        )));
    }
    let config = read_config(files)?;
    let (origin, architecture) = architecture(&config)?;
    Ok(Source {
        root,
        files,
        config,
        architecture,
        origin,
        device: &options.device,
    })
}

fn read_config(files: &Files) -> Result<Config> {
    Config::parse(CONFIG_FILE, &files.read(CONFIG_FILE, JSON_BYTES_MAX)?)
}

/// The library that wrote the description, and the architecture.
fn architecture(config: &Config) -> Result<(Origin, String)> {
    // A model of timm that Hugging Face wraps keeps the names of its tensors.
    let of_timm = config.text("architecture")?;
    if let Some(name) = of_timm {
        return Ok((Origin::Timm, name.to_owned()));
    }
    let names = config.get("architectures").and_then(Value::as_array);
    let first = names
        .and_then(|names| names.first())
        .and_then(Value::as_str);
    match first.or(config.text("model_type")?) {
        Some(name) => Ok((Origin::HuggingFace, name.to_owned())),
        None => {
            let what = "names no architecture";
            Err(config.error("architectures", what))
        }
    }
}
