//! [`Arguments`]: the named arguments of `read_csv`, `read_json` and `read_parquet` as options of an external table.

use std::collections::HashMap;

use datafusion::common::DataFusionError;

use super::format::{Format, compression, has_tabs};
use crate::error::{Result, SqlState, sql_err};
use crate::sql::{FileCall, OptionValue, unknown_argument};

/// What an argument takes, and the option that it sets.
struct Argument {
    name: &'static str,
    takes: Takes,
    /// The option behind `format.`; for CSV files also in their errors (`src/plan/csv`).
    option: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Takes {
    Boolean,
    Character,
    Text,
    /// Texts that mean NULL.
    Nulls,
    /// A number of records, or -1 for all.
    Records,
    /// The names of folders.
    Names,
}

const fn argument(name: &'static str, takes: Takes, option: &'static str) -> Argument {
    Argument {
        name,
        takes,
        option,
    }
}

const CSV: &[Argument] = &[
    argument("header", Takes::Boolean, "has_header"),
    argument("delim", Takes::Character, "delimiter"),
    argument("quote", Takes::Character, "quote"),
    argument("escape", Takes::Character, "escape"),
    argument("comment", Takes::Character, "comment"),
    argument("null", Takes::Nulls, "null_regex"),
    argument("newlines_in_values", Takes::Boolean, "newlines_in_values"),
    argument("truncated_rows", Takes::Boolean, "truncated_rows"),
    argument("compression", Takes::Text, "compression"),
    argument("sample_size", Takes::Records, "schema_infer_max_rec"),
    argument("partitions", Takes::Names, ""),
];
const JSON: &[Argument] = &[
    argument("newline_delimited", Takes::Boolean, "newline_delimited"),
    argument("compression", Takes::Text, "compression"),
    argument("sample_size", Takes::Records, "schema_infer_max_rec"),
    argument("partitions", Takes::Names, ""),
];
const PARQUET: &[Argument] = &[argument("partitions", Takes::Names, "")];

/// The arguments of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments {
    /// The options of an external table.
    pub(super) options: HashMap<String, String>,
    /// The names of the folders that are columns; none if they are to be found.
    pub(super) partitions: Vec<String>,
}

impl Arguments {
    pub(super) fn parse(format: Format, call: &FileCall) -> Result<Self> {
        let known = match format {
            Format::Csv => CSV,
            Format::Json => JSON,
            Format::Parquet => PARQUET,
            Format::Arrow => &[],
        };
        let mut parsed = Self::default();
        for (name, value) in &call.arguments {
            let Some(argument) = known.iter().find(|argument| argument.name == name) else {
                let names: Vec<&str> = known.iter().map(|argument| argument.name).collect();
                let function = call.function.unwrap_or_default();
                return Err(unknown_argument(function, name, &names));
            };
            if argument.takes == Takes::Names {
                parsed.partitions = names(argument, value)?;
                continue;
            }
            let set = option(argument, value)?;
            if format == Format::Json && argument.takes == Takes::Records && set == "0" {
                return Err(wrong(argument, "a number of records from 1, or -1", value));
            }
            parsed.set(argument.option, set);
        }
        parsed.add_by_name(format, call);
        Ok(parsed)
    }

    fn set(&mut self, option: &str, value: String) {
        self.options.insert(format!("format.{option}"), value);
    }

    /// Adds what the name of the first file says and no argument does. Our reader of CSV files looks at the name of each file
    /// for its compression.
    fn add_by_name(&mut self, format: Format, call: &FileCall) {
        let name = call.locations.first().map_or("", String::as_str);
        let says =
            |parsed: &Self, option: &str| parsed.options.contains_key(&format!("format.{option}"));
        if format == Format::Csv && has_tabs(name) && !says(self, "delimiter") {
            self.set("delimiter", "\t".to_owned());
        }
        if format == Format::Json
            && !says(self, "compression")
            && let Some(compression) = compression(name)
        {
            self.set("compression", compression.to_owned());
        }
    }
}

/// The value of an option.
fn option(argument: &Argument, value: &OptionValue) -> Result<String> {
    match (argument.takes, value) {
        (Takes::Boolean, OptionValue::Boolean(value)) => Ok(value.to_string()),
        (Takes::Boolean, OptionValue::Text(text)) if ["true", "false"].contains(&text.as_str()) => {
            Ok(text.clone())
        }
        (Takes::Character, OptionValue::Text(text)) => {
            let text = match text.as_str() {
                "\\t" => "\t",
                text => text,
            };
            // The option takes a digit for the number of a byte.
            match text.as_bytes() {
                [byte] if byte.is_ascii() => Ok(byte.to_string()),
                _ => Err(wrong(argument, "one ASCII character", value)),
            }
        }
        (Takes::Text, OptionValue::Text(text)) => Ok(text.clone()),
        (Takes::Nulls, OptionValue::Text(text)) => Ok(matching(&[text])),
        (Takes::Nulls, OptionValue::List(list)) => {
            let texts = list.iter().map(|value| match value {
                OptionValue::Text(text) => Some(text),
                _ => None,
            });
            let texts: Option<Vec<&String>> = texts.collect();
            let texts = texts.ok_or_else(|| wrong(argument, "a text or a list of texts", value))?;
            Ok(matching(&texts))
        }
        (Takes::Records, OptionValue::Number(digits)) => match digits.parse::<i64>() {
            Ok(-1) => Ok(i64::MAX.to_string()),
            Ok(records) if records >= 0 => Ok(records.to_string()),
            _ => Err(wrong(argument, RECORDS, value)),
        },
        (Takes::Boolean, _) => Err(wrong(argument, "true or false", value)),
        (Takes::Character, _) => Err(wrong(argument, "one ASCII character", value)),
        (Takes::Text, _) => Err(wrong(argument, "a text", value)),
        (Takes::Nulls, _) => Err(wrong(argument, "a text or a list of texts", value)),
        (Takes::Records, _) => Err(wrong(argument, RECORDS, value)),
        (Takes::Names, _) => Err(wrong(argument, NAMES, value)),
    }
}

