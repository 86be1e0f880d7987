//! [`ReadOptions`]: the options of a statement for CSV files, with defaults for the others.

use std::collections::HashMap;

use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Format;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::config::CsvOptions;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::datasource::file_format::DEFAULT_SCHEMA_INFER_MAX_RECORD;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::logical_expr::CreateExternalTable;
use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::{Result, SqlState, sql_err};

/// How to read CSV files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct ReadOptions {
    pub(super) has_header: bool,
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) escape: Option<u8>,
    pub(super) comment: Option<u8>,
    pub(super) terminator: Option<u8>,
    pub(super) null_regex: Option<String>,
    pub(super) newlines_in_values: bool,
    pub(super) truncated_rows: bool,
    /// The option; `None` to derive the compression from the name of each file.
    pub(super) compression: Option<String>,
    pub(super) infer_rows: usize,
    pub(super) sets_header: bool,
    pub(super) says_delimiter: bool,
    /// Whether the statement says that no value contains a line break.
    pub(super) says_no_breaks: bool,
    pub(super) table: Table,
}

/// What the statement says about the table.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Table {
    /// Whether the statement names the columns.
    pub(super) is_declared: bool,
    /// Columns whose values are in the names of folders.
    pub(super) partitions: Vec<String>,
    /// Whether the files are in FROM without a table, so that options are arguments of `read_csv`.
    is_in_from: bool,
    /// Whether the scan is of one file of a folder; columns without values may have values in another file.
    pub(super) is_part: bool,
}

impl Table {
    pub(crate) fn of(create: &CreateExternalTable) -> Self {
        Self {
            is_declared: !create.schema.fields().is_empty(),
            partitions: create.table_partition_cols.clone(),
            is_in_from: create.temporary,
            is_part: false,
        }
    }

    /// An option as its statement writes it.
    pub(super) fn option(&self, option: &str) -> String {
        match self.is_in_from {
            true => argument(option).to_owned(),
            false => format!("'format.{option}'"),
        }
    }

    /// The clause that sets an option to one of these values.
    pub(super) fn setting(&self, option: &str, values: &str) -> String {
        match self.is_in_from {
            true => format!("{} => {values}", argument(option)),
            false => format!("OPTIONS ('format.{option}' {values})"),
        }
    }

    /// What helps if a value is not of the inferred type of its column, or not of the declared one.
    pub(super) fn type_remedy(&self, line: u64) -> String {
        let null = self.option("null_regex");
        match (self.is_in_from, self.is_declared) {
            (true, false) => format!(
                "the types come from the first records; sample_size => {line} reads as far as this line, sample_size => -1 all records, {null} => 'text' if the text means NULL"
            ),
            (true, true) => format!(
                "set {null} if the text means NULL, or read the file with read_csv(…, sample_size => 0) and CAST its columns"
            ),
            (false, _) => format!(
                "set {null} if the text means NULL, or declare the columns with other types after the table's name"
            ),
        }
    }

    pub(crate) fn part(self) -> Self {
        Self {
            is_part: true,
            ..self
        }
    }

    pub(crate) fn in_folders(self, names: &[String]) -> Self {
        Self {
            partitions: names.to_vec(),
            ..self
        }
    }
}

/// The argument of `read_csv` that sets an option.
fn argument(option: &str) -> &str {
    match option {
        "has_header" => "header",
        "delimiter" => "delim",
        "null_regex" => "null",
        other => other,
    }
}

