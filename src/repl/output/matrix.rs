//! A confusion matrix as a grid: each cell is shaded by its share of the rows with its expected label.

use std::collections::HashMap;
use std::fmt::Write;

use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use unicode_width::UnicodeWidthStr;

use super::Frame;
use super::cell::{CellOptions, Cells};
use crate::error::Result;
use crate::repl::highlight::RESET;

/// The labels that fit into a grid which is read at a glance.
const LABELS_MAX: usize = 30;
/// The cells of the largest grid.
pub(super) const CELLS_MAX: usize = LABELS_MAX * LABELS_MAX;
/// The characters of a cell besides its count.
const SHADE_WIDTH: usize = 3;
/// The shades without colours, from no row to all rows.
const SHADES: [char; 5] = [' ', '░', '▒', '▓', '█'];
/// The colours of right predictions and of wrong ones, from few rows to all rows.
const RIGHT: [&str; 4] = [
    "\x1b[38;5;16;48;5;195m",
    "\x1b[38;5;16;48;5;153m",
    "\x1b[38;5;16;48;5;111m",
    "\x1b[38;5;231;48;5;26m",
];
const WRONG: [&str; 4] = [
    "\x1b[38;5;16;48;5;223m",
    "\x1b[38;5;16;48;5;216m",
    "\x1b[38;5;16;48;5;209m",
    "\x1b[38;5;231;48;5;160m",
];
/// The label of rows whose label training did not see.
const UNSEEN: &str = "(unseen)";

/// Whether this is the schema of `confusion_matrix`.
pub(super) fn is_matrix(schema: &Schema) -> bool {
    let names = schema.fields().iter().map(|field| field.name().as_str());
    let is_count = |index: usize| *schema.field(index).data_type() == DataType::Int64;
    names.eq(["expected_label", "predicted_label", "rows"]) && is_count(2)
}

/// Draws a confusion matrix. `None` if it is not whole or does not fit into the frame.
pub(super) fn grid(batches: &[RecordBatch], frame: Frame) -> Result<Option<String>> {
    let Some(matrix) = Matrix::read(batches)? else {
        return Ok(None);
    };
    let text = matrix.drawn(frame.with_color);
    let width = matrix.width();
    Ok((width <= frame.width).then_some(text))
}

/// The counts of each pair of labels.
struct Matrix {
    expected: Vec<String>,
    predicted: Vec<String>,
    /// By the positions of the expected and the predicted label.
    counts: HashMap<(usize, usize), i64>,
}

impl Matrix {
    fn read(batches: &[RecordBatch]) -> Result<Option<Self>> {
        let mut matrix = Self {
            expected: vec![],
            predicted: vec![],
            counts: HashMap::new(),
        };
        let options = CellOptions {
            null: UNSEEN,
            with_full_vectors: false,
        };
        for batch in batches {
            let expected = Cells::try_new(batch.column(0), options)?;
            let predicted = Cells::try_new(batch.column(1), options)?;
            let counts = batch.column(2).as_primitive::<Int64Type>();
            for row in 0..batch.num_rows() {
                let from = place(&mut matrix.expected, expected.text(row)?);
                let to = place(&mut matrix.predicted, predicted.text(row)?);
                let is_too_large = from.max(to) >= LABELS_MAX;
                let is_twice = matrix
                    .counts
                    .insert((from, to), counts.value(row))
                    .is_some();
                if is_too_large || is_twice || counts.is_null(row) {
                    return Ok(None);
                }
            }
        }
        let cells = matrix.expected.len() * matrix.predicted.len();
        let is_whole = cells > 0 && matrix.counts.len() == cells;
        Ok(is_whole.then_some(matrix))
    }

    fn count(&self, row: usize, column: usize) -> i64 {
        self.counts.get(&(row, column)).copied().unwrap_or(0)
    }

    /// The rows with an expected label.
    fn total(&self, row: usize) -> i64 {
        (0..self.predicted.len())
            .map(|column| self.count(row, column))
            .sum()
    }

    /// The rows with an expected label that were predicted.
    fn right(&self, row: usize) -> i64 {
        let column = self.predicted.iter();
        let column = column
            .zip(0..)
            .find(|(label, _)| **label == self.expected[row]);
        column.map_or(0, |(_, column)| self.count(row, column))
    }

    fn head_width(&self) -> usize {
        let labels = self.expected.iter().map(|label| label.width());
        labels.max().unwrap_or(0).max("expected".len())
    }

    fn column_width(&self) -> usize {
        let digits = self.counts.values().map(|count| count.to_string().len());
        let labels = self.predicted.iter().map(|label| label.width());
        let cell = digits.max().unwrap_or(1) + SHADE_WIDTH;
        labels.max().unwrap_or(0).max(cell)
    }

    fn width(&self) -> usize {
        let columns = self.predicted.len() * (self.column_width() + 1);
        self.head_width() + 1 + columns + "  100.0 %".len()
    }

