//! Calls in expressions of functions whose first argument is a model: `embed(m, text, name => literal)`.
//!
//! DataFusion would look for a column with the name of the model, and takes named arguments only if none before them is left
//! out. So the model becomes a text, and the named arguments become one text in JSON:
//!
//! ```text
//! embed(m, body, prompt => 'query')        embed('public.m', body, '{"prompt":"query"}')
//! predict_value(m, area, age => 'new')     predict_value('public.m', ':area', area, '=age', 'new')
//! predict_value(m, lower(body))            predict_value('public.m', ';lower(body)', lower(body))
//! ```
//! The first character of a feature's name says where the name comes from: see [`NameOf`].

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::common::DataFusionError;
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList, FunctionArguments,
    ObjectName, UnaryOperator, Value, VisitorMut,
};
use serde_json::Value as Json;

use super::rewrite::{model_argument, visited};
use super::statement::folded;
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::model::ModelRef;

/// How the calls of a function are written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallForm {
    pub(crate) name: &'static str,
    /// A call as errors show it: `embed(model, text)`.
    pub(crate) usage: &'static str,
    pub(crate) inputs: CallInputs,
}

/// The arguments after the model.
#[derive(Debug, Clone, Copy)]
pub(crate) enum CallInputs {
    /// One value, and these named arguments, which are literals.
    One { named: &'static [&'static str] },
    /// The features of the model: columns of their names, `name => value`, or the only one.
    Features,
}

/// Where the name of a feature comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameOf {
    /// `name => value`
    Argument,
    /// The value is a column.
    Column,
    /// The value has no name: the text is the value as it was written.
    Nothing,
}

impl NameOf {
    const ALL: [(Self, char); 3] = [
        (Self::Argument, '='),
        (Self::Column, ':'),
        (Self::Nothing, ';'),
    ];

    fn marked(self, name: &str) -> String {
        let mut all = Self::ALL.iter();
        let mark = all.find(|(of, _)| *of == self).map(|(_, mark)| mark);
        mark.into_iter().copied().chain(name.chars()).collect()
    }

    /// The name of a feature in a call that [`prepare_calls`] wrote, and where it comes from.
    pub(crate) fn of(text: &str) -> Option<(Self, &str)> {
        let mut all = Self::ALL.iter();
        all.find_map(|(of, mark)| Some((*of, text.strip_prefix(*mark)?)))
    }
}

/// Whether a text may call one of these functions.
pub(crate) fn mentions_call(text: &str, forms: &[CallForm]) -> bool {
    let text = text.to_lowercase();
    forms
        .iter()
        .any(|form| text.contains(&format!("{}(", form.name)))
}

/// Rewrites the calls of these functions for DataFusion's planner, and collects the models that they use.
pub(crate) fn prepare_calls(
    statement: &mut DFStatement,
    forms: &[CallForm],
) -> Result<Vec<ModelRef>> {
    let mut visitor = Calls {
        forms,
        models: Vec::new(),
    };
    visited(statement, &mut visitor)?;
    Ok(visitor.models)
}

struct Calls<'a> {
    forms: &'a [CallForm],
    models: Vec<ModelRef>,
}

impl VisitorMut for Calls<'_> {
    type Break = DataFusionError;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<DataFusionError> {
        let Expr::Function(call) = expr else {
            return ControlFlow::Continue(());
        };
        let Some(form) = self.forms.iter().find(|form| is_named(&call.name, form)) else {
            return ControlFlow::Continue(());
        };
        match rewrite(call, form) {
            Ok(model) => {
                self.models.push(model);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(error),
        }
    }
}

fn is_named(name: &ObjectName, form: &CallForm) -> bool {
    match name.0.as_slice() {
        [part] => part
            .as_ident()
            .is_some_and(|name| name.value.eq_ignore_ascii_case(form.name)),
        _ => false,
    }
}

/// Rewrites a call, and returns its model.
fn rewrite(call: &mut Function, form: &CallForm) -> Result<ModelRef> {
    let args = match &mut call.args {
        FunctionArguments::List(FunctionArgumentList { args, .. }) => args,
        FunctionArguments::None | FunctionArguments::Subquery(_) => return Err(usage(form, "")),
    };
    let model = model_argument(form.name, args.first())?;
    let rest: Vec<FunctionArg> = args.drain(..).skip(1).collect();
    args.push(text(model.to_string()));
    match form.inputs {
        CallInputs::One { named } => args.extend(one_input(form, named, rest)?),
        CallInputs::Features => {
            for argument in rest {
                let (of, name, value) = feature(form, argument)?;
                args.extend([text(of.marked(&name)), value]);
            }
        }
    }
    Ok(model)
}

