//! Describes a statement without running it: its effect, columns and parameter types.
//!
//! Most of the description comes from the plan. If the plan needs unbound values (a model, an option), the description
//! comes from the parts that can be planned.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::parser::Statement as DFStatement;
use datafusion::sql::sqlparser::ast::Statement as SqlStatement;

use super::Session;
use super::column_tables::with_column_tables;
use crate::access::grants::Privilege;
use crate::error::{Result, SqlState, sql_err};
use crate::predict::call_forms;
use crate::sql::script::{Piece, split};
use crate::sql::{
    Effect, Handling, Parameters, Statement, check_text, mentions_call, mentions_relation_function,
    parse, with_hint, with_inputs_only,
};
use crate::train;

/// The description of a statement whose parameters have no values yet.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) effect: Effect,
    /// The schema of the rows, as far as known without parameter values.
    pub(crate) schema: Arc<Schema>,
    /// The types of the parameters; `None` if any type fits.
    pub(crate) parameters: Vec<Option<DataType>>,
}

impl Description {
    fn change(parameters: Vec<Option<DataType>>) -> Self {
        Self {
            effect: Effect::Change,
            schema: Arc::new(Schema::empty()),
            parameters,
        }
    }
}

impl Session {
    /// Describes a statement without running it.
    pub(crate) async fn describe(&self, parameters: &Parameters) -> Result<Description> {
        let described = Box::pin(self.described(parameters)).await;
        described.map_err(|error| with_hint(error, parameters.text()))
    }

    async fn described(&self, parameters: &Parameters) -> Result<Description> {
        let text = parameters.numbered();
        check_text(&text, self.limits())?;
        let unknown = vec![None; parameters.names().len()];
        // Scripts return no rows.
        let pieces = split(parameters.text());
        if unknown.is_empty() && pieces.len() > 1 {
            check_script(&pieces)?;
            return Ok(Description::change(unknown));
        }
        let statement = match parse(parameters.text()) {
            Ok(Some(statement)) => statement,
            Ok(None) => return Ok(Description::change(unknown)),
            // Parameters in OPTIONS have no values yet.
            Err(error) => match parse(&parameters.numbered_without_options()) {
                Ok(Some(statement @ (Statement::Train(_) | Statement::Load(_)))) => statement,
                _ => return Err(error),
            },
        };
        let effect = statement.effect();
        match statement {
            Statement::DataFusion(statement) if Handling::of(&statement).acts_when_planned() => {
                Ok(Description::change(unknown))
            }
            Statement::DataFusion(_) => self.describe_plan(&text, effect, parameters).await,
            Statement::Train(_) => Ok(Description {
                effect,
                schema: train::result_schema(),
                parameters: self.training_types(parameters).await,
            }),
            // The statement runs when its rows are read.
            Statement::Import(_)
            | Statement::Load(_)
            | Statement::Unload(_)
            | Statement::Export(_) => Ok(Description {
                effect,
                schema: self
                    .answer(&parameters.numbered_without_options())
                    .await?
                    .rows
                    .schema(),
                parameters: unknown,
            }),
            Statement::Model(_) | Statement::Grant(_) | Statement::ExplainTrain(_) => {
                if effect == Effect::Change {
                    return Ok(Description::change(unknown));
                }
                // These statements only read, and little, so they run.
                let schema = self.answer(parameters.text()).await?.rows.schema();
                Ok(Description {
                    effect,
                    schema,
                    parameters: unknown,
                })
            }
        }
    }

