//! The tokens of rows as inputs of a model, and as a batch of an encoder.
//!
//! A row has one sequence of tokens, or as many as there are sentences about it. Rows lie one after the other.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use candle_core::{Device, Tensor};

use super::tokens::Encoded;
use crate::data::coerce::coerced;
use crate::data::inputs::Inputs;
use crate::data::signature::{Port, PortKind};
use crate::device::HOST;
use crate::nn::Sequences;
use crate::pretrained::texts::batch::TokenBatch;
use crate::{Error, Result, stop};

/// The columns that a model of texts takes.
pub(super) const TEXT: &str = "text";
pub(super) const TEXT_PAIR: &str = "text_pair";
/// The inputs of a model: the numbers of tokens, their types, and the tokens of each sequence.
const TOKENS: &str = "tokens";
const TYPES: &str = "types";
const LENGTHS: &str = "lengths";

/// A port of texts.
pub(super) fn text_port(name: &str) -> Port {
    Port {
        name: name.into(),
        data_type: DataType::Utf8,
        kind: PortKind::Text,
    }
}

/// The tokens of a batch whose columns are texts; `encode` gives the `sequences` of a row and what else is known of it. A row with a
/// NULL, or one that fails, has one token in each sequence, so that it has scores, too, and nothing else is known of it.
///
/// # Errors
/// [`Error::Type`] for other columns; [`Error::Cancelled`].
pub(super) fn encode_rows<T>(
    batch: &RecordBatch,
    sequences: usize,
    mut encode: impl FnMut(&[&str]) -> Result<(Vec<Encoded>, T), String>,
) -> Result<(Inputs, Vec<Option<T>>)> {
    let rows = batch.num_rows();
    let names: Vec<&str> = batch
        .schema_ref()
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let mut columns: Vec<ArrayRef> = vec![];
    for (name, column) in names.iter().zip(batch.columns()) {
        columns.push(coerced(name, column, &DataType::Utf8)?.0);
    }
    let mut tokens = RowTokens::default();
    let (mut known, mut failures) = (Vec::with_capacity(rows), vec![]);
    for row in 0..rows {
        stop::check()?;
        let texts: Option<Vec<&str>> = columns
            .iter()
            .map(|column| {
                column
                    .is_valid(row)
                    .then(|| column.as_string::<i32>().value(row))
            })
            .collect();
        let encoded = texts.map(|texts| encode(&texts)).transpose();
        let encoded = encoded.unwrap_or_else(|cause| {
            let name = names.first().copied().unwrap_or(TEXT);
            failures.push((
                row,
                format!("column \"{name}\" holds no text for the model: {cause}"),
            ));
            None
        });
        let (encoded, of_row) = match encoded {
            Some((encoded, of_row)) => (encoded, Some(of_row)),
            None => (vec![Encoded::nothing(); sequences], None),
        };
        tokens.add(&encoded);
        known.push(of_row);
    }
    let mut inputs = tokens.inputs(rows, sequences)?;
    for (name, column) in names.iter().zip(&columns) {
        let valid = column.nulls().filter(|nulls| nulls.null_count() > 0);
        inputs.report.add(name, valid, vec![]);
    }
    let mut fits = vec![true; rows];
    failures.iter().for_each(|(row, _)| fits[*row] = false);
    let fits = Some(NullBuffer::from(fits)).filter(|_| !failures.is_empty());
    inputs.report.add(TEXT, fits.as_ref(), failures);
    Ok((inputs, known))
}

/// The tokens of rows.
#[derive(Default)]
struct RowTokens {
    ids: Vec<u32>,
    types: Vec<u32>,
    /// Of each row.
    rows: Vec<usize>,
    /// Of each sequence.
    sequences: Vec<u32>,
}

impl RowTokens {
    fn add(&mut self, sequences: &[Encoded]) {
        let before = self.ids.len();
        for sequence in sequences {
            self.ids.extend_from_slice(&sequence.ids);
            self.types.extend_from_slice(&sequence.types);
            self.sequences.push(sequence.ids.len() as u32);
        }
        self.rows.push(self.ids.len() - before);
    }

