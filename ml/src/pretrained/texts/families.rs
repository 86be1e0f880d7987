//! The families of encoders, and the way from an architecture to a model.

use std::sync::Arc;

use super::embedding_model::EmbeddingModel;
use super::family::TextFamily;
use super::modules::{MODULES_FILE, Modules};
use super::parts::TextParts;
use super::tasks::task::{self, Task};
use super::{bert, deberta, distilbert, modernbert, mpnet, nomic};
use crate::model::Model;
use crate::pretrained::family::{Family, Source};
use crate::{Error, Result};

/// Every family.
const TEXT_FAMILIES: [&TextFamily; 10] = [
    &bert::BERT,
    &bert::ROBERTA,
    &bert::XLM_ROBERTA,
    &bert::CAMEMBERT,
    &bert::ELECTRA,
    &distilbert::DISTILBERT,
    &mpnet::MPNET,
    &modernbert::MODERNBERT,
    &nomic::NOMIC,
    &deberta::DEBERTA,
];

pub(crate) const BERT: Family = family(&bert::BERT);
pub(crate) const ROBERTA: Family = family(&bert::ROBERTA);
pub(crate) const XLM_ROBERTA: Family = family(&bert::XLM_ROBERTA);
pub(crate) const CAMEMBERT: Family = family(&bert::CAMEMBERT);
pub(crate) const ELECTRA: Family = family(&bert::ELECTRA);
pub(crate) const DISTILBERT: Family = family(&distilbert::DISTILBERT);
pub(crate) const MPNET: Family = family(&mpnet::MPNET);
pub(crate) const MODERNBERT: Family = family(&modernbert::MODERNBERT);
pub(crate) const NOMIC: Family = family(&nomic::NOMIC);
pub(crate) const DEBERTA: Family = family(&deberta::DEBERTA);

const fn family(of: &TextFamily) -> Family {
    Family {
        model_type: of.model_type,
        architectures: of.architectures,
        timm: &[],
        open,
        open_texts: None,
    }
}

/// The family of an architecture, or of a `model_type` if a description names no architecture.
pub(crate) fn text_family(name: &str) -> Option<&'static TextFamily> {
    let is_known =
        |family: &&TextFamily| family.architectures.contains(&name) || family.model_type == name;
    TEXT_FAMILIES.into_iter().find(is_known)
}

/// Opens a model of texts: an encoder, or what an architecture has behind one.
fn open(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let architecture = source.architecture.as_str();
    let family = text_family(architecture)
        .ok_or_else(|| Error::Internal(format!("{architecture} has no family of encoders")))?;
    let modules = Modules::read(source.root)?;
    let has_pooling = modules.as_ref().is_some_and(Modules::has_pooling);
    let is_encoder = architecture.ends_with("Model") || architecture == family.model_type;
    // A model that was trained to predict tokens, and then to embed texts, keeps the name of its architecture.
    match Task::of(architecture) {
        Some(task) if !has_pooling => task::open(source, family, (task, false)),
        _ if has_pooling || is_encoder => {
            let parts = TextParts::take(source, family)?;
            let modules = modules.as_ref().filter(|modules| modules.has_pooling());
            EmbeddingModel::open(source, parts, modules)
        }
        _ => Err(Error::Unsupported(format!(
            "{}: the architecture {architecture} is only opened as an encoder, with a {MODULES_FILE} that has pooling",
            source.config.file()
        ))),
    }
}

/// Opens a classifier of two texts.
///
/// # Errors
/// [`Error::Unsupported`] for another model.
pub(in crate::pretrained) fn open_pair(source: &Source<'_>) -> Result<Arc<dyn Model>> {
    let architecture = source.architecture.as_str();
    match (text_family(architecture), Task::of(architecture)) {
        (Some(family), Some(task)) => task::open(source, family, (task, true)),
        _ => Err(Error::Unsupported(format!(
            "{}: the architecture {architecture} is no classifier of texts",
            source.config.file()
        ))),
    }
}
