//! Output formats that are written as rows arrive.

use std::io::Write;

use arrow_json::writer::{JsonArray, LineDelimited, WriterBuilder as JsonBuilder};
use datafusion::arrow::array::{Array, ArrayRef, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::csv::WriterBuilder as CsvBuilder;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use std::sync::Arc;
use unicode_width::UnicodeWidthStr;

use super::cell::{CellOptions, Cells, escaped};
use super::target::Out;
use crate::error::Result;
use crate::repl::format::Format;
use crate::repl::settings::Settings;

/// Writes one result.
pub(super) struct Writer<'a> {
    format: Format,
    settings: &'a Settings,
    schema: SchemaRef,
    /// Whether the output is a terminal, which must not receive control characters.
    is_terminal: bool,
    rows: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        format: Format,
        settings: &'a Settings,
        schema: SchemaRef,
        is_terminal: bool,
    ) -> Self {
        Self {
            format,
            settings,
            schema,
            is_terminal,
            rows: 0,
        }
    }

    /// Writes the text before the rows.
    pub(super) fn begin(&mut self, out: &mut Out) -> Result<()> {
        let names = || {
            self.schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
        };
        match self.format {
            // A result without rows still has its header.
            Format::Csv | Format::Tsv if self.settings.with_header => {
                self.separated(&RecordBatch::new_empty(Arc::clone(&self.schema)), true, out)
            }
            Format::Json => Ok(out.write_all(b"[")?),
            Format::Markdown => {
                let names: Vec<String> = names().map(markdown_cell).collect();
                let rules =
                    self.schema
                        .fields()
                        .iter()
                        .map(|field| match field.data_type().is_numeric() {
                            true => "---:",
                            false => "---",
                        });
                let rules: Vec<&str> = rules.collect();
                let text = format!("| {} |\n| {} |\n", names.join(" | "), rules.join(" | "));
                Ok(out.write_all(text.as_bytes())?)
            }
            _ => Ok(()),
        }
    }

    /// Counts rows that are not written.
    pub(super) fn pass(&mut self, rows: usize) {
        self.rows += rows;
    }

    pub(super) fn batch(&mut self, batch: &RecordBatch, out: &mut Out) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        match self.format {
            Format::Csv | Format::Tsv => self.separated(batch, false, out)?,
            Format::Json => self.json(&for_json(batch)?, out)?,
            Format::NdJson => {
                let builder = JsonBuilder::new().with_explicit_nulls(true);
                let mut writer = builder.build::<_, LineDelimited>(Vec::new());
                writer.write(&for_json(batch)?)?;
                writer.finish()?;
                out.write_all(&self.visible(writer.into_inner()))?;
            }
            Format::Markdown => self.markdown(batch, out)?,
            _ => self.records(batch, out)?,
        }
        self.rows += batch.num_rows();
        Ok(())
    }

    /// Writes the text after the rows.
    pub(super) fn end(&mut self, out: &mut Out) -> Result<()> {
        if self.format == Format::Json {
            out.write_all(b"]\n")?;
        }
        Ok(())
    }

    /// Writes the elements of a JSON array that spans all batches.
    fn json(&self, batch: &RecordBatch, out: &mut Out) -> Result<()> {
        let builder = JsonBuilder::new().with_explicit_nulls(true);
        let mut writer = builder.build::<_, JsonArray>(Vec::new());
        writer.write(batch)?;
        writer.finish()?;
        let text = writer.into_inner();
        let elements = &text[1..text.len().saturating_sub(1)];
        if self.rows > 0 {
            out.write_all(b",\n")?;
        }
        Ok(out.write_all(&self.visible(elements.to_vec()))?)
    }

    /// Escapes the control characters that JSON leaves unescaped (C1), for a terminal.
    fn visible(&self, json: Vec<u8>) -> Vec<u8> {
        let is_harmful = |c: char| c.is_control() && c != '\n';
        match std::str::from_utf8(&json) {
            Ok(text) if self.is_terminal && text.contains(is_harmful) => {
                let escape = |c: char| match is_harmful(c) {
                    true => format!("\\u{:04x}", u32::from(c)),
                    false => c.to_string(),
                };
                text.chars().map(escape).collect::<String>().into_bytes()
            }
            _ => json,
        }
    }

    fn separated(&self, batch: &RecordBatch, with_header: bool, out: &mut Out) -> Result<()> {
        let options = CellOptions {
            null: "NULL",
            with_full_vectors: true,
        };
        let columns = batch.columns().iter().map(|column| {
            // CSV has no nested values, so they are written in SQL notation.
            let is_text = matches!(
                column.data_type(),
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
            );
            match column.data_type().is_nested() || (is_text && self.is_terminal) {
                true => as_text(column, options, self.is_terminal),
                false => Ok(Arc::clone(column)),
            }
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        let fields = self.schema.fields().iter().zip(&columns);
        let fields = fields
            .map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
        // Column names may repeat; `Schema::new` allows that.
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        let flat = RecordBatch::try_new(schema, columns)?;
        let mut builder = CsvBuilder::new().with_header(with_header);
        if self.format == Format::Tsv {
            builder = builder.with_delimiter(b'\t');
        }
        if let Some(null) = &self.settings.null {
            builder = builder.with_null(null.clone());
        }
        let mut text = Vec::new();
        let mut writer = builder.build(&mut text);
        writer.write(&flat)?;
        drop(writer);
        Ok(out.write_all(&text)?)
    }

    fn cells<'b>(&'b self, batch: &'b RecordBatch) -> Result<Vec<Cells<'b>>> {
        let options = CellOptions {
            null: self.settings.null.as_deref().unwrap_or("NULL"),
            with_full_vectors: self.settings.with_full_vectors,
        };
        let columns = batch.columns().iter();
        columns
            .map(|column| Cells::try_new(column, options))
            .collect()
    }

    fn markdown(&self, batch: &RecordBatch, out: &mut Out) -> Result<()> {
        let cells = self.cells(batch)?;
        for row in 0..batch.num_rows() {
            let values: Vec<String> = cells
                .iter()
                .map(|cells| cells.raw(row).map(markdown_cell))
                .collect::<Result<_>>()?;
            out.write_all(format!("| {} |\n", values.join(" | ")).as_bytes())?;
        }
        Ok(())
    }

    fn records(&self, batch: &RecordBatch, out: &mut Out) -> Result<()> {
        let cells = self.cells(batch)?;
        let names: Vec<String> = self
            .schema
            .fields()
            .iter()
            .map(|field| escaped(field.name().clone()))
            .collect();
        let width = names.iter().map(|name| name.width()).max().unwrap_or(0);
        for row in 0..batch.num_rows() {
            let head = format!("-[ RECORD {} ]", self.rows + row + 1);
            let mut text = format!("{head:-<length$}\n", length = (width + 3).max(head.len()));
            for (name, cells) in names.iter().zip(&cells) {
                let space = " ".repeat(width - name.width());
                text.push_str(&format!("{name}{space} | {}\n", cells.text(row)?));
            }
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}

fn as_text(column: &ArrayRef, options: CellOptions, is_terminal: bool) -> Result<ArrayRef> {
    let cells = Cells::try_new(column, options)?;
    let text = (0..column.len()).map(|row| {
        let text = || match is_terminal {
            true => cells.text(row),
            false => cells.raw(row),
        };
        match cells.is_null(row) {
            true => Ok(None),
            false => text().map(Some),
        }
    });
    Ok(Arc::new(text.collect::<Result<StringArray>>()?))
}

/// The batch with types that JSON supports: object keys become text, and an invalid timestamp is an error.
fn for_json(batch: &RecordBatch) -> Result<RecordBatch> {
    let options = CellOptions {
        null: "NULL",
        with_full_vectors: true,
    };
    let columns = batch
        .columns()
        .iter()
        .map(|column| match column.data_type() {
            DataType::Map(entries, _) if !has_text_keys(entries) => as_text(column, options, false),
            temporal if temporal.is_temporal() => {
                cast(column, &DataType::Utf8)?;
                Ok(Arc::clone(column))
            }
            _ => Ok(Arc::clone(column)),
        });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields =
        fields.map(|(field, column)| Field::new(field.name(), column.data_type().clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    Ok(RecordBatch::try_new(schema, columns)?)
}

fn has_text_keys(entries: &Field) -> bool {
    match entries.data_type() {
        DataType::Struct(fields) => fields.first().is_some_and(|key| {
            matches!(
                key.data_type(),
                DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
            )
        }),
        _ => false,
    }
}

fn markdown_cell(text: String) -> String {
    let text = text.replace('\\', "\\\\").replace('|', "\\|");
    escaped(text.replace("\r\n", "<br>").replace('\n', "<br>"))
}
