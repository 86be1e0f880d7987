//! [`ModelCall`]: a function of expressions that a model computes, as DataFusion's planner sees it; [`planned`]: a call with its model.
//!
//! The planner learns the type of a call from it. It is never evaluated: the rule [`super::compute`] replaces each call by a column.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::FunctionRegistry;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, DocSection, Documentation, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::scalar::ScalarValue;
use vatic_ml::data::types::{coercion, type_name};

use super::function::ModelFunction;
use super::list::functions;
use super::named::named_arguments;
use crate::error::{SqlState, sql_err, with_cause};
use crate::model::{ModelRef, ResolvedModel, ResolvedModels};
use crate::plan::features::cast_advice;
use crate::predict::arguments::finished;
use crate::predict::options::PredictOptions;
use crate::sql::{CallInputs, NameOf};

/// Adds the functions to those of a state, for a statement that uses these models.
pub(crate) fn register_model_functions(
    state: &mut SessionState,
    models: &Arc<ResolvedModels>,
) -> Result<()> {
    for function in functions() {
        let call = ModelCall::new(function, models);
        state.register_udf(Arc::new(ScalarUDF::from(call)))?;
    }
    Ok(())
}

/// A call with its model.
#[derive(Debug)]
pub(super) struct PlannedCall {
    pub(super) function: &'static str,
    pub(super) model: Arc<ResolvedModel>,
    pub(super) options: PredictOptions,
    /// The output of the model, as an index into the signature.
    pub(super) output: usize,
    /// The value of each feature, in the order of the signature.
    pub(super) features: Vec<Expr>,
}

impl PlannedCall {
    /// Whether the call is NULL where all columns are NULL: its features are columns.
    pub(super) fn reads_columns_only(&self) -> bool {
        let mut features = self.features.iter();
        features.all(|feature| matches!(feature, Expr::Column(_)))
    }
}

/// Whether an expression is a call of one of the functions; its arguments are not looked into.
pub(super) fn is_call(expr: &Expr) -> bool {
    function_of(expr).is_some()
}

/// The places of the features among the arguments, if the expression is a call.
pub(super) fn feature_places(expr: &Expr) -> Vec<usize> {
    let (Some(call), Expr::ScalarFunction(function)) = (function_of(expr), expr) else {
        return Vec::new();
    };
    match call.function.form.inputs {
        CallInputs::One { .. } => vec![1],
        CallInputs::Features => (2..function.args.len()).step_by(2).collect(),
    }
}

/// The call that an expression is.
pub(super) fn planned(expr: &Expr) -> Result<Option<PlannedCall>> {
    let (Some(call), Expr::ScalarFunction(function)) = (function_of(expr), expr) else {
        return Ok(None);
    };
    let literals = function.args.iter().map(|argument| match argument {
        Expr::Literal(value, _) => Some(value),
        _ => None,
    });
    let literals: Vec<_> = literals.collect();
    let bound = call.bind(&literals, &function.args)?;
    Ok(Some(PlannedCall {
        function: call.function.form.name,
        output: (call.function.output)(&bound.model)?,
        model: bound.model,
        options: bound.options,
        features: bound.features,
    }))
}

fn function_of(expr: &Expr) -> Option<&ModelCall> {
    match expr {
        Expr::ScalarFunction(call) => call.func.inner().downcast_ref::<ModelCall>(),
        _ => None,
    }
}

/// The error of a call where no operator can compute it.
pub(super) fn not_here(function: &str) -> DataFusionError {
    let message =
        format!("{function} cannot be computed here; compute it in a query, and use its column");
    sql_err(SqlState::Unsupported, message)
}

#[derive(Debug)]
struct ModelCall {
    function: &'static ModelFunction,
    /// The models of the statement.
    models: Arc<ResolvedModels>,
    signature: Signature,
    documentation: Documentation,
}

/// A call with its model; `T` is what is known of a feature.
struct Bound<T> {
    model: Arc<ResolvedModel>,
    options: PredictOptions,
    features: Vec<T>,
}

/// A feature as it is given; `T` is what is known of its value.
struct Given<'a, T> {
    of: NameOf,
    name: &'a str,
    value: &'a T,
}

impl ModelCall {
    fn new(function: &'static ModelFunction, models: &Arc<ResolvedModels>) -> Self {
        let section = DocSection {
            include: true,
            label: "Model Functions",
            description: None,
        };
        let documentation =
            Documentation::builder(section, function.gives, function.form.usage).build();
        Self {
            function,
            models: Arc::clone(models),
            // Stable: a model may have another version in the next statement.
            signature: Signature::variadic_any(Volatility::Stable),
            documentation,
        }
    }

    /// The model, the options and the features of a call with these arguments, as [`crate::sql::prepare_calls`] writes them.
    fn bind<T: Clone>(
        &self,
        literals: &[Option<&ScalarValue>],
        arguments: &[T],
    ) -> Result<Bound<T>> {
        let text = |at: usize| {
            let literal = literals.get(at).copied().flatten();
            literal.and_then(|value| value.try_as_str().flatten())
        };
        let Some(reference) = text(0) else {
            return internal_err!("{} without the name of a model", self.name());
        };
        let Some(model) = self.models.get(&ModelRef::parse(reference)?) else {
            return internal_err!("model {reference} was not resolved before planning");
        };
        let mut options = PredictOptions::default();
        let features = match self.function.form.inputs {
            CallInputs::One { .. } => {
                for (name, value) in text(2).map_or(Ok(vec![]), named_arguments)? {
                    (self.function.take)(&mut options, model, &name, &value)?;
                }
                arguments.iter().skip(1).take(1).cloned().collect()
            }
            CallInputs::Features => {
                let places = (1..arguments.len()).step_by(2);
                let given = places.filter_map(|at| {
                    let (of, name) = NameOf::of(text(at)?)?;
                    let value = arguments.get(at + 1)?;
                    Some(Given { of, name, value })
                });
                self.features(model, &given.collect::<Vec<_>>())?
            }
        };
        Ok(Bound {
            model: Arc::clone(model),
            options: finished(options, model)?,
            features,
        })
    }

