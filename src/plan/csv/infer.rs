//! Inference of column types from the first records of each file.

use std::sync::Arc;

use arrow::csv::reader::Format;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::DataFusionError;
use futures::TryStreamExt;
use vatic_ml::data::types::type_name;

use super::bytes::File;
use super::header::{self, check_length, unique};
use super::options::ReadOptions;
use super::records::{Record, Records};
use crate::error::{Result, SqlState, sql_err};

/// The schema of the files, which must agree. Columns without a value have the type [`DataType::Null`].
pub(super) async fn infer(files: &[File], options: &ReadOptions) -> Result<Schema> {
    let mut rows_left = options.infer_rows;
    let mut found: Option<(String, SchemaRef)> = None;
    for file in files {
        let (schema, rows) = infer_file(file, options, rows_left).await?;
        rows_left -= rows.min(rows_left);
        let Some(schema) = schema else {
            continue;
        };
        found = Some(match found {
            None => (file.shown(), Arc::new(schema)),
            Some((first, expected)) => {
                let merged = merge(file, options, &schema, &first, &expected)?;
                (first, Arc::new(merged))
            }
        });
        if rows_left == 0 {
            break;
        }
    }
    let found = found.map(|(_, schema)| schema.as_ref().clone());
    Ok(found.unwrap_or_else(Schema::empty))
}

/// The schema of a file, and the number of rows that it was inferred from; no schema if the file is empty.
async fn infer_file(
    file: &File,
    options: &ReadOptions,
    rows_max: usize,
) -> Result<(Option<Schema>, usize)> {
    let mut sample = Sample::default();
    let mut records = Records::new(options, 1);
    let mut bytes = file.all(options).await?;
    'file: loop {
        let piece = bytes.try_next().await?;
        let is_end = piece.is_none();
        let piece = piece.unwrap_or_default();
        let mut at = 0;
        loop {
            let (taken, record) = records.next(&piece[at..]);
            sample.raw.extend_from_slice(&piece[at..at + taken]);
            at += taken;
            let Some(record) = record else {
                break;
            };
            sample.add(file, options, &record)?;
            if sample.rows >= rows_max {
                break 'file;
            }
            if at == piece.len() && !is_end {
                break;
            }
        }
        if is_end {
            break;
        }
        check_length(file, options, &records)?;
    }
    let Some(names) = &sample.names else {
        return Ok((None, 0));
    };
    let types = sample.types(options, names.len())?;
    let fields = names.iter().zip(types);
    let fields: Vec<Field> = fields
        .map(|(name, data_type)| Field::new(name, data_type, true))
        .collect();
    Ok((Some(Schema::new(fields)), sample.rows))
}

/// The first records of a file.
#[derive(Debug, Default)]
struct Sample {
    names: Option<Vec<String>>,
    rows: usize,
    /// The bytes of these records.
    raw: Vec<u8>,
}

impl Sample {
    fn add(&mut self, file: &File, options: &ReadOptions, record: &Record) -> Result<()> {
        let width = record.fields.len();
        let Some(names) = &self.names else {
            header::check(file, options, &record.texts())?;
            if options.has_header {
                self.names = Some(unique(&record.texts()));
                self.raw.clear();
            } else {
                let names = (1..=width).map(|column| format!("column_{column}"));
                self.names = Some(names.collect());
                self.rows = 1;
            }
            return Ok(());
        };
        self.rows += 1;
        let is_text = |field: &Vec<u8>| std::str::from_utf8(field).is_ok();
        if let Some(column) = record.fields.iter().position(|field| !is_text(field)) {
            let name = names.get(column).map_or("", String::as_str);
            return Err(not_text(file, record, name));
        }
        let expected = names.len();
        if width == expected || (options.truncated_rows && width < expected) {
            return Ok(());
        }
        Err(unequal(file, options, record, expected))
    }

