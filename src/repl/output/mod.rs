//! Rows as text, batch by batch.
//!
//! * `cell` formats a single value
//! * `table` tables with lines, cut to the terminal; `training` the result of TRAIN in words; `matrix` a confusion matrix as a grid
//! * `plot` columns of numbers as lines
//! * `stream` formats that are written row by row: CSV, JSON, records, Markdown
//! * `target` the output: standard output, a file, a pager

mod cell;
mod matrix;
mod plot;
mod stream;
mod table;
mod target;
mod training;

use std::time::Instant;

use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

pub(super) use target::{ReaderGone, Target};

use self::target::Out;
use super::format::Format;
use super::settings::Settings;
use crate::error::Result;

/// Statistics of a written result.
#[derive(Debug, Clone, Default)]
pub(super) struct Written {
    /// The number of rows of the result.
    pub(super) rows: usize,
    /// The number of rows shown.
    pub(super) shown: usize,
    /// The time of the statement, without the time that the user spends in a pager.
    pub(super) seconds: f64,
    /// Whether the result has columns; the result of a statement such as CREATE has none.
    pub(super) has_columns: bool,
    /// The version that the statement trained, `model@version`, if that was written in words.
    pub(super) trained: Option<String>,
}

/// The space and the means of a drawing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame {
    /// The width, in characters.
    pub(super) width: usize,
    pub(super) with_color: bool,
}

impl Frame {
    /// The width of a drawing whose reader has no terminal.
    const WIDTH: usize = 80;

    pub(super) fn new(settings: &Settings, target: &Target) -> Self {
        Self {
            width: settings.width().unwrap_or(Self::WIDTH),
            with_color: settings.with_color && matches!(target, Target::Stdout),
        }
    }
}

/// Draws a result: a confusion matrix as a grid, other rows as lines over their first column of numbers.
///
/// # Errors
/// If there are fewer than two columns with numbers.
pub(super) fn draw(schema: &Schema, batches: &[RecordBatch], frame: Frame) -> Result<String> {
    let grid = match matrix::is_matrix(schema) {
        true => matrix::grid(batches, frame)?,
        false => None,
    };
    grid.map_or_else(|| plot::draw(schema, batches, frame), Ok)
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
    let frame = Frame::new(settings, target);
    let mut out = target.open(settings)?;
    let shown = show(rows, (settings, frame), &mut out, &mut written).await;
    out.outcome(shown)?;
    written.seconds = started.elapsed().as_secs_f64();
    out.finish()?;
    Ok(written)
}

/// Writes the rows of a result that has columns.
async fn show(
    mut rows: SendableRecordBatchStream,
    (settings, frame): (&Settings, Frame),
    out: &mut Out<'_>,
    written: &mut Written,
) -> Result<()> {
    let format = settings.effective_format();
    if let Format::Table | Format::Box = format {
        let kept = table::collect(rows, settings, written).await?;
        written.trained = kept.trained()?;
        return table::render(&kept, (format, frame), settings, out);
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