    /// The features in the order of the signature: an exact name, else a name in another case. The only input needs no name.
    fn features<T: Clone>(&self, model: &ResolvedModel, given: &[Given<'_, T>]) -> Result<Vec<T>> {
        let ports = &model.manifest.signature.inputs;
        let label = model.label();
        if let ([_], [only]) = (ports.as_slice(), given) {
            let is_meant = match only.of {
                NameOf::Argument => false,
                // Whoever made an imported model did not know the names of the columns.
                NameOf::Column => model.manifest.trained().is_none(),
                NameOf::Nothing => true,
            };
            if is_meant {
                return Ok(vec![only.value.clone()]);
            }
        }
        if let Some(Given { name: value, .. }) =
            given.iter().find(|given| given.of == NameOf::Nothing)
        {
            let message = format!(
                "which feature {value} is has to be said: {}(model, feature => {value})",
                self.name()
            );
            return Err(sql_err(SqlState::Syntax, message));
        }
        let mut used = vec![false; given.len()];
        let mut features = Vec::with_capacity(ports.len());
        let mut missing = Vec::new();
        for port in ports {
            let exact = given.iter().position(|given| given.name == port.name);
            let is_like = |given: &Given<'_, T>| given.name.eq_ignore_ascii_case(&port.name);
            match exact.or_else(|| given.iter().position(is_like)) {
                Some(at) => {
                    used[at] = true;
                    features.push(given[at].value.clone());
                }
                None => missing.push(format!("\"{}\"", port.name)),
            }
        }
        if !missing.is_empty() {
            let message = format!(
                "model \"{label}\" needs features that {} does not give: {}",
                self.name(),
                missing.join(", ")
            );
            return Err(sql_err(SqlState::MissingColumn, message));
        }
        match used.iter().position(|used| !used) {
            None => Ok(features),
            Some(at) => {
                let name = given[at].name;
                let known = ports.iter().map(|port| port.name.as_str());
                let what =
                    format!("model \"{label}\" has no feature \"{name}\", or it is given twice");
                let message = with_cause(what, name, known);
                Err(sql_err(SqlState::MissingColumn, message))
            }
        }
    }
}

/// Functions are equal if their calls mean the same: those of one statement.
impl PartialEq for ModelCall {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && Arc::ptr_eq(&self.models, &other.models)
    }
}

impl Eq for ModelCall {}

impl Hash for ModelCall {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for ModelCall {
    fn name(&self) -> &str {
        self.function.form.name
    }

    /// The call as it was written, with columns qualified.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let literal = |argument: &Expr| match argument {
            Expr::Literal(value, _) => value.try_as_str().flatten().map(str::to_owned),
            _ => None,
        };
        let texts: Vec<Option<String>> = args.iter().map(literal).collect();
        let text = |at: usize| texts.get(at).cloned().flatten().unwrap_or_default();
        let mut shown = vec![match text(0).strip_prefix("public.") {
            Some(model) => model.to_owned(),
            None => text(0),
        }];
        match self.function.form.inputs {
            CallInputs::One { .. } => {
                shown.extend(args.get(1).map(|input| input.schema_name().to_string()));
                let named = texts.get(2).cloned().flatten();
                let inside = |named: String| {
                    let named = named.trim_start_matches('{');
                    named.trim_end_matches('}').to_owned()
                };
                shown.extend(named.map(inside));
            }
            CallInputs::Features => shown.extend((1..args.len()).step_by(2).filter_map(|at| {
                let value = args.get(at + 1)?;
                let marked = text(at);
                let (of, name) = NameOf::of(&marked)?;
                let is_column = matches!(value, Expr::Column(column) if column.name == name);
                Some(match is_column || of == NameOf::Nothing {
                    true => value.schema_name().to_string(),
                    false => format!("{name} => {}", value.schema_name()),
                })
            })),
        }
        Ok(format!("{}({})", self.name(), shown.join(",")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> Result<DataType> {
        internal_err!("the type of {} depends on the model", self.name())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let bound = self.bind(args.scalar_arguments, args.arg_fields)?;
        let output = (self.function.output)(&bound.model)?;
        let signature = &bound.model.manifest.signature;
        for (port, field) in signature.inputs.iter().zip(&bound.features) {
            if coercion(field.data_type(), &port.data_type).is_none() {
                let (found, expected) = (type_name(field.data_type()), type_name(&port.data_type));
                let (name, label) = (field.name(), bound.model.label());
                let advice = cast_advice(name, field.data_type(), &port.data_type);
                let message = format!(
                    "{} gets {name}, which is {found}, model \"{label}\" expects {expected}; use {advice}",
                    self.name()
                );
                return Err(sql_err(SqlState::TypeMismatch, message));
            }
        }
        let data_type = signature.outputs[output].data_type.clone();
        Ok(Arc::new(Field::new(self.name(), data_type, true)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Err(not_here(self.name()))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}
