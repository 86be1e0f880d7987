//! The output formats of rows.

use crate::error::{Result, SqlState, sql_err, with_cause};

/// An output format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table with ASCII lines.
    Table,
    /// A table with drawn lines, and types below the names.
    Box,
    /// Comma-separated values (RFC 4180) with a header line.
    Csv,
    /// Tab-separated values, otherwise as CSV.
    Tsv,
    /// One JSON array of objects.
    Json,
    /// A JSON object per line.
    #[value(name = "nd-json", aliases = ["ndjson", "jsonl", "jsonlines"])]
    NdJson,
    /// A GitHub Markdown table.
    #[value(alias = "md")]
    Markdown,
    /// A line for each column of each row.
    #[value(aliases = ["expanded", "line"])]
    Vertical,
    /// No output: statements run and rows are counted.
    #[value(alias = "trash")]
    None,
}

impl Format {
    /// The names of all formats.
    pub(crate) fn names() -> Vec<String> {
        let all = <Self as clap::ValueEnum>::value_variants().iter();
        all.map(|format| format.name().to_owned()).collect()
    }

    /// The name of this format.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Table => "table",
            Self::Box => "box",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Json => "json",
            Self::NdJson => "nd-json",
            Self::Markdown => "markdown",
            Self::Vertical => "vertical",
            Self::None => "none",
        }
    }

    /// The format with this name.
    ///
    /// # Errors
    /// If no format has the name; the message lists all names.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        <Self as clap::ValueEnum>::from_str(name, true).map_err(|_| {
            let names = Self::names();
            let what = format!("there is no format \"{name}\" among {}", names.join(", "));
            let message = with_cause(what, name, names.iter().map(String::as_str));
            sql_err(SqlState::InvalidParameter, message)
        })
    }
}
