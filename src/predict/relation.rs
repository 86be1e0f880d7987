//! Relation planner of `predict(model, input, …)`: plans a [`PredictNode`].

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::logical_expr::planner::{
    RelationPlanner, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::scalar::ScalarValue;
use datafusion::sql::sqlparser::ast::TableFactor;
use vatic_ml::data::labels::LabelForm;
use vatic_ml::data::signature::PortKind;
use vatic_ml::device::DeviceName;
use vatic_ml::model::compute::ComputeType;

use super::node::{PredictNode, PredictOptions};
use super::task::{TASK_ARGUMENTS, with_task};
use crate::error::{SqlState, sql_err};
use crate::model::ResolvedModels;
use crate::model::runtime::check_device;
use crate::plan::table_function::{Call, argument_err, call};

/// The named arguments of `predict`.
const ARGUMENTS: &[&str] = &[
    "batch_size",
    "threshold",
    "top_k",
    "on_error",
    "on_null",
    "dedupe",
    "device",
    "dtype",
    "labels",
    "hypothesis",
    "multi_label",
    "aggregation",
];

#[derive(Debug)]
pub(super) struct PredictRelation {
    pub(super) models: Arc<ResolvedModels>,
}

impl RelationPlanner for PredictRelation {
    fn plan_relation(
        &self,
        factor: TableFactor,
        context: &mut dyn RelationPlannerContext,
    ) -> Result<RelationPlanning> {
        let Some(mut call) = call(&factor, &["predict"], &self.models, context)? else {
            return Ok(RelationPlanning::Original(Box::new(factor)));
        };
        let input = call.required_input()?;
        call.model = with_task(&call, ARGUMENTS)?;
        let options = options(&call)?;
        let node = PredictNode::try_new(Arc::clone(&call.model), input, options)?;
        let plan = LogicalPlan::Extension(Extension {
            node: Arc::new(node),
        });
        call.planned(plan)
    }
}

fn options(call: &Call) -> Result<PredictOptions> {
    let signature = &call.model.manifest.signature;
    let labels = || signature.labels();
    let has_classes = labels().any(|label| !label.classes.is_empty());
    let mut outputs = signature.outputs.iter();
    let has_choice = has_classes || outputs.any(|port| port.kind == PortKind::Tokens);
    let has_threshold = labels().any(|label| match label.form() {
        LabelForm::Class(2) | LabelForm::Set(_) => true,
        LabelForm::Number | LabelForm::Vector(_) | LabelForm::Class(_) => false,
    });
    let mut options = PredictOptions::default();
    call.named(ARGUMENTS, |name, value| {
        match name {
            "batch_size" => options.batch_size = Some(positive(name, value)?),
            "top_k" if has_choice => options.top_k = Some(positive(name, value)?),
            "top_k" => return Err(needs("top_k", "a classifier", call)),
            "threshold" if has_threshold => options.set_threshold(fraction(name, value)?),
            "threshold" => return Err(needs("threshold", "a classifier of two classes", call)),
            "on_error" => {
                options.null_on_error = one_of(name, value, &["error", "null"])? == "null"
            }
            "on_null" => {
                options.error_on_null = one_of(name, value, &["null", "error"])? == "error"
            }
            // No effect: computing equal rows of numbers is faster than finding them.
            "dedupe" => drop(one_of(name, value, &["auto", "off"])?),
            "dtype" => {
                let found = ComputeType::parse(&lower_case(value));
                let unknown = || argument_err(name, ComputeType::EXPECTED, value);
                options.compute = Some(found.ok_or_else(unknown)?);
            }
            // They are a part of the model.
            task if TASK_ARGUMENTS.contains(&task) => {}
            _ => {
                options.device = DeviceName::parse(&lower_case(value))
                    .ok_or_else(|| argument_err(name, DeviceName::EXPECTED, value))?;
            }
        }
        Ok(())
    })?;
    call.model.check_device(options.device)?;
    options.device = call.model.device(options.device);
    check_device(options.compute, options.device)?;
    Ok(options)
}

fn needs(argument: &str, what: &str, call: &Call) -> datafusion::common::DataFusionError {
    let message = format!(
        "argument {argument} needs {what}, which \"{}\" is not",
        call.model.label()
    );
    sql_err(SqlState::InvalidParameter, message)
}

fn positive(name: &str, value: &ScalarValue) -> Result<usize> {
    match value {
        ScalarValue::Int64(Some(number)) if (1..=1_000_000).contains(number) => {
            Ok(*number as usize)
        }
        other => Err(argument_err(
            name,
            "a whole number from 1 to 1000000",
            other,
        )),
    }
}

fn fraction(name: &str, value: &ScalarValue) -> Result<f64> {
    match value {
        ScalarValue::Float64(Some(number)) if (0.0..=1.0).contains(number) => Ok(*number),
        ScalarValue::Int64(Some(number)) if (0..=1).contains(number) => Ok(*number as f64),
        other => Err(argument_err(name, "a number from 0 to 1", other)),
    }
}

/// The text in lower case; empty if the value is not a text.
fn lower_case(value: &ScalarValue) -> String {
    let text = value.try_as_str().flatten().unwrap_or_default();
    text.to_lowercase()
}

fn one_of(name: &str, value: &ScalarValue, known: &[&'static str]) -> Result<&'static str> {
    let text = lower_case(value);
    let expected = || format!("one of '{}'", known.join("', '"));
    known
        .iter()
        .copied()
        .find(|known| *known == text)
        .ok_or_else(|| argument_err(name, &expected(), value))
}
