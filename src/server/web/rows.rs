//! [`Rows`]: the rows of a query as text, from which pages are made.

use datafusion::arrow::array::Array;
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::TryStreamExt;

use super::figures::number;
use super::html::escaped;
use crate::error::Result;
use crate::session::Session;

/// The characters of a value that a table shows.
const SHOWN_CHARACTERS: usize = 2_000;

/// The rows of a query.
#[derive(Debug, Default)]
pub(super) struct Rows {
    columns: Vec<ResultColumn>,
    /// The values of each row; `None` is NULL.
    rows: Vec<Vec<Option<String>>>,
}

#[derive(Debug)]
struct ResultColumn {
    name: String,
    type_name: String,
    is_number: bool,
    is_fraction: bool,
}

impl Rows {
    /// # Errors
    /// If a value cannot be shown, such as a timestamp beyond the calendar.
    pub(super) fn try_new(schema: &Schema, batches: &[RecordBatch]) -> Result<Self> {
        let columns = schema.fields().iter().map(|field| ResultColumn {
            name: field.name().clone(),
            type_name: field.data_type().to_string(),
            is_number: field.data_type().is_numeric(),
            is_fraction: field.data_type().is_floating(),
        });
        let columns = columns.collect();
        let mut rows = Vec::new();
        let options = FormatOptions::default();
        for batch in batches {
            let arrays = batch.columns().iter();
            let cells = arrays.map(|array| ArrayFormatter::try_new(array.as_ref(), &options));
            let cells = cells.collect::<Result<Vec<_>, _>>()?;
            for row in 0..batch.num_rows() {
                let values = batch.columns().iter().zip(&cells).map(|(array, cells)| {
                    match array.is_null(row) {
                        true => Ok(None),
                        false => cells.value(row).try_to_string().map(Some),
                    }
                });
                rows.push(values.collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(Self { columns, rows })
    }

    /// The number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether the result has columns.
    pub(super) fn has_columns(&self) -> bool {
        !self.columns.is_empty()
    }

    /// A value; empty for NULL and for a column that the result lacks.
    pub(super) fn text(&self, row: usize, column: &str) -> &str {
        self.value(row, column).unwrap_or_default()
    }

    /// A value as a number; `None` for NULL and for what is no number.
    pub(super) fn number(&self, row: usize, column: &str) -> Option<f64> {
        self.value(row, column)?.parse().ok()
    }

    /// A number with as many digits as people compare; empty for NULL.
    pub(super) fn figure(&self, row: usize, column: &str) -> String {
        self.number(row, column).map_or(String::new(), number)
    }

    /// The rows whose fractions have as many digits as people compare.
    pub(super) fn rounded(mut self) -> Self {
        for row in &mut self.rows {
            let cells = self.columns.iter().zip(row);
            for (_, cell) in cells.filter(|(column, _)| column.is_fraction) {
                let value = cell.as_deref().and_then(|text| text.parse::<f64>().ok());
                if let Some(value) = value {
                    *cell = Some(number(value));
                }
            }
        }
        self
    }

    fn value(&self, row: usize, column: &str) -> Option<&str> {
        let place = self.columns.iter().position(|known| known.name == column)?;
        self.rows.get(row)?.get(place)?.as_deref()
    }

    /// The rows as a table, with the type of each column, and with a plot if `page.js` finds numbers.
    pub(super) fn table(&self) -> String {
        let class = |column: &ResultColumn| if column.is_number { "n" } else { "" };
        let heads = self.columns.iter().map(|column| {
            format!(
                "<th class=\"{}\">{}<small>{}</small></th>",
                class(column),
                escaped(&column.name),
                escaped(&column.type_name)
            )
        });
        let heads: String = heads.collect();
        let mut html =
            format!("<div class=\"scroll\"><table><thead><tr>{heads}</tr></thead><tbody>");
        for row in &self.rows {
            html.push_str("<tr>");
            for (column, value) in self.columns.iter().zip(row) {
                let class = class(column);
                html.push_str(&match value {
                    Some(value) => format!("<td class=\"{class}\">{}</td>", escaped(&cut(value))),
                    None => format!("<td class=\"{class} null\">NULL</td>"),
                });
            }
            html.push_str("</tr>");
        }
        html.push_str("</tbody></table></div>");
        html
    }
}

fn cut(value: &str) -> String {
    let mut characters = value.chars();
    let mut shown: String = characters.by_ref().take(SHOWN_CHARACTERS).collect();
    if characters.next().is_some() {
        shown.push('…');
    }
    shown
}

/// The rows of a query of system tables. Other queries go through `execute`, which keeps the limits of clients.
pub(super) async fn query(session: &Session, text: &str) -> Result<Rows> {
    let stream = session.sql(text).await?;
    let schema = stream.schema();
    let batches: Vec<RecordBatch> = stream.try_collect().await?;
    Rows::try_new(&schema, &batches)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn values_are_texts_and_numbers() {
        let columns = [
            (
                "<n>",
                Arc::new(Float64Array::from(vec![Some(0.25), None])) as ArrayRef,
            ),
            (
                "t",
                Arc::new(StringArray::from(vec!["<b>", "x"])) as ArrayRef,
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let rows = Rows::try_new(&batch.schema(), &[batch]).unwrap();
        assert_eq!((rows.len(), rows.number(0, "<n>")), (2, Some(0.25)));
        assert_eq!((rows.number(1, "<n>"), rows.text(1, "<n>")), (None, ""));
        assert_eq!((rows.text(0, "t"), rows.text(0, "none")), ("<b>", ""));
        let html = rows.table();
        assert!(
            html.contains("<th class=\"n\">&lt;n&gt;<small>Float64</small></th>"),
            "{html}"
        );
        assert!(
            html.contains("<td class=\"n null\">NULL</td><td class=\"\">x</td>"),
            "{html}"
        );
        assert!(!html.contains("<b>"), "{html}");
    }

    #[test]
    fn fractions_are_rounded_and_other_values_stay() {
        let columns = [
            (
                "r2",
                Arc::new(Float64Array::from(vec![Some(0.987_654_321), None])) as ArrayRef,
            ),
            (
                "rows",
                Arc::new(Int64Array::from(vec![i64::MAX, 2])) as ArrayRef,
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let rows = Rows::try_new(&batch.schema(), &[batch]).unwrap();
        assert_eq!(rows.figure(0, "r2"), "0.9877");
        let rows = rows.rounded();
        assert_eq!((rows.text(0, "r2"), rows.text(1, "r2")), ("0.9877", ""));
        assert_eq!(rows.text(0, "rows"), i64::MAX.to_string());
    }

    #[test]
    fn long_values_are_cut() {
        let long = "ä".repeat(SHOWN_CHARACTERS + 1);
        assert_eq!(cut(&long).chars().count(), SHOWN_CHARACTERS + 1);
        assert!(cut(&long).ends_with('…') && !cut("ä").ends_with('…'));
    }
}
