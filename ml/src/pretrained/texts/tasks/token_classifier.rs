//! [`TokenClassifier`]: a model that names parts of a text, such as persons and places.

use std::sync::Arc;

use arrow::array::{Array, RecordBatch};
use arrow::buffer::NullBuffer;
use candle_core::{DType, Device, Tensor};

use super::entities::{EntityColumn, Span, entities_type};
use super::network::Network;
use super::rows::{TEXT, encode_rows, text_port};
use super::scorer::wrong_count;
use super::tokens::TaskTokens;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::{Port, PortKind, Signature};
use crate::device::HOST;
use crate::model::arguments::{Aggregation, Arguments};
use crate::model::compute::ComputeType;
use crate::model::tokens::Tokens;
use crate::model::{Batching, Model, Outputs, Wanted, not_taken};
use crate::nn::softmax;
use crate::pretrained::texts::inputs::BATCH_TOKENS;
use crate::{Error, Result};

/// The column of the parts of a text.
const ENTITIES: &str = "entities";
/// Inputs that go past the network: for each token its first byte, the byte behind its last, and its mark; and the text itself.
const PLACES: &str = "places";
const BYTES: &str = "bytes";
/// The marks of a token.
const SPECIAL: u32 = 0;
const WORD: u32 = 1;
const SUBWORD: u32 = 2;

/// A classifier of tokens.
#[derive(Debug)]
pub(super) struct TokenClassifier {
    base: Arc<Base>,
    aggregation: Aggregation,
}

#[derive(Debug)]
struct Base {
    signature: Signature,
    network: Network,
    tokens: TaskTokens,
    /// In the order of the outputs.
    labels: Vec<String>,
}

impl TokenClassifier {
    pub(super) fn new(network: Network, tokens: TaskTokens, labels: Vec<String>) -> Self {
        let entities = Port {
            name: ENTITIES.into(),
            data_type: entities_type(),
            kind: PortKind::Entities,
        };
        Self {
            base: Arc::new(Base {
                signature: Signature {
                    inputs: vec![text_port(TEXT)],
                    outputs: vec![entities],
                },
                network,
                tokens,
                labels,
            }),
            aggregation: Aggregation::DEFAULT,
        }
    }
}

/// The inputs that go past the network.
#[derive(Default)]
struct Beside {
    places: Vec<u32>,
    place_lengths: Vec<usize>,
    bytes: Vec<u8>,
    byte_lengths: Vec<usize>,
}

impl Beside {
    fn add(&mut self, text: &str, spans: &[Option<Span>]) {
        let places = spans.iter().flat_map(|span| match span {
            None => [0, 0, SPECIAL],
            Some(span) => {
                let mark = if span.is_subword { SUBWORD } else { WORD };
                [span.start as u32, span.end as u32, mark]
            }
        });
        self.places.extend(places);
        self.place_lengths.push(spans.len());
        // What is behind the last token is not read.
        let end = spans
            .iter()
            .flatten()
            .map(|span| span.end)
            .max()
            .unwrap_or(0);
        let end = text.ceil_char_boundary(end);
        self.bytes.extend_from_slice(&text.as_bytes()[..end]);
        // One byte more, so that there is always one.
        self.bytes.push(0);
        self.byte_lengths.push(end + 1);
    }

    fn inputs(self, inputs: Inputs) -> Result<Inputs> {
        let tokens = self.place_lengths.iter().sum::<usize>();
        let places = Tensor::from_vec(self.places, (tokens, 3), &HOST)?;
        let count = self.bytes.len();
        let bytes = Tensor::from_vec(self.bytes, count, &HOST)?;
        inputs
            .with_packed(PLACES, places, &self.place_lengths)?
            .with_packed(BYTES, bytes, &self.byte_lengths)
    }
}

impl Model for TokenClassifier {
    fn signature(&self) -> &Signature {
        &self.base.signature
    }

    fn batching(&self) -> Batching {
        Batching::Tokens {
            input: TEXT.into(),
            tokens_max: BATCH_TOKENS,
        }
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F32
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.base.network.facts.clone()
    }

    fn tokens(&self) -> Option<&dyn Tokens> {
        Some(&self.base.tokens)
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let (inputs, known) = encode_rows(batch, 1, |texts| {
            let text = texts.first().copied().unwrap_or_default();
            let (encoded, spans) = self.base.tokens.spans(text)?;
            Ok((vec![encoded], (text.to_owned(), spans)))
        })?;
        let mut beside = Beside::default();
        for row in known {
            match row {
                Some((text, spans)) => beside.add(&text, &spans),
                // The token of a row without a text.
                None => beside.add("", &[None]),
            }
        }
        beside.inputs(inputs)
    }

