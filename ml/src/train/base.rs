//! `Base`: the model whose weights a training starts from (option `base_model`).
//!
//! A weight has a meaning only together with the encoding of its feature, so a training keeps what its base learnt of the
//! columns: means and deviations of numbers, classes, values of categories. Values that the base does not know follow behind
//! those that it knows, and their weights begin as in a new model.

use std::any::Any;
use std::collections::HashSet;

use candle_core::DType;

use crate::data::columns::Column;
use crate::data::encode::column::{ColumnEncoder, Vocabulary};
use crate::data::encode::keys::Keys;
use crate::data::encode::standardise::Standardiser;
use crate::data::encode::tabular::Encoder;
use crate::data::image::ImageEncoder;
use crate::data::labels::{ClassValue, LabelForm, Labels, class_position};
use crate::model::Model;
use crate::model::network::{Init, Network, Parameter};
use crate::model::text::TextModel;
use crate::model::trained::{ModelConfig, TrainedModel};
use crate::train::counts::CATEGORY_VALUES_MAX;
use crate::train::spec::TrainSpec;
use crate::{Error, Result};

/// The most classes that an error names.
const NAMED_MAX: usize = 5;

/// The description of a model that TRAIN made.
///
/// # Errors
/// [`Error::Unsupported`] for another model; `label` names it.
pub fn base_config<'a>(model: &'a dyn Model, label: &str) -> Result<&'a ModelConfig> {
    Ok(trained(model, label)?.config())
}

fn trained<'a>(model: &'a dyn Model, label: &str) -> Result<&'a TrainedModel> {
    let model: &dyn Any = model;
    if model.is::<TextModel>() {
        return Err(Error::Unsupported(format!(
            "model \"{label}\" is a network behind an encoder of texts, from whose weights no training starts; name its encoder \
             as base_model"
        )));
    }
    model.downcast_ref::<TrainedModel>().ok_or_else(|| {
        Error::Unsupported(format!(
            "model \"{label}\" was not made by TRAIN, so no training starts from its weights; leave base_model out"
        ))
    })
}

/// The model that a training starts from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base<'a> {
    /// The model with its version.
    label: &'a str,
    model: &'a TrainedModel,
}

impl<'a> Base<'a> {
    /// The base of a training, if it has one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] for a model that TRAIN did not make; [`Error::Internal`] if the columns are not those of the base.
    pub(crate) fn of(spec: &'a TrainSpec) -> Result<Option<Self>> {
        let named = spec.options.base_model.as_ref();
        let (Some(named), Some(model)) = (named, spec.base.as_deref()) else {
            return match named {
                None => Ok(None),
                Some(_) => Err(Error::Internal("a training without its base model".into())),
            };
        };
        if model.text_base().is_some() {
            // It reads texts, and its weights are those of another kind of network.
            return Ok(None);
        }
        let label = named.model.as_str();
        let base = Self {
            label,
            model: trained(model, label)?,
        };
        if base.model.config().columns != spec.columns {
            let message = "the columns of a training are not those of its base model";
            return Err(Error::Internal(message.into()));
        }
        Ok(Some(base))
    }

