//! The heads of each family: which layers stand behind its encoder for a task, and the names of their tensors.

use super::head::{Function, TransformSpec};
use crate::nn::Pointwise;

/// The heads of a family.
#[derive(Debug)]
pub(super) struct FamilyHeads {
    /// What Hugging Face calls the families: `model_type` in `config.json`.
    model_types: &'static [&'static str],
    /// The layers behind the vector of a text.
    pub(super) text: DenseHead,
    /// The layers behind the vector of a token.
    pub(super) token: DenseHead,
    /// The layers behind the vector of a token that is to be guessed; the first that the weights have.
    pub(super) mask: &'static [MaskHead],
    /// The name of the text that says how the vector of a text is made of those of its tokens: `cls`, its first one, or `mean`.
    pub(super) pooling: Option<&'static str>,
}

/// A head with an output for each class.
#[derive(Debug)]
pub(super) struct DenseHead {
    pub(super) transform: Option<TransformSpec>,
    /// The name of the last layer.
    pub(super) output: &'static str,
}

/// A head with an output for each token.
#[derive(Debug)]
pub(super) struct MaskHead {
    pub(super) transform: TransformSpec,
    /// The table of the vectors of tokens; that of the encoder if the weights have none of this name.
    pub(super) vectors: &'static str,
    /// The names of the bias, the first of them that the weights have.
    pub(super) biases: &'static [&'static str],
    /// The flag that says whether there is a bias, if there may be none.
    pub(super) has_bias: Option<&'static str>,
}

/// The heads of a family.
pub(super) fn heads_of(model_type: &str) -> Option<&'static FamilyHeads> {
    let mut all = HEADS.iter();
    all.find(|heads| heads.model_types.contains(&model_type))
}

const fn transform(dense: &'static str, function: Function) -> TransformSpec {
    TransformSpec {
        dense,
        is_in_encoder: false,
        bias: None,
        function,
        norm: None,
        narrows: false,
    }
}

const fn normalised(transform: TransformSpec, name: &'static str) -> TransformSpec {
    TransformSpec {
        norm: Some(name),
        ..transform
    }
}

/// One layer.
const fn plain(output: &'static str) -> DenseHead {
    DenseHead {
        transform: None,
        output,
    }
}

const fn behind(dense: &'static str, function: Function, output: &'static str) -> DenseHead {
    DenseHead {
        transform: Some(transform(dense, function)),
        output,
    }
}

/// That of BERT, whose first layer is a part of the encoder.
const POOLER: DenseHead = DenseHead {
    transform: Some(TransformSpec {
        is_in_encoder: true,
        ..transform("pooler.dense", TANH)
    }),
    output: "classifier",
};

const TANH: Function = Function::Is(Pointwise::Tanh);
const GELU: Function = Function::Is(Pointwise::Gelu);

/// That of RoBERTa, which other families have, too.
const LM_HEAD: MaskHead = MaskHead {
    transform: normalised(transform("lm_head.dense", GELU), "lm_head.layer_norm"),
    vectors: "lm_head.decoder.weight",
    biases: &["lm_head.bias", "lm_head.decoder.bias"],
    has_bias: None,
};

/// That of BERT.
const PREDICTIONS: MaskHead = MaskHead {
    transform: normalised(
        transform("cls.predictions.transform.dense", Function::OfEncoder),
        "cls.predictions.transform.LayerNorm",
    ),
    vectors: "cls.predictions.decoder.weight",
    biases: &["cls.predictions.bias", "cls.predictions.decoder.bias"],
    has_bias: None,
};

const MODERN: TransformSpec = TransformSpec {
    dense: "head.dense",
    is_in_encoder: false,
    bias: Some("classifier_bias"),
    function: Function::Named("classifier_activation", "gelu"),
    norm: Some("head.norm"),
    narrows: false,
};

/// The heads of all families.
const HEADS: &[FamilyHeads] = &[
    FamilyHeads {
        model_types: &["bert"],
        text: POOLER,
        token: plain("classifier"),
        mask: &[PREDICTIONS],
        pooling: None,
    },
    FamilyHeads {
        model_types: &["roberta", "xlm-roberta", "camembert", "mpnet"],
        text: behind("classifier.dense", TANH, "classifier.out_proj"),
        token: plain("classifier"),
        mask: &[LM_HEAD],
        pooling: None,
    },
    FamilyHeads {
        model_types: &["distilbert"],
        text: behind(
            "pre_classifier",
            Function::Is(Pointwise::Relu),
            "classifier",
        ),
        token: plain("classifier"),
        mask: &[MaskHead {
            transform: normalised(
                transform("vocab_transform", Function::OfEncoder),
                "vocab_layer_norm",
            ),
            vectors: "vocab_projector.weight",
            biases: &["vocab_projector.bias"],
            has_bias: None,
        }],
        pooling: None,
    },
    FamilyHeads {
        model_types: &["electra"],
        text: behind("classifier.dense", GELU, "classifier.out_proj"),
        token: plain("classifier"),
        mask: &[MaskHead {
            transform: TransformSpec {
                narrows: true,
                ..normalised(
                    transform("generator_predictions.dense", GELU),
                    "generator_predictions.LayerNorm",
                )
            },
            vectors: "generator_lm_head.weight",
            biases: &["generator_lm_head.bias"],
            has_bias: None,
        }],
        pooling: None,
    },
    FamilyHeads {
        model_types: &["modernbert"],
        text: DenseHead {
            transform: Some(MODERN),
            output: "classifier",
        },
        token: DenseHead {
            transform: Some(MODERN),
            output: "classifier",
        },
        mask: &[MaskHead {
            transform: MODERN,
            vectors: "decoder.weight",
            biases: &["decoder.bias"],
            has_bias: Some("decoder_bias"),
        }],
        pooling: Some("classifier_pooling"),
    },
    FamilyHeads {
        model_types: &["deberta-v2"],
        text: behind(
            "pooler.dense",
            Function::Named("pooler_hidden_act", "gelu"),
            "classifier",
        ),
        token: plain("classifier"),
        mask: &[
            PREDICTIONS,
            MaskHead {
                transform: normalised(
                    transform("lm_predictions.lm_head.dense", Function::OfEncoder),
                    "lm_predictions.lm_head.LayerNorm",
                ),
                vectors: "lm_predictions.lm_head.decoder.weight",
                biases: &["lm_predictions.lm_head.bias"],
                has_bias: None,
            },
        ],
        pooling: None,
    },
    FamilyHeads {
        model_types: &["nomic_bert"],
        text: POOLER,
        token: plain("classifier"),
        mask: &[MaskHead {
            transform: normalised(
                transform("cls.predictions.transform.dense", Function::OfEncoder),
                "cls.predictions.transform.layer_norm",
            ),
            ..PREDICTIONS
        }],
        pooling: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_has_one_entry() {
        let mut all: Vec<&str> = HEADS
            .iter()
            .flat_map(|heads| heads.model_types.iter().copied())
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        for model_type in all {
            let heads = heads_of(model_type).unwrap();
            assert!(!heads.mask.is_empty(), "{model_type}");
        }
        assert!(heads_of("gpt2").is_none());
    }
}