    fn types(&self, options: &ReadOptions, width: usize) -> Result<Vec<DataType>> {
        if options.infer_rows == 0 {
            return Ok(vec![DataType::Utf8; width]);
        }
        // A header of our own gives the schema one column per name, even if the first rows have fewer fields.
        let delimiter = char::from(options.delimiter).to_string();
        let end = char::from(options.terminator.unwrap_or(b'\n'));
        let mut raw = vec!["n"; width].join(&delimiter).into_bytes();
        raw.push(end as u8);
        let without_mark = self.raw.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.raw);
        raw.extend_from_slice(without_mark);
        let format: Format = options.types()?.with_header(true);
        let (schema, _) = format.infer_schema(raw.as_slice(), None)?;
        let types =
            schema
                .fields()
                .iter()
                .enumerate()
                .map(|(column, field)| match field.data_type() {
                    // One value needs nanoseconds, and another is out of their range; microseconds would truncate the first.
                    DataType::Timestamp(TimeUnit::Nanosecond, _)
                        if !self.holds(options, &schema, column, raw.as_slice())? =>
                    {
                        Ok(DataType::Utf8)
                    }
                    other => Ok(other.clone()),
                });
        types.collect()
    }

    /// Whether all values fit the inferred type: a timestamp may be out of the range of nanoseconds.
    fn holds(
        &self,
        options: &ReadOptions,
        schema: &Schema,
        column: usize,
        raw: &[u8],
    ) -> Result<bool> {
        let builder = options.builder(Arc::new(schema.clone()), self.rows.max(1))?;
        let mut reader = builder
            .with_header(true)
            .with_projection(vec![column])
            .build(raw)?;
        Ok(reader.all(|batch| batch.is_ok()))
    }
}

/// The error for a record with another number of fields.
pub(super) fn unequal(
    file: &File,
    options: &ReadOptions,
    record: &Record,
    expected: usize,
) -> DataFusionError {
    let remedy = match record.fields.len() < expected && !options.truncated_rows {
        true => format!(
            "set {} to 'true' to read missing fields at the end as NULL",
            options.table.option("truncated_rows")
        ),
        false => "does a value contain the delimiter, or are quotes missing?".to_owned(),
    };
    let message = format!(
        "file {}, line {}: {} fields where there are {expected} columns; {remedy}",
        file.shown(),
        record.line,
        record.fields.len()
    );
    sql_err(SqlState::Data, message)
}

/// The error for a value that is not UTF-8.
pub(super) fn not_text(file: &File, record: &Record, column: &str) -> DataFusionError {
    let message = format!(
        "file {}, line {}, column \"{column}\": the text is not UTF-8; convert the file",
        file.shown(),
        record.line
    );
    sql_err(SqlState::Data, message)
}

fn merge(
    file: &File,
    options: &ReadOptions,
    schema: &Schema,
    first: &str,
    expected: &SchemaRef,
) -> Result<Schema> {
    let names: Vec<String> = schema
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    let header = options.has_header.then_some(names.as_slice());
    if header.is_none() && names.len() != expected.fields().len() {
        let message = format!(
            "file {} has {} columns, file {first} has {}; make them agree",
            file.shown(),
            names.len(),
            expected.fields().len()
        );
        return Err(sql_err(SqlState::TypeMismatch, message));
    }
    let columns = header::columns(file, options, expected, header)?;
    let fields = expected.fields().iter().zip(&columns.places);
    let fields = fields.map(|(field, place)| {
        // A file with fewer columns says nothing about the missing ones.
        let Some(other) = schema.fields().get(*place) else {
            return Ok(field.as_ref().clone());
        };
        let merged = merged(field.data_type(), other.data_type()).ok_or_else(|| {
            let message = format!(
                "column \"{}\" is {} in file {} and {} in file {first}; make them agree",
                field.name(),
                type_name(other.data_type()),
                file.shown(),
                type_name(field.data_type())
            );
            sql_err(SqlState::TypeMismatch, message)
        })?;
        Ok(field.as_ref().clone().with_data_type(merged))
    });
    Ok(Schema::new(fields.collect::<Result<Vec<_>>>()?))
}

fn merged(left: &DataType, right: &DataType) -> Option<DataType> {
    match (left, right) {
        (left, right) if left == right => Some(left.clone()),
        (DataType::Null, other) | (other, DataType::Null) => Some(other.clone()),
        (DataType::Timestamp(left, zone), DataType::Timestamp(right, other)) if zone == other => {
            Some(DataType::Timestamp(*left.max(right), zone.clone()))
        }
        _ => None,
    }
}