    fn encoder(&self, column: usize) -> &'a ColumnEncoder {
        &self.model.config().encoders[column]
    }

    /// How the base standardises the numbers of a feature, of which the rows have as many as `learnt`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for arrays of another length.
    pub(crate) fn numbers(
        &self,
        column: usize,
        learnt: &[Standardiser],
    ) -> Result<Vec<Standardiser>> {
        let ColumnEncoder {
            column, numbers, ..
        } = self.encoder(column);
        match numbers.len() == learnt.len() {
            true => Ok(numbers.clone()),
            false => Err(Error::Invalid(format!(
                "column \"{}\" holds arrays of length {}, and base model \"{}\" takes length {}; leave base_model out",
                column.name,
                learnt.len(),
                self.label,
                numbers.len()
            ))),
        }
    }

    /// The values of a category that the base knows, then the others of `learnt`.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there are too many.
    pub(crate) fn vocabulary(
        &self,
        column: usize,
        category: usize,
        learnt: Vocabulary,
    ) -> Result<Vocabulary> {
        let ColumnEncoder {
            column,
            vocabularies,
            ..
        } = self.encoder(column);
        let mut known = vocabularies[category].clone();
        if known.buckets.is_some() {
            return Ok(known);
        }
        let lists_all = learnt.buckets.is_none();
        let mut values = learnt.values;
        let seen: HashSet<&String> = known.values.iter().collect();
        values.retain(|value| !seen.contains(value));
        drop(seen);
        known.values.extend(values);
        match lists_all && known.values.len() <= CATEGORY_VALUES_MAX {
            true => Ok(known),
            false => Err(Error::Invalid(format!(
                "column \"{}\" has over {CATEGORY_VALUES_MAX} distinct values together with those of base model \"{}\", which has \
                 a weight for each; group the values, or leave base_model out",
                column.name, self.label
            ))),
        }
    }

    /// The keys of a feature that the base knows, if it has keys.
    pub(crate) fn keys(&self, column: usize) -> Option<Keys> {
        self.encoder(column).keys.clone()
    }

    /// How the base reads the images of a feature, if it has images.
    pub(crate) fn image(&self, column: usize) -> Option<ImageEncoder> {
        self.encoder(column).image.clone()
    }

    /// The labels of the base for a target, whose rows have the labels `learnt`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a class that the base does not know, and for lists of another length.
    pub(crate) fn labels(&self, number: usize, target: &Column, learnt: &Labels) -> Result<Labels> {
        let labels = &self.model.config().labels[number];
        let (name, label) = (&target.name, self.label);
        match (labels.form(), learnt.form()) {
            (LabelForm::Number, LabelForm::Number) => {}
            (LabelForm::Vector(ours), LabelForm::Vector(found)) if ours == found => {}
            (LabelForm::Vector(ours), LabelForm::Vector(found)) => {
                return Err(Error::Invalid(format!(
                    "label \"{name}\" holds lists of length {found}, and base model \"{label}\" predicts lists of length {ours}; \
                     leave base_model out"
                )));
            }
            (LabelForm::Class(_), LabelForm::Class(_)) | (LabelForm::Set(_), LabelForm::Set(_)) => {
                let unknown =
                    |value: &&ClassValue| class_position(labels.classes(), value).is_none();
                let unknown: Vec<&ClassValue> = learnt.classes().iter().filter(unknown).collect();
                if !unknown.is_empty() {
                    return Err(Error::Invalid(format!(
                        "label \"{name}\" has values that base model \"{label}\" does not know: {}; leave these rows out, or \
                         leave base_model out",
                        named(&unknown)
                    )));
                }
            }
            (
                LabelForm::Number | LabelForm::Vector(_) | LabelForm::Class(_) | LabelForm::Set(_),
                _,
            ) => {
                return Err(Error::Internal(format!(
                    "label \"{name}\" has another form than in its base model"
                )));
            }
        }
        // A mean of counts is the mean of the base, too: its outputs are relative to it.
        match std::mem::discriminant(labels) == std::mem::discriminant(learnt) {
            true => Ok(labels.clone()),
            false => Err(Error::Invalid(format!(
                "base model \"{label}\" was trained with another kind of loss than this one, so its outputs have another meaning; \
                 leave loss out"
            ))),
        }
    }

    /// The weights before the first step, flat: those of the base, and initial values for what it does not know.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the network is not that of the base.
    pub(crate) fn weights(
        &self,
        network: &dyn Network,
        encoder: &Encoder,
        seed: u64,
    ) -> Result<Vec<f64>> {
        let ids = encoder.ids_in(self.model.encoder());
        let specs = network.parameters();
        let theirs = self.model.network().parameters();
        if specs.len() != theirs.len() {
            let problem = format!(
                "{} tensors of weights, this training {}",
                theirs.len(),
                specs.len()
            );
            return Err(self.other_network(&problem));
        }
        let mut weights = Vec::with_capacity(specs.iter().map(Parameter::len).sum());
        for ((spec, known), values) in specs.iter().zip(theirs).zip(self.model.parameters()) {
            let values = values.to_dtype(DType::F64)?.flatten_all()?;
            let values: Vec<f64> = values.to_vec1()?;
            let initial = || spec.initial_values(seed).into_iter().map(f64::from);
            match &spec.init {
                Init::Categories { .. } if has_rows_of(spec, known, ids.len()) => {
                    let width = spec.len() / ids.len().max(1);
                    let first = weights.len();
                    weights.extend(initial());
                    let rows = weights[first..].chunks_exact_mut(width.max(1));
                    for (row, id) in rows.zip(&ids) {
                        if let Some(id) = id {
                            row.copy_from_slice(&values[*id as usize * width..][..width]);
                        }
                    }
                }
                _ if spec.name == known.name && spec.shape == known.shape => weights.extend(values),
                _ => {
                    return Err(self.other_network(&format!(
                        "weights \"{}\" of shape {:?}, this training \"{}\" of shape {:?}",
                        known.name, known.shape, spec.name, spec.shape
                    )));
                }
            }
        }
        Ok(weights)
    }

    fn other_network(&self, problem: &str) -> Error {
        Error::Invalid(format!(
            "base model \"{}\" has another network: {problem}; leave base_model out",
            self.label
        ))
    }
}

/// Whether a parameter has a row for each of so many ids of categories, and that of the base is the same but for their number.
fn has_rows_of(spec: &Parameter, known: &Parameter, ids: usize) -> bool {
    let is_same = spec.name == known.name && spec.shape.get(1..) == known.shape.get(1..);
    is_same && spec.shape.first() == Some(&ids)
}

/// The first of these classes, and how many more there are.
fn named(classes: &[&ClassValue]) -> String {
    let first = classes.iter().take(NAMED_MAX);
    let first: Vec<String> = first.map(|value| format!("\"{value}\"")).collect();
    match classes.len().saturating_sub(NAMED_MAX) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
