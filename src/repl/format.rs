//! The formats of rows.

use crate::error::{Result, SqlState, sql_err, with_cause};

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table with lines of ASCII.
    Table,
    /// A table with drawn lines, and types below the names.
    Box,
    /// Comma-separated values (RFC 4180) with a header line.
    Csv,
    /// As CSV, with tabs.
    Tsv,
    /// One JSON array of objects.
    Json,
    /// A JSON object a line.
    #[value(name = "nd-json", aliases = ["ndjson", "jsonl", "jsonlines"])]
    NdJson,
    /// A table as GitHub reads it.
    #[value(alias = "md")]
    Markdown,
    /// A line for each column of each row.
    #[value(aliases = ["expanded", "line"])]
    Vertical,
    /// Nothing: statements run, rows are counted.
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

    /// The format of this name.
    ///
    /// # Errors
    /// With all names.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        <Self as clap::ValueEnum>::from_str(name, true).map_err(|_| {
            let names = Self::names();
            let what = format!("there is no format \"{name}\" among {}", names.join(", "));
            let message = with_cause(what, name, names.iter().map(String::as_str));
            sql_err(SqlState::InvalidParameter, message)
        })
    }
}