    /// The scores `[tokens, labels]` of the tokens of all rows, their places `[tokens, 3]`, the bytes of the texts, and how many tokens
    /// and bytes each row has, `[rows, 2]`.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let scores = self
            .base
            .network
            .scores(inputs, |hidden, _, _| Ok(hidden.clone()))?;
        let missing = || Error::Internal("a classifier of tokens without places".into());
        let mut computed = vec![scores];
        let mut lengths = vec![];
        for name in [PLACES, BYTES] {
            let tensor = inputs.get(name).ok_or_else(missing)?;
            let starts = inputs.starts(name).ok_or_else(missing)?;
            computed.push(tensor.clone());
            lengths.push(starts.windows(2).map(|ends| (ends[1] - ends[0]) as u32));
        }
        let lengths = lengths.into_iter().flatten().collect::<Vec<u32>>();
        let lengths = Tensor::from_vec(lengths, (2, inputs.rows()), &Device::Cpu)?;
        computed.push(lengths.t()?.contiguous()?);
        Ok(computed)
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let [scores, places, bytes, lengths] = computed else {
            return Err(wrong_count(computed));
        };
        let labels = &self.base.labels;
        let scores: Vec<f32> = scores.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let places: Vec<u32> = places.flatten_all()?.to_vec1()?;
        let bytes: Vec<u8> = bytes.to_vec1()?;
        let lengths: Vec<u32> = lengths.flatten_all()?.to_vec1()?;
        let mut column = EntityColumn::default();
        let mut known = vec![];
        let (mut token, mut byte) = (0, 0);
        for (row, lengths) in lengths.chunks_exact(2).enumerate() {
            let (tokens, count) = (lengths[0] as usize, lengths[1] as usize);
            let is_valid = report
                .valid
                .as_ref()
                .is_none_or(|valid| valid.is_valid(row));
            let text = std::str::from_utf8(&bytes[byte..byte + count - 1]);
            let text = text.map_err(|error| Error::Internal(error.to_string()))?;
            let scores = &scores[token * labels.len()..][..tokens * labels.len()];
            let is_known = is_valid && !scores.iter().any(|score| score.is_nan());
            match is_known {
                true => {
                    let (spans, probabilities) =
                        of_text(&places[3 * token..][..3 * tokens], scores);
                    let how = (labels.as_slice(), self.aggregation);
                    column.add(text, &spans, &probabilities, how);
                }
                false => column.add_none(),
            }
            known.push(is_known);
            token += tokens;
            byte += count;
        }
        let known = Some(NullBuffer::from(known)).filter(|known| known.null_count() > 0);
        let column = column.finish(known.as_ref())?;
        Ok(Outputs {
            columns: vec![column; wanted.outputs.len()],
            scores: vec![],
            report,
        })
    }

    fn with_arguments(self: Arc<Self>, arguments: &Arguments) -> Result<Arc<dyn Model>> {
        match arguments {
            Arguments::Aggregation(aggregation) => Ok(Arc::new(Self {
                base: Arc::clone(&self.base),
                aggregation: *aggregation,
            })),
            Arguments::ZeroShot(_) => Err(not_taken(arguments)),
        }
    }

    fn bytes(&self) -> usize {
        self.base.network.bytes
    }

    fn encoding_bytes(&self, batch: &RecordBatch) -> usize {
        // The texts once more, with the places and scores of tokens of four bytes.
        let of_token = (3 + 2 * self.base.labels.len()) * size_of::<f32>();
        let text = batch.column(0).to_data().get_slice_memory_size();
        let bytes = text.unwrap_or(0);
        bytes + bytes / 4 * of_token
    }

    fn working_bytes(&self, rows: usize) -> usize {
        self.base.network.working_bytes(rows)
    }
}

/// The tokens of a text without those that begin and end it, and the probabilities of their labels.
fn of_text(places: &[u32], scores: &[f32]) -> (Vec<Span>, Vec<f32>) {
    let labels = 3 * scores.len() / places.len().max(1);
    let (mut spans, mut probabilities) = (vec![], vec![]);
    for (place, scores) in places
        .chunks_exact(3)
        .zip(scores.chunks_exact(labels.max(1)))
    {
        if place[2] == SPECIAL {
            continue;
        }
        spans.push(Span {
            start: place[0] as usize,
            end: place[1] as usize,
            is_subword: place[2] == SUBWORD,
        });
        let mut row: Vec<f64> = scores.iter().map(|score| f64::from(*score)).collect();
        softmax(&mut row);
        probabilities.extend(row.into_iter().map(|probability| probability as f32));
    }
    (spans, probabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_tokens_are_no_part_of_a_text() {
        let span = |start: usize, end: usize, is_subword: bool| Span {
            start,
            end,
            is_subword,
        };
        let mut beside = Beside::default();
        beside.add(
            "Zoë x",
            &[None, Some(span(0, 2, false)), Some(span(2, 4, true)), None],
        );
        assert_eq!(beside.bytes, b"Zo\xC3\xAB\0");
        let scores = [9.0, 0.0, 0.0, 1.0, 1.0, 1.0, 9.0, 9.0];
        let (spans, probabilities) = of_text(&beside.places, &scores);
        assert_eq!(spans, [span(0, 2, false), span(2, 4, true)]);
        let expected = [0.268_941_43, 0.731_058_6, 0.5, 0.5];
        let mut pairs = probabilities.iter().zip(expected);
        assert!(
            pairs.all(|(x, y)| (x - y).abs() < 1e-6),
            "{probabilities:?}"
        );
    }
}
