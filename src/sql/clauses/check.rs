//! [`check_clauses`]: rewrites and checks all parts of a statement.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::sql::sqlparser::ast::{
    Expr, Query, Select, Statement, TableFactor, Visit, VisitMut, Visitor,
};

use super::query::{check_query, check_select};
use super::refusal::flow;
use super::statement::check_statement;
use super::supported_forms::Rewritten;
use super::{call, from};
use crate::error::Result;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::SqlState;
    use crate::plan::prepare::prepare;
    use crate::sql::{Statement as Parsed, parse};

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
