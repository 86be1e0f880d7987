//! Limits on the cost of a statement, checked before it is planned: its size, and the depth of its tree.
//!
//! The parser limits the nesting of brackets, but not chains of operators, joins or UNIONs, and planning recurses along
//! them. The check counts the tokens of chains before the statement is parsed.

use std::ops::ControlFlow;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::{CopyToSource, Statement as DFStatement};
use datafusion::sql::sqlparser::ast::{ObjectName, Query, Visit, Visitor};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::script::tokenize;
use crate::error::{Result, SqlState, sql_err};

/// The limits on the statements of a session.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The largest size of a statement, in bytes.
    pub statement_bytes: usize,
    /// The largest number of operators, joins or set operations in a chain.
    pub terms: usize,
    /// The largest number of nodes of a logical plan; views and common table expressions count once per use.
    pub plan_nodes: usize,
    /// The longest time for planning.
    pub planning: Option<Duration>,
    /// The longest time that a statement may compute; the time that a client takes to fetch rows does not count.
    pub statement: Option<Duration>,
    /// The same limit for TRAIN MODEL.
    pub training: Option<Duration>,
    /// The largest memory of a statement in the engine's process, in bytes; `None` for the limit of all statements together.
    pub memory: Option<usize>,
    /// The largest number of rows of a result.
    pub result_rows: Option<u64>,
    /// Whether SET refuses the settings that protect the process.
    pub has_locked_settings: bool,
}

/// The limits of an embedded session, which refuse only statements that would crash the process.
impl Default for Limits {
    fn default() -> Self {
        Self {
            statement_bytes: 16 << 20,
            terms: 1_000,
            plan_nodes: 50_000,
            planning: None,
            statement: None,
            training: None,
            memory: None,
            result_rows: None,
            has_locked_settings: false,
        }
    }
}

impl Limits {
    /// The limits of a server.
    pub fn server() -> Self {
        Self {
            statement_bytes: 1 << 20,
            terms: 500,
            plan_nodes: 10_000,
            planning: Some(Duration::from_secs(5)),
            statement: Some(Duration::from_secs(300)),
            training: Some(Duration::from_secs(3600)),
            memory: None,
            result_rows: None,
            has_locked_settings: true,
        }
    }
}

fn too_complex(message: String) -> DataFusionError {
    sql_err(SqlState::TooComplex, message)
}

/// Refuses a text that is too long, or whose tree would be too deep.
pub(crate) fn check_text(text: &str, limits: &Limits) -> Result<()> {
    if text.len() > limits.statement_bytes {
        return Err(too_complex(format!(
            "the statement has {} bytes, {} are allowed; load large data from a file, or bind it as parameters",
            text.len(),
            limits.statement_bytes
        )));
    }
    // A shorter text cannot hold that many terms.
    if text.len() < 2 * limits.terms {
        return Ok(());
    }
    let mut levels = vec![Level::default()];
    // The parser reports a text that cannot be tokenised.
    for token in tokenize(text).unwrap_or_default() {
        let Some(level) = levels.last_mut() else {
            return Ok(());
        };
        match count(&token.token) {
            Counted::Term => level.terms += 1,
            Counted::Relation => level.relations += 1,
            Counted::Clause(is_from) => {
                level.terms = 0;
                level.is_from = is_from;
            }
            Counted::Comma => {
                level.terms = 0;
                level.relations += usize::from(level.is_from);
            }
            Counted::Open => {
                // A chain may consist of indices or calls, such as a[1][1].
                level.terms += 1;
                levels.push(Level::default());
            }
            Counted::Close if levels.len() > 1 => {
                levels.pop();
            }
            Counted::Close | Counted::Nothing => {}
        }
        let longest = levels
            .last()
            .map_or(0, |level| level.terms.max(level.relations));
        if longest > limits.terms {
            return Err(too_complex(format!(
                "the statement is too complex: over {} terms in a row; use IN, a join with a table of values, or \
                 several statements",
                limits.terms
            )));
        }
    }
    Ok(())
}

