//! [`open_files`]: opens the files of a statement as external tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, TableReference};
use datafusion::execution::SessionState;
use datafusion::logical_expr::CreateExternalTable;
use datafusion::sql::parser::Statement as DFStatement;

use super::arguments::Arguments;
use super::copy::as_insert;
use super::format::{Format, uncompressed};
use super::place::place;
use super::relation::{FileRelations, FileTable};
use crate::catalog::OwnerPlanner;
use crate::catalog::external::open_created;
use crate::catalog::locations::literal;
use crate::catalog::missing_files::{PresentTable, present};
use crate::catalog::name::UNUSED;
use crate::error::{Result, SqlState, sql_err};
use crate::sql::{FileCall, take_files};

/// Takes the files out of a statement and opens them.
pub(crate) async fn open_files(
    planner: &dyn OwnerPlanner,
    state: &SessionState,
    statement: &mut DFStatement,
) -> Result<FileRelations> {
    let target = as_insert(state, statement).await?;
    let calls = take_files(statement)?;
    let mut files: Vec<FileTable> = Vec::with_capacity(calls.len());
    for (index, call) in calls.iter().enumerate() {
        let known = calls[..index].iter().position(|earlier| earlier == call);
        let file = match known {
            Some(known) => files[known].clone(),
            None => open(planner, state, call, target.as_ref()).await?,
        };
        files.push(file);
    }
    Ok(FileRelations { files })
}

/// Opens the files of a call; `target` has the columns that COPY takes from them.
async fn open(
    planner: &dyn OwnerPlanner,
    state: &SessionState,
    call: &FileCall,
    target: Option<&Schema>,
) -> Result<FileTable> {
    let locations = call.locations.iter();
    let locations: Vec<String> = locations
        .map(|location| place(planner.files(), location))
        .collect::<Result<_>>()?;
    let (Some(first), Some(written)) = (locations.first(), call.locations.first()) else {
        let message = "a function that reads files has no file";
        return Err(sql_err(SqlState::Internal, message));
    };
    let format = match call.function.and_then(Format::of_function) {
        Some(format) => format,
        None => Format::of_location(first, written)?,
    };
    let Arguments {
        options,
        partitions,
    } = Arguments::parse(format, call)?;
    // The types of the table decide how a text is read: 007 may be a number or a name.
    let columns = match (format, target) {
        (Format::Csv, Some(target)) => readable(target),
        _ => Schema::empty(),
    };
    let columns = Arc::new(DFSchema::try_from(columns)?);
    let name = TableReference::bare(UNUSED);
    let create = CreateExternalTable::builder(name, first.as_str(), format.stored_as(), columns)
        .with_locations(locations.iter().map(|place| literal(place)).collect())
        .with_partition_cols(partitions)
        .with_options(options)
        // For the errors of CSV files, which name arguments instead of options.
        .with_temporary(true)
        .build();
    let places = present(&locations)?;
    let table = open_created(state, &create, &locations).await?;
    if let Some(target) = target {
        check_columns(written, &table.schema(), target)?;
    }
    Ok(FileTable {
        name: relation_name(first),
        table: Arc::new(PresentTable::new(table, places)),
    })
}

/// The columns with types that a text can be read as; a text of another type becomes one by the INSERT.
fn readable(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let data_type = match field.data_type() {
            known @ (DataType::Boolean
            | DataType::Int8
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
            | DataType::UInt8
            | DataType::UInt16
            | DataType::UInt32
            | DataType::UInt64
            | DataType::Float32
            | DataType::Float64
            | DataType::Decimal128(..)
            | DataType::Decimal256(..)
            | DataType::Date32
            | DataType::Timestamp(..)) => known.clone(),
            _ => DataType::Utf8,
        };
        Field::new(field.name(), data_type, true)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// Refuses files whose columns are not those that COPY fills, as the others would be lost.
fn check_columns(written: &str, found: &Schema, target: &Schema) -> Result<()> {
    fn names(schema: &Schema) -> BTreeSet<&str> {
        let fields = schema.fields().iter();
        fields.map(|field| field.name().as_str()).collect()
    }
    fn list(schema: &Schema) -> String {
        let fields = schema.fields().iter();
        let names: Vec<&str> = fields.map(|field| field.name().as_str()).collect();
        names.join(", ")
    }
    if names(found) == names(target) {
        return Ok(());
    }
    let (found, target) = (list(found), list(target));
    let message = format!(
        "file {written} has the columns {found} where COPY fills {target}; list the columns behind the table's name, or use INSERT INTO … SELECT … FROM '{written}'"
    );
    Err(sql_err(SqlState::TypeMismatch, message))
}

/// The name of the relation: that of the file without its end, of the folder, or of the folder before a pattern.
fn relation_name(location: &str) -> String {
    let mut parts = location.trim_end_matches('/').rsplit('/');
    let is_name = |part: &&str| !part.is_empty() && !part.contains(['*', '?', '[']);
    let name = uncompressed(parts.find(is_name).unwrap_or("file"));
    match name.rsplit_once('.') {
        Some((stem, _)) if !stem.is_empty() => stem.to_owned(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report;

    #[test]
    fn a_relation_has_the_name_of_its_file() {
        for (location, expected) in [
            ("/data/flights.parquet", "flights"),
            ("/data/flights.2024.csv.gz", "flights.2024"),
            ("/data/hive/", "hive"),
            ("s3://lake/days/*.parquet", "days"),
            ("/.csv", ".csv"),
            ("/", "file"),
        ] {
            assert_eq!(relation_name(location), expected, "{location}");
        }
    }

    #[test]
    fn copy_takes_all_columns_of_a_file() {
        let schema = |names: &[&str]| {
            let fields = names.iter();
            let fields = fields.map(|name| Field::new(*name, DataType::Int64, false));
            Schema::new(fields.collect::<Vec<_>>())
        };
        check_columns("x", &schema(&["b", "a"]), &schema(&["a", "b"])).unwrap();
        let error = check_columns("x", &schema(&["a", "c"]), &schema(&["a"])).unwrap_err();
        let message = report(&error).message;
        assert!(
            message.starts_with("file x has the columns a, c where COPY fills a;"),
            "{message}"
        );
    }

    #[test]
    fn a_text_is_read_as_the_type_of_the_table_where_it_can_be() {
        let list = DataType::new_list(DataType::Int64, true);
        let fields = [DataType::Utf8View, DataType::Int16, list];
        let fields = fields.map(|data_type| Field::new("x", data_type, false));
        let found = readable(&Schema::new(fields.to_vec()));
        let found: Vec<&DataType> = found
            .fields()
            .iter()
            .map(|field| field.data_type())
            .collect();
        assert_eq!(found, [&DataType::Utf8, &DataType::Int16, &DataType::Utf8]);
    }
}
