//! Rewrites of the arguments of our relation functions for DataFusion's planner.

use std::ops::{ControlFlow, Range};

use datafusion::common::DataFusionError;
use datafusion::sql::parser::{CopyToSource, Statement as DFStatement};
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, ObjectName, Query, Statement as SqlStatement, TableFactor,
    Value, VisitMut, VisitorMut,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::statement::{
    NEAREST, RECOMMEND, RELATION_FUNCTIONS, SUMMARIZE, WINDOWS, begins_with_relation,
};
use crate::error::{Result, SqlState, sql_err};
use crate::model::ModelRef;
use crate::sql::folded;

/// Whether a text may call a relation function.
pub(crate) fn mentions_relation_function(text: &str) -> bool {
    let text = text.to_lowercase();
    RELATION_FUNCTIONS.iter().any(|name| text.contains(name))
}

/// Turns a bare table argument into a sub-query, and collects the models that the statement uses.
///
/// DataFusion resolves tables before planning and does not look into function arguments, so without this
/// `predict(m, t)` fails with "table not found".
pub(crate) fn prepare_relations(statement: &mut DFStatement) -> Result<Vec<ModelRef>> {
    let mut visitor = Relations { models: Vec::new() };
    visited(statement, &mut visitor)?;
    Ok(visitor.models)
}

/// Visits the parts of a statement that may have relations and expressions.
pub(super) fn visited<V: VisitorMut<Break = DataFusionError>>(
    statement: &mut DFStatement,
    visitor: &mut V,
) -> Result<()> {
    let flow = match statement {
        DFStatement::Statement(statement) => statement.visit(visitor),
        DFStatement::CopyTo(copy) => match &mut copy.source {
            CopyToSource::Query(query) => query.visit(visitor),
            CopyToSource::Relation(_) => ControlFlow::Continue(()),
        },
        DFStatement::Explain(explain) => {
            return visited(&mut explain.statement, visitor);
        }
        DFStatement::CreateExternalTable(_) | DFStatement::Reset(_) => ControlFlow::Continue(()),
    };
    match flow {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The statement with each `predict(?, (query))` replaced by its query, to which `outputs` are added, each a name and an
/// expression: so the types of the other parameters can be determined before the model is known. A call of `windows` or
/// `summarize`, which has no outputs of a model, is replaced by its query alone.
pub(crate) fn with_inputs_only(statement: &mut DFStatement, outputs: &[(String, String)]) {
    if let DFStatement::Statement(statement) = statement {
        let _ = statement.visit(&mut Inputs { outputs });
    }
}

struct Inputs<'a> {
    outputs: &'a [(String, String)],
}

impl Inputs<'_> {
    fn with_outputs(&self, query: Box<Query>) -> Box<Query> {
        let columns = self.outputs.iter();
        let columns: String = columns
            .map(|(name, expr)| format!(", {expr} AS \"{name}\""))
            .collect();
        let text = format!("SELECT *{columns} FROM ({query})");
        match super::parse(&text) {
            Ok(Some(super::Statement::DataFusion(statement))) => match *statement {
                DFStatement::Statement(statement) => match *statement {
                    SqlStatement::Query(query) => query,
                    _ => query,
                },
                _ => query,
            },
            _ => query,
        }
    }
}

impl VisitorMut for Inputs<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let Some(function) = relation_function(name) else {
            return ControlFlow::Continue(());
        };
        // Both relations of `nearest` stay, for their parameters.
        if function == NEAREST {
            return ControlFlow::Continue(());
        }
        let input = match args.args.get(input_positions(function).start) {
            Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Subquery(query)))) => {
                Some(query.clone())
            }
            _ => None,
        };
        if let Some(input) = input {
            let subquery = match function {
                WINDOWS | SUMMARIZE => input,
                _ => self.with_outputs(input),
            };
            let alias = alias.take();
            *factor = TableFactor::Derived {
                lateral: false,
                subquery,
                alias,
                sample: None,
            };
        }
        ControlFlow::Continue(())
    }
}

struct Relations {
    models: Vec<ModelRef>,
}

impl VisitorMut for Relations {
    type Break = DataFusionError;

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Self::Break> {
        if let TableFactor::Table {
            name,
            args: Some(args),
            ..
        } = factor
            && let Some(function) = relation_function(name)
        {
            if !begins_with_relation(function) {
                match model_argument(function, args.args.first()) {
                    Ok(model) => self.models.push(model),
                    Err(error) => return ControlFlow::Break(error),
                }
            }
            for position in input_positions(function) {
                if let Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(input))) =
                    args.args.get_mut(position)
                {
                    expand_table(input);
                }
            }
            for argument in &mut args.args {
                if let FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } = argument
                    && named_inputs(function).contains(&name.value.to_lowercase().as_str())
                {
                    expand_table(value);
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Self::Break> {
        if let Expr::Function(function) = expr
            && let Some(name) = relation_function(&function.name)
        {
            return ControlFlow::Break(sql_err(
                SqlState::Plan,
                format!(
                    "{name} is a relation and not allowed here; use it in FROM: SELECT … FROM {}",
                    usage(name)
                ),
            ));
        }
        ControlFlow::Continue(())
    }
}

fn usage(function: &str) -> String {
    match function {
        WINDOWS => format!("{function}((query), order => column, lags => 14)"),
        NEAREST => format!("{function}((query), (query), top_k => 10)"),
        SUMMARIZE => format!("{function}((query))"),
        _ => format!("{function}(model, (query))"),
    }
}

/// The positions of the inputs among the arguments: behind the model, if the function takes one.
fn input_positions(function: &str) -> Range<usize> {
    match function {
        NEAREST => 0..2,
        WINDOWS | SUMMARIZE => 0..1,
        _ => 1..2,
    }
}

/// The named arguments that are inputs.
pub(crate) fn named_inputs(function: &str) -> &'static [&'static str] {
    match function {
        RECOMMEND => &["exclude", "items"],
        _ => &[],
    }
}