/// The counts between one pair of brackets.
#[derive(Debug, Default)]
struct Level {
    /// The number of terms since the last comma or clause.
    terms: usize,
    relations: usize,
    /// Whether a comma is a join here.
    is_from: bool,
}

enum Counted {
    Term,
    Relation,
    /// A word that begins a clause, and whether it begins or continues a list of relations.
    Clause(bool),
    Comma,
    Open,
    Close,
    Nothing,
}

fn count(token: &Token) -> Counted {
    match token {
        Token::Word(word) if word.quote_style.is_none() => match word.keyword {
            Keyword::AND
            | Keyword::OR
            | Keyword::XOR
            | Keyword::NOT
            | Keyword::IS
            | Keyword::LIKE
            | Keyword::ILIKE
            | Keyword::SIMILAR
            | Keyword::BETWEEN
            | Keyword::COLLATE
            | Keyword::AT
            | Keyword::DIV => Counted::Term,
            Keyword::UNION | Keyword::INTERSECT | Keyword::EXCEPT | Keyword::JOIN => {
                Counted::Relation
            }
            Keyword::FROM => Counted::Clause(true),
            Keyword::SELECT
            | Keyword::WHERE
            | Keyword::GROUP
            | Keyword::ORDER
            | Keyword::HAVING
            | Keyword::LIMIT
            | Keyword::WHEN
            | Keyword::THEN
            | Keyword::ELSE
            | Keyword::VALUES => Counted::Clause(false),
            // The condition of a join begins; the chain of relations goes on.
            Keyword::ON => Counted::Clause(true),
            _ => Counted::Nothing,
        },
        Token::Comma => Counted::Comma,
        Token::SemiColon => Counted::Clause(false),
        Token::LParen | Token::LBracket | Token::LBrace => Counted::Open,
        Token::RParen | Token::RBracket | Token::RBrace => Counted::Close,
        Token::Word(_)
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Whitespace(_)
        | Token::Period
        | Token::EOF => Counted::Nothing,
        // Every other token is an operator, or as rare as one.
        _ => Counted::Term,
    }
}

/// Refuses a statement whose WITH queries refer to each other so often that planning would not end: each use is a copy.
pub(crate) fn check_statement(statement: &DFStatement, limits: &Limits) -> Result<()> {
    let mut uses = Uses {
        open: vec![],
        max: limits.plan_nodes,
    };
    let flow = match statement {
        DFStatement::Statement(statement) => statement.visit(&mut uses),
        DFStatement::Explain(explain) => return check_statement(&explain.statement, limits),
        DFStatement::CopyTo(copy) => match &copy.source {
            CopyToSource::Query(query) => query.visit(&mut uses),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        _ => ControlFlow::Continue(()),
    };
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(()) => Err(too_many_nodes(limits)),
    }
}

/// Counts the relations of a statement; a WITH query counts once per use.
struct Uses {
    open: Vec<OpenQuery>,
    max: usize,
}

/// A query that is being visited.
struct OpenQuery {
    relations: usize,
    /// Its WITH queries: their addresses, their names, and the numbers of their relations once they are counted.
    with: Vec<(*const Query, String, Option<usize>)>,
}

impl Visitor for Uses {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let with = query.with.iter().flat_map(|with| &with.cte_tables);
        let with = with.map(|cte| {
            let at = std::ptr::from_ref(cte.query.as_ref());
            (at, cte.alias.name.value.to_lowercase(), None)
        });
        self.open.push(OpenQuery {
            relations: 1,
            with: with.collect(),
        });
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let name = name.to_string().trim_matches('"').to_lowercase();
        let known = self.open.iter().rev().find_map(|query| {
            let mut with = query.with.iter();
            with.find_map(|(_, known, relations)| relations.filter(|_| *known == name))
        });
        let Some(query) = self.open.last_mut() else {
            return ControlFlow::Continue(());
        };
        query.relations = query.relations.saturating_add(known.unwrap_or(1));
        match query.relations > self.max {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let Some(done) = self.open.pop() else {
            return ControlFlow::Continue(());
        };
        if let Some(outer) = self.open.last_mut() {
            let at = std::ptr::from_ref(query);
            match outer.with.iter_mut().find(|(of, ..)| *of == at) {
                Some((.., relations)) => *relations = Some(done.relations),
                None => outer.relations = outer.relations.saturating_add(done.relations),
            }
        }
        ControlFlow::Continue(())
    }
}

