//! [`mark_queries`]: marks the WITH queries that may be read more than once, by their names alone. Only the plan shows whether
//! a query gives different rows each time.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Expr, FunctionArg, FunctionArgExpr, ObjectName, Query, SetExpr, TableFactor, Visit,
    VisitMut, Visitor, VisitorMut, With,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::relation::mark_name;

/// Marks the WITH queries of a statement that may be read more than once.
pub(crate) fn mark_queries(statement: &mut (impl Visit + VisitMut)) {
    let names = names_in(statement);
    if names.has_with {
        let _ = VisitMut::visit(statement, &mut Marks { names });
    }
}

/// How often a statement names each relation.
#[derive(Default)]
struct Names {
    counts: HashMap<String, usize>,
    has_with: bool,
    /// Whether a query is recursive; it reads other queries once per iteration.
    has_rounds: bool,
}

fn names_in(part: &impl Visit) -> Names {
    let mut names = Names::default();
    let _ = part.visit(&mut names);
    names
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.has_with = true;
            self.has_rounds |= with.recursive;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        *self.counts.entry(folded(&name.to_string())).or_default() += 1;
        ControlFlow::Continue(())
    }
}

fn folded(name: &str) -> String {
    name.trim_matches('"').to_lowercase()
}

struct Marks {
    names: Names,
}

impl VisitorMut for Marks {
    type Break = ();

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let Some(with) = &mut query.with else {
            return ControlFlow::Continue(());
        };
        let is_recursive = with.recursive;
        for cte in &mut with.cte_tables {
            let name = folded(&cte.alias.name.value);
            let count = |names: &Names| names.counts.get(&name).copied().unwrap_or(0);
            let own = match is_recursive {
                true => count(&names_in(cte.query.as_ref())),
                false => 0,
            };
            let others = count(&self.names).saturating_sub(own);
            let is_read_again = others > 1 || (others == 1 && self.names.has_rounds && own == 0);
            if is_read_again {
                mark(cte, own > 0);
            }
        }
        ControlFlow::Continue(())
    }
}

/// Replaces `query` by `SELECT * FROM mark((query))`; a recursive query keeps its name inside.
fn mark(cte: &mut Cte, reads_itself: bool) {
    let name = &cte.alias.name;
    let text = match reads_itself {
        true => format!(
            "SELECT * FROM mark((WITH RECURSIVE {name} AS (SELECT 1) SELECT * FROM {name}))"
        ),
        false => "SELECT * FROM mark((SELECT 1))".to_owned(),
    };
    let mut marked = Parser::new(&GenericDialect {})
        .try_with_sql(&text)
        .and_then(|mut parser| parser.parse_query())
        .expect("the text is a query, and a displayed name parses again");
    let inner = marked_query(&mut marked, &name.value)
        .expect("the text has the call that was written into it");
    match (&mut inner.with, reads_itself) {
        (Some(With { cte_tables, .. }), true) => {
            for own in cte_tables {
                own.alias = cte.alias.clone();
                std::mem::swap(&mut own.query, &mut cte.query);
            }
        }
        _ => std::mem::swap(inner, cte.query.as_mut()),
    }
    cte.query = marked;
}

/// Gives the mark a unique name, and returns the query inside.
fn marked_query<'a>(marked: &'a mut Query, label: &str) -> Option<&'a mut Query> {
    let SetExpr::Select(select) = marked.body.as_mut() else {
        return None;
    };
    let TableFactor::Table {
        name,
        args: Some(args),
        ..
    } = &mut select.from.first_mut()?.relation
    else {
        return None;
    };
    *name = mark_name(label);
    match args.args.first_mut()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query))) => Some(query),
        _ => None,
    }
}