/// The relation function of this name.
pub(crate) fn relation_function(name: &ObjectName) -> Option<&'static str> {
    let [part] = name.0.as_slice() else {
        return None;
    };
    let name = part.as_ident()?.value.to_lowercase();
    RELATION_FUNCTIONS
        .iter()
        .copied()
        .find(|function| *function == name)
}

/// The model that the first argument names.
pub(crate) fn model_argument(function: &str, argument: Option<&FunctionArg>) -> Result<ModelRef> {
    let text = match argument {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))) => match expr {
            Expr::Value(value) => match &value.value {
                Value::SingleQuotedString(text) => Some(text.clone()),
                _ => None,
            },
            Expr::Identifier(name) => Some(folded(name)),
            Expr::CompoundIdentifier(names) => {
                Some(names.iter().map(folded).collect::<Vec<_>>().join("."))
            }
            _ => None,
        },
        _ => None,
    };
    let text = text.ok_or_else(|| {
        let found = argument.map_or("nothing".to_owned(), ToString::to_string);
        let usage =
            format!("the first argument of {function} is the name of a model, found {found}");
        sql_err(SqlState::Syntax, usage)
    })?;
    Ok(ModelRef::parse(&text)?)
}

/// Turns the name of a table into a sub-query.
fn expand_table(argument: &mut Expr) {
    if let Some(query) = whole_table(argument) {
        *argument = Expr::Subquery(Box::new(query));
    }
}

/// `SELECT * FROM t`, if the argument is the name of a table.
fn whole_table(argument: &Expr) -> Option<Query> {
    let is_name = matches!(argument, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
    if !is_name {
        return None;
    }
    let text = format!("SELECT * FROM {argument}");
    Parser::new(&GenericDialect {})
        .try_with_sql(&text)
        .ok()?
        .parse_query()
        .ok()
        .map(|query| *query)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Statement, parse};

    fn prepared(text: &str) -> Result<(String, Vec<String>)> {
        let Some(Statement::DataFusion(mut statement)) = parse(text)? else {
            panic!("{text}")
        };
        let models = prepare_relations(&mut statement)?;
        Ok((
            statement.to_string(),
            models.iter().map(ToString::to_string).collect(),
        ))
    }

    #[test]
    fn a_table_argument_becomes_a_query() {
        for text in [
            "SELECT * FROM predict(m, t)",
            "SELECT * FROM predict('m', TABLE t)",
        ] {
            let (rewritten, models) = prepared(text).unwrap();
            assert!(rewritten.contains("(SELECT * FROM t)"), "{rewritten}");
            assert_eq!(models, ["public.m"]);
        }
        let text = "SELECT * FROM recommend(m, t, top_k => 3, Exclude => s.u, items => (SELECT 1))";
        let (rewritten, models) = prepared(text).unwrap();
        for expected in [
            "(SELECT * FROM t)",
            "=> (SELECT * FROM s.u)",
            "=> (SELECT 1)",
        ] {
            assert!(rewritten.contains(expected), "{rewritten}");
        }
        assert_eq!(models, ["public.m"]);
        let (rewritten, models) = prepared("SELECT * FROM windows(t, order => a)").unwrap();
        assert!(
            rewritten.contains("windows((SELECT * FROM t), order => a)"),
            "{rewritten}"
        );
        assert!(models.is_empty());
        let (rewritten, models) =
            prepared("SELECT * FROM nearest(q, TABLE t, top_k => 2)").unwrap();
        let both = "nearest((SELECT * FROM q), (SELECT * FROM t), top_k => 2)";
        assert!(rewritten.contains(both), "{rewritten}");
        assert!(models.is_empty());
    }

    #[test]
    fn models_are_found_wherever_a_relation_may_stand() {
        let text = "EXPLAIN WITH c AS (SELECT * FROM predict(a, t)) SELECT * FROM c JOIN predict('b@2', c) p ON true \
                    WHERE EXISTS (SELECT 1 FROM evaluate(s.d, (SELECT * FROM predict(e, t))))";
        assert_eq!(
            prepared(text).unwrap().1,
            ["public.a", "public.b@2", "s.d", "public.e"]
        );
        assert_eq!(
            prepared("COPY (SELECT * FROM predict(a, t)) TO 'x.csv'")
                .unwrap()
                .1,
            ["public.a"]
        );
    }

    #[test]
    fn a_relation_function_among_expressions_is_refused() {
        let error = prepared("SELECT predict(m, 1) FROM t")
            .unwrap_err()
            .to_string();
        assert!(error.contains("use it in FROM"), "{error}");
    }
}
