//! [`check_clauses`]: refuses clauses that sqlparser reads and DataFusion's planner ignores, because the answer would be
//! that of another statement.
//!
//! Where the planner matches a structure with `..`, the checks here match it field by field, so that a new field in
//! sqlparser does not compile until somebody decides about it. Structures that the planner matches completely are not
//! here: CREATE TABLE (but for its columns), INSERT, MERGE, TRUNCATE, COPY, PREPARE. `changes` checks UPDATE and DELETE, `from` FROM,
//! `using` the columns that two sides of a join share, and `call` function calls. `precedence` regroups expressions that
//! sqlparser groups wrongly.

mod call;
mod changes;
mod from;
mod precedence;
mod using;

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    ColumnDef, ColumnOption, ColumnOptionDef, CreateTable, CreateView, Cte, Expr,
    ExprWithAliasAndOrderBy, GroupByExpr, GroupByWithModifier, ObjectType, OrderBy, OrderByKind,
    PipeOperator, Query, Select, SelectFlavor, SelectInto, SelectItem, SetExpr, Statement,
    TableFactor, Value, ViewColumnDef, Visit, VisitMut, Visitor, VisitorMut,
    WildcardAdditionalOptions, With,
};

use crate::error::{Result, SqlState, sql_err};

/// The result of a check; the error names the clause.
pub(crate) type Found = std::result::Result<(), String>;

/// Refuses clauses that the planner would ignore, and rewrites clauses that the planner supports in another form.
pub(crate) fn check_clauses(
    part: &mut (impl Visit + VisitMut),
    state: &SessionState,
) -> Result<()> {
    let folds = state.config_options().sql_parser.enable_ident_normalization;
    if let ControlFlow::Break(error) = VisitMut::visit(part, &mut Rewritten { folds }) {
        return Err(error);
    }
    match Visit::visit(part, &mut Clauses { state }) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// Refuses a clause if the statement contains it.
pub(crate) fn refuse(is_there: bool, clause: &str) -> Found {
    match is_there {
        true => Err(format!("{clause} is not supported; leave it out")),
        false => Ok(()),
    }
}

fn flow(found: Found) -> ControlFlow<DataFusionError> {
    match found {
        Ok(()) => ControlFlow::Continue(()),
        Err(message) => ControlFlow::Break(sql_err(SqlState::Unsupported, message)),
    }
}

struct Clauses<'a> {
    state: &'a SessionState,
}