/// The input, and the text of the named arguments if there are any.
fn one_input(
    form: &CallForm,
    known: &[&str],
    arguments: Vec<FunctionArg>,
) -> Result<Vec<FunctionArg>> {
    let mut input = None;
    // In one order, so that equal calls have equal texts.
    let mut named = BTreeMap::new();
    for argument in arguments {
        match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(_))
                if input.is_none() && named.is_empty() =>
            {
                input = Some(argument);
            }
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } => {
                let name = name.value.to_lowercase();
                if !known.contains(&name.as_str()) {
                    return Err(unknown_argument(form.name, &name, known));
                }
                let value = literal(&name, &value)?;
                if named.contains_key(&name) {
                    return Err(given_twice(&name));
                }
                named.insert(name, value);
            }
            other => return Err(usage(form, &format!(" does not take {other}"))),
        }
    }
    let input = input.ok_or_else(|| usage(form, " needs a value after the model"))?;
    let named = (!named.is_empty()).then(|| Json::Object(named.into_iter().collect()));
    let named = named.map(|named| text(named.to_string()));
    Ok([input].into_iter().chain(named).collect())
}

/// The name of a feature, and its value.
fn feature(form: &CallForm, argument: FunctionArg) -> Result<(NameOf, String, FunctionArg)> {
    match argument {
        FunctionArg::Named {
            name,
            arg: arg @ FunctionArgExpr::Expr(_),
            ..
        } => Ok((NameOf::Argument, folded(&name), FunctionArg::Unnamed(arg))),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => {
            let name = match &value {
                Expr::Identifier(name) => Some(folded(name)),
                Expr::CompoundIdentifier(names) => names.last().map(folded),
                _ => None,
            };
            let (of, name) = match name {
                Some(name) => (NameOf::Column, name),
                None => (NameOf::Nothing, value.to_string()),
            };
            let value = FunctionArg::Unnamed(FunctionArgExpr::Expr(value));
            Ok((of, name, value))
        }
        other => Err(usage(form, &format!(" does not take {other}"))),
    }
}

/// The value of a literal, or of a list of literals.
fn literal(name: &str, value: &Expr) -> Result<Json> {
    let found = match value {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(Json::from(text.clone())),
            Value::Boolean(value) => Some(Json::from(*value)),
            Value::Number(digits, _) => number(digits),
            _ => None,
        },
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match expr.as_ref() {
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => number(&format!("-{digits}")),
                _ => None,
            },
            _ => None,
        },
        Expr::Array(list) => {
            let values = list.elem.iter().map(|value| literal(name, value));
            Some(Json::Array(values.collect::<Result<_>>()?))
        }
        _ => None,
    };
    found.ok_or_else(|| {
        let message = format!("argument {name} must be a literal, found {value}");
        sql_err(SqlState::Syntax, message)
    })
}

fn number(digits: &str) -> Option<Json> {
    if let Ok(whole) = digits.parse::<i64>() {
        return Some(Json::from(whole));
    }
    let float = digits.parse::<f64>().ok()?;
    serde_json::Number::from_f64(float).map(Json::Number)
}

fn text(value: String) -> FunctionArg {
    let value = Expr::value(Value::SingleQuotedString(value));
    FunctionArg::Unnamed(FunctionArgExpr::Expr(value))
}

fn usage(form: &CallForm, problem: &str) -> DataFusionError {
    let CallForm { name, usage, .. } = form;
    let message = match problem {
        "" => format!("{name} is called with a model and a value: {usage}"),
        _ => format!("{name}{problem}; use {usage}"),
    };
    sql_err(SqlState::Syntax, message)
}

/// The error for an argument that is given twice.
pub(crate) fn given_twice(name: &str) -> DataFusionError {
    let message = format!("argument {name} is given twice; keep one of them");
    sql_err(SqlState::Syntax, message)
}

