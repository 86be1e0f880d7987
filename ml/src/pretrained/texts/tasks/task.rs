//! [`Task`]: what a model of texts does, as the name of its architecture says; [`open`] opens one.

use std::sync::Arc;

use serde_json::Value;

use super::classifier::{Parts, TextClassifier};
use super::cross_encoder::{cross_encoder, is_entailment, is_inference};
use super::head::{Head, Transform};
use super::heads::{DenseHead, FamilyHeads, MaskHead, heads_of};
use super::mask_filler::MaskFiller;
use super::meaning::Meaning;
use super::network::Network;
use super::scorer::Scorer;
use super::token_classifier::TokenClassifier;
use super::tokens::TaskTokens;
use super::zero_shot::Inference;
use crate::artifact::{WEIGHTS_FILE, corrupt};
use crate::model::Model;
use crate::pretrained::classes::{CLASSES_MAX, class_values};
use crate::pretrained::config::Config;
use crate::pretrained::family::Source;
use crate::pretrained::texts::family::{TextFamily, is_beside_encoder};
use crate::pretrained::texts::parts::TextParts;
use crate::pretrained::texts::pooling::Pooling;
use crate::pretrained::texts::tensors::Tensors;
use crate::pretrained::texts::tokens::config::TokenizerConfig;
use crate::{Error, Result};

/// What a model of texts does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// Classes, numbers or a score for a text or for two.
    Classification,
    /// Labels for tokens.
    TokenClassification,
    /// Tokens for a gap.
    MaskFilling,
}

impl Task {
    /// The task of an architecture, if it has a head for one.
    pub(crate) fn of(architecture: &str) -> Option<Self> {
        let tasks = [
            ("ForSequenceClassification", Self::Classification),
            ("ForTokenClassification", Self::TokenClassification),
            ("ForMaskedLM", Self::MaskFilling),
        ];
        let found = tasks.iter().find(|(end, _)| architecture.ends_with(end));
        found.map(|(_, task)| *task)
    }
}

/// Opens a model of a family for a task; with `is_pair`, it takes two texts in any case.
///
/// # Errors
/// [`Error::Corrupt`] for files that do not fit; [`Error::Unsupported`] for a head that this build does not know.
pub(in crate::pretrained) fn open(
    source: &Source<'_>,
    family: &TextFamily,
    (task, is_pair): (Task, bool),
) -> Result<Arc<dyn Model>> {
    let heads = heads_of(family.model_type).ok_or_else(|| {
        let what = format!("a head of {} is not supported", source.architecture);
        Error::Unsupported(what)
    })?;
    if is_pair && task != Task::Classification {
        return Err(Error::Unsupported(format!(
            "{} takes one text; leave out the format",
            source.architecture
        )));
    }
    let parts = TextParts::take(source, family)?;
    let opening = Opening {
        source,
        heads,
        parts,
    };
    opening.open(task, is_pair)
}

/// A model that is being opened.
struct Opening<'a> {
    source: &'a Source<'a>,
    heads: &'static FamilyHeads,
    parts: TextParts<'a>,
}

impl Opening<'_> {
    fn open(mut self, task: Task, is_pair: bool) -> Result<Arc<dyn Model>> {
        let heads = self.heads;
        let head = match task {
            Task::Classification => self.dense(&heads.text)?,
            Task::TokenClassification => self.dense(&heads.token)?,
            Task::MaskFilling => self.mask()?,
        };
        let Self {
            source,
            heads,
            parts,
        } = self;
        let is_known = |name: &str| is_without_effect(name, parts.base, task);
        parts.tensors.finish(&source.architecture, is_known)?;
        let options = TokenizerConfig::read(source.files)?;
        let tokenizer = (parts.tokenizer, parts.tokenizer_file);
        let tokens = TaskTokens::new(tokenizer, parts.limits, &options)?;
        let facts = [
            ("architecture", source.architecture.clone()),
            ("tokens_max", parts.limits.tokens.to_string()),
        ];
        let facts = facts.map(|(name, value)| (name.to_owned(), value));
        let mask = tokens.mask().filter(|_| task == Task::MaskFilling);
        let mask = mask.map(|mask| ("mask".to_owned(), mask.to_owned()));
        let network = Network {
            facts: facts.into_iter().chain(mask).collect(),
            encoder: parts.encoder,
            spec: parts.spec,
            limits: parts.limits,
            head,
            device: source.device.clone(),
            bytes: parts.tensors.bytes(),
        };
        let config = &source.config;
        match task {
            Task::Classification => {
                let scorer = Scorer {
                    network,
                    tokens,
                    pooling: pooling(config, heads)?,
                };
                classifier(source, scorer, is_pair)
            }
            Task::TokenClassification => {
                let labels = labels(config, network.outputs())?;
                Ok(Arc::new(TokenClassifier::new(network, tokens, labels)))
            }
            Task::MaskFilling if tokens.mask().is_none() => Err(corrupt(
                parts.tokenizer_file,
                "has no token [MASK] or <mask>, which stands for a gap in a text",
            )),
            Task::MaskFilling => Ok(Arc::new(MaskFiller::new(network, tokens))),
        }
    }

    /// A head with as many outputs as its weights have.
    fn dense(&mut self, spec: &DenseHead) -> Result<Head> {
        let config = &self.source.config;
        let transform = match &spec.transform {
            None => None,
            Some(transform) => {
                let encoder = (&self.parts.spec, self.parts.base);
                let tensors = &mut self.parts.tensors;
                Some(Transform::take(tensors, config, encoder, transform)?)
            }
        };
        let name = format!("{}.weight", spec.output);
        let shape = self.parts.tensors.shape(&name)?;
        let outputs = shape.first().copied().unwrap_or(0);
        if outputs == 0 {
            return Err(corrupt(
                WEIGHTS_FILE,
                format!("tensor \"{name}\" has no outputs"),
            ));
        }
        let width = self.parts.spec.sizes.width;
        let names = (transform, spec.output);
        Head::take(&mut self.parts.tensors, names, width, outputs)
    }

    fn mask(&mut self) -> Result<Head> {
        let (spec, base) = (&self.parts.spec, self.parts.base);
        let tensors = &mut self.parts.tensors;
        let has = |head: &&MaskHead| tensors.has(&format!("{}.weight", head.transform.name(base)));
        let mut heads = self.heads.mask.iter();
        // Without any of them, the first is missing.
        let head = heads.find(has).unwrap_or(&self.heads.mask[0]);
        let config = &self.source.config;
        let transform = Transform::take(tensors, config, (spec, base), &head.transform)?;
        let tied = format!("{base}{}.weight", spec.embedding.names.words);
        let vectors = match tensors.has(head.vectors) {
            true => head.vectors,
            false => tied.as_str(),
        };
        let has_bias = match head.has_bias {
            None => true,
            Some(flag) => config.flag(flag, true)?,
        };
        let mut biases = head.biases.iter().copied();
        let bias = biases.find(|name| tensors.has(name));
        let bias = has_bias.then(|| bias.unwrap_or(head.biases[0]));
        Head::take_tokens(
            tensors,
            transform,
            (vectors, bias),
            spec.embedding.vocabulary,
        )
    }
}

