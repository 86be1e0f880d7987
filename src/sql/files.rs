//! Files where tables go: `FROM 'x.csv'` and `FROM read_csv('x.csv', delim => ';')`.
//!
//! [`take_files`] takes them out of a statement and leaves a name in their place, under which the planner finds the opened
//! file. Which arguments a function has, and what they mean, is not decided here.

use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::parser::{CopyToSource, Statement as DFStatement};
use datafusion::sql::sqlparser::ast::{
    DescribeAlias, Expr, FromTable, FunctionArg, FunctionArgExpr, Ident, ObjectName, Query,
    Statement as SqlStatement, TableFactor, TableWithJoins, UnaryOperator, Value, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::model_calls::given_twice;
use super::rewrite::visited;
use super::statement::{OptionValue, quoted};
use crate::error::{Result, SqlState, sql_err};

/// The function in FROM that reads CSV files.
pub(crate) const READ_CSV: &str = "read_csv";
/// The function in FROM that reads JSON files.
pub(crate) const READ_JSON: &str = "read_json";
/// The function in FROM that reads Parquet files.
pub(crate) const READ_PARQUET: &str = "read_parquet";
/// The functions in FROM that read files.
pub(crate) const FILE_FUNCTIONS: &[&str] = &[READ_CSV, READ_JSON, READ_PARQUET];

/// The schema of the names that stand for files. No user's schema has such a name.
const FILES: &str = "a file in FROM";

/// A file, or files, in FROM.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FileCall {
    /// The function; `None` if there is only the location.
    pub(crate) function: Option<&'static str>,
    /// As written.
    pub(crate) locations: Vec<String>,
    /// The named arguments, with names in lower case.
    pub(crate) arguments: Vec<(String, OptionValue)>,
}

/// Takes the files out of a statement. The factor of the file at `i` becomes one that [`file_index`] maps to `i`.
pub(crate) fn take_files(statement: &mut DFStatement) -> Result<Vec<FileCall>> {
    spell_out(statement)?;
    let mut visitor = Files { calls: Vec::new() };
    visited(statement, &mut visitor)?;
    Ok(visitor.calls)
}

/// The index of the file that a table factor stands for.
pub(crate) fn file_index(name: &ObjectName) -> Option<usize> {
    let [schema, index] = name.0.as_slice() else {
        return None;
    };
    let (schema, index) = (schema.as_ident()?, index.as_ident()?);
    let is_file = schema.value == FILES && schema.quote_style.is_some();
    is_file.then(|| index.value.parse().ok())?
}

/// Replaces each location of a file by what `change` makes of it.
pub(crate) fn change_locations(
    statement: &mut DFStatement,
    change: impl FnMut(&str) -> Result<String>,
) -> Result<()> {
    visited(statement, &mut Locations { change })
}

/// Writes a file as the source of a query where the grammar has only a name: `COPY 'x' TO …`, `DESCRIBE 'x'`. Refuses one
/// that would be changed.
fn spell_out(statement: &mut DFStatement) -> Result<()> {
    match statement {
        DFStatement::CopyTo(copy) => {
            if let CopyToSource::Relation(name) = &copy.source
                && file_name(name).is_some()
            {
                copy.source = CopyToSource::Query(whole(&name.to_string())?);
            }
            Ok(())
        }
        DFStatement::Explain(explain) => spell_out(&mut explain.statement),
        DFStatement::Statement(statement) => spell_out_in(statement),
        DFStatement::CreateExternalTable(_) | DFStatement::Reset(_) => Ok(()),
    }
}

fn spell_out_in(statement: &mut SqlStatement) -> Result<()> {
    let described = match &*statement {
        SqlStatement::ExplainTable {
            describe_alias: DescribeAlias::Describe | DescribeAlias::Desc,
            hive_format: None,
            has_table_keyword: _,
            table_name,
        } if file_name(table_name).is_some() => Some(table_name.to_string()),
        _ => None,
    };
    if let Some(name) = described {
        let text = format!("DESCRIBE SELECT * FROM {name}");
        let dialect = GenericDialect {};
        let parsed = Parser::new(&dialect).try_with_sql(&text);
        let parsed = parsed.and_then(|mut parser| parser.parse_statement());
        *statement = parsed.map_err(|error| DataFusionError::SQL(Box::new(error), None))?;
        return Ok(());
    }
    let target = match &*statement {
        SqlStatement::Update(update) => Some(&update.table),
        SqlStatement::Delete(delete) => match &delete.from {
            FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => {
                tables.first()
            }
        },
        _ => None,
    };
    let Some(location) = target.and_then(changed_file).map(quoted) else {
        return Ok(());
    };
    let message = format!(
        "{location} is a file, which UPDATE and DELETE do not change; CREATE TABLE t AS SELECT * FROM {location} makes a table of it"
    );
    Err(sql_err(SqlState::Unsupported, message))
}

fn changed_file(target: &TableWithJoins) -> Option<&str> {
    match &target.relation {
        TableFactor::Table {
            name, args: None, ..
        } => file_name(name),
        _ => None,
    }
}

