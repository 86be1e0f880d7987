//! The numeric columns of a result as lines over its first one, drawn with the dots of braille characters.

use std::fmt::Write;

use datafusion::arrow::array::{ArrayRef, AsArray, Float64Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use unicode_width::UnicodeWidthStr;

use super::Frame;
use super::cell::escaped;
use super::training::short;
use crate::axis::Range;
use crate::error::{Result, SqlState, sql_err};
use crate::repl::highlight::RESET;

/// The height of the lines, in characters.
const ROWS: usize = 10;
/// The width of the whole drawing, in characters.
const WIDTH_MAX: usize = 100;
/// The least width of the lines, in characters.
const COLUMNS_MIN: usize = 10;
/// A braille character has two columns of four dots; the bit of each dot.
const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
/// The braille character without dots.
const BLANK: u32 = 0x2800;
const COLORS: [&str; 4] = ["\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m"];

/// A numeric column, as points over the first one.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Draws the numeric columns of a result over its first numeric column.
///
/// # Errors
/// If there are fewer than two columns with numbers.
pub(super) fn draw(schema: &Schema, batches: &[RecordBatch], frame: Frame) -> Result<String> {
    let (x_name, lines) = lines(schema, batches)?;
    let all = || lines.iter().flat_map(|line| &line.points);
    let x_range = Range::of(all().map(|(x, _)| *x));
    let y_range = Range::of(all().map(|(_, y)| *y));
    let labels = [
        y_range.high,
        (y_range.high + y_range.low) / 2.0,
        y_range.low,
    ];
    let labels = labels.map(short);
    let margin = labels.iter().map(String::len).max().unwrap_or(0);
    let width = frame.width.min(WIDTH_MAX).saturating_sub(margin + 3);
    let mut canvas = Canvas::new(width.max(COLUMNS_MIN));
    for (index, line) in lines.iter().enumerate() {
        let places = line.points.iter().map(|(x, y)| {
            let right = x_range.share(*x) * (canvas.columns * 2 - 1) as f64;
            let down = (1.0 - y_range.share(*y)) * (ROWS * 4 - 1) as f64;
            (right.round() as usize, down.round() as usize)
        });
        let places: Vec<(usize, usize)> = places.collect();
        canvas.line(index, &places);
    }
    let mut text = String::new();
    for row in 0..ROWS {
        let label = match row {
            0 => labels[0].as_str(),
            row if row == ROWS / 2 => labels[1].as_str(),
            row if row == ROWS - 1 => labels[2].as_str(),
            _ => "",
        };
        let axis = if label.is_empty() { '│' } else { '┤' };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{label:>margin$} {axis}{}",
            canvas.row(row, frame.with_color)
        );
    }
    let _ = writeln!(text, "{:margin$} └{}", "", "─".repeat(canvas.columns));
    let (from, to) = (number(x_range.low), number(x_range.high));
    let taken = from.len() + to.len() + x_name.width();
    let gap = canvas.columns.saturating_sub(taken).max(2) / 2;
    let gap = " ".repeat(gap);
    let _ = writeln!(text, "{:margin$}  {from}{gap}{x_name}{gap}{to}", "");
    text.push_str(&legend(&lines, margin, frame.with_color));
    Ok(text)
}

/// The name of the first numeric column, and a line for each further one.
fn lines(schema: &Schema, batches: &[RecordBatch]) -> Result<(String, Vec<Line>)> {
    let fields = schema.fields().iter().enumerate();
    let numeric = fields.filter(|(_, field)| field.data_type().is_numeric());
    let numeric: Vec<(usize, &str)> = numeric
        .map(|(index, field)| (index, field.name().as_str()))
        .collect();
    let [(x, x_name), others @ ..] = numeric.as_slice() else {
        return Err(nothing_to_draw());
    };
    let named = others.iter().map(|(_, name)| Line {
        name: escaped((*name).to_owned()),
        points: vec![],
    });
    let mut lines: Vec<Line> = named.collect();
    for batch in batches {
        let xs = numbers(batch.column(*x))?;
        for ((index, _), line) in others.iter().zip(&mut lines) {
            let ys = numbers(batch.column(*index))?;
            let points = xs.iter().zip(ys.iter());
            let points = points.filter_map(|(x, y)| x.zip(y));
            line.points
                .extend(points.filter(|(x, y)| x.is_finite() && y.is_finite()));
        }
    }
    lines.retain(|line| !line.points.is_empty());
    match lines.is_empty() {
        true => Err(nothing_to_draw()),
        false => Ok((escaped((*x_name).to_owned()), lines)),
    }
}

fn nothing_to_draw() -> datafusion::common::DataFusionError {
    let message = "\\plot draws columns of numbers over the first one, and the result has no two columns with numbers";
    sql_err(SqlState::InvalidParameter, message)
}

fn numbers(column: &ArrayRef) -> Result<Float64Array> {
    let numbers = cast(column, &DataType::Float64)?;
    Ok(numbers.as_primitive::<Float64Type>().clone())
}

/// The dots of all lines.
struct Canvas {
    /// The width, in characters.
    columns: usize,
    /// The dots of each character.
    cells: Vec<u8>,
    /// The line that was drawn last in each character.
    owners: Vec<usize>,
}

