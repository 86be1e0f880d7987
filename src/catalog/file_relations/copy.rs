//! `COPY t FROM 'file'` as `INSERT INTO t SELECT … FROM read_csv('file', …)`.

use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{
    CopyOption, CopySource, CopyTarget, Ident, ObjectName, Statement as SqlStatement,
};

use crate::catalog::name::table_reference;
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::sql::{READ_CSV, READ_JSON, READ_PARQUET, Statement, folded, parse, quoted};

/// Turns COPY … FROM into INSERT, and returns the columns of the table that get values. Other statements stay.
pub(super) async fn as_insert(
    state: &SessionState,
    statement: &mut DFStatement,
) -> Result<Option<Schema>> {
    let DFStatement::Statement(inner) = &*statement else {
        return Ok(None);
    };
    let SqlStatement::Copy {
        source: CopySource::Table {
            table_name,
            columns,
        },
        to: false,
        target,
        options,
        legacy_options,
        values: _,
    } = inner.as_ref()
    else {
        return Ok(None);
    };
    let CopyTarget::File { filename } = target else {
        let message = format!("COPY … FROM {target} is not supported; name a file or a folder");
        return Err(sql_err(SqlState::Unsupported, message));
    };
    if let Some(option) = legacy_options.first() {
        let message = format!(
            "{option} of COPY … FROM stands outside of brackets; write WITH (FORMAT csv, HEADER)"
        );
        return Err(sql_err(SqlState::Unsupported, message));
    }
    let file = file(filename, options)?;
    let (text, target) = match table_schema(state, table_name).await? {
        Some(schema) => {
            let target = chosen(&schema, table_name, columns)?;
            let names = target.fields().iter();
            let names = names.map(|field| Ident::with_quote('"', field.name()).to_string());
            let names = names.collect::<Vec<_>>().join(", ");
            let text = format!("INSERT INTO {table_name} ({names}) SELECT {names} FROM {file}");
            (text, Some(target))
        }
        // The planner says that there is no such table.
        None => (
            format!("INSERT INTO {table_name} SELECT * FROM {file}"),
            None,
        ),
    };
    let Some(Statement::DataFusion(insert)) = parse(&text)? else {
        let message = "COPY … FROM did not become an INSERT";
        return Err(sql_err(SqlState::Internal, message));
    };
    *statement = *insert;
    Ok(target)
}

async fn table_schema(state: &SessionState, name: &ObjectName) -> Result<Option<SchemaRef>> {
    let normalize = state.config_options().sql_parser.enable_ident_normalization;
    let reference = table_reference(&name.to_string(), normalize);
    let table = reference.table().to_owned();
    let Ok(schema) = state.schema_for_ref(reference) else {
        return Ok(None);
    };
    let table = schema.table(&table).await?;
    Ok(table.map(|table| table.schema()))
}

/// The listed columns, or all.
fn chosen(schema: &SchemaRef, table: &ObjectName, columns: &[Ident]) -> Result<Schema> {
    if columns.is_empty() {
        return Ok(schema.as_ref().clone());
    }
    let fields = columns.iter().map(|column| {
        let name = folded(column);
        let mut fields = schema.fields().iter();
        let field = fields.find(|field| *field.name() == name).cloned();
        field.ok_or_else(|| {
            let known = schema.fields().iter().map(|field| field.name().as_str());
            let what = format!("table {table} has no column \"{name}\"");
            sql_err(SqlState::MissingColumn, with_cause(what, &name, known))
        })
    });
    let fields: Result<Vec<FieldRef>> = fields.collect();
    Ok(Schema::new(fields?))
}

