//! [`PredictNode`]: the input's columns, then the model's outputs.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};
use serde::{Deserialize, Serialize};
use vatic_ml::data::labels::{Labels, probabilities_type};

use crate::error::{Result, SqlState, sql_err};
use crate::model::ResolvedModel;
use crate::plan::table_function::bind_features;

/// The column that says why a row has no prediction, with `on_error => 'null'`.
const ERROR_COLUMN: &str = "predict_error";

/// One column that a model appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Output {
    /// `predicted_<label>`
    Label,
    /// `predicted_<label>_probs`
    Probabilities,
    /// `predict_error`
    Error,
}

/// The named arguments of `predict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct PredictOptions {
    pub(crate) batch_size: Option<usize>,
    pub(crate) top_k: Option<usize>,
    /// The bits of the threshold, so that options can be compared.
    threshold: u64,
    pub(crate) null_on_error: bool,
    pub(crate) error_on_null: bool,
}

impl Default for PredictOptions {
    fn default() -> Self {
        let threshold = 0.5f64.to_bits();
        Self {
            batch_size: None,
            top_k: None,
            threshold,
            null_on_error: false,
            error_on_null: false,
        }
    }
}

impl PredictOptions {
    pub(crate) fn threshold(&self) -> f64 {
        f64::from_bits(self.threshold)
    }

    pub(super) fn set_threshold(&mut self, threshold: f64) {
        self.threshold = threshold.to_bits();
    }
}

/// Appends a model's outputs to each row of its input.
#[derive(Debug, Clone)]
pub(crate) struct PredictNode {
    pub(super) model: Arc<ResolvedModel>,
    pub(super) input: LogicalPlan,
    pub(super) options: PredictOptions,
    /// The outputs that somebody reads.
    pub(super) outputs: Vec<Output>,
    /// For each feature its column of the input; empty if there are no outputs.
    pub(super) features: Vec<usize>,
    schema: DFSchemaRef,
}

impl PredictNode {
    /// A node with all outputs.
    pub(crate) fn try_new(
        model: Arc<ResolvedModel>,
        input: LogicalPlan,
        options: PredictOptions,
    ) -> Result<Self> {
        let mut outputs = vec![Output::Label];
        if matches!(model.manifest.labels, Labels::Classes { .. }) {
            outputs.push(Output::Probabilities);
        }
        if options.null_on_error {
            outputs.push(Output::Error);
        }
        Self::with_outputs(model, input, options, outputs)
    }

    /// A node with these outputs.
    pub(crate) fn with_outputs(
        model: Arc<ResolvedModel>,
        input: LogicalPlan,
        options: PredictOptions,
        outputs: Vec<Output>,
    ) -> Result<Self> {
        let features = match outputs.is_empty() {
            true => Vec::new(),
            false => bind_features(&model, input.schema())?,
        };
        let mut fields: Vec<_> = input
            .schema()
            .iter()
            .map(|(qualifier, field)| (qualifier.cloned(), Arc::clone(field)))
            .collect();
        for output in &outputs {
            let field = output_field(&model, *output);
            if input
                .schema()
                .fields()
                .iter()
                .any(|column| column.name() == field.name())
            {
                return Err(sql_err(
                    SqlState::DuplicateName,
                    format!(
                        "the input of predict has a column \"{name}\", which model \"{model}\" would add; rename it in \
                         the query: SELECT {name} AS another_name",
                        name = field.name(),
                        model = model.label(),
                    ),
                ));
            }
            fields.push((None, field));
        }
        let metadata = input.schema().metadata().clone();
        let schema = Arc::new(DFSchema::new_with_metadata(fields, metadata)?);
        Ok(Self {
            model,
            input,
            options,
            outputs,
            features,
            schema,
        })
    }

    /// Names of outputs that are not computed.
    fn skipped(&self) -> Vec<String> {
        let all = [Output::Label, Output::Probabilities];
        let has = |output: &Output| {
            *output == Output::Label || matches!(self.model.manifest.labels, Labels::Classes { .. })
        };
        let skipped = all
            .into_iter()
            .filter(|output| has(output) && !self.outputs.contains(output));
        skipped
            .map(|output| output_field(&self.model, output).name().clone())
            .collect()
    }

    /// What EXPLAIN shows of the model, its inputs and outputs.
    pub(super) fn describe(&self) -> String {
        let signature = &self.model.manifest.signature;
        let features = match self.outputs.is_empty() {
            true => Vec::new(),
            false => signature
                .features
                .iter()
                .map(|feature| feature.name.as_str())
                .collect(),
        };
        let outputs = self
            .outputs
            .iter()
            .map(|output| output_field(&self.model, *output).name().clone());
        format!(
            "model={} ({}), features=[{}], outputs=[{}], skipped=[{}]",
            self.model.label(),
            &self.model.sha256[..12],
            features.join(", "),
            outputs.collect::<Vec<_>>().join(", "),
            self.skipped().join(", "),
        )
    }
}

/// The field of an output of a model.
pub(crate) fn output_field(model: &ResolvedModel, output: Output) -> FieldRef {
    let target = &model.manifest.signature.target;
    let label = match &model.manifest.labels {
        Labels::Number { .. } => DataType::Float64,
        Labels::Classes { .. } => target.data_type.clone(),
    };
    Arc::new(match output {
        Output::Label => Field::new(format!("predicted_{}", target.name), label, true),
        Output::Probabilities => Field::new(
            format!("predicted_{}_probs", target.name),
            probabilities_type(&label),
            true,
        ),
        Output::Error => Field::new(ERROR_COLUMN, DataType::Utf8, true),
    })
}

impl UserDefinedLogicalNodeCore for PredictNode {
    fn name(&self) -> &str {
        "Predict"
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

    /// A filter on the input's columns may go below; one on an output stays above.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // With an error on NULL, which rows are seen decides whether the statement fails.
        if self.options.error_on_null {
            return self
                .schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
        }
        self.outputs
            .iter()
            .map(|output| output_field(&self.model, *output).name().clone())
            .collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Predict: {}", self.describe())
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let input = inputs.swap_remove(0);
        Self::with_outputs(
            Arc::clone(&self.model),
            input,
            self.options,
            self.outputs.clone(),
        )
    }

    /// Of the input are needed the columns that are read above, and the features.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let read = output_columns
            .iter()
            .copied()
            .filter(|column| *column < width);
        let mut needed: Vec<usize> = read.chain(self.features.iter().copied()).collect();
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

impl PredictNode {
    fn key(&self) -> (&str, &LogicalPlan, &PredictOptions, &[Output]) {
        (
            &self.model.sha256,
            &self.input,
            &self.options,
            &self.outputs,
        )
    }
}

impl PartialEq for PredictNode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for PredictNode {}

impl PartialOrd for PredictNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for PredictNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
