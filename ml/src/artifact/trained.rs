//! The format that TRAIN writes: `config.json`, and the weights in `model.safetensors`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::checks::{check_config, check_task};
use super::onnx::onnx;
use super::tensors::{ExpectedTensors, Tensors, shapes_of, to_bytes};
use super::text_head::TextLoader;
use super::texts::{
    self, BASE_FOLDER, DESCRIPTION_BYTES_MAX, DESCRIPTION_FILE, HEAD_FILE, description_file,
};
use super::{Files, Loader, ModelFile, NamedContent, corrupt, write_file};
use crate::data::encode::tabular::Encoder;
use crate::data::labels::outputs_of;
use crate::device::HOST;
use crate::model::Model;
use crate::model::compute::{ComputeType, LoadOptions};
use crate::model::network::ModelType;
use crate::model::text::TextModel;
use crate::model::trained::{ModelConfig, TrainedModel};
use crate::models::ModelTypes;
use crate::train::fit::Trained;
use crate::{Error, Result};

/// The name of the format.
pub const TRAINED: &str = "trained";
/// The description of a model.
pub const CONFIG_FILE: &str = "config.json";
/// The weights of a model.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// Writes a trained model into `directory`, which exists, and syncs it to disk.
pub fn write(
    trained: &Trained,
    model_type: &dyn ModelType,
    directory: &Path,
) -> Result<Vec<ModelFile>> {
    let model = trained.model(model_type, &HOST)?;
    let config = serde_json::to_vec_pretty(&trained.config)
        .map_err(|error| Error::Internal(error.to_string()))?;
    let parameters = model.network().parameters();
    let precision = model_type.precision();
    let weights = to_bytes(&trained.config, parameters, &trained.weights, precision)?;
    Ok(vec![
        write_file(directory, CONFIG_FILE, &config)?,
        write_file(directory, WEIGHTS_FILE, &weights)?,
    ])
}

/// Opens models that TRAIN wrote.
#[derive(Debug)]
pub struct TrainedLoader {
    model_types: Arc<ModelTypes>,
    /// Opens the encoders of models of texts.
    texts: Option<Arc<dyn TextLoader>>,
}

impl TrainedLoader {
    /// A loader for models of these types.
    pub fn new(model_types: Arc<ModelTypes>) -> Self {
        Self {
            model_types,
            texts: None,
        }
    }

    /// The loader with one for the encoders of models of texts, whose files are in the folder [`BASE_FOLDER`].
    pub fn with_texts(self, texts: Arc<dyn TextLoader>) -> Self {
        Self {
            texts: Some(texts),
            ..self
        }
    }

    fn texts(&self) -> Result<&dyn TextLoader> {
        let missing = || Error::Unsupported("this process opens no encoders of texts".into());
        self.texts.as_deref().ok_or_else(missing)
    }

    /// A model of texts: the encoder, and the network behind it or with its layers in it.
    fn load_texts(
        &self,
        files: &Files,
        config: ModelConfig,
        model_type: &dyn ModelType,
        options: &LoadOptions,
    ) -> Result<Arc<dyn Model>> {
        let opened = texts::open(self.texts()?, files, (&config, model_type), options)?;
        let (network, weights) = (opened.network, &opened.weights);
        let trained = TrainedModel::of_network(config, model_type, network, weights, options)?;
        Ok(Arc::new(TextModel::new(opened.base, trained)?))
    }

    /// The description of a model, and its type.
    fn describe(&self, files: &Files) -> Result<(ModelConfig, &dyn ModelType)> {
        let name = description_file(files);
        let config = files.read(name, DESCRIPTION_BYTES_MAX)?;
        let config: ModelConfig =
            serde_json::from_slice(&config).map_err(|error| corrupt(name, error))?;
        check_config(&config, name)?;
        let model_type = self.model_types.get(&config.options.model_type);
        let model_type = model_type.ok_or_else(|| {
            let name = &config.options.model_type;
            Error::Unsupported(format!("this build has no model type \"{name}\""))
        })?;
        check_task(&config, model_type, name)?;
        Ok((config, model_type))
    }
}

/// The weights of a model of this description, flat. Its keys are read into the description.
fn weights_of(
    files: &Files,
    config: &mut ModelConfig,
    model_type: &dyn ModelType,
) -> Result<Vec<f64>> {
    let content = files.read(WEIGHTS_FILE, u64::MAX)?;
    let mut tensors = Tensors::read(WEIGHTS_FILE, &content)?;
    tensors.take_keys(config)?;
    tensors.weights(&expected_tensors(config, model_type)?)
}