impl Canvas {
    fn new(columns: usize) -> Self {
        Self {
            columns,
            cells: vec![0; columns * ROWS],
            owners: vec![0; columns * ROWS],
        }
    }

    /// Draws a line through these places, in dots from the left and from above. The first line is solid, the second one has
    /// every second dot, and so on, so that lines differ without colours.
    fn line(&mut self, index: usize, places: &[(usize, usize)]) {
        let mut dot: usize = 0;
        for (number, to) in places.iter().enumerate() {
            let from = places[number.saturating_sub(1)];
            let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
            for step in 1..=steps {
                let share = step as f64 / steps as f64;
                let between = |from: usize, to: usize| {
                    let (from, to) = (from as f64, to as f64);
                    (from + (to - from) * share).round() as usize
                };
                if dot.is_multiple_of(index + 1) {
                    self.set(index, between(from.0, to.0), between(from.1, to.1));
                }
                dot += 1;
            }
        }
    }

    fn set(&mut self, index: usize, right: usize, down: usize) {
        let cell = down / 4 * self.columns + right / 2;
        self.cells[cell] |= DOTS[right % 2][down % 4];
        self.owners[cell] = index;
    }

    fn row(&self, row: usize, with_color: bool) -> String {
        let mut text = String::new();
        for column in 0..self.columns {
            let cell = row * self.columns + column;
            let dots = self.cells[cell];
            let drawn = match dots {
                0 => ' ',
                _ => char::from_u32(BLANK + u32::from(dots)).unwrap_or(' '),
            };
            match with_color && dots != 0 {
                true => text.push_str(&format!("{}{drawn}{RESET}", color(self.owners[cell]))),
                false => text.push(drawn),
            }
        }
        text.truncate(text.trim_end().len());
        text
    }
}

fn color(index: usize) -> &'static str {
    COLORS[index % COLORS.len()]
}

/// The name and the last value of each line, with its pattern.
fn legend(lines: &[Line], margin: usize, with_color: bool) -> String {
    let mut text = " ".repeat(margin + 2);
    for (index, line) in lines.iter().enumerate() {
        let mut canvas = Canvas::new(3);
        canvas.line(index, &[(0, 1), (5, 1)]);
        let last = line.points.last().map_or(f64::NAN, |(_, y)| *y);
        let gap = if index == 0 { "" } else { "   " };
        let sample = canvas.row(0, with_color);
        text.push_str(&format!("{gap}{sample} {} {}", line.name, short(last)));
    }
    text.push('\n');
    text
}

/// A number at the end of an axis: whole numbers without decimals.
fn number(value: f64) -> String {
    match value.fract() == 0.0 && value.abs() < 1e15 {
        true => format!("{value:.0}"),
        false => short(value),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;

    fn drawn(columns: Vec<(&str, ArrayRef)>, width: usize, with_color: bool) -> Result<String> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        draw(&batch.schema(), &[batch], Frame { width, with_color })
    }

    fn losses() -> Vec<(&'static str, ArrayRef)> {
        vec![
            (
                "epoch",
                Arc::new(Int64Array::from(vec![1, 2, 3])) as ArrayRef,
            ),
            (
                "train_loss",
                Arc::new(Float64Array::from(vec![4.0, 2.0, 0.0])) as ArrayRef,
            ),
            (
                "eval_loss",
                Arc::new(Float64Array::from(vec![Some(f64::NAN), None, Some(4.0)])) as ArrayRef,
            ),
        ]
    }

    #[test]
    fn a_line_falls_from_the_upper_left_to_the_lower_right() {
        let text = drawn(losses(), 20, false).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), ROWS + 3, "{text}");
        assert!(lines[0].starts_with("4.0000 ┤⠱"), "{text}");
        // The only point of the second line is in the corner.
        assert!(lines[0].ends_with('⠈'), "{text}");
        assert!(lines[5].starts_with("2.0000 ┤"), "{text}");
        assert!(
            lines[9].starts_with("0.0000 ┤") && lines[9].ends_with('⢆'),
            "{text}"
        );
        assert_eq!(lines[10], "       └───────────");
        assert_eq!(lines[11], "        1  epoch  3");
        assert_eq!(
            lines[12],
            "        ⠒⠒⠒ train_loss 0.0000   ⠂⠂⠂ eval_loss 4.0000"
        );
    }

    #[test]
    fn colors_surround_each_character() {
        let text = drawn(losses(), 20, true).unwrap();
        assert!(text.contains("┤\x1b[36m⠱\x1b[0m"), "{text}");
        assert!(text.contains("\x1b[33m⠈\x1b[0m"), "{text}");
    }

    #[test]
    fn a_flat_line_is_in_the_middle() {
        let flat = vec![
            ("x", Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef),
            ("y", Arc::new(Int64Array::from(vec![7, 7])) as ArrayRef),
        ];
        let text = drawn(flat, 30, false).unwrap();
        let full = text.lines().position(|line| line.contains("⠉⠉⠉"));
        assert_eq!(full, Some(ROWS / 2), "{text}");
    }

    #[test]
    fn a_result_without_numbers_is_refused() {
        let text = vec![("t", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)];
        let error = drawn(text, 80, false).unwrap_err().to_string();
        assert!(error.contains("no two columns with numbers"), "{error}");
    }
}