/// `SELECT * FROM relation`
pub(super) fn whole(relation: &str) -> Result<Box<Query>> {
    let text = format!("SELECT * FROM {relation}");
    let dialect = GenericDialect {};
    let parsed = Parser::new(&dialect).try_with_sql(&text);
    let parsed = parsed.and_then(|mut parser| parser.parse_query());
    parsed.map_err(|error| DataFusionError::SQL(Box::new(error), None))
}

/// The location, if a name is a text in single quotes.
fn file_name(name: &ObjectName) -> Option<&str> {
    let [part] = name.0.as_slice() else {
        return None;
    };
    let name = part.as_ident()?;
    (name.quote_style == Some('\'')).then_some(name.value.as_str())
}

fn file_function(name: &ObjectName) -> Option<&'static str> {
    let [part] = name.0.as_slice() else {
        return None;
    };
    let name = part.as_ident()?.value.to_lowercase();
    let mut known = FILE_FUNCTIONS.iter().copied();
    known.find(|function| *function == name)
}

struct Files {
    calls: Vec<FileCall>,
}

impl VisitorMut for Files {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<DataFusionError> {
        let TableFactor::Table { name, args, .. } = factor else {
            return ControlFlow::Continue(());
        };
        let call = match args {
            None => file_name(name).map(|location| {
                Ok(FileCall {
                    function: None,
                    locations: vec![location.to_owned()],
                    arguments: vec![],
                })
            }),
            // A clause of settings stays, and is refused with the clauses of other functions.
            Some(args) if args.settings.is_none() => {
                file_function(name).map(|function| FileCall::parse(function, &args.args))
            }
            Some(_) => None,
        };
        match call {
            None => ControlFlow::Continue(()),
            Some(Err(error)) => ControlFlow::Break(error),
            Some(Ok(call)) => {
                let index = self.calls.len().to_string();
                let parts = [FILES, index.as_str()].map(|part| Ident::with_quote('"', part));
                *name = ObjectName::from(parts.to_vec());
                *args = None;
                self.calls.push(call);
                ControlFlow::Continue(())
            }
        }
    }
}

struct Locations<F> {
    change: F,
}

impl<F: FnMut(&str) -> Result<String>> Locations<F> {
    fn change_text(&mut self, expr: &mut Expr) -> Result<()> {
        match expr {
            Expr::Value(value) => {
                if let Value::SingleQuotedString(text) = &mut value.value {
                    *text = (self.change)(text.as_str())?;
                }
                Ok(())
            }
            Expr::Array(list) => list
                .elem
                .iter_mut()
                .try_for_each(|element| self.change_text(element)),
            _ => Ok(()),
        }
    }

    fn change_factor(&mut self, factor: &mut TableFactor) -> Result<()> {
        let TableFactor::Table { name, args, .. } = factor else {
            return Ok(());
        };
        match args {
            None => {
                if let Some(location) = file_name(name) {
                    let location = (self.change)(location)?;
                    *name = ObjectName::from(vec![Ident::with_quote('\'', location)]);
                }
                Ok(())
            }
            Some(args) if file_function(name).is_some() => match args.args.first_mut() {
                Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(first))) => self.change_text(first),
                _ => Ok(()),
            },
            Some(_) => Ok(()),
        }
    }
}

impl<F: FnMut(&str) -> Result<String>> VisitorMut for Locations<F> {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<DataFusionError> {
        match self.change_factor(factor) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    }
}

impl FileCall {
    fn parse(function: &'static str, args: &[FunctionArg]) -> Result<Self> {
        let Some((first, rest)) = args.split_first() else {
            return Err(usage(function, "nothing"));
        };
        let locations = match first {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(location)) => texts(location),
            _ => None,
        };
        let locations = locations.ok_or_else(|| usage(function, &first.to_string()))?;
        let mut arguments: Vec<(String, OptionValue)> = Vec::with_capacity(rest.len());
        for argument in rest {
            let FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } = argument
            else {
                return Err(usage(function, &argument.to_string()));
            };
            let name = name.value.to_lowercase();
            if arguments.iter().any(|(known, _)| *known == name) {
                return Err(given_twice(&name));
            }
            let value = value_of(value).ok_or_else(|| {
                let message = format!("argument {name} must be a literal, found {value}");
                sql_err(SqlState::Syntax, message)
            })?;
            arguments.push((name, value));
        }
        Ok(Self {
            function: Some(function),
            locations,
            arguments,
        })
    }
}

/// A text, or a list of at least one.
fn texts(expr: &Expr) -> Option<Vec<String>> {
    match value_of(expr)? {
        OptionValue::Text(text) => Some(vec![text]),
        OptionValue::List(values) if !values.is_empty() => {
            let texts = values.into_iter().map(|value| match value {
                OptionValue::Text(text) => Some(text),
                _ => None,
            });
            texts.collect()
        }
        _ => None,
    }
}

