//! The format that TRAIN writes: `config.json`, and the weights in `model.safetensors`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use serde::de::IgnoredAny;

use super::onnx::onnx;
use super::tensors::{ExpectedTensors, Tensors, shapes_of, to_bytes};
use super::text_head::TextLoader;
use super::texts::{self, BASE_FOLDER, DESCRIPTION_FILE, HEAD_FILE};
use super::{Files, Loader, ModelFile, NamedContent, corrupt, write_file};
use crate::data::apart::parts;
use crate::data::columns::{Column, FeatureKind, NUMBERS_MAX};
use crate::data::encode::keys::{KeyKind, Keys};
use crate::data::encode::standardise::Standardiser;
use crate::data::encode::tabular::Encoder;
use crate::data::labels::{LabelForm, Labels, outputs_of};
use crate::data::targets::{TARGET_NUMBERS_MAX, TargetKind};
use crate::device::HOST;
use crate::model::Model;
use crate::model::compute::{ComputeType, LoadOptions};
use crate::model::network::{ModelType, Task};
use crate::model::text::TextModel;
use crate::model::trained::{ModelConfig, TrainedModel};
use crate::models::ModelTypes;
use crate::train::fit::{FORMAT_VERSION, Trained};
use crate::{Error, Result};

/// The name of the format.
pub const TRAINED: &str = "trained";
/// The description of a model.
pub const CONFIG_FILE: &str = "config.json";
/// The weights of a model.
pub const WEIGHTS_FILE: &str = "model.safetensors";

const CONFIG_BYTES_MAX: u64 = 256 << 20;
const HIDDEN_LAYERS_MAX: usize = 1_000;
const HIDDEN_UNITS_MAX: usize = 1 << 20;

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
        let described = self.described(files, name);
        described.map_err(|error| match error {
            // The checks name the file that TRAIN writes.
            Error::Corrupt(what) => Error::Corrupt(match what.strip_prefix(CONFIG_FILE) {
                Some(problem) => format!("{name}{problem}"),
                None => what,
            }),
            other => other,
        })
    }

    fn described(
        &self,
        files: &Files,
        name: &'static str,
    ) -> Result<(ModelConfig, &dyn ModelType)> {
        let config = files.read(name, CONFIG_BYTES_MAX)?;
        let config: ModelConfig =
            serde_json::from_slice(&config).map_err(|error| corrupt(name, error))?;
        check_config(&config)?;
        let model_type = self.model_types.get(&config.options.model_type);
        let model_type = model_type.ok_or_else(|| {
            let name = &config.options.model_type;
            Error::Unsupported(format!("this build has no model type \"{name}\""))
        })?;
        check_task(&config, model_type)?;
        Ok((config, model_type))
    }
}

