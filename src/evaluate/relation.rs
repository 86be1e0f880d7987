//! Relation planner of the table functions: plans an [`EvaluateNode`], or constant rows for stored results.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, LogicalPlanBuilder, lit};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::TableFactor;
use vatic_ml::data::labels::LabelForm;
use vatic_ml::data::signature::Label;
use vatic_ml::model::metrics::Metric;

use super::node::{Curve, EvaluateNode, Report, has_classes, labels, metric_names};
use crate::error::{SqlState, sql_err, with_cause};
use crate::model::{ResolvedModel, ResolvedModels, RunSummary, Trained};
use crate::plan::table_function::{Call, argument_err, call};

const FUNCTIONS: &[&str] = &[
    "evaluate",
    "confusion_matrix",
    "roc_curve",
    "pr_curve",
    "calibration_curve",
    "training_info",
];

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
        let known: &[&str] = match call.function {
            "evaluate" | "training_info" => &[],
            _ => &["target"],
        };
        let mut target = None;
        call.named(known, |name, value| {
            let text = value.try_as_str().flatten();
            let text = text.ok_or_else(|| argument_err(name, "the name of a target", value))?;
            target = Some(text.to_owned());
            Ok(())
        })?;
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
            _ => {
                let label = judged_label(&call, target.as_deref())?;
                let mut curves = Curve::ALL.into_iter();
                let report = match curves.find(|(name, _)| *name == call.function) {
                    Some((_, curve)) => Report::Curve { label, curve },
                    None => Report::ConfusionMatrix { label },
                };
                evaluate(&mut call, report)?
            }
        };
        call.planned(plan)
    }
}

fn evaluate(call: &mut Call, report: Report) -> Result<LogicalPlan> {
    check_predicts(&call.model)?;
    let input = call.required_input()?;
    let node = EvaluateNode::try_new(Arc::clone(&call.model), input, report)?;
    Ok(LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    }))
}

/// Refuses a model whose predictions rank items and do not compare with a column.
fn check_predicts(model: &ResolvedModel) -> Result<()> {
    let sides = model.manifest.sides.as_ref();
    match sides.is_some_and(|sides| !sides.predicts_target) {
        true => {
            let label = model.label();
            let message = format!(
                "model \"{label}\" ranks items, so its scores compare with no column; evaluate(model) without rows has recall_at_10, \
                 ndcg_at_10 and map_at_10 of its training"
            );
            Err(sql_err(SqlState::InvalidParameter, message))
        }
        false => Ok(()),
    }
}

/// The number of the label that a confusion matrix or a curve is about: that of the named target, or the only one with classes.
fn judged_label(call: &Call, target: Option<&str>) -> Result<usize> {
    let (model, function) = (call.model.label(), call.function);
    let wrong = |message: String| sql_err(SqlState::InvalidParameter, message);
    let labels: Vec<Label<'_>> = call.model.manifest.signature.labels().collect();
    let of_classes = labels.iter().enumerate();
    let of_classes = of_classes.filter(|(_, label)| matches!(label.form(), LabelForm::Class(_)));
    let of_classes: Vec<(usize, &str)> = of_classes
        .map(|(number, label)| (number, label.target.name.as_str()))
        .collect();
    let names: Vec<&str> = of_classes.iter().map(|(_, name)| *name).collect();
    match (target, of_classes.as_slice()) {
        (_, []) => Err(wrong(
            match labels.iter().any(|label| has_classes(label.form())) {
                true => format!(
                    "{function} needs a target with one class in a row, which \"{model}\" does not have"
                ),
                false => format!("{function} needs a classifier, which \"{model}\" is not"),
            },
        )),
        (None, [(number, _)]) => Ok(*number),
        (None, _) => Err(wrong(format!(
            "model \"{model}\" has several targets with classes; name one of them: {function}(model, input, target => '{}')",
            names[0]
        ))),
        (Some(target), of_classes) => {
            let named = of_classes
                .iter()
                .find(|(_, name)| name.eq_ignore_ascii_case(target));
            named.map(|(number, _)| *number).ok_or_else(|| {
                let what = format!(
                    "model \"{model}\" has no target \"{target}\" with classes; it has {}",
                    names.join(", ")
                );
                wrong(with_cause(what, target, names.iter().copied()))
            })
        }
    }
}

/// The metrics that were stored at training: one row, or with several targets one for each.
fn stored_metrics(model: &ResolvedModel) -> Result<LogicalPlan> {
    let run = &training(model)?.run;
    if run.metrics.iter().any(|metric| metric.target.is_some()) {
        return stored_metrics_of_targets(model, run);
    }
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
    row.extend([lit(run.judged_rows() as i64), lit(run.split())]);
    names.extend(["rows".into(), "split".into()]);
    constants(
        vec![row],
        &names.iter().map(String::as_str).collect::<Vec<_>>(),
    )
}

/// A row for each target, with the columns of `evaluate` on rows but for the counts.
fn stored_metrics_of_targets(model: &ResolvedModel, run: &RunSummary) -> Result<LogicalPlan> {
    let labels = labels(model)?;
    let names = metric_names(labels.iter().map(Label::form));
    let row = |label: &Label<'_>| -> Vec<Expr> {
        let target = label.target.name.as_str();
        let of_target = |metric: &&Metric| metric.target.as_deref() == Some(target);
        let value = |name: &&str| {
            let mut metrics = run.metrics.iter().filter(of_target);
            let metric = metrics.find(|metric| metric.name == *name);
            lit(ScalarValue::Float64(metric.and_then(|metric| metric.value)))
        };
        let counts = [lit(run.judged_rows() as i64), lit(run.split())];
        let values = names.iter().map(value);
        std::iter::once(lit(target))
            .chain(values)
            .chain(counts)
            .collect()
    };
    let rows = labels.iter().map(row).collect();
    let mut columns = vec!["target"];
    columns.extend(&names);
    columns.extend(["rows", "split"]);
    constants(rows, &columns)
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
