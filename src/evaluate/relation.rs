//! Relation planner of the table functions: plans an [`EvaluateNode`], or constant rows for stored results.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::TableFactor;

use super::node::{EvaluateNode, Report};
use crate::error::{SqlState, sql_err};
use crate::model::{ResolvedModel, ResolvedModels, Trained};
use crate::plan::table_function::{Call, call};

const FUNCTIONS: &[&str] = &["evaluate", "confusion_matrix", "training_info"];

#[derive(Debug)]
pub(super) struct EvaluateRelation {
    pub(super) models: Arc<ResolvedModels>,
}

impl RelationPlanner for EvaluateRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(mut call) = call(&factor, FUNCTIONS, &self.models, context)? else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        call.named(&[], |_, _| Ok(()))?;
        let plan = match (call.function, call.input.is_some()) {
            ("training_info", false) => training_info(&call.model)?,
            ("training_info", true) => {
                return Err(sql_err(
                    SqlState::Syntax,
                    "training_info takes a model and no rows",
                ));
            }
            ("evaluate", false) => stored_metrics(&call.model)?,
            ("evaluate", true) => evaluate(&mut call, Report::Metrics)?,
            _ => evaluate(&mut call, Report::ConfusionMatrix)?,
        };
        call.planned(plan)
    }
}

fn evaluate(call: &mut Call, report: Report) -> Result<LogicalPlan> {
    let is_classifier = !call.model.manifest.signature.classes().is_empty();
    if report == Report::ConfusionMatrix && !is_classifier {
        let message = format!(
            "confusion_matrix needs a classifier, which \"{}\" is not",
            call.model.label()
        );
        return Err(sql_err(SqlState::InvalidParameter, message));
    }
    let input = call.required_input()?;
    let node = EvaluateNode::try_new(Arc::clone(&call.model), input, report)?;
    Ok(LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    }))
}

/// The metrics that were stored at training, as one row.
fn stored_metrics(model: &ResolvedModel) -> Result<LogicalPlan> {
    let run = &training(model)?.run;
    let mut row: Vec<Expr> = run
        .metrics
        .iter()
        .map(|metric| lit(ScalarValue::Float64(metric.value)))
        .collect();
    let mut names: Vec<String> = run
        .metrics
        .iter()
        .map(|metric| metric.name.clone())
        .collect();
    let rows = if run.eval_rows > 0 {
        run.eval_rows
    } else {
        run.train_rows
    };
    row.extend([lit(rows as i64), lit(run.split())]);
    names.extend(["rows".into(), "split".into()]);
    constants(
        vec![row],
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

fn training(model: &ResolvedModel) -> Result<&Trained> {
    model.manifest.trained().ok_or_else(|| {
        let message = format!(
            "model \"{}\" was imported, so its training is unknown; evaluate(model, (query)) evaluates it on rows",
            model.label()
        );
        sql_err(SqlState::InvalidParameter, message)
    })
}

/// The epochs of the training, one row per epoch.
fn training_info(model: &ResolvedModel) -> Result<LogicalPlan> {
    let row = |record: &vatic_ml::train::control::EpochRecord| {
        vec![
            lit(record.epoch as i64),
            lit(record.train_loss),
            lit(ScalarValue::Float64(record.eval_loss)),
            lit(ScalarValue::Float64(record.learn_rate)),
            lit(record.duration_ms as i64),
        ]
    };
    let rows = training(model)?.run.history.iter().map(row).collect();
    constants(
        rows,
        &[
            "epoch",
            "train_loss",
            "eval_loss",
            "learn_rate",
            "duration_ms",
        ],
    )
}

fn constants(rows: Vec<Vec<Expr>>, names: &[&str]) -> Result<LogicalPlan> {
    let renamed = |(index, name): (usize, &&str)| {
        datafusion::logical_expr::col(format!("column{}", index + 1)).alias(*name)
    };
    let names = names.iter().enumerate().map(renamed).collect::<Vec<_>>();
    LogicalPlanBuilder::values(rows)?.project(names)?.build()
}