/// The file that describes a model: [`CONFIG_FILE`] is that of the encoder in a directory that others open, too.
fn description_file(files: &Files) -> &'static str {
    match files.has(DESCRIPTION_FILE) {
        true => DESCRIPTION_FILE,
        false => CONFIG_FILE,
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
        let Ok(config) = files.read(description, CONFIG_BYTES_MAX) else {
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

/// Refuses options that the model type refuses, and labels that do not fit their targets or the task.
fn check_task(config: &ModelConfig, model_type: &dyn ModelType) -> Result<()> {
    let options = &config.options;
    let checked = model_type.check(options);
    checked.map_err(|error| corrupt(CONFIG_FILE, error))?;
    let task = model_type.task(options);
    let mut tasks = config.labels.iter().map(Labels::task);
    if tasks.any(|of| of == task) {
        return check_kinds(config, model_type);
    }
    let (labels, predicts) = match task {
        Task::Regression => ("classes", "numbers"),
        Task::Classification => ("numbers", "classes"),
    };
    let name = model_type.name();
    Err(corrupt(
        CONFIG_FILE,
        format!(
            "the labels are {labels}, and a model of type {name} with these options predicts {predicts}"
        ),
    ))
}

/// Refuses labels that are not what the model type predicts of their targets.
fn check_kinds(config: &ModelConfig, model_type: &dyn ModelType) -> Result<()> {
    let kinds = model_type
        .predictor(&config.options)
        .kinds(&config.columns.targets);
    let kinds = kinds.map_err(|error| corrupt(CONFIG_FILE, error))?;
    let labels = config.labels.iter().zip(&config.columns.targets);
    for ((labels, target), kind) in labels.zip(kinds) {
        let (count, most) = match (labels, kind) {
            (Labels::Number { .. } | Labels::Count { .. }, TargetKind::Number) => (1, 1),
            (Labels::Classes { values }, TargetKind::Class) => (values.len(), usize::MAX),
            (Labels::Numbers { means, .. }, TargetKind::Vector) => {
                (means.len(), TARGET_NUMBERS_MAX)
            }
            (Labels::Counts { length, .. }, TargetKind::Vector) => (*length, TARGET_NUMBERS_MAX),
            (Labels::Set { values }, TargetKind::Set) => (values.len(), usize::MAX),
            (
                Labels::Number { .. }
                | Labels::Count { .. }
                | Labels::Classes { .. }
                | Labels::Numbers { .. }
                | Labels::Counts { .. }
                | Labels::Set { .. },
                TargetKind::Number | TargetKind::Class | TargetKind::Vector | TargetKind::Set,
            ) => (0, 0),
        };
        if count == 0 || count > most {
            let problem = format!("the labels of \"{}\" do not fit its type", target.name);
            return Err(corrupt(CONFIG_FILE, problem));
        }
    }
    Ok(())
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

/// Refuses sizes that would be allocated before they are compared with the weights.
fn check_config(config: &ModelConfig) -> Result<()> {
    let wrong = |problem: String| Err(corrupt(CONFIG_FILE, problem));
    if config.format_version > FORMAT_VERSION {
        let version = config.format_version;
        return Err(Error::Unsupported(format!(
            "{CONFIG_FILE} has format version {version}, this build reads up to {FORMAT_VERSION}; upgrade vatic"
        )));
    }
    let hidden = &config.options.hidden_units;
    if hidden.len() > HIDDEN_LAYERS_MAX
        || hidden
            .iter()
            .any(|units| *units == 0 || *units > HIDDEN_UNITS_MAX)
    {
        return wrong(format!(
            "hidden layers out of range: {} layers",
            hidden.len()
        ));
    }
    let columns: Vec<_> = config
        .encoders
        .iter()
        .map(|encoder| &encoder.column)
        .collect();
    if columns != config.columns.features.iter().collect::<Vec<_>>() {
        return wrong("the encoders do not match the features".into());
    }
    for encoder in &config.encoders {
        let is_usable = |number: &Standardiser| number.mean.is_finite() && number.std > 0.0;
        if encoder.numbers.len() > NUMBERS_MAX || !encoder.numbers.iter().all(is_usable) {
            return wrong(format!(
                "the statistics of \"{}\" are out of range",
                encoder.column.name
            ));
        }
        let mut buckets = encoder.vocabularies.iter().filter_map(|of| of.buckets);
        if buckets.any(|buckets| buckets == 0) {
            return wrong(format!(
                "the categories of \"{}\" have no bucket",
                encoder.column.name
            ));
        }
        let Column { name, data_type } = &encoder.column;
        let is_image = FeatureKind::of(name, data_type)? == FeatureKind::Image;
        let is_fitting = match &encoder.image {
            Some(image) => is_image && image.is_usable() && encoder.numbers.is_empty(),
            None => !is_image,
        };
        if !is_fitting {
            return wrong(format!("the encoder of \"{name}\" does not fit its images"));
        }
        if encoder.keys.is_some() {
            let has_others = !encoder.numbers.is_empty() || !encoder.vocabularies.is_empty();
            let kind = KeyKind::of(name, data_type).ok();
            if has_others || is_image || kind != encoder.keys.as_ref().map(Keys::kind) {
                return wrong(format!("the ids of \"{name}\" do not fit its type"));
            }
            continue;
        }
        // The parts of the column must match the encoder; otherwise encoding would index beyond its vocabularies.
        let empty = arrow::array::new_empty_array(&encoder.column.data_type);
        let parts = parts(&encoder.column.name, &empty, None)?;
        let is_array = parts.width == 0 && parts.categories.is_empty();
        if parts.categories.len() != encoder.vocabularies.len()
            || (!is_array && parts.width != encoder.numbers.len())
        {
            return wrong(format!(
                "the encoder of \"{}\" does not fit its type",
                encoder.column.name
            ));
        }
    }
    let images = config.encoders.iter();
    if images.filter(|encoder| encoder.image.is_some()).count() > 1 {
        return wrong("more than one column of images".into());
    }
    if config.labels.len() != config.columns.targets.len() {
        let (labels, targets) = (config.labels.len(), config.columns.targets.len());
        return wrong(format!("labels of {labels} targets, and {targets} targets"));
    }
    let is_single = |labels: &Labels| labels.form() == LabelForm::Class(1);
    if config.labels.iter().any(is_single) {
        return wrong("a single class".into());
    }
    Ok(())
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
