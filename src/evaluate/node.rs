//! [`EvaluateNode`]: logical node that turns rows with a known label into metrics or a confusion matrix.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use serde::{Deserialize, Serialize};
use vatic_ml::data::signature::Label;
use vatic_ml::data::types::{canonical_type, is_lossless, is_number, type_name};
use vatic_ml::model::metrics::{CLASSIFIER_METRICS, REGRESSOR_METRICS};

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::plan::table_function::{bind_features, find_column};

/// The kind of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Report {
    /// One row of metrics.
    Metrics,
    /// One row for each pair of expected and predicted label.
    ConfusionMatrix,
}

#[derive(Debug, Clone)]
pub(super) struct EvaluateNode {
    pub(super) model: Arc<ResolvedModel>,
    pub(super) input: LogicalPlan,
    pub(super) report: Report,
    /// The input column of each feature.
    pub(super) features: Vec<usize>,
    /// The input column of the label.
    pub(super) label: usize,
    schema: DFSchemaRef,
}

impl EvaluateNode {
    pub(super) fn try_new(
        model: Arc<ResolvedModel>,
        input: LogicalPlan,
        report: Report,
    ) -> Result<Self> {
        let features = bind_features(&model, input.schema())?;
        let judged = single_label(&model)?;
        let target = judged.target;
        let label =
            find_column(&target.name, input.schema(), &model.label())?.ok_or_else(|| {
                let message = format!(
                    "the input has no column \"{}\", the label of \"{}\"",
                    target.name,
                    model.label()
                );
                sql_err(SqlState::MissingColumn, message)
            })?;
        let found = input.schema().field(label).data_type();
        // A regressor can be compared with numbers of any type; a class must have the type of the model's classes.
        let is_regressor = judged.classes.is_empty();
        let both_integers = found.is_integer() && canonical_type(&target.data_type).is_integer();
        if !(is_lossless(found, &target.data_type)
            || both_integers
            || (is_regressor && is_number(found)))
        {
            let message = format!(
                "label \"{}\" is {}, model \"{}\" was trained on {}; CAST it",
                target.name,
                type_name(found),
                model.label(),
                type_name(&target.data_type)
            );
            return Err(sql_err(SqlState::TypeMismatch, message));
        }
        let fields = report_fields(&model, report)?;
        let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
        Ok(Self {
            model,
            input,
            report,
            features,
            label,
            schema,
        })
    }

    pub(super) fn describe(&self) -> String {
        let signature = &self.model.manifest.signature;
        let inputs = signature.inputs.iter().map(|port| port.name.as_str());
        let report = match self.report {
            Report::Metrics => "metrics",
            Report::ConfusionMatrix => "confusion_matrix",
        };
        format!(
            "report={report}, model={} ({}), features=[{}], label={}",
            self.model.label(),
            &self.model.sha256[..12],
            inputs.collect::<Vec<_>>().join(", "),
            signature
                .label()
                .map_or("", |label| label.target.name.as_str())
        )
    }

    fn key(&self) -> (&str, &LogicalPlan, Report) {
        (&self.model.sha256, &self.input, self.report)
    }
}

/// The label that the model predicts. A model without a single label cannot be evaluated.
pub(super) fn single_label(model: &ResolvedModel) -> Result<Label<'_>> {
    model.manifest.signature.label().ok_or_else(|| {
        let message = format!(
            "model \"{}\" has no single label to compare with a column; DESCRIBE MODEL shows its outputs",
            model.label()
        );
        sql_err(SqlState::InvalidParameter, message)
    })
}

pub(super) fn report_fields(model: &ResolvedModel, report: Report) -> Result<Vec<Field>> {
    let Label {
        target, classes, ..
    } = single_label(model)?;
    let number = |name: &&str| Field::new(*name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    Ok(match (report, classes.len()) {
        (Report::ConfusionMatrix, _) => vec![
            Field::new("expected_label", target.data_type.clone(), true),
            Field::new("predicted_label", target.data_type.clone(), true),
            count("rows"),
        ],
        (Report::Metrics, 0) => REGRESSOR_METRICS
            .iter()
            .map(number)
            .chain(["rows", "null_rows"].map(count))
            .collect(),
        (Report::Metrics, _) => {
            let counts = ["rows", "unseen_labels", "null_rows"].map(count);
            CLASSIFIER_METRICS
                .iter()
                .map(number)
                .chain(counts)
                .collect()
        }
    })
}

impl UserDefinedLogicalNodeCore for EvaluateNode {
    fn name(&self) -> &str {
        "Evaluate"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Evaluate: {}", self.describe())
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        Self::try_new(Arc::clone(&self.model), inputs.swap_remove(0), self.report)
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let mut needed: Vec<usize> = self.features.iter().copied().chain([self.label]).collect();
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

impl PartialEq for EvaluateNode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for EvaluateNode {}

impl PartialOrd for EvaluateNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for EvaluateNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