fn value_of(expr: &Expr) -> Option<OptionValue> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(OptionValue::Text(text.clone())),
            Value::Boolean(value) => Some(OptionValue::Boolean(*value)),
            Value::Number(digits, _) => Some(OptionValue::Number(digits.clone())),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match value_of(expr)? {
            OptionValue::Number(digits) => Some(OptionValue::Number(format!("-{digits}"))),
            _ => None,
        },
        Expr::Array(list) => {
            let values: Option<Vec<OptionValue>> = list.elem.iter().map(value_of).collect();
            values.map(OptionValue::List)
        }
        _ => None,
    }
}

fn usage(function: &str, found: &str) -> DataFusionError {
    let message = format!(
        "{function} takes a file, a folder, a pattern or a list of files as text, then named arguments, found {found}; \
         use FROM {function}('data/x', name => value)"
    );
    sql_err(SqlState::Syntax, message)
}

#[cfg(test)]
mod tests {
    use super::super::{Statement, parse};
    use super::*;
    use crate::error::report;

    fn parsed(text: &str) -> DFStatement {
        match parse(text).unwrap() {
            Some(Statement::DataFusion(statement)) => *statement,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn taken(text: &str) -> Result<(String, Vec<FileCall>)> {
        let mut statement = parsed(text);
        let calls = take_files(&mut statement)?;
        Ok((statement.to_string(), calls))
    }

    fn file(location: &str) -> FileCall {
        FileCall {
            function: None,
            locations: vec![location.to_owned()],
            arguments: vec![],
        }
    }

    #[test]
    fn a_text_in_from_is_a_file_and_a_name_is_not() {
        let text = "SELECT * FROM 'a/b''c.csv' AS x JOIN \"t.csv\" ON true WHERE EXISTS (SELECT 1 FROM 's3://b/k.parquet')";
        let (rest, calls) = taken(text).unwrap();
        assert_eq!(calls, [file("a/b'c.csv"), file("s3://b/k.parquet")]);
        assert!(
            rest.contains("\"t.csv\"") && !rest.contains("a/b"),
            "{rest}"
        );
        assert!(rest.contains("\"a file in FROM\".\"0\" AS x"), "{rest}");
        for text in [
            "EXPLAIN SELECT * FROM 'x.csv'",
            "COPY 'x.csv' TO 'y.parquet'",
            "COPY (SELECT * FROM 'x.csv') TO 'y.parquet'",
            "DESCRIBE 'x.csv'",
            "CREATE VIEW v AS SELECT * FROM 'x.csv'",
            "INSERT INTO t SELECT * FROM 'x.csv'",
        ] {
            assert_eq!(taken(text).unwrap().1, [file("x.csv")], "{text}");
        }
    }

    #[test]
    fn a_function_takes_locations_and_literals() {
        let text = "SELECT * FROM Read_CSV(['a.csv', 'b.csv'], Header => false, sample_size => -1, null => ['NA', '?'])";
        let (_, calls) = taken(text).unwrap();
        let text = |value: &str| OptionValue::Text(value.to_owned());
        let expected = FileCall {
            function: Some(READ_CSV),
            locations: vec!["a.csv".to_owned(), "b.csv".to_owned()],
            arguments: vec![
                ("header".to_owned(), OptionValue::Boolean(false)),
                (
                    "sample_size".to_owned(),
                    OptionValue::Number("-1".to_owned()),
                ),
                (
                    "null".to_owned(),
                    OptionValue::List(vec![text("NA"), text("?")]),
                ),
            ],
        };
        assert_eq!(calls, [expected]);
    }

    #[test]
    fn a_call_that_is_written_in_another_way_is_refused() {
        for (text, problem) in [
            ("SELECT * FROM read_csv()", "found nothing"),
            ("SELECT * FROM read_csv(x)", "found x"),
            ("SELECT * FROM read_json([])", "found []"),
            ("SELECT * FROM read_csv('x', ';')", "found ';'"),
            (
                "SELECT * FROM read_csv('x', delim => lower('A'))",
                "must be a literal",
            ),
            (
                "SELECT * FROM read_csv('x', delim => 'a', Delim => 'b')",
                "given twice",
            ),
            ("DELETE FROM 'x.csv'", "is a file"),
            ("UPDATE 'x.csv' SET a = 1", "is a file"),
        ] {
            let message = report(&taken(text).unwrap_err()).message;
            assert!(message.contains(problem), "{text}: {message}");
        }
    }

    #[test]
    fn the_name_in_the_place_of_a_file_has_its_index() {
        let name = |parts: &[&str]| {
            let parts = parts.iter().map(|part| Ident::with_quote('"', *part));
            ObjectName::from(parts.collect::<Vec<_>>())
        };
        assert_eq!(file_index(&name(&[FILES, "12"])), Some(12));
        assert_eq!(file_index(&name(&["s", "12"])), None);
        assert_eq!(file_index(&name(&["12"])), None);
    }

    #[test]
    fn locations_are_changed_where_they_stand() {
        let mut statement = parsed(
            "CREATE VIEW v AS SELECT 'x' FROM 'x' JOIN read_json(['y', 'z'], compression => 'gzip') ON true",
        );
        change_locations(&mut statement, |location| Ok(format!("/a/{location}"))).unwrap();
        let text = statement.to_string();
        for part in ["SELECT 'x' FROM '/a/x'", "['/a/y', '/a/z']", "'gzip'"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