impl Visitor for Clauses<'_> {
    type Break = DataFusionError;

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<DataFusionError> {
        flow(check_statement(statement))
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<DataFusionError> {
        flow(check_query(query))
    }

    fn pre_visit_select(&mut self, select: &Select) -> ControlFlow<DataFusionError> {
        flow(check_select(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<DataFusionError> {
        flow(from::check_factor(factor))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<DataFusionError> {
        match expr {
            Expr::Function(function) => flow(call::check_call(function, self.state)),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn check_statement(statement: &Statement) -> Found {
    match statement {
        Statement::CreateView(view) => check_view(view),
        Statement::Delete(delete) => changes::check_delete(delete),
        // It does not come here by itself. DataFusion plans it, and then has no operator for it.
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

fn check_query(query: &Query) -> Found {
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

fn check_select(select: &Select) -> Found {
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

/// Rewrites `GROUP BY a, b WITH ROLLUP` as `GROUP BY ROLLUP (a, b)`, and `FROM t` alone as `SELECT * FROM t`.
struct Rewritten {
    /// Whether names without quotes are read in lower case.
    folds: bool,
}

impl VisitorMut for Rewritten {
    type Break = DataFusionError;

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<DataFusionError> {
        let Statement::Update(update) = statement else {
            return ControlFlow::Continue(());
        };
        match changes::name_columns(update, self.folds) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        if select.flavor == SelectFlavor::FromFirstNoSelect && select.projection.is_empty() {
            let all = SelectItem::Wildcard(WildcardAdditionalOptions::default());
            select.projection.push(all);
            select.flavor = SelectFlavor::Standard;
        }
        let GroupByExpr::Expressions(exprs, modifiers) = &mut select.group_by else {
            return ControlFlow::Continue(());
        };
        let form: fn(Vec<Vec<Expr>>) -> Expr = match modifiers.as_slice() {
            [] => return ControlFlow::Continue(()),
            [GroupByWithModifier::Rollup] => Expr::Rollup,
            [GroupByWithModifier::Cube] => Expr::Cube,
            [GroupByWithModifier::Totals] => return flow(refuse(true, "WITH TOTALS")),
            _ => {
                let several = "several modifiers of GROUP BY, and GROUPING SETS as one";
                return flow(refuse(true, several));
            }
        };
        let is_set = |expr: &Expr| {
            matches!(
                expr,
                Expr::Rollup(_) | Expr::Cube(_) | Expr::GroupingSets(_) | Expr::Tuple(_)
            )
        };
        if exprs.iter().any(is_set) {
            let what = "WITH ROLLUP or WITH CUBE beside ROLLUP, CUBE, GROUPING SETS or rows";
            return flow(refuse(true, what));
        }
        let selected = |expr: Expr| vec![in_place(expr, &select.projection)];
        let sets = std::mem::take(exprs).into_iter().map(selected).collect();
        exprs.push(form(sets));
        modifiers.clear();
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        precedence::regroup(expr);
        precedence::bind_arrows(expr);
        ControlFlow::Continue(())
    }
}

/// The expression that a number in GROUP BY refers to; the planner does not replace numbers in ROLLUP.
fn in_place(expr: Expr, projection: &[SelectItem]) -> Expr {
    let Expr::Value(value) = &expr else {
        return expr;
    };
    let Value::Number(number, _) = &value.value else {
        return expr;
    };
    let place = number.to_string().parse::<usize>().ok();
    let item = place.and_then(|place| projection.get(place.checked_sub(1)?));
    match item {
        Some(SelectItem::UnnamedExpr(item) | SelectItem::ExprWithAlias { expr: item, .. }) => {
            item.clone()
        }
        _ => expr,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Statement as Parsed, parse};
    use super::*;
    use crate::plan::prepare::prepare;

    fn state() -> SessionState {
        let engine = crate::Engine::builder().build().unwrap();
        engine.session().unwrap().context().state()
    }

    fn prepared(text: &str, state: &SessionState) -> Result<String> {
        let Some(Parsed::DataFusion(mut statement)) = parse(text)? else {
            panic!("{text}")
        };
        prepare(&mut statement, state)?;
        Ok(statement.to_string())
    }

    /// Clauses that the planner would ignore, with their names in the error.
    const REFUSED: &[(&str, &str)] = &[
        ("SELECT * FROM t WITH (NOLOCK)", "a hint of a table"),
        ("SELECT * FROM t PARTITION (p)", "PARTITION of a table"),
        ("SELECT * FROM f(1) WITH ORDINALITY", "WITH ORDINALITY"),
        (
            "SELECT * FROM UNNEST([1]) WITH ORDINALITY",
            "WITH ORDINALITY",
        ),
        ("SELECT * FROM s.f(1)", "a schema before a function in FROM"),
        ("SELECT * FROM t AS a (b INT)", "a type in an alias"),
        ("SELECT * FROM t GLOBAL JOIN u ON true", "GLOBAL of a join"),
        (
            "SELECT * FROM (t GLOBAL JOIN u ON true)",
            "GLOBAL of a join",
        ),
        ("SELECT a FROM t GROUP BY a WITH TOTALS", "WITH TOTALS"),
        (
            "SELECT a FROM t GROUP BY ALL WITH ROLLUP",
            "a modifier of GROUP BY ALL",
        ),
        (
            "SELECT a FROM t GROUP BY ROLLUP (a) WITH CUBE",
            "WITH ROLLUP or WITH CUBE beside",
        ),
        ("SELECT a FROM t PREWHERE b", "PREWHERE"),
        (
            "SELECT a FROM t START WITH a CONNECT BY PRIOR a = b",
            "CONNECT BY",
        ),
        (
            "SELECT a FROM t UNION ALL (SELECT a INTO TEMPORARY x FROM t)",
            "TEMPORARY of SELECT INTO",
        ),
        ("SELECT a FROM t FOR UPDATE", "FOR UPDATE and FOR SHARE"),
        ("SELECT a FROM t FOR XML AUTO", "FOR XML"),
        ("SELECT a FROM t SETTINGS x = 1", "SETTINGS"),
        ("SELECT a FROM t FORMAT CSV", "FORMAT"),
        (
            "FROM t |> AGGREGATE sum(a) GROUP BY b DESC",
            "ASC and DESC of AGGREGATE",
        ),
        (
            "SELECT quantile(0.5)(a) FROM t",
            "a second list of arguments",
        ),
        (
            "SELECT abs(DISTINCT a) FROM t",
            "DISTINCT of the scalar function abs",
        ),
        (
            "SELECT ABS(a) FILTER (WHERE b) FROM t",
            "FILTER of the scalar function ABS",
        ),
        (
            "SELECT abs(a) IGNORE NULLS FROM t",
            "IGNORE or RESPECT NULLS of the scalar function abs",
        ),
        (
            "SELECT abs(a) OVER () FROM t",
            "OVER of the scalar function abs",
        ),
        (
            "SELECT abs(a) WITHIN GROUP (ORDER BY a) FROM t",
            "WITHIN GROUP of the scalar function abs",
        ),
        (
            "SELECT abs(a ORDER BY a) FROM t",
            "a clause among the arguments of the scalar function abs",
        ),
        (
            "SELECT array_agg(a ORDER BY b) OVER () FROM t",
            "ORDER BY among the arguments",
        ),
        (
            "SELECT sum(a) OVER (w ORDER BY b) FROM t WINDOW w AS (PARTITION BY a)",
            "a window that is made from",
        ),
        (
            "CREATE TABLE t (a INT CHECK (a > 0))",
            "CHECK (a > 0) of column \"a\"",
        ),
        (
            "CREATE TABLE t (a INT COMMENT 'x')",
            "COMMENT 'x' of column \"a\"",
        ),
        ("CREATE SCHEMA s DEFAULT COLLATE 'x'", "DEFAULT COLLATE"),
        ("CREATE SECURE VIEW v AS SELECT 1", "SECURE"),
        ("CREATE OR ALTER VIEW v AS SELECT 1", "OR ALTER"),
        ("DROP TABLE t PURGE", "PURGE"),
        ("DROP TEMPORARY TABLE t", "TEMPORARY of DROP"),
    ];

    /// Clauses that the planner supports or refuses itself, and clauses that do not change the result.
    const ALLOWED: &[&str] = &[
        "WITH c AS (SELECT 1 AS a) SELECT DISTINCT ON (a) a FROM c AS d (a) ORDER BY a NULLS LAST LIMIT 1 OFFSET 2",
        "SELECT sum(DISTINCT a) FILTER (WHERE a > 1), first_value(a ORDER BY b), sum(a) OVER w FROM t \
         GROUP BY ROLLUP (a, b) HAVING count(*) > 1 QUALIFY row_number() OVER () = 1 WINDOW w AS (ORDER BY a)",
        "SELECT * EXCLUDE (a), t.* REPLACE (1 AS b) FROM t CROSS JOIN LATERAL (SELECT 1) u LEFT JOIN x USING (a)",
        "FROM t SELECT a |> WHERE a > 1",
        "DROP TABLE IF EXISTS t CASCADE",
        "CREATE TABLE t (a INT NOT NULL, b VARCHAR(10) NULL)",
    ];

    #[test]
    fn what_would_be_dropped_is_refused_by_name() {
        let state = state();
        let wrong = |(text, clause): &(&str, &str)| {
            let error = match prepared(text, &state) {
                Ok(text) => return Some(format!("{text} is let through")),
                Err(error) => crate::report(&error),
            };
            let is_refused = error.state == SqlState::Unsupported && error.message.contains(clause);
            (!is_refused).then(|| format!("{text}: {}", error.message))
        };
        let wrong: Vec<String> = REFUSED.iter().filter_map(wrong).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_has_an_effect_is_let_through() {
        let state = state();
        let wrong = |text: &&str| {
            let error = prepared(text, &state).err()?;
            Some(format!("{text}: {error}"))
        };
        let wrong: Vec<String> = ALLOWED.iter().filter_map(wrong).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn what_has_another_form_is_rewritten() {
        let state = state();
        for (text, expected) in [
            (
                "SELECT a, b FROM t GROUP BY a, b WITH ROLLUP",
                "GROUP BY ROLLUP (a, b)",
            ),
            (
                "SELECT a AS x, b FROM t GROUP BY 1, b WITH CUBE",
                "GROUP BY CUBE (a, b)",
            ),
        ] {
            let text = prepared(text, &state).unwrap();
            assert!(text.contains(expected), "{text}");
        }
    }
}
