//! Rows as text on standard output, batch by batch.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::arrow::csv::WriterBuilder;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use crate::error::{Result, SqlState, sql_err};

/// Rows that a terminal shows of a result.
const TERMINAL_ROWS_MAX: usize = 1_000;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A table with borders.
    Table,
    /// Comma-separated values (RFC 4180) with a header line.
    Csv,
}

/// Writes a result as it comes; a table needs all of its rows first.
pub(super) async fn write(mut rows: SendableRecordBatchStream, format: Format) -> Result<Written> {
    let schema = rows.schema();
    let mut written = Written {
        rows: 0,
        has_columns: !schema.fields().is_empty(),
        is_cut: false,
    };
    if !written.has_columns {
        while let Some(batch) = rows.next().await {
            batch?;
        }
        return Ok(written);
    }
    match format {
        Format::Csv => {
            let mut is_first = true;
            // A result without rows still has its header.
            let mut pending = Some(RecordBatch::new_empty(schema));
            loop {
                let next = rows.next().await.transpose()?;
                let Some(batch) = next.or_else(|| pending.take().filter(|_| is_first)) else {
                    return Ok(written);
                };
                written.rows += batch.num_rows();
                print(&csv(&batch, is_first)?)?;
                is_first = false;
            }
        }
        Format::Table => {
            let rows_max = if io::stdout().is_terminal() {
                TERMINAL_ROWS_MAX
            } else {
                usize::MAX
            };
            let mut batches = Vec::new();
            while let Some(batch) = rows.next().await.transpose()? {
                let kept = batch.num_rows().min(rows_max - written.rows);
                written.rows += kept;
                written.is_cut |= kept < batch.num_rows();
                batches.push(batch.slice(0, kept));
                if written.is_cut {
                    break;
                }
            }
            if batches.is_empty() {
                batches.push(RecordBatch::new_empty(schema));
            }
            let options = FormatOptions::default().with_null("NULL");
            let table = pretty_format_batches_with_options(&batches, &options)?;
            print(format!("{}\n", escaped(&table.to_string())).as_bytes())?;
            Ok(written)
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Written {
    pub(super) rows: usize,
    pub(super) has_columns: bool,
    /// Whether there were more rows than a terminal shows.
    pub(super) is_cut: bool,
}

fn csv(batch: &RecordBatch, with_header: bool) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    let columns = batch.columns().iter().map(|column| {
        // CSV has no nested values; they are written as SQL shows them.
        match column.data_type().is_nested() {
            true => nested_as_text(column),
            false => Ok(Arc::clone(column)),
        }
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let names = batch.schema();
    let named = names
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .zip(columns)
        .map(|(n, c)| (n, c, true));
    let flat = RecordBatch::try_from_iter_with_nullable(named)?;
    let mut writer = WriterBuilder::new()
        .with_header(with_header)
        .build(&mut text);
    writer.write(&flat)?;
    drop(writer);
    Ok(text)
}

fn nested_as_text(column: &ArrayRef) -> Result<ArrayRef> {
    let options = FormatOptions::default().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let text = (0..column.len()).map(|row| {
        column
            .is_valid(row)
            .then(|| formatter.value(row).to_string())
    });
    Ok(Arc::new(text.collect::<StringArray>()))
}

/// Control characters in data must not reach the terminal.
fn escaped(text: &str) -> String {
    let is_harmful = |c: char| c.is_control() && c != '\n';
    if !text.contains(is_harmful) {
        return text.to_owned();
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmful(c) {
            escaped.extend(c.escape_default())
        } else {
            escaped.push(c)
        }
    }
    escaped
}

/// Writes to standard output, where `println!` would panic if the reader has gone.
fn print(text: &[u8]) -> Result<()> {
    let mut out = BufWriter::new(io::stdout().lock());
    let result = out.write_all(text).and_then(|()| out.flush());
    result.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => sql_err(SqlState::Cancelled, BROKEN_PIPE),
        _ => crate::error::io_err("standard output", &error),
    })
}

/// The message of the error that ends the process without a word.
pub(super) const BROKEN_PIPE: &str = "the reader of standard output has gone";
