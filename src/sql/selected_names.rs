//! Unique names of selected columns: DataFusion requires them, but people write `SELECT ts, CAST(ts AS DATE)`. A later column
//! of the same name gets a number: `ts`, `ts_1`. A generated name is never a name that something else has.

use std::collections::HashSet;
use std::ops::ControlFlow;

use datafusion::common::{DataFusionError, SchemaError};
use datafusion::execution::SessionState;
use datafusion::sql::parser::{CopyToSource, Statement as DFStatement};
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, Statement as SqlStatement, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::error::{Result, SqlState, sql_err};
use crate::sql::folded;

/// Whether planning failed because a name is not unique.
pub(crate) fn is_name_taken(error: &DataFusionError) -> bool {
    match error.find_root() {
        DataFusionError::SchemaError(error, _) => {
            !matches!(error.as_ref(), SchemaError::FieldNotFound { .. })
        }
        DataFusionError::Collection(errors) => errors.iter().any(is_name_taken),
        DataFusionError::Plan(message) => message.contains("require unique expression names"),
        _ => false,
    }
}

/// Which columns are renamed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Reach {
    /// Columns whose name is written twice.
    Written,
    /// Also columns that are written beside a `*`, which may contain the same name.
    BesideStar,
}

/// All words of a statement, in the case in which they name something.
pub(crate) fn words(statement: &DFStatement) -> HashSet<String> {
    let (text, mut tokens) = (statement.to_string(), Vec::new());
    // If the text ends in the middle of a token, the words before it still count.
    let _ = Tokenizer::new(&GenericDialect {}, &text).tokenize_with_location_into_buf(&mut tokens);
    let words = tokens.into_iter().filter_map(|token| match token.token {
        Token::Word(word) if word.quote_style.is_none() => Some(word.value.to_lowercase()),
        Token::Word(word) => Some(word.value),
        _ => None,
    });
    words.collect()
}

/// The columns of all tables and views of a statement. Missing ones are left out, because planning will fail for them.
pub(crate) async fn columns(state: &SessionState, statement: &DFStatement) -> HashSet<String> {
    let mut columns = HashSet::new();
    for reference in state
        .resolve_table_references(statement)
        .unwrap_or_default()
    {
        let name = reference.table().to_owned();
        let Ok(schema) = state.schema_for_ref(reference) else {
            continue;
        };
        if let Ok(Some(table)) = schema.table(&name).await {
            let fields = table.schema();
            columns.extend(fields.fields().iter().map(|field| field.name().clone()));
        }
    }
    columns
}

/// The statement with unique names, of which no generated one is in `taken`; `None` if all names were unique. The columns of
/// a new table or view keep their names.
pub(crate) fn with_unique_names(
    mut statement: DFStatement,
    reach: Reach,
    taken: &HashSet<String>,
) -> Option<DFStatement> {
    let mut names = Names {
        reach,
        taken,
        has_changed: false,
    };
    rename(&mut statement, &mut names);
    names.has_changed.then_some(statement)
}

fn rename(statement: &mut DFStatement, names: &mut Names<'_>) {
    match statement {
        DFStatement::Statement(statement) => {
            if let Some(query) = created_query(statement) {
                let kept = take_lists(&mut query.body);
                let _ = query.visit(names);
                put_lists(&mut query.body, &mut kept.into_iter(), names);
                return;
            }
            let _ = statement.visit(names);
        }
        DFStatement::CopyTo(copy) => {
            if let CopyToSource::Query(query) = &mut copy.source {
                let _ = query.visit(names);
            }
        }
        DFStatement::Explain(explain) => rename(&mut explain.statement, names),
        DFStatement::CreateExternalTable(_) | DFStatement::Reset(_) => {}
    }
}

/// Whether a statement makes a table or view from a query.
pub(crate) fn makes_relation(statement: &DFStatement) -> bool {
    match statement {
        DFStatement::Statement(inner) => created_query(&mut inner.as_ref().clone()).is_some(),
        _ => false,
    }
}

