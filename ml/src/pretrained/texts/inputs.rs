//! Tokens of rows as inputs of a model, one row after the other, and passes over them.

use std::ops::Range;

use arrow::buffer::NullBuffer;
use candle_core::{Device, Tensor};

use super::batch::TokenBatch;
use super::tokens::tokenizer::Tokens;
use crate::data::inputs::Inputs;
use crate::device::HOST;
use crate::model::passes::in_passes_of;
use crate::nn::Sequences;
use crate::pretrained::text_rows::apart;
use crate::{Error, Result};

/// The inputs: the numbers of tokens, and their types.
const IDS: &str = "ids";
const TYPES: &str = "types";

/// The tokens of a batch.
pub(crate) const BATCH_TOKENS: usize = 8_192;
/// The tokens of one pass on the host: the numbers between layers stay near a core.
const HOST_TOKENS: usize = 1_024;
/// The tokens of one pass on a GPU.
const GPU_TOKENS: usize = 1 << 14;

/// The tokens of one pass on this device, unless one text has more.
pub(crate) fn pass_tokens(device: &Device) -> usize {
    match device.is_cpu() {
        true => HOST_TOKENS,
        false => GPU_TOKENS,
    }
}

/// Rows of tokens as inputs. A row without text is `None`, and one that failed an error with the cause; both have no tokens. Causes
/// begin with `failed`.
pub(crate) fn of_rows(
    column: &str,
    rows: Vec<Result<Option<Tokens>, String>>,
    failed: &str,
) -> Result<Inputs> {
    let count = rows.len();
    let (mut ids, mut types) = (vec![], vec![]);
    let (mut lengths, mut valid) = (Vec::with_capacity(count), Vec::with_capacity(count));
    let (rows, failures) = apart(rows, failed);
    for tokens in rows {
        valid.push(tokens.is_some());
        let before = ids.len();
        if let Some(tokens) = tokens {
            ids.extend(tokens.ids);
            types.extend(tokens.types);
        }
        lengths.push(ids.len() - before);
    }
    let tokens = ids.len();
    let ids = Tensor::from_vec(ids, tokens, &HOST)?;
    let types = Tensor::from_vec(types, tokens, &HOST)?;
    let inputs = Inputs::new(count).with_packed(IDS, ids, &lengths)?;
    let mut inputs = inputs.with_packed(TYPES, types, &lengths)?;
    let valid = Some(NullBuffer::from(valid)).filter(|valid| valid.null_count() > 0);
    inputs.report.add(column, valid.as_ref(), failures);
    Ok(inputs)
}

/// The tokens of inputs on a device.
pub(crate) fn token_batch(inputs: &Inputs, device: &Device) -> Result<TokenBatch> {
    let missing = || Error::Internal("a model of texts without tokens".into());
    let tensor = |name: &str| -> Result<Tensor> {
        let tensor = inputs.get(name).ok_or_else(missing)?;
        Ok(tensor.contiguous()?.to_device(device)?)
    };
    let starts = inputs.starts(IDS).ok_or_else(missing)?;
    let lengths = starts.windows(2).map(|ends| ends[1] - ends[0]);
    Ok(TokenBatch {
        ids: tensor(IDS)?,
        types: tensor(TYPES)?,
        sequences: Sequences::of_lengths(lengths),
    })
}

/// The outputs of all rows, of which some are computed at once: `pass` gives those of some texts. `inputs` has a row.
///
/// # Errors
/// Those of `pass`; [`Error::Cancelled`].
pub(crate) fn in_token_passes(
    inputs: &Inputs,
    device: &Device,
    pass: impl Fn(&TokenBatch) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    in_passes_of(token_passes(inputs, device)?, |range| {
        pass(&token_batch(&inputs.narrow(range)?, device)?)
    })
}

/// The rows of each pass on this device.
///
/// # Errors
/// [`Error::Internal`] for inputs without tokens.
pub(crate) fn token_passes(inputs: &Inputs, device: &Device) -> Result<Vec<Range<usize>>> {
    let missing = || Error::Internal("a model of texts without tokens".into());
    let starts = inputs.starts(IDS).ok_or_else(missing)?;
    Ok(passes(starts, pass_tokens(device)))
}

/// The numbers of the tokens of each row.
///
/// # Errors
/// [`Error::Unsupported`] if a token belongs to a second text.
pub(crate) fn rows_of_ids(inputs: &Inputs) -> Result<Vec<Vec<u32>>> {
    let missing = || Error::Internal("a model of texts without tokens".into());
    let numbers =
        |name: &str| -> Result<Vec<u32>> { Ok(inputs.get(name).ok_or_else(missing)?.to_vec1()?) };
    if numbers(TYPES)?.iter().any(|of_token| *of_token > 0) {
        let message = "its tokenizer gives tokens of a single text other types than 0, which no training changes";
        return Err(Error::Unsupported(message.into()));
    }
    let ids = numbers(IDS)?;
    let starts = inputs.starts(IDS).ok_or_else(missing)?;
    Ok(starts
        .windows(2)
        .map(|ends| ids[ends[0]..ends[1]].to_vec())
        .collect())
}

/// Whether inputs hold the tokens of rows as [`of_rows`] writes them.
pub(crate) fn has_tokens(inputs: &Inputs) -> bool {
    inputs.get(IDS).is_some()
}

/// The rows of each pass, with at most so many tokens together, or one row.
pub(crate) fn passes(starts: &[usize], tokens_max: usize) -> Vec<Range<usize>> {
    let rows = starts.len().saturating_sub(1);
    let mut passes = vec![];
    let mut first = 0;
    for row in 0..rows {
        let tokens = starts[row + 1] - starts[first];
        if tokens > tokens_max && row > first {
            passes.push(first..row);
            first = row;
        }
    }
    if rows > first {
        passes.push(first..rows);
    }
    passes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_have_few_tokens_or_one_row() {
        let passes = |starts: &[usize]| passes(starts, 10);
        assert!(passes(&[0]).is_empty());
        assert_eq!(passes(&[0, 4, 10, 11]), [0..2, 2..3]);
        assert_eq!(passes(&[0, 4, 30, 30, 31]), [0..1, 1..2, 2..4]);
        assert_eq!(passes(&[0, 0, 0]).as_slice(), std::slice::from_ref(&(0..2)));
    }

    #[test]
    fn rows_without_text_have_no_tokens() {
        let tokens = |ids: &[u32], is_cut: bool| {
            Ok(Some(Tokens {
                ids: ids.to_vec(),
                types: vec![0; ids.len()],
                is_cut,
            }))
        };
        let rows = vec![
            tokens(&[1, 2], false),
            Ok(None),
            Err("no".into()),
            tokens(&[3], true),
        ];
        let inputs = of_rows("body", rows, "column \"body\"").unwrap();
        let batch = token_batch(&inputs, &HOST).unwrap();
        assert_eq!(batch.ids.to_vec1::<u32>().unwrap(), [1, 2, 3]);
        let ranges: Vec<Range<usize>> = batch.sequences.ranges().collect();
        assert_eq!(ranges, [0..2, 2..2, 2..2, 2..3]);
        let report = &inputs.report;
        assert_eq!(report.null_rows(), 1);
        assert_eq!(report.failures, [(2, "column \"body\": no".to_owned())]);
        assert_eq!(report.null_column.as_deref(), Some("body"));
    }
}