const RECORDS: &str = "a number of records, 0 to read all columns as text, or -1 for all records";
const NAMES: &str = "a list of names of folders such as ['year', 'month']";

fn names(argument: &Argument, value: &OptionValue) -> Result<Vec<String>> {
    let OptionValue::List(list) = value else {
        return Err(wrong(argument, NAMES, value));
    };
    let names = list.iter().map(|value| match value {
        OptionValue::Text(name) => Ok(name.clone()),
        other => Err(wrong(argument, NAMES, other)),
    });
    names.collect()
}

/// An expression that matches these texts and the empty text.
fn matching(texts: &[&String]) -> String {
    let texts = texts.iter().map(|text| regex::escape(text));
    let texts: Vec<String> = texts.collect();
    format!("^(?:{})?$", texts.join("|"))
}

fn wrong(argument: &Argument, expected: &str, found: &OptionValue) -> DataFusionError {
    let message = format!("argument {} is {found}; expected {expected}", argument.name);
    sql_err(SqlState::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report;
    use crate::sql::READ_CSV;

    fn text(value: &str) -> OptionValue {
        OptionValue::Text(value.to_owned())
    }

    fn parsed(
        format: Format,
        location: &str,
        arguments: &[(&str, OptionValue)],
    ) -> Result<Arguments> {
        let arguments = arguments.iter();
        let arguments = arguments.map(|(name, value)| ((*name).to_owned(), value.clone()));
        let call = FileCall {
            function: Some(READ_CSV),
            locations: vec![location.to_owned()],
            arguments: arguments.collect(),
        };
        Arguments::parse(format, &call)
    }

    #[test]
    fn arguments_are_options_of_the_format() {
        let arguments = [
            ("header", OptionValue::Boolean(false)),
            ("delim", text("\\t")),
            ("null", OptionValue::List(vec![text("NA"), text("?")])),
            ("sample_size", OptionValue::Number("-1".to_owned())),
            ("partitions", OptionValue::List(vec![text("year")])),
        ];
        let found = parsed(Format::Csv, "x", &arguments).unwrap();
        assert_eq!(found.partitions, ["year"]);
        for (option, value) in [
            ("has_header", "false"),
            ("delimiter", "9"),
            ("null_regex", "^(?:NA|\\?)?$"),
            ("schema_infer_max_rec", "9223372036854775807"),
        ] {
            assert_eq!(found.options[&format!("format.{option}")], value);
        }
        assert_eq!(found.options.len(), 4);
    }

    #[test]
    fn the_name_says_what_no_argument_does() {
        let found = parsed(Format::Csv, "a.tsv.gz", &[]).unwrap();
        assert_eq!(found.options["format.delimiter"], "\t");
        let found = parsed(Format::Csv, "a.tsv", &[("delim", text(";"))]).unwrap();
        assert_eq!(found.options["format.delimiter"], "59");
        let found = parsed(Format::Json, "a.json.gz", &[]).unwrap();
        assert_eq!(found.options["format.compression"], "gzip");
        let none = parsed(Format::Parquet, "a.parquet", &[]).unwrap();
        assert_eq!(none, Arguments::default());
    }

    #[test]
    fn a_wrong_argument_says_what_is_right() {
        for (argument, value, problem) in [
            (
                "headr",
                OptionValue::Boolean(true),
                "the nearest name is \"header\"",
            ),
            ("header", text("yes"), "expected true or false"),
            ("delim", text("ab"), "expected one ASCII character"),
            (
                "sample_size",
                OptionValue::Number("1.5".to_owned()),
                "expected a number of records",
            ),
            (
                "sample_size",
                OptionValue::Number("-2".to_owned()),
                "or -1 for all records",
            ),
            ("partitions", text("year"), "such as ['year', 'month']"),
            (
                "null",
                OptionValue::Boolean(true),
                "a text or a list of texts",
            ),
        ] {
            let error = parsed(Format::Csv, "x", &[(argument, value)]).unwrap_err();
            let message = report(&error).message;
            assert!(message.contains(problem), "{message}");
        }
    }
}
