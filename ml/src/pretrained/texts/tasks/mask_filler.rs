//! [`MaskFiller`]: a model that says which tokens fit into the gap of a text.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, ListArray, RecordBatch, StringArray, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use candle_core::{Device, Tensor};

use super::network::{Network, picked};
use super::rows::{TEXT, encode_rows, text_port};
use super::scorer::wrong_count;
use super::tokens::TaskTokens;
use crate::data::inputs::{Inputs, RowReport};
use crate::data::signature::{Port, PortKind, Signature};
use crate::device::HOST;
use crate::model::compute::ComputeType;
use crate::model::predicted::check_total;
use crate::model::tokens::Tokens;
use crate::model::{Batching, Model, Outputs, Wanted};
use crate::pretrained::texts::inputs::BATCH_TOKENS;
use crate::{Error, Result, stop};

/// The column of the tokens that fit.
const TOKENS: &str = "predicted_tokens";
/// Inputs: the place of the gap among the tokens of its row, and the tokens.
const GAP: &str = "gap";
const IDS: &str = "ids";
/// The tokens of a row if a call does not say how many.
const TOP_K: usize = 5;
/// The scores of a batch: 64 MiB.
const BATCH_SCORES: usize = 16 << 20;
/// The assumed tokens of a text.
const ROW_TOKENS: usize = 8;

/// A model that fills gaps.
#[derive(Debug)]
pub(super) struct MaskFiller {
    signature: Signature,
    network: Network,
    tokens: TaskTokens,
}

impl MaskFiller {
    pub(super) fn new(network: Network, tokens: TaskTokens) -> Self {
        let fits = Port {
            name: TOKENS.into(),
            data_type: DataType::List(item()),
            kind: PortKind::Tokens,
        };
        Self {
            signature: Signature {
                inputs: vec![text_port(TEXT)],
                outputs: vec![fits],
            },
            network,
            tokens,
        }
    }
}

fn fields() -> Fields {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, false);
    Fields::from(vec![
        field("token", DataType::Utf8),
        field("score", DataType::Float64),
        field("text", DataType::Utf8),
    ])
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

/// The `count` tokens with the greatest scores, the first of equals first, each with its probability.
fn most_probable(scores: &[f32], count: usize) -> Vec<(u32, f64)> {
    let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponential = |score: f32| (f64::from(score) - f64::from(max)).exp();
    let sum: f64 = scores.iter().map(|score| exponential(*score)).sum();
    let mut tokens: Vec<u32> = (0..scores.len() as u32).collect();
    let order = |left: &u32, right: &u32| -> Ordering {
        let by_score = scores[*right as usize].total_cmp(&scores[*left as usize]);
        by_score.then(left.cmp(right))
    };
    let count = count.min(tokens.len());
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count, order);
        tokens.truncate(count);
    }
    tokens.sort_unstable_by(order);
    let with_probability = |token: u32| (token, exponential(scores[token as usize]) / sum);
    tokens.into_iter().map(with_probability).collect()
}

impl Model for MaskFiller {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Each row has a score for each token of the vocabulary.
    fn batching(&self) -> Batching {
        let rows = (BATCH_SCORES / self.network.outputs()).max(1);
        Batching::Tokens {
            input: TEXT.into(),
            tokens_max: (rows * ROW_TOKENS).min(BATCH_TOKENS),
        }
    }

    fn compute_type(&self) -> ComputeType {
        ComputeType::F32
    }

    fn facts(&self) -> Vec<(String, String)> {
        self.network.facts.clone()
    }

    fn tokens(&self) -> Option<&dyn Tokens> {
        Some(&self.tokens)
    }

    fn encode(&self, batch: &RecordBatch) -> Result<Inputs> {
        let rows = batch.num_rows();
        let (inputs, known) = encode_rows(batch, 1, |texts| {
            let text = texts.first().copied().unwrap_or_default();
            let (encoded, gap) = self.tokens.masked(text)?;
            let ids = encoded.ids.clone();
            Ok((vec![encoded], (ids, gap)))
        })?;
        let (mut gaps, mut ids, mut lengths) = (vec![], vec![], vec![]);
        for row in known {
            let (of_row, gap) = row.unwrap_or_else(|| (vec![0], 0));
            lengths.push(of_row.len());
            ids.extend(of_row);
            gaps.push(gap);
        }
        let count = ids.len();
        inputs
            .with(GAP, Tensor::from_vec(gaps, rows, &HOST)?)?
            .with_packed(IDS, Tensor::from_vec(ids, count, &HOST)?, &lengths)
    }