/// The query of a statement that makes a table or view.
fn created_query(statement: &mut SqlStatement) -> Option<&mut Query> {
    match statement {
        SqlStatement::CreateTable(table) => table.query.as_deref_mut(),
        SqlStatement::CreateView(view) => Some(&mut view.query),
        SqlStatement::Prepare { statement, .. } => created_query(statement),
        _ => None,
    }
}

fn take_lists(body: &mut SetExpr) -> Vec<Vec<SelectItem>> {
    match body {
        SetExpr::Select(select) => vec![std::mem::take(&mut select.projection)],
        SetExpr::SetOperation { left, right, .. } => {
            let mut lists = take_lists(left);
            lists.extend(take_lists(right));
            lists
        }
        _ => vec![],
    }
}

fn put_lists(
    body: &mut SetExpr,
    lists: &mut impl Iterator<Item = Vec<SelectItem>>,
    names: &mut Names<'_>,
) {
    match body {
        SetExpr::Select(select) => {
            select.projection = lists.next().unwrap_or_default();
            for item in &mut select.projection {
                let _ = item.visit(names);
            }
        }
        SetExpr::SetOperation { left, right, .. } => {
            put_lists(left, lists, names);
            put_lists(right, lists, names);
        }
        _ => {}
    }
}

/// Refuses a query with two columns of one name, where the statement keeps the names.
pub(crate) fn check_selected_names(statement: &DFStatement) -> Result<()> {
    let DFStatement::Statement(statement) = statement else {
        return Ok(());
    };
    let Some(SetExpr::Select(select)) = named_query(statement).map(|query| query.body.as_ref())
    else {
        return Ok(());
    };
    let mut seen = HashSet::new();
    let mut names = select.projection.iter().filter_map(name_of);
    match names.find(|name| !seen.insert(name.clone())) {
        Some(name) => {
            let message = format!("column \"{name}\" comes twice; give one another name with AS");
            Err(sql_err(SqlState::DuplicateName, message))
        }
        None => Ok(()),
    }
}

/// The query of a statement that keeps the names of the query's columns.
fn named_query(statement: &SqlStatement) -> Option<&Query> {
    match statement {
        SqlStatement::Query(query) => Some(query),
        SqlStatement::CreateTable(table) => table.query.as_deref(),
        SqlStatement::CreateView(view) => Some(&view.query),
        SqlStatement::Prepare { statement, .. } => named_query(statement),
        _ => None,
    }
}

struct Names<'a> {
    reach: Reach,
    taken: &'a HashSet<String>,
    has_changed: bool,
}

impl VisitorMut for Names<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let all: HashSet<String> = select.projection.iter().filter_map(name_of).collect();
        let has_star = select.projection.iter().any(|item| name_of(item).is_none());
        let is_hidden = has_star && self.reach == Reach::BesideStar;
        let mut used = HashSet::new();
        for item in &mut select.projection {
            let Some(name) = name_of(item) else {
                continue;
            };
            let is_column = matches!(
                item,
                SelectItem::UnnamedExpr(Expr::Identifier(_) | Expr::CompoundIdentifier(_))
            );
            if used.insert(name.clone()) && !(is_hidden && is_column) {
                continue;
            }
            let taken = self.taken;
            let free = |name: &String| {
                !all.contains(name) && !used.contains(name) && !taken.contains(name)
            };
            let numbered = (1..).map(|number| format!("{name}_{number}")).find(free);
            let (
                SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. },
                Some(name),
            ) = (&*item, numbered)
            else {
                continue;
            };
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', &name),
            };
            used.insert(name);
            self.has_changed = true;
        }
        ControlFlow::Continue(())
    }
}

