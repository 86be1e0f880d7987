//! The shared code of table functions: their calls, and the names of their relations.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, Ident, Query, TableAlias, TableFactor,
    TableFunctionArgs,
};

use crate::error::{Result, SqlState, sql_err};
use crate::model::{ResolvedModel, ResolvedModels};
use crate::sql::{given_twice, named_inputs, relation_function, unknown_argument};

/// A call of a table function with its parsed arguments.
pub(crate) struct Call {
    pub(crate) function: &'static str,
    pub(crate) model: Arc<ResolvedModel>,
    pub(crate) input: Option<LogicalPlan>,
    pub(crate) alias: Option<TableAlias>,
    named: Vec<(String, ScalarValue)>,
    /// The named arguments that are tables.
    queries: Vec<(String, LogicalPlan)>,
}

/// Parses a table factor if it is a call of one of `functions`.
pub(crate) fn call(
    factor: &TableFactor,
    functions: &[&'static str],
    models: &ResolvedModels,
    context: &mut dyn RelationPlannerContext,
) -> Result<Option<Call>> {
    let Some((function, args, alias)) = called(factor, functions) else {
        return Ok(None);
    };
    let reference = crate::sql::model_argument(function, args.args.first())?;
    let model = models.get(&reference).ok_or_else(|| {
        sql_err(
            SqlState::Internal,
            format!("model {reference} was not resolved before planning"),
        )
    })?;
    let mut call = Call {
        function,
        model: Arc::clone(model),
        input: None,
        alias,
        named: Vec::new(),
        queries: Vec::new(),
    };
    call.take_arguments(args, context)?;
    Ok(Some(call))
}

/// The function, the arguments and the alias of a table factor that calls one of `functions`.
pub(crate) fn called<'a>(
    factor: &'a TableFactor,
    functions: &[&'static str],
) -> Option<(&'static str, &'a TableFunctionArgs, Option<TableAlias>)> {
    let TableFactor::Table {
        name,
        args: Some(args),
        alias,
        ..
    } = factor
    else {
        return None;
    };
    let function = relation_function(name).filter(|function| functions.contains(function))?;
    Some((function, args, alias.clone()))
}

/// The plan of a query that is an argument.
pub(crate) fn planned_query(
    query: Box<Query>,
    context: &mut dyn RelationPlannerContext,
) -> Result<LogicalPlan> {
    context.plan(TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias: None,
        sample: None,
    })
}

/// The name, in lower case, and the value of an argument of a function that takes only named arguments from here on.
pub(crate) fn named_argument<'a>(
    function: &str,
    argument: &'a FunctionArg,
    usage: &str,
) -> Result<(String, &'a SqlExpr)> {
    match argument {
        FunctionArg::Named {
            name,
            arg: FunctionArgExpr::Expr(value),
            ..
        } => Ok((name.value.to_lowercase(), value)),
        other => Err(syntax_err(format!(
            "{function} does not take {other}; use {usage}"
        ))),
    }
}

impl Call {
    /// The relation of the call.
    pub(crate) fn planned(self, plan: LogicalPlan) -> Result<RelationPlanning> {
        named_relation(self.function, self.alias, plan)
    }

    fn take_arguments(
        &mut self,
        args: &TableFunctionArgs,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<()> {
        let function = self.function;
        for argument in args.args.iter().skip(1) {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(SqlExpr::Subquery(query)))
                    if self.input.is_none() =>
                {
                    if !self.named.is_empty() || !self.queries.is_empty() {
                        return Err(syntax_err(format!(
                            "the input of {function} comes before its named arguments"
                        )));
                    }
                    self.input = Some(planned_query(query.clone(), context)?);
                }
                FunctionArg::Named {
                    name,
                    arg: FunctionArgExpr::Expr(value),
                    ..
                } => {
                    self.take_named(name, value, context)?;
                }
                other => {
                    let usage = format!("{function}(model, (query), name => value, …)");
                    return Err(syntax_err(format!(
                        "{function} does not take {other}; use {usage}"
                    )));
                }
            }
        }
        Ok(())
    }

    fn take_named(
        &mut self,
        name: &Ident,
        value: &SqlExpr,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<()> {
        let name = name.value.to_lowercase();
        let queries = self.queries.iter().map(|(known, _)| known);
        let mut given = self.named.iter().map(|(known, _)| known).chain(queries);
        if given.any(|known| *known == name) {
            return Err(given_twice(&name));
        }
        if named_inputs(self.function).contains(&name.as_str()) {
            let SqlExpr::Subquery(query) = value else {
                let message = format!("argument {name} is a table or (query), found {value}");
                return Err(syntax_err(message));
            };
            let plan = planned_query(query.clone(), context)?;
            self.queries.push((name, plan));
            return Ok(());
        }
        let literal = match value {
            SqlExpr::Array(list) => literals(&name, &list.elem, context)?,
            value => literal(&name, value, context)?,
        };
        self.named.push((name, literal));
        Ok(())
    }

    /// Takes the named argument that is a table, if it is given.
    pub(crate) fn take_query(&mut self, name: &str) -> Option<LogicalPlan> {
        let mut given = self.queries.iter();
        let at = given.position(|(known, _)| known == name)?;
        Some(self.queries.swap_remove(at).1)
    }

    /// Takes the input; a call without one is an error.
    pub(crate) fn required_input(&mut self) -> Result<LogicalPlan> {
        let function = self.function;
        self.input.take().ok_or_else(|| {
            syntax_err(format!(
                "{function} needs rows: {function}(model, (query)) or {function}(model, table)"
            ))
        })
    }

    /// Passes each named argument to `take`; a name that is not in `known` is an error.
    pub(crate) fn named(
        &self,
        known: &[&str],
        mut take: impl FnMut(&str, &ScalarValue) -> Result<()>,
    ) -> Result<()> {
        for (name, value) in &self.named {
            if !known.contains(&name.as_str()) {
                return Err(unknown_argument(self.function, name, known));
            }
            take(name, value)?;
        }
        Ok(())
    }
}

