//! `SUMMARIZE t`, which is a call of `summarize` in FROM, and `COPY t FROM 'file'`, which sqlparser knows and DataFusion's
//! parser does not.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{Expr, Query, VisitMut, VisitorMut};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser as SqlParser;
use datafusion::sql::sqlparser::tokenizer::Token;

use super::statement::{Parser, syntax};
use crate::error::Result;
use crate::sql::statement::{SUMMARIZE, Statement};

/// The words that begin a query.
const QUERIES: &[&str] = &["SELECT", "WITH", "VALUES", "FROM"];

impl Parser<'_> {
    /// `SUMMARIZE query`, `SUMMARIZE [TABLE] relation`
    pub(super) fn summarize(&mut self) -> Result<Statement> {
        self.skip(1);
        let is_query = QUERIES.contains(&self.word(0).as_str())
            || self.inner.parser.peek_token().token == Token::LParen;
        let query = if is_query {
            self.inner.parser.parse_query().map_err(syntax)?
        } else {
            self.accept("TABLE");
            if self.is_at_end() {
                return Err(self.expected("a table, a file or a query"));
            }
            let relation = self.inner.parser.parse_table_factor().map_err(syntax)?;
            parsed_query(&format!("SELECT * FROM {relation}"))?
        };
        // The query keeps its positions in the text, so it is put into the call after parsing.
        let mut call = parsed_query(&format!("SELECT * FROM {SUMMARIZE}((SELECT 1))"))?;
        let _ = call.visit(&mut Input(Some(query)));
        let statement = datafusion::sql::sqlparser::ast::Statement::Query(call);
        let statement = DFStatement::Statement(Box::new(statement));
        Ok(Statement::DataFusion(Box::new(statement)))
    }

    /// Whether FROM comes before TO outside of brackets.
    pub(super) fn is_copy_from(&self) -> bool {
        let (mut depth, mut index) = (0_usize, 1);
        loop {
            match self.inner.parser.peek_nth_token(index).token {
                Token::EOF | Token::SemiColon => return false,
                Token::LParen => depth += 1,
                Token::RParen => depth = depth.saturating_sub(1),
                _ if depth > 0 => {}
                _ => match self.word(index).as_str() {
                    "FROM" => return true,
                    "TO" | "INTO" => return false,
                    _ => {}
                },
            }
            index += 1;
        }
    }

    /// `COPY t [(columns)] FROM 'file' [[WITH] (options)]`
    pub(super) fn copy_from(&mut self) -> Result<Statement> {
        self.skip(1);
        let statement = self.inner.parser.parse_copy().map_err(syntax)?;
        let statement = DFStatement::Statement(Box::new(statement));
        Ok(Statement::DataFusion(Box::new(statement)))
    }
}

fn parsed_query(text: &str) -> Result<Box<Query>> {
    let dialect = GenericDialect {};
    let parsed = SqlParser::new(&dialect).try_with_sql(text);
    let parsed = parsed.and_then(|mut parser| parser.parse_query());
    parsed.map_err(syntax)
}

/// Replaces the first sub-query among expressions.
struct Input(Option<Box<Query>>);

impl VisitorMut for Input {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Subquery(inner) = expr
            && let Some(query) = self.0.take()
        {
            *inner = query;
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::error::report;

    fn printed(text: &str) -> String {
        match parse(text).unwrap() {
            Some(Statement::DataFusion(statement)) => statement.to_string(),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn summarize_is_a_call_in_from() {
        for (text, relation) in [
            ("SUMMARIZE t", "SELECT * FROM t"),
            ("summarize TABLE s.t;", "SELECT * FROM s.t"),
            ("SUMMARIZE 'x.csv'", "SELECT * FROM 'x.csv'"),
            ("SUMMARIZE predict(m, t)", "SELECT * FROM predict(m, t)"),
            (
                "SUMMARIZE SELECT a, (SELECT 1) FROM t",
                "SELECT a, (SELECT 1) FROM t",
            ),
            ("SUMMARIZE (SELECT 1)", "(SELECT 1)"),
        ] {
            let expected = format!("SELECT * FROM summarize(({relation}))");
            assert_eq!(printed(text), expected);
        }
        let error = report(&parse("SUMMARIZE").unwrap_err());
        assert!(
            error.message.contains("a table, a file or a query"),
            "{}",
            error.message
        );
        assert!(parse("SUMMARIZE t u v").is_err());
    }

    #[test]
    fn copy_is_told_by_its_direction() {
        assert_eq!(
            printed("COPY s.t (a, \"from\") FROM 'x.csv' WITH (FORMAT csv, HEADER, DELIMITER ';')"),
            "COPY s.t (a, \"from\") FROM 'x.csv' (FORMAT csv, HEADER, DELIMITER ';')"
        );
        for text in ["COPY t TO 'x.csv'", "COPY (SELECT a FROM t) TO 'x.csv'"] {
            let Some(Statement::DataFusion(statement)) = parse(text).unwrap() else {
                panic!("{text}")
            };
            assert!(matches!(*statement, DFStatement::CopyTo(_)), "{text}");
        }
    }
}