/// Refuses a plan with too many nodes before the optimizer, which visits each node many times.
pub(crate) fn check_plan(plan: &LogicalPlan, limits: &Limits) -> Result<()> {
    let mut nodes = 0;
    count_nodes(plan, limits.plan_nodes, &mut nodes)?;
    if nodes <= limits.plan_nodes {
        return Ok(());
    }
    Err(too_many_nodes(limits))
}

fn too_many_nodes(limits: &Limits) -> DataFusionError {
    too_complex(format!(
        "the plan of the statement has over {} nodes, where views and WITH queries count once per use; store a part of it \
         with CREATE TABLE AS",
        limits.plan_nodes
    ))
}

fn count_nodes(plan: &LogicalPlan, max: usize, nodes: &mut usize) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        *nodes += 1;
        if *nodes > max {
            return Ok(TreeNodeRecursion::Stop);
        }
        if let LogicalPlan::TableScan(scan) = node
            && let Ok(provider) = source_as_provider(&scan.source)
            && let Some(view) = provider.get_logical_plan()
        {
            count_nodes(&view, max, nodes)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<()> {
        check_text(text, &Limits::server())
    }

    #[test]
    fn rows_of_operators_have_a_limit() {
        for (first, more) in [
            ("SELECT 1", "+1"),
            ("SELECT a FROM t WHERE a=0", " OR a=1"),
            ("SELECT 1", "::bigint"),
            ("SELECT 'a'", "||'a'"),
            ("SELECT 1", " UNION ALL SELECT 1"),
            ("SELECT a FROM t", " JOIN t USING (a)"),
            ("SELECT a FROM t", " JOIN t ON a = b"),
            ("SELECT a FROM t", ", t"),
            ("SELECT a FROM t WHERE a IN (SELECT b FROM t", ", t"),
            ("SELECT a", "[1]"),
            ("SELECT a", " IS NULL"),
        ] {
            let text = |count| format!("{first}{}", more.repeat(count));
            assert!(check(&text(100)).is_ok(), "{more}");
            let error = check(&text(1_000)).unwrap_err();
            assert_eq!(crate::report(&error).state, SqlState::TooComplex, "{more}");
        }
    }

    #[test]
    fn with_queries_that_double_are_counted_before_they_are_planned() {
        let check = |levels: usize, main: &str| {
            let with: Vec<String> = (1..=levels)
                .map(|at| format!("c{at} AS (SELECT 1 FROM c{0} x, \"c{0}\" y)", at - 1))
                .collect();
            let text = format!(
                "{main} WITH c0 AS (SELECT 1), {} SELECT 1 FROM c{levels}",
                with.join(", ")
            );
            let Some(super::super::Statement::DataFusion(statement)) =
                super::super::parse(&text).unwrap()
            else {
                panic!("not DataFusion's");
            };
            check_statement(&statement, &Limits::server()).is_ok()
        };
        for main in ["", "EXPLAIN", "CREATE VIEW v AS"] {
            assert!(
                check(8, main) && !check(14, main) && !check(200, main),
                "{main}"
            );
        }
    }

    #[test]
    fn wide_statements_are_not_deep() {
        let columns: Vec<String> = (0..2_000).map(|at| format!("a+{at}")).collect();
        assert!(check(&format!("SELECT {} FROM t", columns.join(", "))).is_ok());
        let numbers: Vec<String> = (0..20_000).map(|at| at.to_string()).collect();
        assert!(check(&format!("SELECT a IN ({})", numbers.join(","))).is_ok());
        let cases: Vec<String> = (0..1_000)
            .map(|at| format!("WHEN a = {at} THEN {at}"))
            .collect();
        assert!(check(&format!("SELECT CASE {} END", cases.join(" "))).is_ok());
        assert!(check(&format!("SELECT '{}'", "+".repeat(5_000))).is_ok());
        assert!(check(&"x".repeat(2 << 20)).is_err());
    }
}