    /// The scores `[rows, vocabulary]` of the gaps, the tokens of all rows, and for each row its number of tokens and the place of the
    /// gap among them, `[rows, 2]`.
    fn forward(&self, inputs: &Inputs) -> Result<Vec<Tensor>> {
        let missing = || Error::Internal("a model that fills gaps without gaps".into());
        let gaps = |inputs: &Inputs| -> Result<Vec<u32>> {
            Ok(inputs.get(GAP).ok_or_else(missing)?.to_vec1()?)
        };
        // Only the vectors of gaps go through the head.
        let scores = self.network.scores(inputs, |hidden, tokens, part| {
            let firsts = tokens.sequences.ranges().zip(gaps(part)?);
            let positions = firsts.map(|(tokens, gap)| tokens.start as u32 + gap);
            picked(hidden, positions.collect())
        })?;
        let ids = inputs.get(IDS).ok_or_else(missing)?;
        let starts = inputs.starts(IDS).ok_or_else(missing)?;
        let lengths = starts.windows(2).map(|ends| (ends[1] - ends[0]) as u32);
        let places = lengths.zip(gaps(inputs)?);
        let places: Vec<u32> = places.flat_map(|(length, gap)| [length, gap]).collect();
        let places = Tensor::from_vec(places, (inputs.rows(), 2), &Device::Cpu)?;
        Ok(vec![scores, ids.clone(), places])
    }

    fn outputs(&self, computed: &[Tensor], report: RowReport, wanted: &Wanted) -> Result<Outputs> {
        let [scores, ids, places] = computed else {
            return Err(wrong_count(computed));
        };
        let scores: Vec<f32> = scores.flatten_all()?.to_vec1()?;
        let ids: Vec<u32> = ids.to_vec1()?;
        let places: Vec<u32> = places.flatten_all()?.to_vec1()?;
        let count = wanted.top_k.unwrap_or(TOP_K);
        let (mut tokens, mut probabilities, mut texts) = (vec![], vec![], vec![]);
        let (mut lengths, mut known) = (vec![], vec![]);
        let mut start = 0;
        let rows = places
            .chunks_exact(2)
            .zip(scores.chunks_exact(self.network.outputs()));
        for (row, (place, scores)) in rows.enumerate() {
            stop::check()?;
            let (length, gap) = (place[0] as usize, place[1] as usize);
            let mut filled = ids[start..start + length].to_vec();
            start += length;
            let is_valid = report
                .valid
                .as_ref()
                .is_none_or(|valid| valid.is_valid(row));
            let is_known = is_valid && !scores.iter().any(|score| score.is_nan());
            known.push(is_known);
            let found = match is_known {
                true => most_probable(scores, count),
                false => vec![],
            };
            lengths.push(found.len());
            for (token, probability) in found {
                filled[gap] = token;
                tokens.push(self.tokens.decode_one(token)?);
                probabilities.push(probability);
                texts.push(self.tokens.decode(&filled)?);
            }
        }
        check_total(tokens.len())?;
        let entries: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(tokens)),
            Arc::new(Float64Array::from(probabilities)),
            Arc::new(StringArray::from(texts)),
        ];
        let entries = StructArray::try_new(fields(), entries, None)?;
        let known = Some(NullBuffer::from(known)).filter(|known| known.null_count() > 0);
        let offsets = OffsetBuffer::from_lengths(lengths);
        let lists = ListArray::try_new(item(), offsets, Arc::new(entries), known)?;
        let column: ArrayRef = Arc::new(lists);
        Ok(Outputs {
            columns: vec![column; wanted.outputs.len()],
            scores: vec![],
            report,
        })
    }

    fn bytes(&self) -> usize {
        self.network.bytes
    }

    fn working_bytes(&self, rows: usize) -> usize {
        // The scores as a tensor and as numbers, and the tokens in their order.
        let of_row = 3 * self.network.outputs() * size_of::<f32>();
        self.network.working_bytes(rows) + rows * of_row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_probable_tokens_come_first() {
        let scores = [0.0, 2.0, -1.0, 2.0, 1.0];
        let found = most_probable(&scores, 3);
        let tokens: Vec<u32> = found.iter().map(|(token, _)| *token).collect();
        assert_eq!(tokens, [1, 3, 4]);
        // numpy: softmax([0, 2, -1, 2, 1])
        let expected = [0.391_696, 0.391_696, 0.144_097];
        for ((_, found), expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
        assert_eq!(most_probable(&scores, 9).len(), 5);
        assert_eq!(most_probable(&scores, 5).len(), 5);
    }
}
