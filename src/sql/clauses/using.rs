//! `RIGHT JOIN … USING (k)` and `FULL JOIN … USING (k)`: the planner takes `k` for that of the left side, which is NULL in
//! rows of the right side alone, where it has the value of either.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem, Visit, Visitor,
};

use super::Found;

/// Refuses columns that two sides share and that have no side.
pub(super) fn check_shared_columns(select: &Select) -> Found {
    for join in select.from.iter().flat_map(|from| &from.joins) {
        let Some((kind, constraint)) = with_rows_of_right(join) else {
            continue;
        };
        match constraint {
            JoinConstraint::Using(columns) => check_using(select, kind, columns)?,
            JoinConstraint::Natural => {
                return Err(format!(
                    "NATURAL {kind} JOIN is not supported; write its condition with ON"
                ));
            }
            JoinConstraint::On(_) | JoinConstraint::None => {}
        }
    }
    Ok(())
}

fn with_rows_of_right(join: &Join) -> Option<(&'static str, &JoinConstraint)> {
    match &join.join_operator {
        JoinOperator::Right(constraint) | JoinOperator::RightOuter(constraint) => {
            Some(("RIGHT", constraint))
        }
        JoinOperator::FullOuter(constraint) => Some(("FULL", constraint)),
        _ => None,
    }
}

fn check_using(select: &Select, kind: &str, columns: &[ObjectName]) -> Found {
    let names = columns.iter().map(|column| folded(&column.to_string()));
    let names: Vec<String> = names.collect();
    let has_star = select
        .projection
        .iter()
        .any(|item| matches!(item, SelectItem::Wildcard(_)));
    let mut bare = Bare {
        names: &names,
        queries: 0,
        found: None,
    };
    let _ = select.visit(&mut bare);
    let found = bare.found.or(names.first().filter(|_| has_star).cloned());
    match found {
        Some(name) => Err(format!(
            "\"{name}\" of {kind} JOIN … USING would be that of the left side alone; write ON instead of USING, and \
             coalesce of both sides' {name}"
        )),
        None => Ok(()),
    }
}

/// Looks for these names without a table, outside of sub-queries.
struct Bare<'a> {
    names: &'a [String],
    queries: usize,
    found: Option<String>,
}

impl Visitor for Bare<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.queries += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &Query) -> ControlFlow<()> {
        self.queries -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Identifier(name) = expr
            && self.queries == 0
            && self.names.contains(&folded(&name.to_string()))
        {
            self.found.get_or_insert(name.value.clone());
        }
        ControlFlow::Continue(())
    }
}

fn folded(name: &str) -> String {
    match name.starts_with('"') {
        true => name.trim_matches('"').to_owned(),
        false => name.to_lowercase(),
    }
}