/// The file as a relation, with the options as arguments.
fn file(location: &str, options: &[CopyOption]) -> Result<String> {
    let (mut function, mut arguments) = (None, Vec::new());
    for option in options {
        match option {
            CopyOption::Format(name) => function = Some(reader(name)?),
            CopyOption::Delimiter(delim) => {
                arguments.push(format!("delim => {}", quoted(&delim.to_string())));
            }
            CopyOption::Null(text) => arguments.push(format!("null => {}", quoted(text))),
            CopyOption::Header(header) => arguments.push(format!("header => {header}")),
            CopyOption::Quote(quote) => {
                arguments.push(format!("quote => {}", quoted(&quote.to_string())));
            }
            CopyOption::Escape(escape) => {
                arguments.push(format!("escape => {}", quoted(&escape.to_string())));
            }
            CopyOption::Encoding(name)
                if ["utf8", "utf-8"].contains(&name.to_lowercase().as_str()) => {}
            CopyOption::Freeze(_)
            | CopyOption::ForceQuote(_)
            | CopyOption::ForceNotNull(_)
            | CopyOption::ForceNull(_)
            | CopyOption::Encoding(_) => {
                let message = format!("{option} of COPY … FROM is not supported; leave it out");
                return Err(sql_err(SqlState::Unsupported, message));
            }
        }
    }
    let location = quoted(location);
    Ok(match (function, arguments.as_slice()) {
        (None, []) => location,
        (function, []) => format!("{}({location})", function.unwrap_or(READ_CSV)),
        // Only files of CSV have such options.
        (function, arguments) => format!(
            "{}({location}, {})",
            function.unwrap_or(READ_CSV),
            arguments.join(", ")
        ),
    })
}

fn reader(format: &Ident) -> Result<&'static str> {
    match format.value.to_lowercase().as_str() {
        "csv" => Ok(READ_CSV),
        "json" => Ok(READ_JSON),
        "parquet" => Ok(READ_PARQUET),
        _ => Err(unknown_format(format)),
    }
}

fn unknown_format(format: &Ident) -> DataFusionError {
    let message =
        format!("FORMAT {format} of COPY … FROM is not supported; use csv, json or parquet");
    sql_err(SqlState::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Engine;
    use crate::error::report;

    async fn insert(text: &str) -> Result<String> {
        let engine = Engine::builder().build().unwrap();
        let session = engine.session().unwrap();
        let create = "CREATE TABLE t (a BIGINT, \"B c\" VARCHAR)";
        drop(session.sql(create).await.unwrap());
        let Some(Statement::DataFusion(mut statement)) = parse(text)? else {
            panic!("{text}")
        };
        let state = session.context().state();
        as_insert(&state, &mut statement).await?;
        Ok(statement.to_string())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn copy_is_an_insert_by_name() {
        for (text, expected) in [
            (
                "COPY t FROM 'x.csv'",
                "INSERT INTO t (\"a\", \"B c\") SELECT \"a\", \"B c\" FROM 'x.csv'",
            ),
            (
                "COPY t (A) FROM 'x' WITH (FORMAT CSV, HEADER false, DELIMITER '|', NULL 'it''s')",
                "INSERT INTO t (\"a\") SELECT \"a\" FROM read_csv('x', header => false, delim => '|', null => 'it''s')",
            ),
            (
                "COPY t FROM 'x' (FORMAT parquet)",
                "INSERT INTO t (\"a\", \"B c\") SELECT \"a\", \"B c\" FROM read_parquet('x')",
            ),
            (
                "COPY missing FROM 'x.csv'",
                "INSERT INTO missing SELECT * FROM 'x.csv'",
            ),
            ("SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(insert(text).await.unwrap(), expected);
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_copy_does_not_take_is_refused() {
        for (text, problem) in [
            ("COPY t FROM STDIN", "FROM STDIN is not supported"),
            ("COPY t FROM 'x' (FORMAT text)", "use csv, json or parquet"),
            ("COPY t FROM 'x' (FREEZE)", "FREEZE of COPY"),
            ("COPY t FROM 'x' CSV", "stands outside of brackets"),
            ("COPY t (aa) FROM 'x'", "table t has no column \"aa\""),
        ] {
            let message = report(&insert(text).await.unwrap_err()).message;
            assert!(message.contains(problem), "{text}: {message}");
        }
    }
}
