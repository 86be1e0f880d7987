//! [`ZeroShotClassifier`]: a model of natural language inference as a classifier whose classes a call names.
//!
//! ```text
//! text ┬ "This example is politics." ─ entailment? ┐
//!      └ "This example is sports."   ─ entailment? ┴ softmax
//! ```
//! As in the pipeline `zero-shot-classification` of transformers: the probabilities are those of the entailment over all classes, or, if
//! each class may apply by itself, of the entailment over the contradiction.
//!
//! Yin et al., "Benchmarking zero-shot text classification", 2019.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use candle_core::Tensor;

use super::cross_encoder::is_entailment;
use super::meaning::Meaning;
use super::rows::{TEXT, encode_rows, text_port};
use super::scorer::{Scorer, output_bytes, wrong_count};
use crate::data::inputs::{Inputs, RowReport};
use crate::data::labels::ClassValue;
use crate::data::signature::{PortKind, Signature};
use crate::model::arguments::ZeroShot;
use crate::model::compute::ComputeType;
use crate::model::tokens::{TokenCount, Tokens};
use crate::model::{Batching, Model, Outputs, Wanted};
use crate::pretrained::texts::inputs::BATCH_TOKENS;
use crate::{Error, Result};

/// The outputs of a model of natural language inference that say whether the second text follows from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Inference {
    pub(super) contradiction: usize,
    pub(super) entailment: usize,
}

/// A classifier with classes of a call.
#[derive(Debug)]
pub(super) struct ZeroShotClassifier {
    scorer: Arc<Scorer>,
    inference: Inference,
    /// The sentence of each class.
    hypotheses: Vec<String>,
    /// The tokens of the longest.
    longest: usize,
    multi_label: bool,
    meaning: Meaning,
    signature: Signature,
}

impl ZeroShotClassifier {
    /// # Errors
    /// [`Error::Invalid`] if a sentence leaves no room for a text.
    pub(super) fn new(
        scorer: Arc<Scorer>,
        inference: Inference,
        zero_shot: &ZeroShot,
    ) -> Result<Self> {
        let meaning = meaning(zero_shot);
        let hypotheses: Vec<String> = zero_shot.hypotheses().collect();
        let tokens_max = scorer.tokens.pair_tokens_max();
        let mut longest = 0;
        for (hypothesis, label) in hypotheses.iter().zip(&zero_shot.labels) {
            let (length, is_cut) = scorer.tokens.length(hypothesis).map_err(Error::Invalid)?;
            if length >= tokens_max || is_cut {
                return Err(Error::Invalid(format!(
                    "the hypothesis of label '{label}' leaves no room for a text: both together have at most {tokens_max} tokens"
                )));
            }
            longest = longest.max(length);
        }
        Ok(Self {
            scorer,
            inference,
            hypotheses,
            longest,
            multi_label: zero_shot.multi_label,
            signature: Signature {
                inputs: vec![text_port(TEXT)],
                outputs: meaning.ports().to_vec(),
            },
            meaning,
        })
    }

    /// The logits of the classes of a row from the scores of its sequences.
    fn logits(&self, row: &[f32], logits: &mut Vec<f32>) {
        let Inference {
            contradiction,
            entailment,
        } = self.inference;
        let outputs = row.len() / self.hypotheses.len();
        let of_class = |scores: &[f32]| match self.multi_label {
            // The softmax over two numbers is the sigmoid of their difference.
            true => scores[entailment] - scores[contradiction],
            false => scores[entailment],
        };
        logits.extend(row.chunks_exact(outputs).map(of_class));
    }
}

fn meaning(zero_shot: &ZeroShot) -> Meaning {
    let classes = zero_shot.labels.iter().cloned().map(ClassValue::Text);
    Meaning::of_classes(classes.collect(), DataType::Utf8, zero_shot.multi_label)
}

/// The inputs and outputs of a model for such a call, and its batches; `None` if the model does not infer one text from another.
pub(super) fn ports(
    zero_shot: &ZeroShot,
    signature: &Signature,
    batching: &Batching,
) -> Option<(Signature, Batching)> {
    let mut labels = signature.labels();
    let has_entailment = labels.any(|label| label.classes.iter().any(is_entailed));
    let takes_pair = signature.inputs.len() == 2
        && signature
            .inputs
            .iter()
            .all(|port| port.kind == PortKind::Text);
    if !has_entailment || !takes_pair {
        return None;
    }
    let batching = match batching {
        Batching::Tokens { tokens_max, .. } => Batching::Tokens {
            input: TEXT.into(),
            tokens_max: (tokens_max / zero_shot.labels.len().max(1)).max(1),
        },
        Batching::Rows => Batching::Rows,
    };
    let signature = Signature {
        inputs: vec![text_port(TEXT)],
        outputs: meaning(zero_shot).ports().to_vec(),
    };
    Some((signature, batching))
}

fn is_entailed(class: &ClassValue) -> bool {
    match class {
        ClassValue::Text(label) => is_entailment(label),
        ClassValue::Boolean(_) | ClassValue::Integer(_) | ClassValue::Date(_) => false,
    }
}

/// A text with the longest sentence.
impl Tokens for ZeroShotClassifier {
    fn tokens_max(&self) -> usize {
        self.scorer.tokens.pair_tokens_max() - self.longest
    }

    fn count(&self, text: &str) -> Result<TokenCount, String> {
        let (tokens, is_cut) = self.scorer.tokens.length(text)?;
        let tokens_max = Tokens::tokens_max(self);
        Ok(TokenCount {
            tokens: tokens.min(tokens_max) + self.longest,
            is_cut: is_cut || tokens > tokens_max,
        })
    }

    fn places(&self, text: &str) -> Result<Vec<Range<usize>>, String> {
        self.scorer.tokens.places(text)
    }
}

impl Model for ZeroShotClassifier {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        Batching::Tokens {
            input: TEXT.into(),
            tokens_max: (BATCH_TOKENS / self.hypotheses.len()).max(1),
        }
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F32
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.scorer.network.facts.clone()
    }

    fn tokens(&self) -> Option<&dyn Tokens> {
        Some(self)
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let tokens = &self.scorer.tokens;
        let (inputs, _) = encode_rows(batch, self.hypotheses.len(), |texts| {
            let text = texts.first().copied().unwrap_or_default();
            let hypotheses = self.hypotheses.iter();
            let encoded = hypotheses.map(|of| tokens.pair_with_whole_second(text, of));
            Ok((encoded.collect::<Result<_, String>>()?, ()))
        })?;
        Ok(inputs)
    }

    /// The scores of each class one after the other, `[rows, classes * outputs]`.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let scores = self.scorer.scores(inputs)?;
        let width = self.hypotheses.len() * self.scorer.network.outputs();
        Ok(vec![scores.reshape((inputs.rows(), width))?])
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let [scores] = computed else {
            return Err(wrong_count(computed));
        };
        let width = self.hypotheses.len() * self.scorer.network.outputs();
        let scores: Vec<f32> = scores.flatten_all()?.to_vec1()?;
        let mut logits = Vec::with_capacity(scores.len());
        for row in scores.chunks_exact(width) {
            self.logits(row, &mut logits);
        }
        self.meaning.columns(&logits, report, wanted)
    }

    fn bytes(&self) -> usize {
        self.scorer.network.bytes
    }

    fn working_bytes(&self, rows: usize) -> usize {
        let classes = self.hypotheses.len();
        self.scorer.network.working_bytes(rows * classes)
            + rows * output_bytes(classes * self.scorer.network.outputs())
    }
}
