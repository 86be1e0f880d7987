//! Replies to metadata calls: catalogs, schemas, tables with their columns, keys (always none), types.

use std::sync::{Arc, LazyLock};

use arrow_flight::sql::metadata::{
    GetCatalogsBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    Command, CommandGetTableTypes, CommandGetTables, Nullable, Searchable, XdbcDataType,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::catalog::information_schema::INFORMATION_SCHEMA;
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use datafusion::logical_expr::TableType;
use tonic::Status;

use super::sessions::Client;
use super::sql_info;
use super::status::status;
use super::wire::{type_facts, wire_type};
use crate::catalog::CATALOG;
use crate::error::{Result, SqlState, sql_err};
use crate::session::Session;
use crate::session::column_tables::column_metadata;
use crate::storage::ML_SCHEMA;

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";
const LOCAL_TEMPORARY: &str = "LOCAL TEMPORARY";
const SYSTEM_TABLE: &str = "SYSTEM TABLE";

/// The schema of the reply to a metadata command; `None` for other commands.
pub(super) fn schema(command: &Command) -> Option<SchemaRef> {
    Some(match command {
        Command::CommandGetCatalogs(_) => GetCatalogsBuilder::new().schema(),
        Command::CommandGetDbSchemas(command) => command.clone().into_builder().schema(),
        Command::CommandGetTables(command) => command.clone().into_builder().schema(),
        Command::CommandGetTableTypes(_) => CommandGetTableTypes {}.into_builder().schema(),
        Command::CommandGetPrimaryKeys(_) => Arc::clone(&PRIMARY_KEYS),
        Command::CommandGetImportedKeys(_)
        | Command::CommandGetExportedKeys(_)
        | Command::CommandGetCrossReference(_) => Arc::clone(&FOREIGN_KEYS),
        Command::CommandGetXdbcTypeInfo(_) => TYPES.schema(),
        Command::CommandGetSqlInfo(_) => sql_info::schema(),
        _ => return None,
    })
}

/// The reply to a metadata command; `None` for other commands.
pub(super) async fn answer(
    client: &Client,
    command: Command,
) -> Result<Option<RecordBatch>, Status> {
    let session = &client.session;
    let batch = match command {
        Command::CommandGetCatalogs(_) => {
            let mut builder = GetCatalogsBuilder::new();
            builder.append(CATALOG);
            builder.build()?
        }
        Command::CommandGetDbSchemas(command) => {
            let mut builder = command.into_builder();
            for name in catalog(session)
                .map_err(|error| status(&error))?
                .schema_names()
            {
                builder.append(CATALOG, name);
            }
            builder.build()?
        }
        Command::CommandGetTables(command) => tables(session, command).await?,
        Command::CommandGetTableTypes(command) => {
            let mut builder = command.into_builder();
            for name in [LOCAL_TEMPORARY, SYSTEM_TABLE, TABLE, VIEW] {
                builder.append(name);
            }
            builder.build()?
        }
        Command::CommandGetPrimaryKeys(_) => RecordBatch::new_empty(Arc::clone(&PRIMARY_KEYS)),
        Command::CommandGetImportedKeys(_)
        | Command::CommandGetExportedKeys(_)
        | Command::CommandGetCrossReference(_) => RecordBatch::new_empty(Arc::clone(&FOREIGN_KEYS)),
        Command::CommandGetXdbcTypeInfo(command) => TYPES.record_batch(command.data_type)?,
        Command::CommandGetSqlInfo(command) => sql_info::answer(session, &command)?,
        _ => return Ok(None),
    };
    Ok(Some(batch))
}

fn catalog(session: &Session) -> Result<Arc<dyn CatalogProvider>> {
    let missing = || sql_err(SqlState::Internal, "the session has no catalog");
    session.context().catalog(CATALOG).ok_or_else(missing)
}

async fn tables(session: &Session, command: CommandGetTables) -> Result<RecordBatch, Status> {
    let catalog = catalog(session).map_err(|error| status(&error))?;
    let is_exactly = |pattern: &Option<String>, name: &str| {
        // A pattern without wildcards matches a single name, so only that schema or table is opened.
        pattern
            .as_deref()
            .is_none_or(|pattern| pattern.contains(['%', '_', '\\']) || pattern == name)
    };
    let with_schema = command.include_schema;
    let (schemas, names) = (
        command.db_schema_filter_pattern.clone(),
        command.table_name_filter_pattern.clone(),
    );
    let mut builder = command.into_builder();
    for schema_name in catalog.schema_names() {
        let Some(schema) = catalog
            .schema(&schema_name)
            .filter(|_| is_exactly(&schemas, &schema_name))
        else {
            continue;
        };
        let mut found = schema.table_names();
        found.retain(|name| is_exactly(&names, name));
        for name in found {
            // A table that cannot be opened must not hide the others.
            match table(schema.as_ref(), &schema_name, &name, with_schema).await {
                Ok(Some((kind, columns))) => {
                    builder.append(CATALOG, &schema_name, &name, kind, &columns)?;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(schema_name, name, %error, "a table cannot be shown"),
            }
        }
    }
    Ok(builder.build()?)
}

/// The kind of a table, and its columns if `with_columns`.
async fn table(
    schema: &dyn SchemaProvider,
    schema_name: &str,
    name: &str,
    with_columns: bool,
) -> Result<Option<(&'static str, Schema)>> {
    let is_system = [ML_SCHEMA, INFORMATION_SCHEMA].contains(&schema_name);
    let kind = match schema.table_type(name).await? {
        _ if is_system => SYSTEM_TABLE,
        Some(TableType::View) => VIEW,
        Some(TableType::Temporary) => LOCAL_TEMPORARY,
        Some(_) => TABLE,
        None => return Ok(None),
    };
    if !with_columns {
        return Ok(Some((kind, Schema::empty())));
    }
    let Some(table) = schema.table(name).await? else {
        return Ok(None);
    };
    let columns = table.schema();
    let fields = columns
        .fields()
        .iter()
        .map(|field| described(field, schema_name, name));
    Ok(Some((kind, Schema::new(fields.collect::<Vec<_>>()))))
}

/// A column with the metadata that JDBC shows.
fn described(field: &Field, schema: &str, table: &str) -> Field {
    let data_type = wire_type(field.data_type());
    let facts = [
        ("CATALOG_NAME", CATALOG),
        ("SCHEMA_NAME", schema),
        ("TABLE_NAME", table),
        ("IS_AUTO_INCREMENT", "0"),
        ("IS_CASE_SENSITIVE", "1"),
        ("IS_READ_ONLY", "0"),
        ("IS_SEARCHABLE", "1"),
    ];
    let facts = facts
        .into_iter()
        .map(|(key, value)| column_metadata(key, value))
        .chain(type_facts(&data_type));
    let facts = facts.collect();
    Field::new(field.name(), data_type, field.is_nullable()).with_metadata(facts)
}

static PRIMARY_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("catalog_name", DataType::Utf8, true),
        Field::new("db_schema_name", DataType::Utf8, true),
        Field::new("table_name", DataType::Utf8, false),
        Field::new("column_name", DataType::Utf8, false),
        Field::new("key_name", DataType::Utf8, true),
        Field::new("key_sequence", DataType::Int32, false),
    ]))
});

