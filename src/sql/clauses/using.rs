//! Checks of `RIGHT JOIN … USING (k)` and `FULL JOIN … USING (k)`: a bare `k` must be the value of either side, but the planner
//! takes the `k` of the left side, which is NULL in rows of the right side alone. So `k` needs a table name before it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Join, JoinConstraint, JoinOperator, ObjectName, Query, Select, SelectItem,
    SetExpr, TableWithJoins, Visit, Visitor,
};

use super::refusal::{Found, refuse};
use crate::sql::folded;

/// Refuses shared columns without a table name, in a query without its sub-queries.
pub(super) fn check_shared_columns(query: &Query) -> Found {
    let mut names = Vec::new();
    for select in selects(&query.body) {
        let shared = select.from.iter().map(shared_columns);
        let shared = shared.collect::<Result<Vec<_>, _>>()?.concat();
        let is_star = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
        if let Some(name) = shared.first()
            && select.projection.iter().any(is_star)
        {
            return Err(without_side(name));
        }
        names.extend(shared);
    }
    if names.is_empty() {
        return Ok(());
    }
    let mut bare = Bare {
        names: &names,
        queries: 0,
        found: None,
    };
    let _ = query.visit(&mut bare);
    match bare.found {
        Some(name) => Err(without_side(&name)),
        None => Ok(()),
    }
}

/// Refuses such a join where its shared columns are passed on without a table name.
pub(super) fn check_join(join: &Join) -> Found {
    refuse(
        with_rows_of_right(join).is_some(),
        "RIGHT or FULL JOIN with USING or NATURAL in brackets or behind |>",
    )
}

fn selects(body: &SetExpr) -> Vec<&Select> {
    match body {
        SetExpr::Select(select) => vec![select],
        SetExpr::SetOperation { left, right, .. } => [selects(left), selects(right)].concat(),
        _ => Vec::new(),
    }
}

/// The shared columns of a relation that the planner would take from the left side alone.
fn shared_columns(relations: &TableWithJoins) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for join in &relations.joins {
        let constraint = constraint(join);
        let is_named = matches!(
            constraint,
            Some(JoinConstraint::Using(_) | JoinConstraint::Natural)
        );
        refuse(
            is_named && !names.is_empty(),
            "USING or NATURAL behind RIGHT or FULL JOIN … USING",
        )?;
        match with_rows_of_right(join) {
            Some(JoinConstraint::Using(columns)) => {
                names.extend(columns.iter().filter_map(ident).map(folded));
            }
            Some(_) => return Err("NATURAL of RIGHT and FULL JOIN is not supported; use ON".into()),
            None => {}
        }
    }
    Ok(names)
}

/// The USING or NATURAL constraint of a join that returns rows of its right side alone.
fn with_rows_of_right(join: &Join) -> Option<&JoinConstraint> {
    let is_kept = matches!(
        join.join_operator,
        JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
    );
    let is_named =
        |of: &&JoinConstraint| matches!(of, JoinConstraint::Using(_) | JoinConstraint::Natural);
    constraint(join).filter(|_| is_kept).filter(is_named)
}

fn constraint(join: &Join) -> Option<&JoinConstraint> {
    match &join.join_operator {
        JoinOperator::Join(of)
        | JoinOperator::Inner(of)
        | JoinOperator::Left(of)
        | JoinOperator::LeftOuter(of)
        | JoinOperator::Right(of)
        | JoinOperator::RightOuter(of)
        | JoinOperator::FullOuter(of)
        | JoinOperator::Semi(of)
        | JoinOperator::LeftSemi(of)
        | JoinOperator::RightSemi(of)
        | JoinOperator::Anti(of)
        | JoinOperator::LeftAnti(of)
        | JoinOperator::RightAnti(of) => Some(of),
        _ => None,
    }
}

fn without_side(name: &str) -> String {
    format!(
        "\"{name}\" after RIGHT or FULL JOIN … USING would be the column of the left side alone; write ON instead of USING, \
         and coalesce of both sides' {name}"
    )
}

/// Finds these names without a table name, outside of sub-queries.
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
            && self.queries == 1
            && self.names.contains(&folded(name))
        {
            self.found.get_or_insert_with(|| name.value.clone());
        }
        ControlFlow::Continue(())
    }
}

fn ident(name: &ObjectName) -> Option<&Ident> {
    name.0.last()?.as_ident()
}
