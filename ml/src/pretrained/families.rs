//! The families whose models can be imported.

use super::family::{Family, Origin, Source};
use super::generation::families as generation;
use super::texts::families as texts;
use super::{clip, convnext, efficientnet, mobilenet, resnet, siglip, vit};
use crate::{Error, Result};

/// Every family.
pub const FAMILIES: &[Family] = &[
    resnet::FAMILY,
    vit::FAMILY,
    mobilenet::FAMILY,
    convnext::FAMILY,
    efficientnet::FAMILY,
    clip::FAMILY,
    siglip::FAMILY,
    texts::BERT,
    texts::ROBERTA,
    texts::XLM_ROBERTA,
    texts::CAMEMBERT,
    texts::ELECTRA,
    texts::DISTILBERT,
    texts::MPNET,
    texts::MODERNBERT,
    texts::NOMIC,
    texts::DEBERTA,
    generation::LLAMA,
    generation::MISTRAL,
    generation::QWEN2,
    generation::QWEN3,
    generation::GEMMA,
    generation::GEMMA2,
    generation::GEMMA3,
    generation::PHI3,
    generation::T5_FAMILY,
];

/// The family of an architecture, or else of a `model_type` if a description names no architecture.
///
/// # Errors
/// [`Error::Unsupported`] with the list of known architectures.
pub(super) fn family_of(source: &Source<'_>) -> Result<&'static Family> {
    let name = source.architecture.as_str();
    let is_known = |family: &&Family| match source.origin {
        Origin::HuggingFace => family.architectures.contains(&name) || family.model_type == name,
        Origin::Timm => family.timm.contains(&name),
    };
    let mut families = FAMILIES.iter();
    families.find(is_known).ok_or_else(|| {
        let known = FAMILIES.iter().flat_map(|family| match source.origin {
            Origin::HuggingFace => family.architectures,
            Origin::Timm => family.timm,
        });
        let (file, known) = (source.config.file(), known.copied().collect::<Vec<_>>());
        Error::Unsupported(format!(
            "{file}: the architecture {name} is not supported; this build opens {}",
            known.join(", ")
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_architecture_belongs_to_one_family() {
        let of_hugging_face = FAMILIES.iter().flat_map(|family| family.architectures);
        let of_timm = FAMILIES.iter().flat_map(|family| family.timm);
        let all: Vec<&str> = of_hugging_face.chain(of_timm).copied().collect();
        let different: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(all.len(), different.len());
    }
}
