//! External tables: files outside the data directory, opened from the declaring statement in any process.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::{TableProvider, TableProviderFactory};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateExternalTable, DdlStatement, LogicalPlan};
use datafusion::sql::parser::Statement as DFStatement;
use vatic_ml::data::types;

use super::locations::literal;
use super::name::unused_name;
use super::partitions::open_partitioned;
use super::planner::OwnerPlanner;
use super::state::TableState;
use crate::access::Access;
use crate::error::{Result, SqlState, io_err, report, sql_err};
use crate::plan::csv;
use crate::sql::{Statement, parse};
use crate::storage::{Kind, Place};

/// Opens the files of an external table from its state.
pub(crate) async fn open_external(
    planner: &dyn OwnerPlanner,
    state: &SessionState,
    table: &TableState,
) -> Result<Arc<dyn TableProvider>> {
    let broken = || {
        sql_err(
            SqlState::Internal,
            "the stored statement of an external table cannot be read",
        )
    };
    let TableState::External {
        statement,
        locations,
    } = table
    else {
        return Err(broken());
    };
    let Some(Statement::DataFusion(parsed)) = parse(statement)? else {
        return Err(broken());
    };
    let DFStatement::CreateExternalTable(mut create) = *parsed else {
        return Err(broken());
    };
    // Existing tables are checked too: a link may be new, or the server's roots may have changed.
    for location in locations {
        planner.files().check_read(location)?;
    }
    create.locations = locations.iter().map(|location| literal(location)).collect();
    create.name = unused_name();
    let plan = planner
        .plan(
            state,
            &Access::All,
            DFStatement::CreateExternalTable(create),
        )
        .await?;
    let LogicalPlan::Ddl(DdlStatement::CreateExternalTable(create)) = plan else {
        return Err(broken());
    };
    open_created(state, &create, locations).await
}

/// Opens the files of a planned CREATE EXTERNAL TABLE, which are at these absolute locations and may be read.
pub(super) async fn open_created(
    state: &SessionState,
    create: &CreateExternalTable,
    locations: &[String],
) -> Result<Arc<dyn TableProvider>> {
    let file_type = create.file_type.to_uppercase();
    let factory = state.table_factories().get(&file_type).ok_or_else(|| {
        let mut known: Vec<&str> = state.table_factories().keys().map(String::as_str).collect();
        known.sort_unstable();
        let what = format!(
            "STORED AS {file_type} is not supported; use one of {}",
            known.join(", ")
        );
        sql_err(SqlState::Unsupported, what)
    })?;
    if let Some(table) = open_partitioned(state, create).await? {
        return Ok(Arc::new(table));
    }
    let is_csv = file_type == "CSV";
    let own_reader = csv::with_reader(state, csv::Table::of(create))?;
    let state = if is_csv { &own_reader } else { state };
    let directory = match locations {
        [location] if location.ends_with('/') && create.schema.fields().is_empty() => {
            Some(location.clone())
        }
        _ => None,
    };
    // For CSV files, DataFusion would report a mismatch only when it reads the rows, and without the file's name.
    let is_checked_first = is_csv;
    if let (Some(directory), true) = (&directory, is_checked_first) {
        let state = csv::with_reader(state, csv::Table::of(create).part())?;
        check_files(factory.as_ref(), &state, create, directory).await?;
    }
    match (factory.create(state, create).await, directory) {
        (Err(error), Some(directory)) if !is_checked_first => {
            check_files(factory.as_ref(), state, create, &directory).await?;
            Err(error)
        }
        (opened, _) => {
            let opened = opened?;
            if opened.schema().fields().is_empty() {
                let message = format!(
                    "{} has no columns: the file or directory is empty",
                    locations.join(", ")
                );
                return Err(sql_err(SqlState::Data, message));
            }
            Ok(opened)
        }
    }
}

/// Finds a file of a directory that cannot be read, or whose columns do not fit the first file's.
async fn check_files(
    factory: &dyn TableProviderFactory,
    state: &SessionState,
    create: &CreateExternalTable,
    directory: &str,
) -> Result<()> {
    let mut first: Option<(String, SchemaRef)> = None;
    let place = Place::parse(directory.as_ref())?;
    let entries = place.entries().map_err(|error| io_err(&place, &error))?;
    let is_csv = create.file_type.eq_ignore_ascii_case("CSV");
    let is_data = |name: &str| !is_csv || csv::is_in_folder(name);
    let files = entries.into_iter();
    let files = files.filter(|(name, kind)| *kind == Kind::File && is_data(name));
    for (name, _) in files {
        let alone = CreateExternalTable {
            locations: vec![literal(&format!("{directory}{name}"))],
            ..create.clone()
        };
        let opened = factory.create(state, &alone).await.map_err(|error| {
            let mut found = report(&error);
            if !found.message.starts_with("file ") {
                found.message = format!("file {name}: {}", found.message);
            }
            found
        })?;
        match &first {
            None => first = Some((name, opened.schema())),
            Some((first, schema)) => {
                compare(first, schema, &name, &opened.schema(), &create.file_type)?
            }
        }
    }
    Ok(())
}

fn compare(
    first: &str,
    expected: &Schema,
    name: &str,
    found: &Schema,
    file_type: &str,
) -> Result<()> {
    if file_type.eq_ignore_ascii_case("CSV") && expected.fields().len() != found.fields().len() {
        let (expected, found) = (expected.fields().len(), found.fields().len());
        let message = format!(
            "file {name} has {found} columns, file {first} has {expected}; make them agree"
        );
        return Err(sql_err(SqlState::TypeMismatch, message));
    }
    for field in found.fields() {
        let Some((_, other)) = expected.column_with_name(field.name()) else {
            continue;
        };
        if !types::is_lossless(field.data_type(), other.data_type())
            && !types::is_lossless(other.data_type(), field.data_type())
        {
            let (here, there) = (
                types::type_name(field.data_type()),
                types::type_name(other.data_type()),
            );
            let message = format!(
                "column \"{}\" is {here} in file {name} and {there} in file {first}; make them agree",
                field.name()
            );
            return Err(sql_err(SqlState::TypeMismatch, message));
        }
    }
    Ok(())
}
