//! [`EvaluateNode`]: logical node that turns rows with a known label into metrics, a confusion matrix or a curve.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DFSchemaRef, DataFusionError};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use serde::{Deserialize, Serialize};
use vatic_ml::data::labels::LabelForm;
use vatic_ml::data::signature::Label;
use vatic_ml::data::types::{
    canonical_type, coercion, is_lossless, is_number, item_type, type_name,
};
use vatic_ml::model::metrics::{CLASSIFIER_METRICS, REGRESSOR_METRICS, SET_METRICS};

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::plan::features::{bind_features, find_column};
use crate::plan::logical_nodes::{equal_by_key, needed_columns};

/// The kind of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Report {
    /// One row of metrics for each label.
    Metrics,
    /// One row for each pair of expected and predicted label.
    ConfusionMatrix {
        /// The number of the label among those of the model.
        label: usize,
    },
    /// One row for each point of the curve of each class of the label; for two classes, of the second class.
    Curve {
        /// The number of the label among those of the model.
        label: usize,
        curve: Curve,
    },
}

/// A curve of the probabilities of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Curve {
    Roc,
    PrecisionRecall,
    Calibration,
}

impl Curve {
    /// The curves with the names of their functions.
    pub(super) const ALL: [(&'static str, Self); 3] = [
        ("roc_curve", Self::Roc),
        ("pr_curve", Self::PrecisionRecall),
        ("calibration_curve", Self::Calibration),
    ];

    fn name(self) -> &'static str {
        let mut all = Self::ALL.iter();
        let found = all.find(|(_, curve)| *curve == self);
        found.map_or("", |(name, _)| *name)
    }

    /// The columns of a point.
    fn columns(self) -> [&'static str; 3] {
        match self {
            Self::Roc => ["threshold", "false_positive_rate", "true_positive_rate"],
            Self::PrecisionRecall => ["threshold", "precision", "recall"],
            Self::Calibration => ["mean_probability", "observed_rate", "rows"],
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct EvaluateNode {
    pub(super) model: Arc<ResolvedModel>,
    pub(super) input: LogicalPlan,
    pub(super) report: Report,
    /// The input column of each feature.
    pub(super) features: Vec<usize>,
    /// The input column of each label of the model; `None` for labels that the report is not about.
    pub(super) labels: Vec<Option<usize>>,
    schema: DFSchemaRef,
}

impl EvaluateNode {
    pub(super) fn try_new(
        model: Arc<ResolvedModel>,
        input: LogicalPlan,
        report: Report,
    ) -> Result<Self> {
        let features = bind_features(&model, input.schema())?;
        let labels = label_columns(&model, report, input.schema())?;
        let fields = report_fields(&model, report)?;
        let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
        Ok(Self {
            model,
            input,
            report,
            features,
            labels,
            schema,
        })
    }

    pub(super) fn describe(&self) -> String {
        let signature = &self.model.manifest.signature;
        let inputs = signature.inputs.iter().map(|port| port.name.as_str());
        let report = match self.report {
            Report::Metrics => "metrics",
            Report::ConfusionMatrix { .. } => "confusion_matrix",
            Report::Curve { curve, .. } => curve.name(),
        };
        let judged = signature.labels().zip(&self.labels);
        let judged = judged.filter(|(_, column)| column.is_some());
        let names: Vec<&str> = judged
            .map(|(label, _)| label.target.name.as_str())
            .collect();
        let label = match names[..] {
            [only] => format!("label={only}"),
            _ => format!("labels=[{}]", names.join(", ")),
        };
        format!(
            "report={report}, model={} ({}), features=[{}], {label}",
            self.model.label(),
            &self.model.sha256[..12],
            inputs.collect::<Vec<_>>().join(", "),
        )
    }

    fn key(&self) -> (&str, &LogicalPlan, Report) {
        (&self.model.sha256, &self.input, self.report)
    }
}

/// The labels that the model predicts. A model without a label cannot be evaluated.
pub(super) fn labels(model: &ResolvedModel) -> Result<Vec<Label<'_>>> {
    let labels: Vec<Label<'_>> = model.manifest.signature.labels().collect();
    match labels.is_empty() {
        true => {
            let message = format!(
                "model \"{}\" has no label to compare with a column; DESCRIBE MODEL shows its outputs",
                model.label()
            );
            Err(sql_err(SqlState::InvalidParameter, message))
        }
        false => Ok(labels),
    }
}

/// The input column of each label of the model that the report is about.
fn label_columns(
    model: &ResolvedModel,
    report: Report,
    input: &DFSchema,
) -> Result<Vec<Option<usize>>> {
    let labels = labels(model)?.into_iter().enumerate();
    let columns = labels.map(|(number, label)| {
        let is_judged = match report {
            Report::Metrics => true,
            Report::ConfusionMatrix { label } | Report::Curve { label, .. } => label == number,
        };
        is_judged
            .then(|| label_column(model, &label, input))
            .transpose()
    });
    columns.collect()
}

/// The input column of a label, whose values the model could predict.
fn label_column(model: &ResolvedModel, label: &Label<'_>, input: &DFSchema) -> Result<usize> {
    let target = label.target;
    let missing = || {
        let message = format!(
            "the input has no column \"{}\", the label of \"{}\"",
            target.name,
            model.label()
        );
        sql_err(SqlState::MissingColumn, message)
    };
    let column = find_column(&target.name, input, &model.label())?.ok_or_else(missing)?;
    let found = input.field(column).data_type();
    let are_integers = |found: &DataType, known: &DataType| {
        found.is_integer() && canonical_type(known).is_integer()
    };
    // Numbers can be compared with numbers of any type; a class must have the type of the model's classes.
    let fits = match label.form() {
        LabelForm::Number => is_number(found),
        LabelForm::Vector(_) => coercion(found, &target.data_type).is_some(),
        LabelForm::Class(_) => are_integers(found, &target.data_type),
        LabelForm::Set(_) => match (item_type(found), item_type(&target.data_type)) {
            (Some(found), Some(known)) => are_integers(&found, &known),
            _ => false,
        },
    };
    if fits || is_lossless(found, &target.data_type) {
        return Ok(column);
    }
    let message = format!(
        "label \"{}\" is {}, model \"{}\" was trained on {}; CAST it",
        target.name,
        type_name(found),
        model.label(),
        type_name(&target.data_type)
    );
    Err(sql_err(SqlState::TypeMismatch, message))
}

/// The names of the metrics of labels of these forms, each once.
pub(super) fn metric_names(forms: impl Iterator<Item = LabelForm> + Clone) -> Vec<&'static str> {
    let mut names = vec![];
    for list in [CLASSIFIER_METRICS, SET_METRICS, REGRESSOR_METRICS] {
        let is_used = forms.clone().any(|form| metrics_of(form) == list);
        let new = list.iter().filter(|name| is_used && !names.contains(*name));
        let new: Vec<&str> = new.copied().collect();
        names.extend(new);
    }
    names
}

/// The names of the metrics of a label of this form.
fn metrics_of(form: LabelForm) -> &'static [&'static str] {
    match form {
        LabelForm::Class(_) => CLASSIFIER_METRICS,
        LabelForm::Set(_) => SET_METRICS,
        LabelForm::Number | LabelForm::Vector(_) => REGRESSOR_METRICS,
    }
}

