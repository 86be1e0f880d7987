//! The shared code of table functions: their arguments, the names of their relations, and the binding of features to columns.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::common::{Column, DFSchema, DataFusionError};
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::{
    Expr as SqlExpr, FunctionArg, FunctionArgExpr, Ident, Query, TableAlias, TableFactor,
    TableFunctionArgs,
};
use vatic_ml::data::signature::{Port, PortKind};
use vatic_ml::data::types::{coercion, is_image, is_text, type_name};

use crate::error::{Result, SqlState, sql_err};
use crate::model::{ResolvedModel, ResolvedModels};
use crate::sql::{QUERY_ARGUMENTS, RECOMMEND, given_twice, relation_function, unknown_argument};

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
        if self.function == RECOMMEND && QUERY_ARGUMENTS.contains(&name.as_str()) {
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

/// The input column of each feature of the model, by name. The types of the columns must be convertible to those of the model.
pub(crate) fn bind_features(model: &ResolvedModel, input: &DFSchema) -> Result<Vec<usize>> {
    let all: Vec<usize> = (0..model.manifest.signature.inputs.len()).collect();
    bind_inputs(model, &all, input)
}

/// The same for the inputs of the model at these positions.
pub(crate) fn bind_inputs(
    model: &ResolvedModel,
    positions: &[usize],
    input: &DFSchema,
) -> Result<Vec<usize>> {
    let label = model.label();
    let features = positions
        .iter()
        .map(|at| &model.manifest.signature.inputs[*at]);
    let mut indices = Vec::with_capacity(positions.len());
    let mut missing = Vec::new();
    for feature in features.clone() {
        let named = find_column(&feature.name, input, &label)?;
        match named.or_else(|| only_column(model, input)) {
            Some(index) => indices.push(index),
            None => missing.push(feature.name.as_str()),
        }
    }
    if !missing.is_empty() {
        let names: Vec<&str> = input
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let describe = |feature: &&str| match crate::error::nearest(feature, names.iter().copied())
        {
            Some(nearest) => format!("\"{feature}\" (nearest column \"{nearest}\")"),
            None => format!("\"{feature}\""),
        };
        let missing = missing.iter().map(describe).collect::<Vec<_>>().join(", ");
        return Err(sql_err(
            SqlState::MissingColumn,
            format!("model \"{label}\" needs columns that the input does not have: {missing}"),
        ));
    }
    let columns = features.zip(&indices);
    let misfits: Vec<String> = columns
        .filter_map(|(feature, &index)| {
            let (field, wanted) = (input.field(index), &feature.data_type);
            let fits = coercion(field.data_type(), wanted).is_some();
            (!fits).then(|| {
                let (found, expected) = (type_name(field.data_type()), type_name(wanted));
                let (name, advice) = (field.name(), cast_advice(field.name(), wanted));
                format!(
                    "column \"{name}\" is {found}, model \"{label}\" expects {expected}; use {advice}"
                )
            })
        })
        .collect();
    match misfits.is_empty() {
        true => Ok(indices),
        false => Err(sql_err(SqlState::TypeMismatch, misfits.join("; "))),
    }
}

/// The only column of images or of texts, for an imported model that takes one image or one text and nothing else: whoever made
/// the model did not know the names of the columns.
fn only_column(model: &ResolvedModel, input: &DFSchema) -> Option<usize> {
    let [port] = model.manifest.signature.inputs.as_slice() else {
        return None;
    };
    let is_meant: fn(&DataType) -> bool = match port.kind {
        PortKind::Image => is_image,
        PortKind::Text => is_text,
        _ => return None,
    };
    if model.manifest.trained().is_some() {
        return None;
    }
    let fields = input.fields().iter().enumerate();
    let mut columns = fields.filter(|(_, field)| is_meant(field.data_type()));
    let first = columns.next().map(|(index, _)| index);
    first.filter(|_| columns.next().is_none())
}

/// The one column of this name: an exact match, else a match that ignores case.
pub(crate) fn find_column(name: &str, input: &DFSchema, model: &str) -> Result<Option<usize>> {
    let find = |is_match: &dyn Fn(&str) -> bool| -> Vec<usize> {
        let fields = input.fields().iter().enumerate();
        fields
            .filter(|(_, field)| is_match(field.name()))
            .map(|(index, _)| index)
            .collect()
    };
    let exact = find(&|field| field == name);
    let found = if exact.is_empty() {
        find(&|field| field.eq_ignore_ascii_case(name))
    } else {
        exact
    };
    match found.as_slice() {
        [] => Ok(None),
        [index] => Ok(Some(*index)),
        several => {
            let columns: Vec<String> = several
                .iter()
                .map(|&index| format!("\"{}\"", qualified(input, index)))
                .collect();
            Err(sql_err(
                SqlState::DuplicateName,
                format!(
                    "feature \"{name}\" of \"{model}\" may be {}; select one of them",
                    columns.join(" or ")
                ),
            ))
        }
    }
}

fn qualified(schema: &DFSchema, index: usize) -> String {
    Column::from(schema.qualified_field(index)).flat_name()
}

/// An expression that casts the column to this type, or another column to use. SQL has no names for some types.
pub(crate) fn cast_advice(name: &str, data_type: &DataType) -> String {
    let sql_type = match data_type {
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::UInt8 => "TINYINT UNSIGNED",
        DataType::UInt16 => "SMALLINT UNSIGNED",
        DataType::UInt32 => "INT UNSIGNED",
        DataType::UInt64 => "BIGINT UNSIGNED",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 => "VARCHAR",
        DataType::Boolean => "BOOLEAN",
        DataType::Date32 => "DATE",
        image if is_image(image) => return "the bytes of image files, or decode_image".to_owned(),
        other => return format!("arrow_cast({name}, '{other}')"),
    };
    format!("CAST({name} AS {sql_type})")
}

/// The features of a batch in the order of the signature, not yet converted; `columns` holds the column of each feature.
pub(crate) fn feature_batch(
    model: &ResolvedModel,
    columns: &[usize],
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let features = model.manifest.signature.inputs.iter();
    batch_of(features.zip(columns), batch)
}

/// The same for the inputs of the model at these positions.
pub(crate) fn input_batch(
    model: &ResolvedModel,
    positions: &[usize],
    columns: &[usize],
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let inputs = positions
        .iter()
        .map(|at| &model.manifest.signature.inputs[*at]);
    batch_of(inputs.zip(columns), batch)
}

fn batch_of<'a>(
    features: impl Iterator<Item = (&'a Port, &'a usize)>,
    batch: &RecordBatch,
) -> Result<RecordBatch> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (feature, &index) in features {
        let column = batch.column(index);
        fields.push(Field::new(&feature.name, column.data_type().clone(), true));
        arrays.push(Arc::clone(column));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    Ok(RecordBatch::try_new_with_options(schema, arrays, &options)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;
    use crate::error::report;
    use crate::model::example_model;

    /// The columns that the features of a model bind to.
    fn bound(
        features: &[(&str, DataType)],
        columns: &[(Option<&str>, &str, DataType)],
    ) -> Result<Vec<usize>, (SqlState, String)> {
        let model = example_model(features);
        let field = |(table, name, data_type): &(Option<&str>, &str, DataType)| {
            let field = Arc::new(Field::new(*name, data_type.clone(), true));
            (table.map(Into::into), field)
        };
        let fields = columns.iter().map(field).collect();
        let schema = DFSchema::new_with_metadata(fields, Default::default()).unwrap();
        bind_features(&model, &schema).map_err(|error| {
            let error = report(&error);
            (error.state, error.message)
        })
    }

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

    #[test]
    fn features_bind_by_name_an_exact_one_before_one_in_another_case() {
        let number = DataType::Float64;
        let features = [("a", number.clone()), ("B", number.clone())];
        let columns = ["id", "b", "A", "a"].map(|name| (None, name, number.clone()));
        assert_eq!(bound(&features, &columns), Ok(vec![3, 1]));
    }

    #[test]
    fn a_feature_that_two_tables_have_is_not_guessed() {
        let number = DataType::Float64;
        let columns = ["t", "u"].map(|table| (Some(table), "a", number.clone()));
        let (state, message) = bound(&[("a", number)], &columns).unwrap_err();
        assert_eq!(state, SqlState::DuplicateName);
        assert!(message.contains("\"t.a\" or \"u.a\""), "{message}");
    }

    #[test]
    fn every_missing_feature_is_named_with_the_nearest_column() {
        let number = DataType::Float64;
        let features = [("tenure", number.clone()), ("zzz", number.clone())];
        let columns = [(None, "tenur", number)];
        let (state, message) = bound(&features, &columns).unwrap_err();
        assert_eq!(state, SqlState::MissingColumn);
        let expected = "\"tenure\" (nearest column \"tenur\"), \"zzz\"";
        assert!(message.ends_with(expected), "{message}");
    }

    #[test]
    fn a_column_of_another_type_gets_the_cast_that_makes_it_fit() {
        let columns = [(None, "a", DataType::Utf8)];
        let (_, message) = bound(&[("a", DataType::Float64)], &columns).unwrap_err();
        assert!(message.ends_with("use CAST(a AS DOUBLE)"), "{message}");
        // Without loss an integer becomes a larger one.
        let columns = [(None, "a", DataType::Int32)];
        assert_eq!(bound(&[("a", DataType::Int64)], &columns), Ok(vec![0]));
        let columns = [(None, "a", DataType::Int32)];
        let (_, message) = bound(&[("a", DataType::Binary)], &columns).unwrap_err();
        assert!(message.ends_with("use the bytes of image files, or decode_image"));
        let columns = [(None, "a", DataType::BinaryView)];
        assert_eq!(bound(&[("a", DataType::Binary)], &columns), Ok(vec![0]));
        let duration = DataType::Duration(TimeUnit::Second);
        let advice = cast_advice("a", &duration);
        assert_eq!(advice, format!("arrow_cast(a, '{duration}')"));
    }
}