/// The name of a selected column; `None` for a `*`.
fn name_of(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(expr) => Some(shown(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::ExprWithAliases { .. }
        | SelectItem::QualifiedWildcard(..)
        | SelectItem::Wildcard(_) => None,
    }
}

/// The name that DataFusion gives to a column: its expression without casts.
fn shown(expr: &Expr) -> String {
    let mut bare = expr.clone();
    let _ = bare.visit(&mut WithoutCasts);
    match &bare {
        Expr::Identifier(name) => folded(name),
        other => other.to_string(),
    }
}

struct WithoutCasts;

impl VisitorMut for WithoutCasts {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { expr: inner, .. } | Expr::Nested(inner) => {
                let inner = inner.as_ref().clone();
                *expr = inner;
            }
            // The name of a sub-query in DataFusion does not contain its text.
            Expr::Subquery(_) => *expr = Expr::Identifier(Ident::new("subquery")),
            Expr::Exists { .. } => *expr = Expr::Identifier(Ident::new("exists")),
            Expr::CompoundIdentifier(parts) => {
                if let Some(last) = parts.last().cloned() {
                    *expr = Expr::Identifier(last);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse};
    use super::*;

    fn renamed(text: &str, reach: Reach) -> Option<String> {
        let Some(Statement::DataFusion(statement)) = parse(text).unwrap() else {
            panic!("{text}")
        };
        let taken = HashSet::from(["taken_1".to_owned()]);
        with_unique_names(*statement, reach, &taken).map(|statement| statement.to_string())
    }

    #[test]
    fn the_words_of_a_statement_are_names_as_they_are_written() {
        let text = "SELECT A, 'text' FROM t AS \"B\" ORDER BY a_1";
        let Some(Statement::DataFusion(statement)) = parse(text).unwrap() else {
            panic!("{text}")
        };
        let words = words(&statement);
        for word in ["a", "t", "B", "a_1"] {
            assert!(words.contains(word), "{word}");
        }
        assert!(!words.contains("text") && !words.contains("b"));
    }

    #[test]
    fn later_columns_of_a_name_get_numbers() {
        for (text, expected) in [
            (
                "SELECT (SELECT 1), (SELECT 2)",
                "SELECT (SELECT 1), (SELECT 2) AS \"subquery_1\"",
            ),
            (
                "SELECT ts, CAST(ts AS DATE) FROM t",
                "SELECT ts, CAST(ts AS DATE) AS \"ts_1\" FROM t",
            ),
            (
                "SELECT a, A, a_1, a FROM t",
                "SELECT a, A AS \"a_2\", a_1, a AS \"a_3\" FROM t",
            ),
            (
                "SELECT taken, taken FROM t",
                "SELECT taken, taken AS \"taken_2\" FROM t",
            ),
            (
                "SELECT a AS x, b AS x FROM t",
                "SELECT a AS x, b AS \"x_1\" FROM t",
            ),
            (
                "SELECT * FROM (SELECT 1, 1)",
                "SELECT * FROM (SELECT 1, 1 AS \"1_1\")",
            ),
        ] {
            assert_eq!(renamed(text, Reach::Written).as_deref(), Some(expected));
        }
        assert_eq!(renamed("SELECT a, b, \"A\" FROM t", Reach::Written), None);
        assert_eq!(renamed("SELECT *, a FROM t", Reach::Written), None);
        let beside = renamed("SELECT *, a, a + 1 AS b FROM t", Reach::BesideStar);
        assert_eq!(beside.unwrap(), "SELECT *, a AS \"a_1\", a + 1 AS b FROM t");
    }

    #[test]
    fn what_is_made_keeps_its_names() {
        assert_eq!(
            renamed("CREATE TABLE t AS SELECT 1, 1", Reach::Written),
            None
        );
        let inner = renamed(
            "CREATE VIEW v AS SELECT * FROM (SELECT 1, 1)",
            Reach::Written,
        );
        assert!(inner.unwrap().contains("\"1_1\""));
    }
}