    fn inputs(self, rows: usize, sequences: usize) -> Result<Inputs> {
        let count = self.ids.len();
        let ids = Tensor::from_vec(self.ids, count, &HOST)?;
        let types = Tensor::from_vec(self.types, count, &HOST)?;
        let lengths = Tensor::from_vec(self.sequences, (rows, sequences), &HOST)?;
        Inputs::new(rows)
            .with_packed(TOKENS, ids, &self.rows)?
            .with_packed(TYPES, types, &self.rows)?
            .with(LENGTHS, lengths)
    }
}

/// The tokens of rows as a batch on a device.
pub(super) fn token_batch(inputs: &Inputs, device: &Device) -> Result<TokenBatch> {
    let tensor = |name: &str| -> Result<Tensor> {
        let tensor = inputs.get(name).ok_or_else(|| missing(name))?;
        // A part of a tensor would take all of its memory along.
        Ok(tensor.force_contiguous()?.to_device(device)?)
    };
    let lengths = inputs.get(LENGTHS).ok_or_else(|| missing(LENGTHS))?;
    let lengths: Vec<u32> = lengths.flatten_all()?.to_vec1()?;
    Ok(TokenBatch {
        ids: tensor(TOKENS)?,
        types: tensor(TYPES)?,
        sequences: Sequences::of_lengths(lengths.into_iter().map(|length| length as usize)),
    })
}

fn missing(name: &str) -> Error {
    Error::Internal(format!("a model of texts without the input {name}"))
}

/// Where the tokens of each row begin, and the end of the last.
pub(super) fn starts(inputs: &Inputs) -> Result<&[usize]> {
    inputs.starts(TOKENS).ok_or_else(|| missing(TOKENS))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{DictionaryArray, StringViewArray};
    use arrow::datatypes::Int32Type;

    use super::*;

    fn encoded(text: &str) -> Encoded {
        Encoded {
            ids: text.bytes().map(u32::from).collect(),
            types: vec![1; text.len()],
        }
    }

    #[test]
    fn rows_have_their_tokens_and_a_row_without_a_text_has_one() {
        let first = StringViewArray::from(vec![Some("ab"), None, Some("x"), Some("cde")]);
        let second: DictionaryArray<Int32Type> = [Some("f"), Some("g"), Some("h"), Some("ij")]
            .into_iter()
            .collect();
        let batch = RecordBatch::try_from_iter_with_nullable([
            ("a", Arc::new(first) as ArrayRef, true),
            ("b", Arc::new(second) as ArrayRef, true),
        ]);
        let (inputs, known) = encode_rows(&batch.unwrap(), 2, |texts| match texts {
            ["x", _] => Err("no x".into()),
            texts => Ok((
                texts.iter().map(|text| encoded(text)).collect(),
                texts.len(),
            )),
        })
        .unwrap();
        assert_eq!(known, [Some(2), None, None, Some(2)]);
        assert_eq!(starts(&inputs).unwrap(), [0, 3, 5, 7, 12]);
        let report = &inputs.report;
        assert_eq!(report.null_column.as_deref(), Some("a"));
        assert_eq!(report.null_rows(), 1);
        let cause = "column \"a\" holds no text for the model: no x".to_owned();
        assert_eq!(report.failures, [(2, cause)]);
        let valid: Vec<bool> = report.valid.as_ref().unwrap().iter().collect();
        assert_eq!(valid, [true, false, false, true]);
        let last = inputs.narrow(3..4).unwrap();
        let tokens = token_batch(&last, &HOST).unwrap();
        let ids: Vec<u32> = tokens.ids.to_vec1().unwrap();
        assert_eq!(ids, b"cdeij".map(u32::from));
        assert_eq!(tokens.sequences, Sequences::of_lengths([3, 2]));
    }

    #[test]
    fn numbers_are_no_texts() {
        let batch = RecordBatch::try_from_iter([(
            "a",
            Arc::new(arrow::array::Int64Array::from(vec![1])) as ArrayRef,
        )]);
        let encoded = encode_rows(&batch.unwrap(), 1, |_| Ok((vec![encoded("a")], ())));
        let error = encoded.unwrap_err();
        assert!(matches!(error, Error::Type(_)), "{error}");
    }
}
