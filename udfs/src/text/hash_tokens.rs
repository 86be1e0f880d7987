//! `hash_tokens(tokens, buckets [, length])`: numbers of tokens, as the layer `embedding` takes them.

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, Int32Array, ListArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::arguments::{Tokens, check_result, is_list_of_texts, is_text, is_whole, within};
use super::murmur3::murmur3;
use crate::call::{Values, signature};
use crate::doc::Doc;
use crate::vector::type_name;

const DOC: Doc = Doc {
    name: "hash_tokens",
    syntax: "hash_tokens(tokens, buckets [, length])",
    gives: "a number for each text of a list, from 1 to buckets - 1 by its hash, as the layer embedding(buckets, …) takes them; \
            with length, the list is cut to so many numbers, or filled with 0 behind its end",
    example: "SELECT hash_tokens(tokenize_words('Not bad at all'), 10000, 6)",
};

/// 0 is the filling. As many as the layer `embedding` takes.
const BUCKETS: RangeInclusive<i64> = 2..=16_777_216;

/// As many numbers as a row of a training has.
const LENGTHS: RangeInclusive<i64> = 1..=2_097_152;

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(HashTokens {
        signature: signature(&["tokens", "buckets", "length"], 1),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct HashTokens {
    signature: Signature,
}

fn item() -> FieldRef {
    Arc::new(Field::new_list_field(DataType::Int32, true))
}

impl ScalarUDFImpl for HashTokens {
    fn name(&self) -> &str {
        DOC.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [tokens, numbers @ ..] if is_list_of_texts(tokens) && numbers.iter().all(is_whole) => {
                Ok(DataType::List(item()))
            }
            [text, ..] if is_text(text) => plan_err!(
                "hash_tokens takes a list of texts, found {}; tokenize_words makes a list of a text",
                type_name(text)
            ),
            types => {
                let found: Vec<String> = types.iter().map(type_name).collect();
                plan_err!(
                    "hash_tokens takes a list of texts, and whole numbers as buckets and length, found {}",
                    found.join(" and ")
                )
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [tokens, buckets, rest @ ..] = args.args.as_slice() else {
            return exec_err!("hash_tokens takes two or three arguments");
        };
        let arguments = Arguments {
            tokens: Tokens::try_new(tokens)?,
            buckets: Values::of_integers(buckets)?,
            lengths: rest.first().map(Values::of_integers).transpose()?,
        };
        hash_tokens(&arguments, args.number_rows).map(ColumnarValue::Array)
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: OnceLock<Documentation> = OnceLock::new();
        Some(DOCUMENTATION.get_or_init(|| DOC.documentation("Text functions")))
    }
}

struct Arguments {
    tokens: Tokens,
    buckets: Values,
    lengths: Option<Values>,
}

fn hash_tokens(arguments: &Arguments, rows: usize) -> Result<ArrayRef> {
    let mut numbers: Vec<i32> = Vec::new();
    let (mut lengths, mut valid) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows {
        let before = numbers.len();
        valid.push(arguments.append(row, &mut numbers)?);
        lengths.push(numbers.len() - before);
    }
    Ok(Arc::new(ListArray::try_new(
        item(),
        OffsetBuffer::from_lengths(lengths),
        Arc::new(Int32Array::from(numbers)),
        Some(NullBuffer::from(valid)),
    )?))
}

impl Arguments {
    /// Appends the numbers of a row; `false` if one of its arguments is NULL.
    fn append(&self, row: usize, numbers: &mut Vec<i32>) -> Result<bool> {
        let (Some(places), Some(buckets)) = (self.tokens.places(row), self.buckets.integer(row))
        else {
            return Ok(false);
        };
        let length = match &self.lengths {
            None => places.len(),
            Some(lengths) => match lengths.integer(row) {
                Some(length) => within(DOC.name, "length", length, LENGTHS)?,
                None => return Ok(false),
            },
        };
        let hashes = within(DOC.name, "buckets", buckets, BUCKETS)? as u32 - 1;
        let end = numbers.len() + length;
        check_result(DOC.name, end.saturating_mul(size_of::<i32>()))?;
        // A number is at most 16,777,215.
        let number = |place| 1 + (murmur3(self.tokens.token(place).as_bytes()) % hashes) as i32;
        numbers.extend(places.take(length).map(number));
        numbers.resize(end, 0);
        Ok(true)
    }
}
