//! Checks of clauses in FROM that the planner would ignore.

use datafusion::sql::sqlparser::ast::{
    FunctionArg, Join, TableAlias, TableAliasColumnDef, TableFactor, TableFunctionArgs,
    TableWithJoins,
};

use super::refusal::{Found, refuse};
use super::using;

/// Checks a relation. The planner refuses the kinds that are not listed here.
pub(super) fn check_factor(factor: &TableFactor) -> Found {
    match factor {
        TableFactor::Table {
            name,
            alias,
            args,
            with_hints,
            version,
            with_ordinality,
            partitions,
            json_path,
            // `src/plan/sample` plans it.
            sample: _,
            index_hints,
        } => {
            refuse(!with_hints.is_empty(), "a hint of a table")?;
            refuse(version.is_some(), "a version of a table")?;
            refuse(*with_ordinality, "WITH ORDINALITY")?;
            refuse(!partitions.is_empty(), "PARTITION of a table")?;
            refuse(json_path.is_some(), "a path behind a table")?;
            refuse(!index_hints.is_empty(), "an index hint")?;
            if let Some(TableFunctionArgs { args: _, settings }) = args {
                refuse(settings.is_some(), "SETTINGS of a function in FROM")?;
                refuse(name.0.len() > 1, "a schema before a function in FROM")?;
            }
            alias.iter().try_for_each(check_alias)
        }
        TableFactor::Derived {
            lateral: _,
            subquery: _,
            alias,
            sample: _,
        } => alias.iter().try_for_each(check_alias),
        TableFactor::Function {
            lateral: _,
            name,
            args,
            with_ordinality,
            alias,
        } => {
            refuse(*with_ordinality, "WITH ORDINALITY")?;
            refuse(name.0.len() > 1, "a schema before a function in FROM")?;
            let is_named = |arg: &FunctionArg| !matches!(arg, FunctionArg::Unnamed(_));
            refuse(args.iter().any(is_named), "a named argument after LATERAL")?;
            alias.iter().try_for_each(check_alias)
        }
        TableFactor::UNNEST {
            alias,
            array_exprs: _,
            with_offset: _,
            with_offset_alias: _,
            with_ordinality,
        } => {
            refuse(*with_ordinality, "WITH ORDINALITY")?;
            alias.iter().try_for_each(check_alias)
        }
        TableFactor::NestedJoin {
            table_with_joins,
            alias,
        } => {
            table_with_joins
                .joins
                .iter()
                .try_for_each(using::check_join)?;
            check_joins(table_with_joins)?;
            alias.iter().try_for_each(check_alias)
        }
        _ => Ok(()),
    }
}

/// Checks the joins of a relation.
pub(super) fn check_joins(relations: &TableWithJoins) -> Found {
    let TableWithJoins { relation: _, joins } = relations;
    joins.iter().try_for_each(check_join)
}

/// Checks a join.
pub(super) fn check_join(join: &Join) -> Found {
    let Join {
        relation: _,
        global,
        join_operator: _,
    } = join;
    refuse(*global, "GLOBAL of a join")
}

/// Checks the alias of a relation and of its columns.
pub(super) fn check_alias(alias: &TableAlias) -> Found {
    let TableAlias {
        explicit: _,
        name: _,
        columns,
        at,
    } = alias;
    refuse(at.is_some(), "AT behind an alias")?;
    columns.iter().try_for_each(|column| {
        let TableAliasColumnDef { name: _, data_type } = column;
        refuse(data_type.is_some(), "a type in an alias")
    })
}