/// Whether labels of this form may be unknown to a model.
pub(super) fn has_classes(form: LabelForm) -> bool {
    match form {
        LabelForm::Class(_) | LabelForm::Set(_) => true,
        LabelForm::Number | LabelForm::Vector(_) => false,
    }
}

pub(super) fn report_fields(model: &ResolvedModel, report: Report) -> Result<Vec<Field>> {
    let labels = labels(model)?;
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str, is_nullable: bool| Field::new(name, DataType::Int64, is_nullable);
    if let Report::ConfusionMatrix { label } = report {
        let target = labels.get(label).ok_or_else(no_such_label)?.target;
        return Ok(vec![
            Field::new("expected_label", target.data_type.clone(), true),
            Field::new("predicted_label", target.data_type.clone(), true),
            count("rows", false),
        ]);
    }
    if let Report::Curve { label, curve } = report {
        let target = labels.get(label).ok_or_else(no_such_label)?.target;
        let points = curve.columns().map(|name| match name {
            "rows" => count(name, false),
            _ => number(name),
        });
        let mut fields = vec![Field::new("label", target.data_type.clone(), true)];
        fields.extend(points);
        return Ok(fields);
    }
    let forms = labels.iter().map(Label::form);
    let has_several = labels.len() > 1;
    let mut fields = vec![];
    if has_several {
        fields.push(Field::new("target", DataType::Utf8, false));
    }
    fields.extend(metric_names(forms.clone()).into_iter().map(number));
    fields.push(count("rows", false));
    if forms.clone().any(has_classes) {
        fields.push(count("unseen_labels", has_several));
    }
    fields.push(count("null_rows", false));
    Ok(fields)
}

/// The error for a report of a label that the model does not have.
pub(super) fn no_such_label() -> DataFusionError {
    sql_err(
        SqlState::Internal,
        "a report is about a label that the model does not have",
    )
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
        let labels = self.labels.iter().copied().flatten();
        let features = self.features.iter().copied();
        Some(needed_columns(features.chain(labels)))
    }
}

equal_by_key!(EvaluateNode);
