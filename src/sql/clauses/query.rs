//! Checks of clauses of queries: WITH, SELECT, ORDER BY, and the operators behind `|>`.

use datafusion::sql::sqlparser::ast::{
    Cte, ExprWithAliasAndOrderBy, GroupByExpr, OrderBy, OrderByKind, PipeOperator, Query, Select,
    SelectInto, SelectItem, SetExpr, WildcardAdditionalOptions, With,
};

use super::refusal::{Found, refuse};
use super::{call, from, using};

pub(super) fn check_query(query: &Query) -> Found {
    let Query {
        with,
        body,
        order_by,
        limit_clause: _,
        fetch: _,
        locks,
        for_clause,
        settings,
        format_clause,
        pipe_operators,
    } = query;
    if let Some(With {
        with_token: _,
        recursive: _,
        cte_tables,
    }) = with
    {
        cte_tables.iter().try_for_each(check_cte)?;
    }
    using::check_shared_columns(query)?;
    let is_select = matches!(body.as_ref(), SetExpr::Select(_));
    if let Some(OrderBy {
        kind: OrderByKind::All(_),
        interpolate: _,
    }) = order_by
    {
        refuse(!is_select, "ORDER BY ALL of a set operation")?;
    }
    refuse(!locks.is_empty(), "FOR UPDATE and FOR SHARE")?;
    refuse(for_clause.is_some(), "FOR XML, FOR JSON and FOR BROWSE")?;
    refuse(settings.is_some(), "SETTINGS")?;
    refuse(format_clause.is_some(), "FORMAT")?;
    pipe_operators.iter().try_for_each(check_pipe)
}

fn check_cte(cte: &Cte) -> Found {
    let Cte {
        alias,
        query: _,
        from,
        // A hint about how the query is computed; the result is the same.
        materialized: _,
        closing_paren_token: _,
    } = cte;
    refuse(from.is_some(), "FROM behind a WITH query")?;
    from::check_alias(alias)
}

fn check_pipe(pipe: &PipeOperator) -> Found {
    match pipe {
        PipeOperator::Aggregate {
            full_table_exprs,
            group_by_expr,
        } => {
            let all = full_table_exprs.iter().chain(group_by_expr);
            all.into_iter().try_for_each(|item| {
                let ExprWithAliasAndOrderBy { expr: _, order_by } = item;
                let is_sorted = order_by.asc.is_some() || order_by.nulls_first.is_some();
                refuse(is_sorted, "ASC and DESC of AGGREGATE")
            })
        }
        PipeOperator::Join(join) => {
            using::check_join(join)?;
            from::check_join(join)
        }
        // The planner supports the other operators, or refuses them.
        _ => Ok(()),
    }
}

pub(super) fn check_select(select: &Select) -> Found {
    let Select {
        select_token: _,
        optimizer_hints: _,
        distinct: _,
        select_modifiers,
        top: _,
        top_before_distinct: _,
        projection,
        exclude,
        into,
        from,
        lateral_views: _,
        prewhere,
        selection: _,
        connect_by,
        group_by,
        cluster_by: _,
        distribute_by: _,
        sort_by: _,
        having: _,
        named_window,
        qualify: _,
        window_before_qualify: _,
        value_table_mode,
        flavor: _,
    } = select;
    refuse(select_modifiers.is_some(), "a modifier of SELECT")?;
    refuse(exclude.is_some(), "EXCLUDE behind other columns")?;
    refuse(prewhere.is_some(), "PREWHERE")?;
    refuse(!connect_by.is_empty(), "CONNECT BY")?;
    refuse(
        value_table_mode.is_some(),
        "AS VALUE and AS STRUCT of SELECT",
    )?;
    if let Some(SelectInto {
        temporary,
        unlogged,
        table: _,
        name: _,
    }) = into
    {
        refuse(*temporary, "TEMPORARY of SELECT INTO")?;
        refuse(*unlogged, "UNLOGGED")?;
    }
    for item in projection {
        if let SelectItem::Wildcard(options) | SelectItem::QualifiedWildcard(_, options) = item {
            check_star(options)?;
        }
    }
    from.iter().try_for_each(from::check_joins)?;
    match group_by {
        GroupByExpr::All(modifiers) => refuse(!modifiers.is_empty(), "a modifier of GROUP BY ALL")?,
        GroupByExpr::Expressions(_, modifiers) => {
            refuse(!modifiers.is_empty(), "this modifier of GROUP BY")?;
        }
    }
    let mut windows = named_window.iter();
    windows.try_for_each(|window| call::check_named_window(&window.1))
}

/// The planner supports `EXCLUDE`, `EXCEPT` and `REPLACE`, and refuses `ILIKE` and `RENAME`.
fn check_star(options: &WildcardAdditionalOptions) -> Found {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike: _,
        opt_exclude: _,
        opt_except: _,
        opt_replace: _,
        opt_rename: _,
        opt_alias,
    } = options;
    refuse(opt_alias.is_some(), "an alias of *")
}
