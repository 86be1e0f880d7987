//! Rows as text, batch by batch.
//!
//! * `cell` formats a single value
//! * `table` tables with lines, cut to the terminal; `training` the result of TRAIN in words
//! * `stream` formats that are written row by row: CSV, JSON, records, Markdown
//! * `target` the output: standard output, a file, a pager

mod cell;
mod stream;
mod table;
mod target;
mod training;

use std::time::Instant;

use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

pub(super) use target::{ReaderGone, Target};

use self::target::Out;
use super::format::Format;
use super::settings::Settings;
use crate::error::Result;

/// Statistics of a written result.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    /// The number of rows of the result.
    pub(super) rows: usize,
    /// The number of rows shown.
    pub(super) shown: usize,
    /// The time of the statement, without the time that the user spends in a pager.
    pub(super) seconds: f64,
    /// Whether the result has columns; the result of a statement such as CREATE has none.
    pub(super) has_columns: bool,
}

/// Writes a result as its rows arrive; the statement started at `started`.
pub(super) async fn write(
    mut rows: SendableRecordBatchStream,
    settings: &Settings,
    target: &mut Target,
    started: Instant,
) -> Result<Written> {
    let mut written = Written {
        has_columns: !rows.schema().fields().is_empty(),
        ..Written::default()
    };
    let format = settings.effective_format();
    if !written.has_columns || format == Format::None {
        while let Some(batch) = rows.next().await {
            written.rows += batch?.num_rows();
        }
        written.seconds = started.elapsed().as_secs_f64();
        return Ok(written);
    }
    let mut out = target.open(settings)?;
    let shown = show(rows, settings, &mut out, &mut written).await;
    out.outcome(shown)?;
    written.seconds = started.elapsed().as_secs_f64();
    out.finish()?;
    Ok(written)
}

/// Writes the rows of a result that has columns.
async fn show(
    mut rows: SendableRecordBatchStream,
    settings: &Settings,
    out: &mut Out<'_>,
    written: &mut Written,
) -> Result<()> {
    let format = settings.effective_format();
    if let Format::Table | Format::Box = format {
        let kept = table::collect(rows, settings, written).await?;
        return table::render(&kept, format, settings, out);
    }
    let mut writer = stream::Writer::new(format, settings, rows.schema(), out.is_terminal());
    // A statement that fails before its first row writes nothing.
    let mut next = rows.next().await.transpose()?;
    writer.begin(out)?;
    while let Some(batch) = next {
        written.rows += batch.num_rows();
        writer.batch(&batch, out)?;
        next = rows.next().await.transpose()?;
    }
    writer.end(out)?;
    written.shown = written.rows;
    Ok(())
}