    async fn describe_plan(
        &self,
        text: &str,
        effect: Effect,
        parameters: &Parameters,
    ) -> Result<Description> {
        let count = parameters.names().len();
        let plan = match self.plan_query(text).await {
            Ok(plan) => plan,
            // The model or threshold is known only with the values, and so are the columns.
            Err(_) if count > 0 && mentions_model(text) => {
                let field = Field::new("result", DataType::Utf8, true);
                let types = self.input_types(text).await.unwrap_or_default();
                let parameters = by_name(parameters, &types);
                return Ok(match effect {
                    Effect::Change => Description::change(parameters),
                    Effect::Rows | Effect::Model => Description {
                        effect,
                        schema: Arc::new(Schema::new(vec![field])),
                        parameters,
                    },
                });
            }
            // A table function needs its arguments when it is planned; NULL fits every type.
            Err(error) if count > 0 => {
                let nulls = vec![ScalarValue::Null; count];
                match self.plan_query(&parameters.bind(&nulls)?).await {
                    Ok(plan) => plan,
                    Err(_) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let parameters = by_name(parameters, &parameter_types(&plan)?);
        Ok(match effect {
            Effect::Change => Description::change(parameters),
            Effect::Rows | Effect::Model => Description {
                effect,
                schema: with_column_tables(
                    plan.schema().as_arrow(),
                    &plan,
                    &self.default_schema(),
                )?,
                parameters,
            },
        })
    }

    /// The types of the parameters in the input queries of models that are parameters too.
    async fn input_types(&self, text: &str) -> Result<HashMap<String, DataType>> {
        let Some(Statement::DataFusion(mut statement)) = parse(text)? else {
            return Ok(HashMap::new());
        };
        with_inputs_only(&mut statement, &self.outputs_named_in(text));
        match self.plan(*statement).await {
            Ok(plan) => parameter_types(&plan),
            Err(_) => Ok(HashMap::new()),
        }
    }

    /// The model outputs that a text names, each with an expression of its type: a column `predicted_x` has the type of
    /// the label x of some model, or is a number.
    fn outputs_named_in(&self, text: &str) -> Vec<(String, String)> {
        let words = text.split(|c: char| !c.is_alphanumeric() && c != '_');
        let mut names: Vec<&str> = words
            .filter(|word| word.starts_with("predicted_"))
            .collect();
        names.sort_unstable();
        names.dedup();
        let (engine, access) = (self.engine(), self.access());
        let registry = engine.registry();
        let mut models = match names.is_empty() {
            true => vec![],
            false => registry.list().unwrap_or_default(),
        };
        // The label types of models without a grant are not revealed.
        models.retain(|(name, state)| {
            let object = name.object();
            let may = access.may(Privilege::Execute, &object, &state.ownership);
            may.unwrap_or(false)
        });
        let label_type = |label: &str| {
            models.iter().find_map(|(name, state)| {
                let entry = state.versions.last()?;
                let manifest = registry.open(name, entry).ok()?.manifest;
                let ports = &manifest.signature.outputs;
                let known = manifest.signature.labels();
                let found = known.into_iter().find(|known| known.target.name == label)?;
                Some(ports[found.output].data_type.clone())
            })
        };
        let output = |name: &&str| {
            let known = label_type(name.trim_start_matches("predicted_"));
            let known = known.unwrap_or(DataType::Float64);
            ((*name).to_owned(), format!("arrow_cast(NULL, '{known}')"))
        };
        names.iter().map(output).collect()
    }

    /// The types of the parameters in a training's options, and in its query if the query can be planned.
    async fn training_types(&self, parameters: &Parameters) -> Vec<Option<DataType>> {
        let statement = parse(&parameters.numbered_without_options());
        let plan = match statement {
            Ok(Some(Statement::Train(statement))) => {
                self.plan_training_query(&statement.query).await.ok()
            }
            _ => None,
        };
        let types = plan
            .and_then(|plan| parameter_types(&plan).ok())
            .unwrap_or_default();
        let names = parameters.names().iter().zip(parameters.option_keys());
        names
            .map(|(name, key)| match key {
                Some(key) => train::option_type(&key),
                None => types.get(name).cloned(),
            })
            .collect()
    }
}

/// Whether a text may call a function whose first argument is a model.
fn mentions_model(text: &str) -> bool {
    mentions_relation_function(text) || mentions_call(text, &call_forms())
}

fn by_name(parameters: &Parameters, types: &HashMap<String, DataType>) -> Vec<Option<DataType>> {
    let names = parameters.names().iter();
    names.map(|name| types.get(name).cloned()).collect()
}

/// The types of parameters, as far as their uses determine them. A parameter used with several types gets the first and
/// is cast elsewhere.
fn parameter_types(plan: &LogicalPlan) -> Result<HashMap<String, DataType>> {
    let mut types = HashMap::new();
    let mut add = |expr: &Expr, known: Option<&DataType>| {
        if let (Expr::Placeholder(placeholder), Some(known)) = (expr, known)
            && *known != DataType::Null
        {
            types.entry(placeholder.id.clone()).or_insert(known.clone());
        }
    };
    plan.apply_with_subqueries(|node| {
        let counts = matches!(node, LogicalPlan::Limit(_)).then_some(DataType::Int64);
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                match expr {
                    Expr::Placeholder(placeholder) => {
                        let field = placeholder.field.as_ref();
                        let known = field.map(|field| field.data_type());
                        add(expr, known.or(counts.as_ref()));
                    }
                    Expr::Cast(cast) => add(&cast.expr, Some(cast.field.data_type())),
                    Expr::TryCast(cast) => add(&cast.expr, Some(cast.field.data_type())),
                    _ => {}
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(types)
}

/// Refuses a script that contains a query, because a script returns no rows.
pub(crate) fn check_script(pieces: &[Piece<'_>]) -> Result<()> {
    for piece in pieces {
        let statement = parse(piece.text)?;
        let has_rows = |statement: &Statement| statement.effect() == Effect::Rows;
        // The rows of SHOW and EXECUTE may be discarded.
        let is_query = statement.is_some_and(|statement| match &statement {
            Statement::DataFusion(inner) => match inner.as_ref() {
                DFStatement::Statement(inner) => {
                    matches!(inner.as_ref(), SqlStatement::Query(_)) && has_rows(&statement)
                }
                DFStatement::Explain(_) => true,
                _ => false,
            },
            _ => has_rows(&statement),
        });
        if is_query {
            let message = "a script of several statements has no rows; send its queries one by one";
            return Err(sql_err(SqlState::Syntax, message));
        }
    }
    Ok(())
}
