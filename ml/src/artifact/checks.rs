//! Checks of the description of a model: what does not fit is an error that names the file, before memory is taken for it.

use super::corrupt;
use crate::data::apart::parts;
use crate::data::columns::{Column, FeatureKind, NUMBERS_MAX};
use crate::data::encode::column::ColumnEncoder;
use crate::data::encode::keys::{KeyKind, Keys};
use crate::data::encode::standardise::Standardiser;
use crate::data::labels::{LabelForm, Labels};
use crate::data::targets::{TARGET_NUMBERS_MAX, TargetKind};
use crate::model::network::{ModelType, Task};
use crate::model::trained::ModelConfig;
use crate::train::fit::FORMAT_VERSION;
use crate::{Error, Result};

const HIDDEN_LAYERS_MAX: usize = 1_000;
const HIDDEN_UNITS_MAX: usize = 1 << 20;

/// Refuses a newer format, sizes that would be allocated before they are compared with the weights, and encoders and labels that do not
/// fit their columns.
pub(super) fn check_config(config: &ModelConfig, file: &str) -> Result<()> {
    let wrong = |problem: String| Err(corrupt(file, problem));
    if config.format_version > FORMAT_VERSION {
        let version = config.format_version;
        return Err(Error::Unsupported(format!(
            "{file} has format version {version}, this build reads up to {FORMAT_VERSION}; upgrade vatic"
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
        check_encoder(encoder, file)?;
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

/// Refuses an encoder that does not fit its column.
fn check_encoder(encoder: &ColumnEncoder, file: &str) -> Result<()> {
    let wrong = |problem: String| Err(corrupt(file, problem));
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
        return Ok(());
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
    Ok(())
}

/// Refuses options that the model type refuses, and labels that do not fit their targets or the task.
pub(super) fn check_task(
    config: &ModelConfig,
    model_type: &dyn ModelType,
    file: &str,
) -> Result<()> {
    let options = &config.options;
    let checked = model_type.check(options);
    checked.map_err(|error| corrupt(file, error))?;
    let task = model_type.task(options);
    let mut tasks = config.labels.iter().map(Labels::task);
    if tasks.any(|of| of == task) {
        return check_kinds(config, model_type, file);
    }
    let (labels, predicts) = match task {
        Task::Regression => ("classes", "numbers"),
        Task::Classification => ("numbers", "classes"),
    };
    let name = model_type.name();
    Err(corrupt(
        file,
        format!(
            "the labels are {labels}, and a model of type {name} with these options predicts {predicts}"
        ),
    ))
}

/// Refuses labels that are not what the model type predicts of their targets.
fn check_kinds(config: &ModelConfig, model_type: &dyn ModelType, file: &str) -> Result<()> {
    let kinds = model_type
        .predictor(&config.options)
        .kinds(&config.columns.targets);
    let kinds = kinds.map_err(|error| corrupt(file, error))?;
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
            return Err(corrupt(file, problem));
        }
    }
    Ok(())
}