    fn drawn(&self, with_color: bool) -> String {
        let (head, width) = (self.head_width(), self.column_width());
        let mut text = format!("{}  predicted\n", " ".repeat(head));
        text.push_str(&padded("expected", head));
        for label in &self.predicted {
            // Writing to a string cannot fail.
            let _ = write!(text, " {}", right_aligned(label, width));
        }
        text.push_str("    right\n");
        let (mut rows, mut right) = (0, 0);
        for (row, label) in self.expected.iter().enumerate() {
            text.push_str(&padded(label, head));
            for column in 0..self.predicted.len() {
                text.push(' ');
                text.push_str(&self.cell((row, column), width, with_color));
            }
            let _ = writeln!(text, "  {:>7}", percent(self.right(row), self.total(row)));
            rows += self.total(row);
            right += self.right(row);
        }
        let _ = writeln!(
            text,
            "{right} of {rows} rows are right, {}",
            percent(right, rows)
        );
        text
    }

    fn cell(&self, (row, column): (usize, usize), width: usize, with_color: bool) -> String {
        let count = self.count(row, column);
        let share = count as f64 / self.total(row).max(1) as f64;
        // From 0, which only no row has, to 4.
        let level = ((share * 4.0).ceil() as usize).min(4);
        let digits = width - 2;
        if !with_color {
            let shade = SHADES[level].to_string().repeat(2);
            return format!("{shade}{count:>digits$}");
        }
        let colors = match self.expected[row] == self.predicted[column] {
            true => RIGHT,
            false => WRONG,
        };
        match level {
            0 => format!("{count:>width$}"),
            level => format!("{}{count:>width$}{RESET}", colors[level - 1]),
        }
    }
}

/// The position of a label, which is added if it is new.
fn place(labels: &mut Vec<String>, label: String) -> usize {
    let known = labels.iter().position(|known| *known == label);
    known.unwrap_or_else(|| {
        labels.push(label);
        labels.len() - 1
    })
}

fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

fn right_aligned(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

fn percent(part: i64, whole: i64) -> String {
    match whole {
        0 => "-".into(),
        _ => format!("{:.1} %", 100.0 * part as f64 / whole as f64),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn matrix(rows: &[(Option<&str>, &str, i64)]) -> RecordBatch {
        let expected = rows.iter().map(|(expected, ..)| *expected);
        let predicted = rows.iter().map(|(_, predicted, _)| Some(*predicted));
        let counts = rows.iter().map(|(.., count)| *count);
        let columns = [
            (
                "expected_label",
                Arc::new(StringArray::from_iter(expected)) as ArrayRef,
            ),
            (
                "predicted_label",
                Arc::new(StringArray::from_iter(predicted)) as ArrayRef,
            ),
            (
                "rows",
                Arc::new(Int64Array::from_iter_values(counts)) as ArrayRef,
            ),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    }

    fn drawn(rows: &[(Option<&str>, &str, i64)], width: usize, with_color: bool) -> Option<String> {
        let batch = matrix(rows);
        assert!(is_matrix(&batch.schema()));
        grid(&[batch], Frame { width, with_color }).unwrap()
    }

    const TWO: [(Option<&str>, &str, i64); 4] = [
        (Some("no"), "no", 90),
        (Some("no"), "yes", 10),
        (Some("yes"), "no", 30),
        (Some("yes"), "yes", 10),
    ];

    #[test]
    fn cells_are_shaded_by_their_share_of_a_row() {
        assert_eq!(
            drawn(&TWO, 80, false).unwrap(),
            "          predicted\n\
             expected    no   yes    right\n\
             no       ██ 90 ░░ 10   90.0 %\n\
             yes      ▓▓ 30 ░░ 10   25.0 %\n\
             100 of 140 rows are right, 71.4 %\n"
        );
        let colored = drawn(&TWO, 80, true).unwrap();
        assert!(
            colored.contains("\x1b[38;5;231;48;5;26m   90\x1b[0m"),
            "{colored}"
        );
        assert!(
            colored.contains("\x1b[38;5;16;48;5;223m   10\x1b[0m"),
            "{colored}"
        );
    }

    #[test]
    fn unseen_labels_have_a_row_of_their_own() {
        let rows = [(Some("a"), "a", 2), (None, "a", 1)];
        let text = drawn(&rows, 80, false).unwrap();
        assert!(text.contains("\n(unseen) ██ 1    0.0 %\n"), "{text}");
    }

    #[test]
    fn a_part_of_a_matrix_or_one_that_is_too_wide_is_no_grid() {
        assert_eq!(drawn(&TWO[..3], 80, false), None);
        assert_eq!(drawn(&[TWO[0], TWO[0]], 80, false), None);
        assert_eq!(drawn(&TWO, 20, false), None);
        assert_eq!(drawn(&[], 80, false), None);
    }
}
