//! The names of the columns of a file, and the mapping from the columns of the table to those of the file.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use futures::TryStreamExt;

use super::bytes::File;
use super::options::ReadOptions;
use super::records::{RECORD_BYTES_MAX, Record, Records};
use crate::error::{Result, SqlState, sql_err};

/// Delimiters to suggest if the first line does not contain the delimiter of the options.
const OTHER_DELIMITERS: &[(char, &str)] = &[(';', ";"), ('\t', "\\t"), ('|', "|")];

/// The first record of a file, if it has one.
pub(super) async fn first_record(file: &File, options: &ReadOptions) -> Result<Option<Record>> {
    let mut bytes = file.all(options).await?;
    let mut records = Records::new(options, 1);
    while let Some(piece) = bytes.try_next().await? {
        if let (_, Some(record)) = records.next(&piece) {
            return Ok(Some(record));
        }
        check_length(file, options, &records)?;
    }
    Ok(records.next(&[]).1)
}

/// Refuses a record that is too long: a quote that is not closed would make the rest of the file one value.
pub(super) fn check_length(file: &File, options: &ReadOptions, records: &Records) -> Result<()> {
    if records.pending() <= RECORD_BYTES_MAX {
        return Ok(());
    }
    let message = format!(
        "file {}: a record of more than {RECORD_BYTES_MAX} bytes; is a quote not closed, or is {} another character?",
        file.shown(),
        options.table.option("quote")
    );
    Err(sql_err(SqlState::Data, message))
}

/// Unique names: an empty name becomes `column_N`, and a name that is taken gets a number.
pub(super) fn unique(names: &[String]) -> Vec<String> {
    let given: HashSet<&String> = names.iter().collect();
    let mut taken: HashSet<String> = HashSet::new();
    let mut all = Vec::with_capacity(names.len());
    for (index, name) in names.iter().enumerate() {
        let base = match name.trim().is_empty() {
            true => format!("column_{}", index + 1),
            false => name.clone(),
        };
        let is_free = |name: &String| !taken.contains(name);
        let numbered = (1..).map(|number| format!("{base}_{number}"));
        let mut numbered = numbered.filter(|name| is_free(name) && !given.contains(name));
        let is_own = *name == base || !given.contains(&base);
        let name = match is_free(&base) && is_own {
            true => base.clone(),
            false => numbered.next().unwrap_or_else(|| base.clone()),
        };
        taken.insert(name.clone());
        all.push(name);
    }
    all
}

/// Refuses a first line that suggests another delimiter, or values instead of column names.
pub(super) fn check(file: &File, options: &ReadOptions, first: &[String]) -> Result<()> {
    if let ([line], false) = (first, options.says_delimiter) {
        let other = OTHER_DELIMITERS
            .iter()
            .find(|(byte, _)| line.contains(*byte));
        if let Some((_, delimiter)) = other {
            let message = format!(
                "file {} has no '{}' in its first line, but '{delimiter}': is that its delimiter? {}, or ',' for a file of one column",
                file.shown(),
                char::from(options.delimiter),
                options
                    .table
                    .setting("delimiter", &format!("'{delimiter}'"))
            );
            return Err(sql_err(SqlState::Data, message));
        }
    }
    let is_name = |text: &String| !text.trim().is_empty() && !is_value(text.trim());
    if options.has_header && !options.sets_header && !first.iter().any(is_name) {
        let message = format!(
            "the first line of file {} is {}: are these values, or names of columns? {}",
            file.shown(),
            first.join(", "),
            options.table.setting("has_header", "'false' or 'true'")
        );
        return Err(sql_err(SqlState::Data, message));
    }
    Ok(())
}

/// Whether a text is a number or a date, and so not a column name.
fn is_value(text: &str) -> bool {
    let is_date = || {
        let parts: Vec<&str> = text.splitn(3, '-').collect();
        let begins = |part: &&str| part.starts_with(|c: char| c.is_ascii_digit());
        parts.len() == 3 && parts.iter().all(begins)
    };
    let is_number =
        || text.parse::<f64>().is_ok() && !text.starts_with(|c: char| c.is_alphabetic());
    is_number() || is_date()
}

/// The columns of a file as arrow reads them, and the place of each table column in the file.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) schema: SchemaRef,
    pub(super) places: Vec<usize>,
}