fn classifier(source: &Source<'_>, scorer: Scorer, is_pair: bool) -> Result<Arc<dyn Model>> {
    let config = &source.config;
    let count = scorer.network.outputs();
    let function = cross_encoder(source.root, config, count)?;
    let is_pair = is_pair || function.is_some() || is_inference(config);
    let meaning = match is_pair {
        true => Meaning::of_pair(config, count, function.unwrap_or_default())?,
        false => Meaning::of(config, count)?,
    };
    Ok(Arc::new(TextClassifier::new(Parts {
        scorer,
        meaning,
        is_pair,
        inference: inference(config, count),
    })))
}

/// How the vector of a text is made of those of its tokens.
fn pooling(config: &Config, heads: &FamilyHeads) -> Result<Pooling> {
    let Some(field) = heads.pooling else {
        return Ok(Pooling::first());
    };
    match config.text(field)? {
        None | Some("cls") => Ok(Pooling::first()),
        Some("mean") => Ok(Pooling::mean()),
        Some(other) => {
            let what = format!("is \"{other}\"; expected \"cls\" or \"mean\"");
            Err(config.error(field, what))
        }
    }
}

/// Whether a tensor that nobody took has no effect on the outputs: what is beside an encoder, but no part of a head for this task.
fn is_without_effect(name: &str, base: &str, task: Task) -> bool {
    // The head of a task is taken whole, but for copies: the bias of a decoder is stored twice in some files.
    let of_task = match task {
        Task::Classification | Task::TokenClassification => {
            name.starts_with("classifier.") || name.starts_with("head.")
        }
        Task::MaskFilling => false,
    };
    is_beside_encoder(name, base) && !of_task
}

/// The outputs of natural language inference, if the classes are such.
fn inference(config: &Config, count: usize) -> Option<Inference> {
    let labels = config.get("id2label").and_then(Value::as_object)?;
    let is_entailed = |id: &usize| {
        let label = labels.get(&id.to_string()).and_then(Value::as_str);
        label.is_some_and(is_entailment)
    };
    let entailment = (0..count).find(is_entailed)?;
    // As in transformers: the first output, or the last if that is the entailment.
    let contradiction = if entailment == 0 { count - 1 } else { 0 };
    Some(Inference {
        contradiction,
        entailment,
    })
}

/// The labels of tokens in the order of the outputs; those of several outputs get the number of the output.
fn labels(config: &Config, count: usize) -> Result<Vec<String>> {
    if count > CLASSES_MAX {
        return Err(Error::Unsupported(format!(
            "the model has {count} labels; at most {CLASSES_MAX} are supported"
        )));
    }
    let (_, values) = class_values(config, count)?;
    Ok(values.iter().map(ToString::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_architecture_has_a_task_or_none() {
        for (architecture, expected) in [
            ("BertForSequenceClassification", Some(Task::Classification)),
            (
                "CamembertForTokenClassification",
                Some(Task::TokenClassification),
            ),
            ("MPNetForMaskedLM", Some(Task::MaskFilling)),
            ("BertForQuestionAnswering", None),
            ("BertModel", None),
        ] {
            assert_eq!(Task::of(architecture), expected, "{architecture}");
        }
    }

    #[test]
    fn the_contradiction_is_the_first_output_or_the_last() {
        let of = |labels: &str, count: usize| {
            let config = format!(r#"{{"id2label": {labels}}}"#);
            let config = Config::parse("config.json", config.as_bytes()).unwrap();
            let found = inference(&config, count)?;
            Some((found.contradiction, found.entailment))
        };
        let three = r#"{"0": "contradiction", "1": "neutral", "2": "entailment"}"#;
        assert_eq!(of(three, 3), Some((0, 2)));
        let two = r#"{"0": "entailment", "1": "not_entailment"}"#;
        assert_eq!(of(two, 2), Some((1, 0)));
        assert_eq!(of(r#"{"0": "good", "1": "bad"}"#, 2), None);
    }
}
