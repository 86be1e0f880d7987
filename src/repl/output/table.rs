//! Tables with lines, cut to the terminal: leaves out middle rows and shortens long values. If columns do not fit, rows become
//! records, or columns in the middle are left out.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use unicode_width::UnicodeWidthStr;

use super::cell::{CellOptions, Cells, escaped};
use super::matrix::{CELLS_MAX, grid, is_matrix};
use super::stream::Writer;
use super::target::Out;
use super::training::{self, is_training};
use super::{Frame, Written};
use crate::error::Result;
use crate::repl::format::Format;
use crate::repl::settings::Settings;

/// The minimum width of a cut value while columns can still be left out.
const CELL_WIDTH_MIN: usize = 8;
const ELLIPSIS: &str = "…";

/// The shown rows of a table.
pub(super) struct Kept {
    schema: SchemaRef,
    /// The first rows, and the last rows if rows between them are left out.
    parts: Vec<Vec<RecordBatch>>,
    /// The number of rows between them.
    rows_left_out: usize,
}

impl Kept {
    /// The version that the rows say was trained, if they are the result of TRAIN.
    pub(super) fn trained(&self) -> Result<Option<String>> {
        let mut batches = self.parts.iter().flatten();
        match batches.next().filter(|_| is_training(&self.schema)) {
            Some(batch) => training::trained(batch),
            None => Ok(None),
        }
    }

    /// The rows as a grid, if they are a whole confusion matrix that fits.
    fn grid(&self, frame: Frame) -> Result<Option<String>> {
        match self.parts.as_slice() {
            [batches] if is_matrix(&self.schema) => grid(batches, frame),
            _ => Ok(None),
        }
    }
}

/// Collects the first and the last rows and counts the rows in between.
pub(super) async fn collect(
    mut rows: SendableRecordBatchStream,
    settings: &Settings,
    written: &mut Written,
) -> Result<Kept> {
    let schema = rows.schema();
    // A grid needs all rows of its matrix.
    let rows_max = match settings.with_plots && is_matrix(&schema) {
        true => settings.rows_max.map(|max| max.max(2 * CELLS_MAX)),
        false => settings.rows_max,
    };
    let head_max = rows_max.map_or(usize::MAX, |max| max.div_ceil(2));
    let tail_max = rows_max.map_or(0, |max| max / 2);
    let (mut head, mut head_rows) = (Vec::new(), 0);
    let (mut tail, mut tail_rows) = (VecDeque::new(), 0);
    while let Some(batch) = rows.next().await.transpose()? {
        written.rows += batch.num_rows();
        let taken = batch.num_rows().min(head_max - head_rows);
        if taken > 0 {
            head_rows += taken;
            head.push(batch.slice(0, taken));
        }
        if taken == batch.num_rows() || tail_max == 0 {
            continue;
        }
        let rest = batch.slice(taken, batch.num_rows() - taken);
        let rest = rest.slice(
            rest.num_rows().saturating_sub(tail_max),
            rest.num_rows().min(tail_max),
        );
        tail_rows += rest.num_rows();
        tail.push_back(rest);
        while tail
            .front()
            .is_some_and(|first: &RecordBatch| tail_rows - first.num_rows() >= tail_max)
        {
            tail_rows -= tail.pop_front().map_or(0, |first| first.num_rows());
        }
    }
    if tail_rows > tail_max
        && let Some(first) = tail.front_mut()
    {
        let excess = tail_rows - tail_max;
        *first = first.slice(excess, first.num_rows() - excess);
        tail_rows = tail_max;
    }
    written.shown = head_rows + tail_rows;
    let mut tail: Vec<RecordBatch> = tail.into();
    let parts = if written.shown == written.rows {
        head.append(&mut tail);
        vec![head]
    } else {
        vec![head, tail]
    };
    Ok(Kept {
        schema,
        parts,
        rows_left_out: written.rows - written.shown,
    })
}