/// A relation, named by the alias of the call or by the function. With the names of the input's tables, its columns would be
/// confused with theirs. An input with two columns of one name keeps the qualifiers that it needs.
pub(crate) fn named_relation(
    function: &'static str,
    alias: Option<TableAlias>,
    plan: LogicalPlan,
) -> Result<RelationPlanning> {
    let mut names = HashSet::new();
    let is_unique = plan
        .schema()
        .fields()
        .iter()
        .all(|field| names.insert(field.name().clone()));
    let plan = match &alias {
        None if is_unique => LogicalPlanBuilder::from(plan).alias(function)?.build()?,
        _ => plan,
    };
    Ok(RelationPlanning::Planned(Box::new(PlannedRelation::new(
        plan, alias,
    ))))
}

/// The value of a named argument, which must be a literal.
pub(crate) fn literal(
    name: &str,
    value: &SqlExpr,
    context: &mut dyn RelationPlannerContext,
) -> Result<ScalarValue> {
    let not_literal =
        |found: String| syntax_err(format!("argument {name} must be a literal, found {found}"));
    match context.sql_to_expr(value.clone(), &DFSchema::empty())? {
        Expr::Literal(literal, _) => Ok(literal),
        Expr::Negative(inner) => match *inner {
            Expr::Literal(literal, _) => literal.arithmetic_negate(),
            other => Err(not_literal(format!("-{other}"))),
        },
        other => Err(not_literal(other.to_string())),
    }
}

/// A list of literals of one type as a value.
fn literals(
    name: &str,
    values: &[SqlExpr],
    context: &mut dyn RelationPlannerContext,
) -> Result<ScalarValue> {
    let mut found = Vec::with_capacity(values.len());
    for value in values {
        found.push(literal(name, value, context)?);
    }
    let data_type = found.first().map_or(DataType::Null, ScalarValue::data_type);
    if found.iter().any(|value| value.data_type() != data_type) {
        let message = format!("argument {name} is a list of values of several types");
        return Err(syntax_err(message));
    }
    let list = ScalarValue::new_list(&found, &data_type, true);
    Ok(ScalarValue::List(list))
}

/// The error for a call that is not written as the function takes it.
pub(crate) fn syntax_err(message: String) -> DataFusionError {
    sql_err(SqlState::Syntax, message)
}

/// The error for an argument with a wrong value.
pub(crate) fn argument_err(name: &str, expected: &str, found: &ScalarValue) -> DataFusionError {
    sql_err(
        SqlState::InvalidParameter,
        format!("argument {name} is {}; expected {expected}", shown(found)),
    )
}

/// A literal as SQL writes it, so that an error tells '3' and 3.0 from 3.
fn shown(literal: &ScalarValue) -> String {
    match (literal, literal.try_as_str()) {
        (_, Some(Some(text))) => format!("'{text}'"),
        (ScalarValue::Float64(Some(number)), _) => format!("{number:?}"),
        _ => literal.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_a_literal_as_it_is_written() {
        let literals = [
            (ScalarValue::from("3"), "'3'"),
            (ScalarValue::from(3.0f64), "3.0"),
            (ScalarValue::from(1.5f64), "1.5"),
            (ScalarValue::from(3i64), "3"),
            (ScalarValue::Utf8(None), "NULL"),
        ];
        for (literal, expected) in literals {
            assert_eq!(shown(&literal), expected);
        }
    }
}