/// Finds the columns of the table in a file with this header.
pub(super) fn columns(
    file: &File,
    options: &ReadOptions,
    table: &SchemaRef,
    header: Option<&[String]>,
) -> Result<Columns> {
    let as_they_are = || Columns {
        schema: Arc::clone(table),
        places: (0..table.fields().len()).collect(),
    };
    let Some(header) = header else {
        return Ok(as_they_are());
    };
    let names = unique(header);
    let wanted: Vec<&str> = table
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let is_start = names.len() <= wanted.len() && names.iter().zip(&wanted).all(|(a, b)| a == b);
    if is_start && (names.len() == wanted.len() || options.truncated_rows) {
        return Ok(as_they_are());
    }
    let places: Vec<Option<usize>> = wanted.iter().map(|name| place(&names, name)).collect();
    let extra = names.iter().enumerate().filter(|(index, name)| {
        let is_partition = options
            .table
            .partitions
            .iter()
            .any(|of| of.eq_ignore_ascii_case(name));
        !places.contains(&Some(*index)) && !is_partition
    });
    let has_extra = extra.count() > 0;
    if places.iter().all(Option::is_some) && !has_extra {
        let places: Vec<usize> = places.into_iter().flatten().collect();
        return Ok(by_name(&names, table, places));
    }
    let are_others = places.iter().all(Option::is_none);
    if options.table.is_declared && are_others && names.len() == wanted.len() {
        // The statement renames the columns of the file, in their order.
        return Ok(as_they_are());
    }
    Err(sql_err(
        SqlState::TypeMismatch,
        differ(file, options, &names, &wanted),
    ))
}

fn place(names: &[String], wanted: &str) -> Option<usize> {
    let exact = names.iter().position(|name| name == wanted);
    exact.or_else(|| {
        let mut like = names.iter().enumerate();
        let (index, _) = like.find(|(_, name)| name.eq_ignore_ascii_case(wanted))?;
        let is_only = !like.any(|(_, name)| name.eq_ignore_ascii_case(wanted));
        is_only.then_some(index)
    })
}

fn by_name(names: &[String], table: &SchemaRef, places: Vec<usize>) -> Columns {
    let fields = names.iter().enumerate().map(|(index, name)| -> FieldRef {
        match places.iter().position(|place| *place == index) {
            Some(column) => Arc::clone(&table.fields()[column]),
            None => Arc::new(Field::new(name, DataType::Utf8, true)),
        }
    });
    let schema = Schema::new(fields.collect::<Vec<_>>());
    Columns {
        schema: Arc::new(schema),
        places,
    }
}

fn differ(file: &File, options: &ReadOptions, names: &[String], wanted: &[&str]) -> String {
    let hint = match names {
        [line]
            if OTHER_DELIMITERS
                .iter()
                .any(|(byte, _)| line.contains(*byte)) =>
        {
            format!(
                "; set {} if the file has another delimiter",
                options.table.option("delimiter")
            )
        }
        _ if options.sets_header => String::new(),
        _ => format!(
            "; set {} to 'false' if the first line is not a header",
            options.table.option("has_header")
        ),
    };
    format!(
        "file {} has the columns {} where the table has {}; make them agree{hint}",
        file.shown(),
        names.join(", "),
        wanted.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unique_of(names: &[&str]) -> Vec<String> {
        unique(
            &names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn names_become_unique_and_those_that_are_stay() {
        assert_eq!(unique_of(&["a", "b"]), ["a", "b"]);
        assert_eq!(unique_of(&["a", "a", "a"]), ["a", "a_1", "a_2"]);
        assert_eq!(unique_of(&["a", "a", "a_1"]), ["a", "a_2", "a_1"]);
        assert_eq!(unique_of(&["", "x", " "]), ["column_1", "x", "column_3"]);
        assert_eq!(unique_of(&["", "column_1"]), ["column_1_1", "column_1"]);
    }

    #[test]
    fn values_are_told_from_names() {
        for value in ["1", "-2.5", "1e3", "2024-01-31", "2024-01-31 10:00:00"] {
            assert!(is_value(value), "{value}");
        }
        for name in ["id", "nan", "inf", "a-b-c", "2024 sales", "x1", "e3"] {
            assert!(!is_value(name), "{name}");
        }
    }
}
