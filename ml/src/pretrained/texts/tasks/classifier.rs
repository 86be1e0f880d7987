//! [`TextClassifier`]: a model that gives classes, numbers or a score to a text, or to two texts together.

use std::sync::Arc;

use arrow::array::RecordBatch;
use candle_core::Tensor;

use super::meaning::Meaning;
use super::rows::{TEXT, TEXT_PAIR, encode_rows, text_port};
use super::scorer::{Scorer, output_bytes, wrong_count};
use super::tokens::Encoded;
use super::zero_shot::{Inference, ZeroShotClassifier};
use crate::Result;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::Signature;
use crate::model::arguments::Arguments;
use crate::model::compute::ComputeType;
use crate::model::tokens::Tokens;
use crate::model::{Batching, Model, Outputs, Wanted, not_taken};
use crate::pretrained::texts::inputs::BATCH_TOKENS;

/// A classifier of texts.
#[derive(Debug)]
pub(super) struct TextClassifier {
    signature: Signature,
    scorer: Arc<Scorer>,
    meaning: Meaning,
    inference: Option<Inference>,
}

/// What a classifier is made of.
pub(super) struct Parts {
    pub(super) scorer: Scorer,
    pub(super) meaning: Meaning,
    /// Whether it takes two texts.
    pub(super) is_pair: bool,
    /// The outputs that say whether the second text follows from the first, if it is about that.
    pub(super) inference: Option<Inference>,
}

impl TextClassifier {
    pub(super) fn new(parts: Parts) -> Self {
        let second = parts.is_pair.then(|| text_port(TEXT_PAIR));
        Self {
            signature: Signature {
                inputs: [text_port(TEXT)].into_iter().chain(second).collect(),
                outputs: parts.meaning.ports().to_vec(),
            },
            scorer: Arc::new(parts.scorer),
            meaning: parts.meaning,
            inference: parts.inference,
        }
    }

    fn encoded(&self, texts: &[&str]) -> Result<Encoded, String> {
        match texts {
            [text] => self.scorer.tokens.text(text),
            [first, second] => self.scorer.tokens.pair(first, second),
            _ => Err("the model takes one or two texts".into()),
        }
    }
}

impl Model for TextClassifier {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn batching(&self) -> Batching {
        let last = self.signature.inputs.last();
        Batching::Tokens {
            // Of a query and a passage, the passage is the longer one.
            input: last.map_or(TEXT, |port| port.name.as_str()).into(),
            tokens_max: BATCH_TOKENS,
        }
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F32
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.scorer.network.facts.clone()
    }

    fn tokens(&self) -> Option<&dyn Tokens> {
        Some(&self.scorer.tokens)
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let (inputs, _) = encode_rows(batch, 1, |texts| Ok((vec![self.encoded(texts)?], ())))?;
        Ok(inputs)
    }

    /// The scores `[rows, outputs]`.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        Ok(vec![self.scorer.scores(inputs)?])
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let [scores] = computed else {
            return Err(wrong_count(computed));
        };
        let scores: Vec<f32> = scores.flatten_all()?.to_vec1()?;
        self.meaning.columns(&scores, report, wanted)
    }

    fn with_arguments(self: Arc<Self>, arguments: &Arguments) -> Result<Arc<dyn Model>> {
        match (arguments, self.inference) {
            (Arguments::ZeroShot(zero_shot), Some(inference)) => {
                let scorer = Arc::clone(&self.scorer);
                let model = ZeroShotClassifier::new(scorer, inference, zero_shot)?;
                Ok(Arc::new(model))
            }
            _ => Err(not_taken(arguments)),
        }
    }

    fn bytes(&self) -> usize {
        self.scorer.network.bytes
    }

    fn working_bytes(&self, rows: usize) -> usize {
        self.scorer.network.working_bytes(rows) + rows * output_bytes(self.meaning.width())
    }
}