impl ReadOptions {
    pub(super) fn try_new(
        session: &dyn Session,
        options: &CsvOptions,
        given: &HashMap<String, String>,
        table: Table,
    ) -> Result<Self> {
        let says = |option: &str| {
            given
                .keys()
                .any(|key| key.eq_ignore_ascii_case(&format!("format.{option}")))
        };
        let catalog = &session.config_options().catalog;
        let compression = says("compression").then(|| options.compression.to_string());
        let found = Self {
            has_header: options.has_header.unwrap_or(catalog.has_header),
            delimiter: options.delimiter,
            quote: options.quote,
            escape: options.escape,
            comment: options.comment,
            terminator: options.terminator,
            null_regex: options.null_regex.clone(),
            newlines_in_values: options
                .newlines_in_values
                .unwrap_or(catalog.newlines_in_values),
            truncated_rows: options.truncated_rows.unwrap_or(false),
            compression,
            infer_rows: options
                .schema_infer_max_rec
                .unwrap_or(DEFAULT_SCHEMA_INFER_MAX_RECORD),
            sets_header: says("has_header"),
            says_delimiter: says("delimiter"),
            says_no_breaks: options.newlines_in_values == Some(false),
            table,
        };
        // Report an invalid expression now, not in a scan.
        found.regex()?;
        Ok(found)
    }

    fn regex(&self) -> Result<Option<Regex>> {
        let Some(text) = &self.null_regex else {
            return Ok(None);
        };
        Regex::new(text).map(Some).map_err(|error| {
            let message = format!("'format.null_regex' is not a regular expression: {error}");
            sql_err(SqlState::InvalidParameter, message)
        })
    }

    /// Whether the text means NULL.
    pub(super) fn is_null(&self, text: &str) -> Result<bool> {
        Ok(match self.regex()? {
            Some(regex) => regex.is_match(text),
            None => text.is_empty(),
        })
    }

    /// The compression of a file with this name.
    pub(super) fn compression(&self, name: &str) -> FileCompressionType {
        let by_name = || {
            let (_, extension) = name.rsplit_once('.')?;
            match extension.to_lowercase().as_str() {
                "gz" | "gzip" => Some(CompressionTypeVariant::GZIP),
                "bz2" => Some(CompressionTypeVariant::BZIP2),
                "xz" => Some(CompressionTypeVariant::XZ),
                "zst" | "zstd" => Some(CompressionTypeVariant::ZSTD),
                _ => None,
            }
        };
        let variant = match &self.compression {
            Some(said) => said.parse().ok(),
            None => by_name(),
        };
        FileCompressionType::from(variant.unwrap_or(CompressionTypeVariant::UNCOMPRESSED))
    }

    /// A builder of arrow's CSV reader for these columns.
    pub(super) fn builder(&self, schema: SchemaRef, batch_size: usize) -> Result<ReaderBuilder> {
        let mut builder = ReaderBuilder::new(schema)
            .with_header(false)
            .with_delimiter(self.delimiter)
            .with_quote(self.quote)
            .with_truncated_rows(self.truncated_rows)
            .with_batch_size(batch_size);
        if let Some(byte) = self.terminator {
            builder = builder.with_terminator(byte);
        }
        if let Some(byte) = self.escape {
            builder = builder.with_escape(byte);
        }
        if let Some(byte) = self.comment {
            builder = builder.with_comment(byte);
        }
        if let Some(regex) = self.regex()? {
            builder = builder.with_null_regex(regex);
        }
        Ok(builder)
    }

    /// Arrow's CSV format, which infers types.
    pub(super) fn types(&self) -> Result<Format> {
        let mut format = Format::default()
            .with_header(false)
            .with_delimiter(self.delimiter)
            .with_quote(self.quote)
            .with_truncated_rows(true);
        if let Some(byte) = self.terminator {
            format = format.with_terminator(byte);
        }
        if let Some(byte) = self.escape {
            format = format.with_escape(byte);
        }
        if let Some(byte) = self.comment {
            format = format.with_comment(byte);
        }
        if let Some(regex) = self.regex()? {
            format = format.with_null_regex(regex);
        }
        Ok(format)
    }
}

/// Allowed endings after ".csv" in the name of a file in a folder.
const SUFFIXES: &[&str] = &["", ".gz", ".gzip", ".bz2", ".xz", ".zst", ".zstd"];

/// Whether a file of this name holds rows of the table; a folder may hold other files, such as "a.csv.bak".
pub(super) fn is_data(name: &str) -> bool {
    match name.to_lowercase().rsplit_once(".csv") {
        Some((_, rest)) => SUFFIXES.contains(&rest),
        // The user named the file; listing a folder finds only names with ".csv".
        None => true,
    }
}
