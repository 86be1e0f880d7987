//! [`Task`]: what a model of texts does, as the name of its architecture says; [`open`] opens one.

use std::sync::Arc;

use serde_json::Value;
use tokenizers::Tokenizer;

use super::classifier::{Parts, TextClassifier};
use super::cross_encoder::{cross_encoder, is_entailment, is_inference};
use super::head::{Head, Transform};
use super::heads::{DenseHead, FamilyHeads, MaskHead, heads_of};
use super::mask_filler::MaskFiller;
use super::meaning::Meaning;
use super::network::{Network, Pooling};
use super::scorer::Scorer;
use super::token_classifier::TokenClassifier;
use super::tokens::TaskTokens;
use super::zero_shot::Inference;
use crate::artifact::{WEIGHTS_FILE, corrupt};
use crate::model::Model;
use crate::pretrained::classes::{CLASSES_MAX, class_values};
use crate::pretrained::config::Config;
use crate::pretrained::family::Source;
use crate::pretrained::texts::encoder::Encoder;
use crate::pretrained::texts::family::{TextFamily, is_beside_encoder};
use crate::pretrained::texts::spec::EncoderSpec;
use crate::pretrained::texts::tensors::{FileTensors, Tensors};
use crate::pretrained::weights::Weights;
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

/// How texts become tokens.
pub(crate) struct Texts {
    pub(crate) tokenizer: Tokenizer,
    /// The most tokens of a text, or of two texts together.
    pub(crate) tokens_max: usize,
}

/// Opens a model of a family for a task; with `is_pair`, it takes two texts in any case.
///
/// # Errors
/// [`Error::Corrupt`] for files that do not fit; [`Error::Unsupported`] for a head that this build does not know.
pub(in crate::pretrained) fn open(
    source: &Source<'_>,
    family: &TextFamily,
    (task, is_pair): (Task, bool),
    texts: Texts,
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
    let spec = (family.spec)(&source.config)?;
    let tensors = FileTensors::new(Weights::read(source.files)?, source.device);
    let vocabulary = spec.embedding.vocabulary;
    let tokens_max = texts.tokens_max;
    Opening {
        source,
        family,
        heads,
        tokens: TaskTokens::new(source.files, texts.tokenizer, tokens_max, vocabulary)?,
        spec,
        tensors,
        tokens_max,
    }
    .open(task, is_pair)
}

/// A model that is being opened.
struct Opening<'a> {
    source: &'a Source<'a>,
    family: &'a TextFamily,
    heads: &'static FamilyHeads,
    spec: EncoderSpec,
    tensors: FileTensors<'a>,
    tokens: TaskTokens,
    tokens_max: usize,
}

impl Opening<'_> {
    fn open(mut self, task: Task, is_pair: bool) -> Result<Arc<dyn Model>> {
        let encoder = Encoder::take(&mut self.tensors, &self.spec, self.family.base)?;
        let heads = self.heads;
        let head = match task {
            Task::Classification => self.dense(&heads.text)?,
            Task::TokenClassification => self.dense(&heads.token)?,
            Task::MaskFilling => self.mask()?,
        };
        let is_known = |name: &str| is_without_effect(name, self.family.base, task);
        self.tensors.finish(&self.source.architecture, is_known)?;
        let sizes = (self.tokens_max, self.tensors.bytes(), self.source.device);
        let network = Network::new(Box::new(encoder), head, &self.spec, sizes);
        match task {
            Task::Classification => self.classifier(network, is_pair),
            Task::TokenClassification => {
                let labels = labels(&self.source.config, network.outputs())?;
                Ok(Arc::new(TokenClassifier::new(network, self.tokens, labels)))
            }
            Task::MaskFilling if !self.tokens.has_mask() => Err(corrupt(
                "tokenizer.json",
                "has no token [MASK] or <mask>, which stands for a gap in a text",
            )),
            Task::MaskFilling => Ok(Arc::new(MaskFiller::new(network, self.tokens))),
        }
    }

    /// A head with as many outputs as its weights have.
    fn dense(&mut self, spec: &DenseHead) -> Result<Head> {
        let config = &self.source.config;
        let transform = match &spec.transform {
            None => None,
            Some(transform) => Some(Transform::take(
                &mut self.tensors,
                config,
                &self.spec,
                transform,
            )?),
        };
        let name = format!("{}.weight", spec.output);
        let outputs = self.tensors.shape(&name)?.first().copied().unwrap_or(0);
        if outputs == 0 {
            return Err(corrupt(
                WEIGHTS_FILE,
                format!("tensor \"{name}\" has no outputs"),
            ));
        }
        let width = self.spec.sizes.width;
        Head::take(&mut self.tensors, (transform, spec.output), width, outputs)
    }

    fn mask(&mut self) -> Result<Head> {
        let has = |head: &&MaskHead| {
            let name = format!("{}.weight", head.transform.dense);
            self.tensors.has(&name)
        };
        let mut heads = self.heads.mask.iter();
        // Without any of them, the first is missing.
        let head = heads.find(has).unwrap_or(&self.heads.mask[0]);
        let config = &self.source.config;
        let transform = Transform::take(&mut self.tensors, config, &self.spec, &head.transform)?;
        let embedding = &self.spec.embedding;
        let tied = format!("{}{}.weight", self.family.base, embedding.names.words);
        let vectors = match self.tensors.has(head.vectors) {
            true => head.vectors,
            false => tied.as_str(),
        };
        let has_bias = match head.has_bias {
            None => true,
            Some(flag) => config.flag(flag, true)?,
        };
        let mut biases = head.biases.iter().copied();
        let bias = biases.find(|name| self.tensors.has(name));
        let bias = has_bias.then(|| bias.unwrap_or(head.biases[0]));
        let vocabulary = embedding.vocabulary;
        Head::take_tokens(&mut self.tensors, transform, (vectors, bias), vocabulary)
    }

    fn classifier(self, network: Network, is_pair: bool) -> Result<Arc<dyn Model>> {
        let config = &self.source.config;
        let count = network.outputs();
        let function = cross_encoder(self.source.files, config, count)?;
        let is_pair = is_pair || function.is_some() || is_inference(config);
        let meaning = match is_pair {
            true => Meaning::of_pair(config, count, function.unwrap_or_default())?,
            false => Meaning::of(config, count)?,
        };
        let pooling = match self.heads.pooling.map(|field| config.text(field)) {
            None => Pooling::First,
            Some(way) => match way? {
                None | Some("cls") => Pooling::First,
                Some("mean") => Pooling::Mean,
                Some(other) => {
                    let what = format!("is \"{other}\"; expected \"cls\" or \"mean\"");
                    return Err(config.error("classifier_pooling", what));
                }
            },
        };
        Ok(Arc::new(TextClassifier::new(Parts {
            scorer: Scorer {
                network,
                tokens: self.tokens,
                pooling,
            },
            meaning,
            is_pair,
            inference: inference(config, count),
        })))
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
