//! Error messages for unreadable CSV files: the file is read again to find the line and the column.

use std::ops::Range;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use futures::TryStreamExt;
use vatic_ml::data::types::type_name;

use super::bytes::File;
use super::infer::{not_text, unequal};
use super::options::ReadOptions;
use super::records::{Record, Records};
use crate::error::{Result, SqlState, sql_err};

/// The number of characters shown of a value.
const SHOWN_MAX: usize = 60;

/// The scan that failed, and how far it got.
pub(super) struct Failed<'a> {
    pub(super) file: &'a File,
    pub(super) options: &'a ReadOptions,
    /// The columns of the file.
    pub(super) schema: &'a SchemaRef,
    /// The indices of the columns to read.
    pub(super) columns: &'a [usize],
    pub(super) part: Option<Range<u64>>,
    /// The number of good rows before the failure.
    pub(super) rows: usize,
}

/// The error about the first record that cannot be read, if there is one.
pub(super) async fn diagnose(failed: Failed<'_>) -> Result<Option<DataFusionError>> {
    let start = failed.part.as_ref().map_or(0, |part| part.start);
    let line = failed.file.first_line(start).await?;
    let mut records = Records::new(failed.options, line);
    let mut good = failed.rows + usize::from(failed.options.has_header && start == 0);
    let mut bytes = failed
        .file
        .lines(failed.options, failed.part.clone())
        .await?;
    loop {
        let piece = bytes.try_next().await?;
        let is_end = piece.is_none();
        let piece = piece.unwrap_or_default();
        let mut at = 0;
        loop {
            let (taken, record) = records.next(&piece[at..]);
            at += taken;
            let Some(record) = record else {
                break;
            };
            if good > 0 {
                good -= 1;
            } else if let Some(error) = failed.check(&record)? {
                return Ok(Some(error));
            }
            if at == piece.len() && !is_end {
                break;
            }
        }
        if is_end {
            return Ok(None);
        }
    }
}

/// The error about the last record of a file, if its quote is not closed.
pub(super) async fn unclosed(
    file: &File,
    options: &ReadOptions,
) -> Result<Option<DataFusionError>> {
    let mut records = Records::new(options, 1);
    let mut bytes = file.all(options).await?;
    while let Some(piece) = bytes.try_next().await? {
        let mut at = 0;
        loop {
            let (taken, record) = records.next(&piece[at..]);
            at += taken;
            if record.is_none() || at == piece.len() {
                break;
            }
        }
    }
    // The record ended only at the end of the file, and its last value contains line breaks.
    let last = records.next(&[]).1.filter(|record| {
        let value = record.fields.last();
        value.is_some_and(|value| value.contains(&b'\n'))
    });
    Ok(last.map(|record| {
        let message = format!(
            "file {}, line {}: a quote is not closed; the text after it is not read as rows",
            file.shown(),
            record.line
        );
        sql_err(SqlState::Data, message)
    }))
}

impl Failed<'_> {
    fn check(&self, record: &Record) -> Result<Option<DataFusionError>> {
        let (width, expected) = (record.fields.len(), self.schema.fields().len());
        if width > expected || (width < expected && !self.options.truncated_rows) {
            return Ok(Some(unequal(self.file, self.options, record, expected)));
        }
        for (column, bytes) in record.fields.iter().enumerate() {
            let field = &self.schema.fields()[column];
            let place = format!(
                "file {}, line {}, column \"{}\"",
                self.file.shown(),
                record.line,
                field.name()
            );
            let Ok(text) = std::str::from_utf8(bytes) else {
                return Ok(Some(not_text(self.file, record, field.name())));
            };
            if self.columns.contains(&column) && !self.is_value(text, column)? {
                let message = format!(
                    "{place}: {} is no {}; {}",
                    shown(text),
                    type_name(field.data_type()),
                    self.options.table.type_remedy(record.line)
                );
                return Ok(Some(sql_err(SqlState::InvalidCast, message)));
            }
        }
        Ok(None)
    }

    /// Whether arrow can read the text as a value of the column.
    fn is_value(&self, text: &str, column: usize) -> Result<bool> {
        let field = &self.schema.fields()[column];
        if matches!(
            field.data_type(),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
        ) {
            return Ok(true);
        }
        let plain = ReadOptions {
            delimiter: b',',
            quote: b'"',
            escape: None,
            comment: None,
            terminator: None,
            ..self.options.clone()
        };
        let alone = Arc::new(Schema::new(vec![Arc::clone(field)]));
        let record = format!("\"{}\"\n", text.replace('"', "\"\""));
        let mut reader = plain.builder(alone, 1)?.build(record.as_bytes())?;
        Ok(reader.all(|batch| batch.is_ok()))
    }
}

fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("'{shown}'")
}
