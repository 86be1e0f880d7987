//! Checks of clauses of statements that are no queries.

use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, ColumnOptionDef, CreateTable, CreateView, ObjectType, Statement,
    ViewColumnDef,
};

use super::changes;
use super::refusal::{Found, refuse};

pub(super) fn check_statement(statement: &Statement) -> Found {
    match statement {
        Statement::CreateView(view) => check_view(view),
        Statement::Delete(delete) => changes::check_delete(delete),
        // CREATE INDEX by itself does not come here. Within another statement, DataFusion plans it and has no operator for it.
        Statement::CreateIndex(_) => {
            Err("CREATE INDEX is not supported within another statement; run it by itself".into())
        }
        Statement::CreateTable(CreateTable { columns, .. }) => {
            columns.iter().try_for_each(check_column)
        }
        Statement::Drop {
            object_type,
            if_exists: _,
            names: _,
            // CASCADE changes nothing: no object depends on a table, because views find their tables when they are read.
            cascade,
            restrict: _,
            purge,
            temporary,
            table,
        } => {
            let is_kept = matches!(
                object_type,
                ObjectType::Table | ObjectType::View | ObjectType::Schema
            );
            refuse(*cascade && !is_kept, "CASCADE")?;
            refuse(*purge, "PURGE")?;
            refuse(*temporary, "TEMPORARY of DROP")?;
            refuse(table.is_some(), "ON of DROP")
        }
        Statement::CreateSchema {
            schema_name: _,
            if_not_exists: _,
            with,
            options,
            default_collate_spec,
            clone,
        } => {
            refuse(with.is_some(), "WITH of CREATE SCHEMA")?;
            refuse(options.is_some(), "OPTIONS of CREATE SCHEMA")?;
            refuse(default_collate_spec.is_some(), "DEFAULT COLLATE")?;
            refuse(clone.is_some(), "CLONE")
        }
        Statement::Explain {
            describe_alias: _,
            analyze: _,
            verbose: _,
            query_plan,
            estimate,
            statement: _,
            format: _,
            options,
        } => {
            refuse(*query_plan, "QUERY PLAN of EXPLAIN")?;
            refuse(*estimate, "ESTIMATE of EXPLAIN")?;
            refuse(options.is_some(), "a list of options of EXPLAIN here")
        }
        _ => Ok(()),
    }
}

fn check_view(view: &CreateView) -> Found {
    let CreateView {
        or_alter,
        or_replace: _,
        materialized: _,
        secure,
        name: _,
        name_before_not_exists: _,
        columns,
        query: _,
        options: _,
        cluster_by: _,
        comment: _,
        with_no_schema_binding: _,
        if_not_exists: _,
        temporary: _,
        copy_grants: _,
        to: _,
        params,
    } = view;
    refuse(*or_alter, "OR ALTER")?;
    refuse(*secure, "SECURE")?;
    refuse(params.is_some(), "ALGORITHM, DEFINER and SQL SECURITY")?;
    columns.iter().try_for_each(|column| {
        let ViewColumnDef {
            name: _,
            data_type,
            options: _,
        } = column;
        refuse(data_type.is_some(), "a type of a view's column")
    })
}

fn check_column(column: &ColumnDef) -> Found {
    let ColumnDef {
        name,
        data_type: _,
        options,
    } = column;
    options.iter().try_for_each(|option| {
        let ColumnOptionDef { name: _, option } = option;
        match option {
            ColumnOption::Null | ColumnOption::NotNull => Ok(()),
            // The statement refuses these later, with a remedy.
            ColumnOption::Default(_) | ColumnOption::PrimaryKey(_) | ColumnOption::Unique(_) => {
                Ok(())
            }
            other => refuse(true, &format!("{other} of column \"{}\"", name.value)),
        }
    })
}