/// The line characters of a table.
struct Lines {
    top: [&'static str; 3],
    middle: [&'static str; 3],
    bottom: [&'static str; 3],
    across: &'static str,
    down: &'static str,
}

const ASCII: Lines = Lines {
    top: ["+", "+", "+"],
    middle: ["+", "+", "+"],
    bottom: ["+", "+", "+"],
    across: "-",
    down: "|",
};
const DRAWN: Lines = Lines {
    top: ["┌", "┬", "┐"],
    middle: ["├", "┼", "┤"],
    bottom: ["└", "┴", "┘"],
    across: "─",
    down: "│",
};

/// Writes a table.
pub(super) fn render(
    kept: &Kept,
    (format, frame): (Format, Frame),
    settings: &Settings,
    out: &mut Out,
) -> Result<()> {
    if is_plan(&kept.schema) {
        return render_plan(kept, settings, out);
    }
    if is_training(&kept.schema) {
        let mut batches = kept.parts.iter().flatten();
        return batches.try_for_each(|batch| training::render(batch, out));
    }
    if settings.with_plots
        && let Some(grid) = kept.grid(frame)?
    {
        return Ok(out.write_all(grid.as_bytes())?);
    }
    let columns = Columns::measure(kept, format, settings)?;
    let is_empty = kept.parts.iter().all(Vec::is_empty);
    if settings.folds && columns.leaves_out() && !is_empty {
        return render_records(kept, settings, out);
    }
    let lines = match format {
        Format::Box => &DRAWN,
        _ => &ASCII,
    };
    let rule = |[left, between, right]: [&str; 3]| {
        let dashes = columns
            .shown()
            .map(|column| lines.across.repeat(column.width + 2));
        let dashes: Vec<String> = dashes.collect();
        format!("{left}{}{right}\n", dashes.join(between))
    };
    let mut text = rule(lines.top);
    if settings.with_header {
        text.push_str(&columns.line(lines, Align::Header, |column| column.name.clone()));
        if format == Format::Box && settings.with_types {
            text.push_str(&columns.line(lines, Align::Header, |column| column.type_name.clone()));
        }
        text.push_str(&rule(lines.middle));
    }
    out.write_all(text.as_bytes())?;
    for (index, part) in kept.parts.iter().enumerate() {
        if index > 0 {
            let dots = columns.line(lines, Align::Value, |_| "·".to_owned());
            out.write_all(dots.as_bytes())?;
        }
        for batch in part {
            columns.write_rows(batch, lines, settings, out)?;
        }
    }
    out.write_all(rule(lines.bottom).as_bytes())?;
    Ok(())
}

/// Whether this is the schema of EXPLAIN's result.
fn is_plan(schema: &Schema) -> bool {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    names.eq(["plan_type", "plan"])
}

/// Writes a plan as text, without lines or cuts: what is cut from a plan or stands in a table cannot be copied.
fn render_plan(kept: &Kept, settings: &Settings, out: &mut Out) -> Result<()> {
    for batch in kept.parts.iter().flatten() {
        let kinds = Cells::try_new(batch.column(0), options(settings))?;
        let plans = Cells::try_new(batch.column(1), options(settings))?;
        for row in 0..batch.num_rows() {
            let lines = plans.lines(row)?.join("\n  ");
            out.write_all(format!("{}\n  {lines}\n", kinds.text(row)?).as_bytes())?;
        }
    }
    Ok(())
}

/// Writes a record for each row, because the columns do not fit beside each other.
fn render_records(kept: &Kept, settings: &Settings, out: &mut Out) -> Result<()> {
    let schema = Arc::clone(&kept.schema);
    let mut writer = Writer::new(Format::Vertical, settings, schema, out.is_terminal());
    for (index, part) in kept.parts.iter().enumerate() {
        if index > 0 {
            out.write_all("·\n".as_bytes())?;
            writer.pass(kept.rows_left_out);
        }
        for batch in part {
            writer.batch(batch, out)?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Align {
    Header,
    Value,
}

/// A column as it is shown.
struct Column {
    /// `None` for the column of ellipses that replaces columns.
    index: Option<usize>,
    name: String,
    type_name: String,
    width: usize,
    is_number: bool,
}

struct Columns(Vec<Column>);

impl Columns {
    fn measure(kept: &Kept, format: Format, settings: &Settings) -> Result<Self> {
        let with_types = format == Format::Box && settings.with_types && settings.with_header;
        let mut columns = columns_of(&kept.schema);
        for column in &mut columns {
            if settings.with_header {
                column.width = column.name.width();
            }
            if with_types {
                column.width = column.width.max(column.type_name.width());
            }
        }
        for batch in kept.parts.iter().flatten() {
            for (column, array) in columns.iter_mut().zip(batch.columns()) {
                let cells = Cells::try_new(array, options(settings))?;
                for row in 0..batch.num_rows() {
                    let widths = cells.lines(row)?.into_iter().map(|line| line.width());
                    column.width = column.width.max(widths.max().unwrap_or(0));
                }
            }
        }
        if let Some(width) = settings.width() {
            cut_to(&mut columns, width);
        }
        Ok(Self(columns))
    }

    /// Whether columns are left out.
    fn leaves_out(&self) -> bool {
        self.0.iter().any(|column| column.index.is_none())
    }

    fn shown(&self) -> impl Iterator<Item = &Column> {
        self.0.iter()
    }

    fn line(&self, lines: &Lines, align: Align, text: impl Fn(&Column) -> String) -> String {
        let mut line = String::from(lines.down);
        for column in &self.0 {
            let text = match column.index {
                Some(_) => text(column),
                None => ELLIPSIS.to_owned(),
            };
            line.push_str(&format!(" {} {}", column.padded(&text, align), lines.down));
        }
        line.push('\n');
        line
    }

    fn write_rows(
        &self,
        batch: &RecordBatch,
        lines: &Lines,
        settings: &Settings,
        out: &mut Out,
    ) -> Result<()> {
        let cells = batch.columns().iter();
        let cells = cells.map(|array| Cells::try_new(array, options(settings)));
        let cells = cells.collect::<Result<Vec<_>>>()?;
        for row in 0..batch.num_rows() {
            // A value with several lines needs several lines of the table.
            let values = cells.iter().map(|cells| cells.lines(row));
            let values = values.collect::<Result<Vec<_>>>()?;
            let height = values.iter().map(Vec::len).max().unwrap_or(1);
            for part in 0..height {
                let line = self.line(lines, Align::Value, |column| {
                    let value = column.index.and_then(|index| values[index].get(part));
                    value.cloned().unwrap_or_default()
                });
                out.write_all(line.as_bytes())?;
            }
        }
        Ok(())
    }
}

impl Column {
    fn padded(&self, text: &str, align: Align) -> String {
        let text = cut(text, self.width);
        let space = " ".repeat(self.width.saturating_sub(text.width()));
        match (align, self.is_number) {
            (Align::Value, true) => format!("{space}{text}"),
            _ => format!("{text}{space}"),
        }
    }
}

fn options(settings: &Settings) -> CellOptions<'_> {
    CellOptions {
        null: settings.null.as_deref().unwrap_or("NULL"),
        with_full_vectors: settings.with_full_vectors,
    }
}

fn columns_of(schema: &Schema) -> Vec<Column> {
    let columns = schema.fields().iter().enumerate();
    columns
        .map(|(index, field)| Column {
            index: Some(index),
            name: escaped(field.name().clone()),
            type_name: type_name(field.data_type()),
            width: 0,
            is_number: field.data_type().is_numeric(),
        })
        .collect()
}

/// The short name of a type.
pub(super) fn type_name(data_type: &DataType) -> String {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".into(),
        DataType::Dictionary(_, value) => type_name(value),
        DataType::List(item) | DataType::LargeList(item) => {
            format!("{}[]", type_name(item.data_type()))
        }
        DataType::FixedSizeList(item, length) => {
            format!("{}[{length}]", type_name(item.data_type()))
        }
        DataType::Struct(_) => "struct".into(),
        DataType::Map(..) => "map".into(),
        DataType::Union(..) => "union".into(),
        DataType::Timestamp(_, None) => "timestamp".into(),
        DataType::Timestamp(_, Some(zone)) => format!("timestamp {zone}"),
        DataType::Date32 | DataType::Date64 => "date".into(),
        other => other.to_string().to_lowercase(),
    }
}

/// Narrows wide columns, then leaves out columns from the middle, until all fit.
fn cut_to(columns: &mut Vec<Column>, width: usize) {
    // The widest columns are narrowed first.
    let mut limit = columns.iter().map(|column| column.width).max().unwrap_or(0);
    let at = |columns: &[Column], limit: usize| {
        let widths = columns.iter().map(|column| column.width.min(limit) + 3);
        1 + widths.sum::<usize>()
    };
    while limit > CELL_WIDTH_MIN && at(columns, limit) > width {
        limit -= 1;
    }
    columns
        .iter_mut()
        .for_each(|column| column.width = column.width.min(limit));
    if total(columns) > width && columns.len() > 2 {
        leave_out_middle(columns, width);
    }
    while limit > 1 && at(columns, limit) > width {
        limit -= 1;
    }
    columns
        .iter_mut()
        .for_each(|column| column.width = column.width.min(limit));
}

fn leave_out_middle(columns: &mut Vec<Column>, width: usize) {
    let mut middle = columns.len() / 2;
    let ellipsis = Column {
        index: None,
        name: ELLIPSIS.into(),
        type_name: String::new(),
        width: 1,
        is_number: false,
    };
    columns[middle] = ellipsis;
    while total(columns) > width && columns.len() > 3 {
        // Columns are removed from both sides of the ellipsis in turn.
        let is_right_longer = columns.len() - middle - 1 > middle;
        if is_right_longer {
            columns.remove(middle + 1);
        } else {
            columns.remove(middle - 1);
            middle -= 1;
        }
    }
}

/// The width of the whole table.
fn total(columns: &[Column]) -> usize {
    let widths = columns.iter().map(|column| column.width + 3);
    1 + widths.sum::<usize>()
}

/// The text, cut with an ellipsis if it is too wide.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for c in text.chars() {
        let next = kept.width() + unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if next + 1 > width {
            break;
        }
        kept.push(c);
    }
    kept + ELLIPSIS
}

#[cfg(test)]
mod tests {
    use super::*;

    fn widths(of: &[usize], total: usize) -> Vec<(Option<usize>, usize)> {
        let columns = of.iter().enumerate().map(|(index, &width)| Column {
            index: Some(index),
            name: String::new(),
            type_name: String::new(),
            width,
            is_number: false,
        });
        let mut columns: Vec<Column> = columns.collect();
        cut_to(&mut columns, total);
        columns
            .iter()
            .map(|column| (column.index, column.width))
            .collect()
    }

    #[test]
    fn wide_columns_give_way_before_columns_are_left_out() {
        assert_eq!(widths(&[5, 5], 80), [(Some(0), 5), (Some(1), 5)]);
        assert_eq!(widths(&[5, 100], 40), [(Some(0), 5), (Some(1), 28)]);
        let many = widths(&[10; 20], 60);
        assert_eq!(many.first(), Some(&(Some(0), 8)));
        assert_eq!(many.last(), Some(&(Some(19), 8)));
        assert!(many.iter().any(|(index, _)| index.is_none()));
        assert!(many.iter().map(|(_, width)| width + 3).sum::<usize>() < 60);
        // At least one column is shown at any width.
        assert_eq!(widths(&[10; 20], 1).len(), 3);
        assert_eq!(widths(&[10; 2], 1).len(), 2);
    }

    #[test]
    fn wide_characters_count_twice() {
        assert_eq!(cut("日本語", 6), "日本語");
        assert_eq!(cut("日本語", 5), "日本…");
        assert_eq!(cut("abc", 2), "a…");
        assert_eq!(cut("abc", 0), "…");
    }
}