/// The error for an argument that the function does not have.
pub(crate) fn unknown_argument(function: &str, name: &str, known: &[&str]) -> DataFusionError {
    let what = match known {
        [] => format!("{function} takes no named arguments, found \"{name}\""),
        _ => format!(
            "{function} has no argument \"{name}\"; it has {}",
            known.join(", ")
        ),
    };
    let message = with_cause(what, name, known.iter().copied());
    sql_err(SqlState::InvalidParameter, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report;
    use crate::sql::{Statement, parse};

    const FORMS: &[CallForm] = &[
        CallForm {
            name: "embed",
            usage: "embed(model, text)",
            inputs: CallInputs::One {
                named: &["prompt", "stop", "size"],
            },
        },
        CallForm {
            name: "predict_value",
            usage: "predict_value(model, feature, …)",
            inputs: CallInputs::Features,
        },
    ];

    fn prepared(text: &str) -> Result<(String, Vec<String>)> {
        let Some(Statement::DataFusion(mut statement)) = parse(text)? else {
            panic!("{text}")
        };
        let models = prepare_calls(&mut statement, FORMS)?;
        let models = models.iter().map(ToString::to_string);
        Ok((statement.to_string(), models.collect()))
    }

    #[test]
    fn the_model_and_the_named_arguments_become_texts() {
        let text = "SELECT embed(M, body) FROM t WHERE EMBED('s.n@3', 'it''s', size => -1.5, stop => ['a', 2]) IS NULL";
        let (rewritten, models) = prepared(text).unwrap();
        let expected = "SELECT embed('public.m', body) FROM t \
                        WHERE EMBED('s.n@3', 'it''s', '{\"size\":-1.5,\"stop\":[\"a\",2]}') IS NULL";
        assert_eq!(rewritten, expected);
        assert_eq!(models, ["public.m", "s.n@3"]);
    }

    #[test]
    fn features_are_columns_or_named_or_have_no_name() {
        let text = "SELECT predict_value(m, h.\"Area\", AGE, rooms => a + 1, lower('x')) FROM h";
        let (rewritten, _) = prepared(text).unwrap();
        let expected = "SELECT predict_value('public.m', ':Area', h.\"Area\", ':age', AGE, '=rooms', a + 1, \
                        ';lower(''x'')', lower('x')) FROM h";
        assert_eq!(rewritten, expected);
    }

    #[test]
    fn the_first_character_says_where_a_name_comes_from() {
        for of in [NameOf::Argument, NameOf::Column, NameOf::Nothing] {
            assert_eq!(NameOf::of(&of.marked(":x")), Some((of, ":x")));
        }
        assert_eq!(NameOf::of("x"), None);
    }

    #[test]
    fn calls_are_found_in_calls_and_wherever_an_expression_stands() {
        let text = "INSERT INTO t SELECT embed(a, embed(b, x)) FROM s JOIN u ON embed(c, s.y) = embed(d, u.y) \
                    GROUP BY embed(e, x) HAVING max(embed(f, x)) IN (SELECT embed(g, 'x')) ORDER BY embed(h, x)";
        let (_, mut models) = prepared(text).unwrap();
        models.sort();
        let expected =
            ["a", "b", "c", "d", "e", "f", "g", "h"].map(|name| format!("public.{name}"));
        assert_eq!(models, expected);
    }

    #[test]
    fn a_call_that_is_written_in_another_way_is_refused() {
        for (call, state, problem) in [
            (
                "embed(m)",
                SqlState::Syntax,
                "needs a value after the model",
            ),
            ("embed", SqlState::Syntax, ""),
            (
                "embed()",
                SqlState::Syntax,
                "the name of a model, found nothing",
            ),
            ("embed(lower('m'), x)", SqlState::Syntax, "found lower('m')"),
            (
                "embed(m, x, y)",
                SqlState::Syntax,
                "does not take y; use embed(model, text)",
            ),
            (
                "embed(m, prompt => 'a', x)",
                SqlState::Syntax,
                "does not take x",
            ),
            (
                "embed(m, x, prompt => y)",
                SqlState::Syntax,
                "must be a literal, found y",
            ),
            (
                "embed(m, x, prompt => NULL)",
                SqlState::Syntax,
                "must be a literal",
            ),
            (
                "embed(m, x, size => 1, size => 1)",
                SqlState::Syntax,
                "given twice",
            ),
            (
                "embed(m, x, promt => 'a')",
                SqlState::InvalidParameter,
                "\"promt\"",
            ),
            (
                "predict_value(m, *)",
                SqlState::Syntax,
                "predict_value does not take *",
            ),
        ] {
            let Err(error) = prepared(&format!("SELECT {call} FROM t")) else {
                // A name without brackets is a column.
                assert_eq!(call, "embed");
                continue;
            };
            let error = report(&error);
            assert_eq!(error.state, state, "{call}");
            assert!(error.message.contains(problem), "{call}: {}", error.message);
        }
    }

    #[test]
    fn a_text_mentions_a_call_by_its_bracket() {
        assert!(mentions_call("SELECT EMBED($1, x)", FORMS));
        assert!(!mentions_call("SELECT embedding FROM t", FORMS));
    }
}