static FOREIGN_KEYS: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("pk_catalog_name", DataType::Utf8, true),
        Field::new("pk_db_schema_name", DataType::Utf8, true),
        Field::new("pk_table_name", DataType::Utf8, false),
        Field::new("pk_column_name", DataType::Utf8, false),
        Field::new("fk_catalog_name", DataType::Utf8, true),
        Field::new("fk_db_schema_name", DataType::Utf8, true),
        Field::new("fk_table_name", DataType::Utf8, false),
        Field::new("fk_column_name", DataType::Utf8, false),
        Field::new("key_sequence", DataType::Int32, false),
        Field::new("fk_key_name", DataType::Utf8, true),
        Field::new("pk_key_name", DataType::Utf8, true),
        Field::new("update_rule", DataType::UInt8, false),
        Field::new("delete_rule", DataType::UInt8, false),
    ]))
});

/// The types of columns, in the terms of ODBC and JDBC.
static TYPES: LazyLock<XdbcTypeInfoData> = LazyLock::new(|| {
    let mut builder = XdbcTypeInfoDataBuilder::new();
    let number = |name: &str, data_type, digits: i32| XdbcTypeInfo {
        unsigned_attribute: Some(false),
        num_prec_radix: Some(10),
        ..plain_type(name, data_type, digits)
    };
    let text = |name: &str, data_type, prefix: &str| XdbcTypeInfo {
        literal_prefix: Some(prefix.into()),
        literal_suffix: Some("'".into()),
        case_sensitive: true,
        searchable: Searchable::Full,
        ..plain_type(name, data_type, i32::MAX)
    };
    for info in [
        plain_type("BOOLEAN", XdbcDataType::XdbcBit, 1),
        number("TINYINT", XdbcDataType::XdbcTinyint, 3),
        number("SMALLINT", XdbcDataType::XdbcSmallint, 5),
        number("INT", XdbcDataType::XdbcInteger, 10),
        number("BIGINT", XdbcDataType::XdbcBigint, 19),
        number("REAL", XdbcDataType::XdbcReal, 7),
        number("DOUBLE", XdbcDataType::XdbcDouble, 15),
        XdbcTypeInfo {
            create_params: Some(vec!["precision".into(), "scale".into()]),
            minimum_scale: Some(0),
            maximum_scale: Some(76),
            fixed_prec_scale: true,
            ..number("DECIMAL", XdbcDataType::XdbcDecimal, 76)
        },
        text("VARCHAR", XdbcDataType::XdbcVarchar, "'"),
        text("BYTEA", XdbcDataType::XdbcVarbinary, "X'"),
        text("DATE", XdbcDataType::XdbcDate, "DATE '"),
        text("TIME", XdbcDataType::XdbcTime, "TIME '"),
        text("TIMESTAMP", XdbcDataType::XdbcTimestamp, "TIMESTAMP '"),
    ] {
        builder.append(info);
    }
    builder
        .build()
        .expect("the columns are those of the builder")
});

fn plain_type(name: &str, data_type: XdbcDataType, column_size: i32) -> XdbcTypeInfo {
    XdbcTypeInfo {
        type_name: name.into(),
        data_type,
        sql_data_type: data_type,
        column_size: Some(column_size),
        nullable: Nullable::NullabilityNullable,
        searchable: Searchable::Basic,
        auto_increment: Some(false),
        local_type_name: Some(name.into()),
        ..XdbcTypeInfo::default()
    }
}
