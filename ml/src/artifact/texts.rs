//! Models of texts in the format that TRAIN writes, and the same models as directories of their encoder, which others open.
//!
//! ```text
//! TRAIN   config.json, model.safetensors: all that was trained;  base/: the encoder as it was
//! EXPORT  a directory of the encoder as it is, which others open;  vatic.json, vatic.safetensors: what is behind it
//! ```
//! The loader opens both, and the second has the weights of the first to the bit (decision 0061).

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::tensors::{Tensors, shapes_of, to_bytes};
use super::text_head::{TextHead, TextLoader};
use super::{CONFIG_FILE, Files, NamedContent, WEIGHTS_FILE, corrupt};
use crate::data::encode::tabular::Encoder;
use crate::data::labels::outputs_of;
use crate::device::HOST;
use crate::model::Model;
use crate::model::compute::LoadOptions;
use crate::model::network::{ModelType, Network, Parameter};
use crate::model::text::network_of;
use crate::model::text_base::ENCODER;
use crate::model::trained::ModelConfig;
use crate::{Error, Result};

/// The folder with the files of the encoder that a model of texts started from.
pub const BASE_FOLDER: &str = "base";
/// The description of a model in a directory of its encoder.
pub const DESCRIPTION_FILE: &str = "vatic.json";
/// The weights behind the encoder in a directory of it.
pub const HEAD_FILE: &str = "vatic.safetensors";

/// The most bytes of a description.
pub(super) const DESCRIPTION_BYTES_MAX: u64 = 256 << 20;
/// The field of the description with the files that make an encoder of the directory, without what is behind it.
const ENCODER_FILES: &str = "encoder_files";

/// The file that describes a model: in a directory of an encoder, [`CONFIG_FILE`] is that of the encoder.
pub(super) fn description_file(files: &Files) -> &'static str {
    match files.has(DESCRIPTION_FILE) {
        true => DESCRIPTION_FILE,
        false => CONFIG_FILE,
    }
}

/// A model of texts: its encoder, and the network behind it or with its layers in it.
pub(super) struct Opened {
    pub(super) base: Arc<dyn Model>,
    pub(super) network: Box<dyn Network>,
    /// The weights of the network, flat in the order of its parameters.
    pub(super) weights: Vec<f64>,
}

/// Opens the parts of a model of texts in either form.
pub(super) fn open(
    texts: &dyn TextLoader,
    files: &Files,
    (config, model_type): (&ModelConfig, &dyn ModelType),
    options: &LoadOptions,
) -> Result<Opened> {
    let is_directory_of_encoder = files.has(DESCRIPTION_FILE);
    let base = match is_directory_of_encoder {
        true => texts.load(&files_of_encoder(files)?, options)?,
        false => {
            let base = texts.load(&files.within(BASE_FOLDER), options);
            base.map_err(|error| match error {
                Error::Corrupt(what) => Error::Corrupt(format!("{BASE_FOLDER}/{what}")),
                other => other,
            })?
        }
    };
    let encoder = Encoder::new(config.encoders.clone(), model_type.precision());
    let of_rows = (encoder.shape(), outputs_of(&config.labels));
    let network = network_of(Some(base.as_ref()), model_type, of_rows, &config.options);
    let network = network.map_err(|error| corrupt(description_file(files), error))?;
    let weights = match is_directory_of_encoder {
        true => weights_in_directory(files, base.as_ref(), network.as_ref())?,
        false => {
            let content = files.read(WEIGHTS_FILE, u64::MAX)?;
            let tensors = Tensors::read(WEIGHTS_FILE, &content)?;
            tensors.weights(&shapes_of(network.as_ref())?)?
        }
    };
    Ok(Opened {
        base,
        network,
        weights,
    })
}

/// The weights of a network: those of the encoder as it is, and those behind it.
fn weights_in_directory(
    files: &Files,
    base: &dyn Model,
    network: &dyn Network,
) -> Result<Vec<f64>> {
    let (of_encoder, _) = split(network.parameters());
    let expected = shapes_of(network)?;
    let content = files.read(HEAD_FILE, u64::MAX)?;
    let behind = Tensors::read(HEAD_FILE, &content)?.weights(&expected[of_encoder.len()..])?;
    let mut weights = match base.text_base() {
        Some(encoder) if !of_encoder.is_empty() => encoder.weights(network, 0)?,
        Some(_) | None => vec![],
    };
    weights.truncate(numbers(of_encoder));
    weights.extend(behind);
    Ok(weights)
}

/// The parameters of the encoder, and those behind it.
fn split(parameters: &[Parameter]) -> (&[Parameter], &[Parameter]) {
    let is_of_encoder = |parameter: &&Parameter| parameter.name.starts_with(ENCODER);
    let count = parameters.iter().take_while(is_of_encoder).count();
    parameters.split_at(count)
}

fn numbers(parameters: &[Parameter]) -> usize {
    parameters.iter().map(Parameter::len).sum()
}

/// The files of the encoder of a directory, without what is behind it.
fn files_of_encoder(files: &Files) -> Result<Files> {
    #[derive(Deserialize)]
    struct Description {
        #[serde(default)]
        encoder_files: Map<String, Value>,
    }
    let content = files.read(DESCRIPTION_FILE, DESCRIPTION_BYTES_MAX)?;
    let description: Description =
        serde_json::from_slice(&content).map_err(|error| corrupt(DESCRIPTION_FILE, error))?;
    let mut of_encoder = files.clone();
    for (name, value) in description.encoder_files {
        of_encoder = of_encoder.holding(&name, value.to_string().into_bytes());
    }
    Ok(of_encoder)
}

/// The files of a directory of the encoder of a model of texts, with what is behind the encoder.
pub(super) fn exported(
    texts: &dyn TextLoader,
    files: &Files,
    (config, model_type): (&ModelConfig, &dyn ModelType),
) -> Result<Vec<NamedContent>> {
    let opened = open(texts, files, (config, model_type), &LoadOptions::on(&HOST))?;
    let parameters = opened.network.parameters();
    let head = TextHead::of(config, parameters, &opened.weights)?;
    let directory = texts.with_head(&files.within(BASE_FOLDER), &head)?;
    let (of_encoder, behind) = split(parameters);
    let weights = &opened.weights[numbers(of_encoder)..];
    let weights = to_bytes(config, behind, weights, model_type.precision())?;
    let mut written = directory.files;
    let description = described(config, directory.of_encoder)?;
    written.push((DESCRIPTION_FILE.to_owned(), description));
    written.push((HEAD_FILE.to_owned(), weights));
    Ok(written)
}

fn described(config: &ModelConfig, of_encoder: Map<String, Value>) -> Result<Vec<u8>> {
    let internal = |error: serde_json::Error| Error::Internal(error.to_string());
    let mut description = serde_json::to_value(config).map_err(internal)?;
    if let Some(fields) = description.as_object_mut() {
        fields.insert(ENCODER_FILES.to_owned(), Value::Object(of_encoder));
    }
    serde_json::to_vec_pretty(&description).map_err(internal)
}
