//! `tokenize_words(text [, ngrams])`: the words of a text.

use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};

use arrow::array::{ArrayRef, ListBuilder, StringBuilder};
use arrow::datatypes::{DataType, Field};
use datafusion_common::{Result, exec_err, plan_err};
use datafusion_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::arguments::{check_result, is_text, is_whole, within};
use crate::call::{Values, signature};
use crate::doc::Doc;
use crate::vector::type_name;

const DOC: Doc = Doc {
    name: "tokenize_words",
    syntax: "tokenize_words(text [, ngrams])",
    gives: "the words of a text as a list, in lower case and without what is between them; with ngrams from 2 to 10, \
            the sequences of 2 to so many neighbouring words follow, with a space between words",
    example: "SELECT tokenize_words('Not bad at all!', ngrams => 2)",
};

const NGRAMS: RangeInclusive<i64> = 1..=10;

/// The bytes of a text in a list beside its characters.
const OFFSET_BYTES: usize = size_of::<i32>();

pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(TokenizeWords {
        signature: signature(&["text", "ngrams"], 1),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TokenizeWords {
    signature: Signature,
}

impl ScalarUDFImpl for TokenizeWords {
    fn name(&self) -> &str {
        DOC.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [text, ngrams @ ..] if is_text(text) && ngrams.iter().all(is_whole) => {
                let item = Field::new_list_field(DataType::Utf8, true);
                Ok(DataType::List(Arc::new(item)))
            }
            types => {
                let found: Vec<String> = types.iter().map(type_name).collect();
                plan_err!(
                    "tokenize_words takes a text, and a whole number as ngrams, found {}",
                    found.join(" and ")
                )
            }
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [text, rest @ ..] = args.args.as_slice() else {
            return exec_err!("tokenize_words takes one or two arguments");
        };
        let texts = Values::of_texts(text)?;
        let ngrams = rest.first().map(Values::of_integers).transpose()?;
        tokenize_words(&texts, ngrams.as_ref(), args.number_rows).map(ColumnarValue::Array)
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOCUMENTATION: OnceLock<Documentation> = OnceLock::new();
        Some(DOCUMENTATION.get_or_init(|| DOC.documentation("Text functions")))
    }
}

fn tokenize_words(texts: &Values, ngrams: Option<&Values>, rows: usize) -> Result<ArrayRef> {
    let mut lists = ListBuilder::new(StringBuilder::new());
    let mut words = Words::default();
    let mut bytes = 0;
    for row in 0..rows {
        let ngrams = ngrams.map_or(Some(1), |ngrams| ngrams.integer(row));
        let (Some(text), Some(ngrams)) = (texts.text(row), ngrams) else {
            lists.append(false);
            continue;
        };
        words.read(text);
        for size in 1..=within(DOC.name, "ngrams", ngrams, NGRAMS)? {
            for sequence in words.sequences(size) {
                bytes += sequence.len() + OFFSET_BYTES;
                check_result(DOC.name, bytes)?;
                lists.values().append_value(sequence);
            }
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

/// The words of a text. One is behind the other, each with a space behind it, so a sequence of words is a part of the text.
#[derive(Default)]
struct Words {
    text: String,
    starts: Vec<usize>,
}

impl Words {
    /// Takes the words of another text.
    fn read(&mut self, text: &str) {
        self.text.clear();
        self.starts.clear();
        let lower = text.to_lowercase();
        let mut characters = lower.chars().peekable();
        let mut is_in_word = false;
        while let Some(character) = characters.next() {
            let is_before_word = characters.peek().copied().is_some_and(is_of_word);
            if is_of_word(character) {
                if !is_in_word {
                    self.starts.push(self.text.len());
                }
                self.text.push(character);
                is_in_word = true;
            } else if is_in_word && is_before_word && is_apostrophe(character) {
                self.text.push('\'');
            } else if is_in_word {
                self.text.push(' ');
                is_in_word = false;
            }
        }
        if is_in_word {
            self.text.push(' ');
        }
    }

    /// The sequences of so many neighbouring words.
    fn sequences(&self, size: usize) -> impl Iterator<Item = &str> {
        let count = (self.starts.len() + 1).saturating_sub(size);
        let ends = self.starts.iter().copied().skip(size);
        let ends = ends.chain(std::iter::once(self.text.len()));
        let starts = self.starts.iter().copied().take(count);
        let text = &self.text;
        starts
            .zip(ends)
            .map(move |(start, end)| &text[start..end - 1])
    }
}

/// Whether a character is part of a word: a letter, a digit, an underscore, or an accent behind its letter.
fn is_of_word(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '\u{300}'..='\u{36f}')
}

/// Whether a character is an apostrophe, as in `don't`.
fn is_apostrophe(character: char) -> bool {
    matches!(character, '\'' | '\u{2019}')
}

#[cfg(test)]
mod tests {
    use super::Words;

    fn check(text: &str, size: usize, expected: &[&str]) {
        let mut words = Words::default();
        // What another text left behind does not matter.
        words.read("something else");
        words.read(text);
        let found: Vec<&str> = words.sequences(size).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        check("Not bad, 2 stars!", 1, &["not", "bad", "2", "stars"]);
        check("  (a) -- b_c\n", 1, &["a", "b_c"]);
        check("ÄRGER Straße ΣΟΦΟΣ", 1, &["ärger", "straße", "σοφος"]);
        check("cafe\u{301} noir", 1, &["cafe\u{301}", "noir"]);
        check("", 1, &[]);
        check("...", 1, &[]);
    }

    #[test]
    fn an_apostrophe_stays_within_a_word() {
        check(
            "don't Don\u{2019}t 'quoted' dogs'",
            1,
            &["don't", "don't", "quoted", "dogs"],
        );
        check("a''b", 1, &["a", "b"]);
    }

    #[test]
    fn sequences_are_neighbouring_words() {
        check("not bad at all", 2, &["not bad", "bad at", "at all"]);
        check("not bad at all", 4, &["not bad at all"]);
        check("not bad at all", 5, &[]);
        check("", 2, &[]);
    }
}