impl Loader for TrainedLoader {
    fn format(&self) -> &str {
        TRAINED
    }

    /// Other formats have files of these names too, so the fields of the description decide.
    fn takes(&self, files: &Files) -> bool {
        let description = description_file(files);
        let weights = match description {
            DESCRIPTION_FILE => HEAD_FILE,
            _ => WEIGHTS_FILE,
        };
        if !files.has(description) || !files.has(weights) {
            return false;
        }
        let Ok(config) = files.read(description, DESCRIPTION_BYTES_MAX) else {
            return false;
        };
        let fields = serde_json::from_slice::<HashMap<String, IgnoredAny>>(&config);
        let ours = [
            "format_version",
            "signature",
            "encoders",
            "labels",
            "options",
        ];
        fields.is_ok_and(|fields| ours.iter().all(|name| fields.contains_key(*name)))
    }

    /// Those of the encoder of a model of texts.
    fn folders(&self, files: &Files) -> Result<Vec<String>> {
        let (_, model_type) = self.describe(files)?;
        if !model_type.takes_texts() {
            return Ok(vec![]);
        }
        if files.has(DESCRIPTION_FILE) {
            return self.texts()?.folders(files);
        }
        let base = files.within(BASE_FOLDER);
        let mut folders = vec![BASE_FOLDER.to_owned()];
        if !base.known().is_empty() {
            let within = self.texts()?.folders(&base)?;
            folders.extend(
                within
                    .iter()
                    .map(|folder| format!("{BASE_FOLDER}/{folder}")),
            );
        }
        Ok(folders)
    }

    fn load(&self, files: &Files, options: &LoadOptions) -> Result<Arc<dyn Model>> {
        let (mut config, model_type) = self.describe(files)?;
        check_type(model_type, options.compute)?;
        if model_type.takes_texts() {
            return self.load_texts(files, config, model_type, options);
        }
        let weights = weights_of(files, &mut config, model_type)?;
        let model = TrainedModel::new(config, model_type, &weights, options)?;
        check_device(model_type, &model)?;
        Ok(Arc::new(model))
    }

    /// Those of a model of texts: as TRAIN writes them, they are no directory of an encoder.
    fn exported(&self, files: &Files) -> Result<Option<Vec<NamedContent>>> {
        let (config, model_type) = self.describe(files)?;
        if !model_type.takes_texts() || files.has(DESCRIPTION_FILE) {
            return Ok(None);
        }
        let written = texts::exported(self.texts()?, files, (&config, model_type))?;
        Ok(Some(written))
    }

    fn onnx(&self, files: &Files, name: &str) -> Result<Vec<u8>> {
        let (mut config, model_type) = self.describe(files)?;
        if model_type.takes_texts() {
            return Err(Error::Unsupported(format!(
                "models of type {} have no form in ONNX, since it has no tokenizers; write TO 'directory/' to export the model's files",
                model_type.name()
            )));
        }
        let weights = weights_of(files, &mut config, model_type)?;
        onnx(name, &config, model_type, &weights)
    }
}

/// Refuses a type in which models of this model type do not compute.
fn check_type(model_type: &dyn ModelType, compute: Option<ComputeType>) -> Result<()> {
    let precision = model_type.precision();
    match compute {
        Some(other) if !other.suits(precision) => Err(Error::Unsupported(format!(
            "models of type {} compute in {}, not {other}; leave out dtype",
            model_type.name(),
            precision.name(),
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Refuses a type that only GPUs compute in for a model on the host, where its layers may have kept it.
fn check_device(model_type: &dyn ModelType, model: &TrainedModel) -> Result<()> {
    let compute = model.compute_type();
    match compute.needs_gpu() && model.device().is_cpu() {
        true => Err(Error::Unsupported(format!(
            "dtype \"{compute}\" needs a GPU, and this model of type {} is on the processor; leave out dtype",
            model_type.name(),
        ))),
        false => Ok(()),
    }
}

fn expected_tensors(config: &ModelConfig, model_type: &dyn ModelType) -> Result<ExpectedTensors> {
    let encoder = Encoder::new(config.encoders.clone(), model_type.precision());
    let network = model_type.network(encoder.shape(), outputs_of(&config.labels), &config.options);
    let network = network.map_err(|error| corrupt(CONFIG_FILE, error))?;
    shapes_of(network.as_ref())
}

#[cfg(test)]
#[path = "trained_tests.rs"]
mod tests;
