//! [`PredictNode`]: logical node of `predict`, and of a call of a model in an expression. Its columns are those of the input, then the
//! model's outputs.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchemaRef};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use serde::{Deserialize, Serialize};
use vatic_ml::data::signature::Port;
use vatic_ml::model::arguments::Arguments;

use super::added::with_added;
use super::options::PredictOptions;
use crate::error::Result;
use crate::model::ResolvedModel;
use crate::plan::features::bind_features;
use crate::plan::logical_nodes::{equal_by_key, needed_columns};

/// The column that `on_error => 'null'` adds: the reason why a row has no prediction.
pub(super) const ERROR_COLUMN: &str = "predict_error";

/// The columns that a node appends.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Appended {
    /// Outputs of the model, as indices into its signature.
    pub(crate) outputs: Vec<usize>,
    /// The name of the only output, if it is not that of the model.
    pub(crate) name: Option<String>,
    /// Whether the column `predict_error` follows the outputs.
    pub(crate) has_error: bool,
}

impl Appended {
    pub(crate) fn is_empty(&self) -> bool {
        self.outputs.is_empty() && !self.has_error
    }

    /// The name of the column of an output.
    pub(super) fn name_of<'a>(&'a self, output: usize, model: &'a ResolvedModel) -> &'a str {
        match &self.name {
            Some(name) => name,
            None => &model.manifest.signature.outputs[output].name,
        }
    }

    /// The fields of the columns.
    pub(crate) fn fields(&self, model: &ResolvedModel) -> Vec<FieldRef> {
        let ports = &model.manifest.signature.outputs;
        let outputs = self.outputs.iter().map(|output| {
            let name = self.name_of(*output, model);
            Field::new(name, ports[*output].data_type.clone(), true)
        });
        let error = self
            .has_error
            .then(|| Field::new(ERROR_COLUMN, DataType::Utf8, true));
        outputs.chain(error).map(Arc::new).collect()
    }
}

/// Appends a model's outputs to each row of its input.
#[derive(Debug, Clone)]
pub(crate) struct PredictNode {
    pub(super) model: Arc<ResolvedModel>,
    pub(super) input: LogicalPlan,
    pub(super) options: PredictOptions,
    /// The appended columns, without those that were pruned.
    pub(super) appended: Appended,
    /// The column of each feature, if features are not found by their names.
    columns: Option<Vec<Column>>,
    /// The input column of each feature; empty if nothing is appended.
    pub(super) features: Vec<usize>,
    schema: DFSchemaRef,
}

impl PredictNode {
    /// A node with all outputs, whose features are the columns of their names.
    pub(crate) fn try_new(
        model: Arc<ResolvedModel>,
        input: LogicalPlan,
        options: PredictOptions,
    ) -> Result<Self> {
        Self::of_all(model, None, input, options)
    }

    /// A node with all outputs, whose features are these columns of the input, in the order of the signature, if they are given.
    pub(super) fn of_all(
        model: Arc<ResolvedModel>,
        columns: Option<Vec<Column>>,
        input: LogicalPlan,
        options: PredictOptions,
    ) -> Result<Self> {
        let appended = Appended {
            outputs: (0..model.manifest.signature.outputs.len()).collect(),
            name: None,
            has_error: options.null_on_error,
        };
        Self::build(model, columns, input, options, appended)
    }

    /// A node that appends one output under this name, and whose features are these columns of the input, in the order of the
    /// signature.
    pub(super) fn of_columns(
        model: Arc<ResolvedModel>,
        columns: Vec<Column>,
        input: LogicalPlan,
        options: PredictOptions,
        (output, name): (usize, String),
    ) -> Result<Self> {
        let appended = Appended {
            outputs: vec![output],
            name: Some(name),
            has_error: false,
        };
        Self::build(model, Some(columns), input, options, appended)
    }

    /// The same node over another input, appending these columns.
    pub(super) fn over(&self, input: LogicalPlan, appended: Appended) -> Result<Self> {
        Self::build(
            Arc::clone(&self.model),
            self.columns.clone(),
            input,
            self.options.clone(),
            appended,
        )
    }

    /// The same node over another input, whose features are these columns, in the order of the signature.
    pub(super) fn moved(&self, columns: Vec<Column>, input: LogicalPlan) -> Result<Self> {
        let (options, appended) = (self.options.clone(), self.appended.clone());
        Self::build(
            Arc::clone(&self.model),
            Some(columns),
            input,
            options,
            appended,
        )
    }

    fn build(
        model: Arc<ResolvedModel>,
        columns: Option<Vec<Column>>,
        input: LogicalPlan,
        options: PredictOptions,
        appended: Appended,
    ) -> Result<Self> {
        let features = match (appended.is_empty(), &columns) {
            (true, _) => Vec::new(),
            (false, None) => bind_features(&model, input.schema())?,
            (false, Some(columns)) => {
                let places = columns
                    .iter()
                    .map(|column| input.schema().index_of_column(column));
                places.collect::<Result<_>>()?
            }
        };
        let adder = format!("model \"{}\"", model.label());
        let schema = with_added(input.schema(), Arc::clone, appended.fields(&model), &adder)?;
        Ok(Self {
            model,
            input,
            options,
            appended,
            columns,
            features,
            schema,
        })
    }

    /// The model, its inputs and outputs, as EXPLAIN shows them.
    pub(super) fn describe(&self) -> String {
        let signature = &self.model.manifest.signature;
        let inputs: Vec<String> = match (self.appended.is_empty(), &self.columns) {
            (true, _) => Vec::new(),
            (false, None) => names(&signature.inputs).map(str::to_owned).collect(),
            (false, Some(columns)) => columns.iter().map(Column::flat_name).collect(),
        };
        let fields = self.appended.fields(&self.model);
        let outputs: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
        let kept = &self.appended.outputs;
        let skipped = names(&signature.outputs).enumerate();
        let skipped = skipped.filter(|(output, _)| !kept.contains(output));
        let skipped: Vec<&str> = skipped.map(|(_, name)| name).collect();
        let prompt = self.options.prompt.iter();
        let prompt: String = prompt.map(|name| format!(", prompt={name}")).collect();
        let writing = signature.generated().is_some();
        let writing = writing.then(|| format!(", {}", self.options.generation));
        // Any other type can only be that of the training.
        let compute = self.options.compute.filter(|compute| compute.needs_gpu());
        let arguments = self.model.arguments.as_ref();
        format!(
            "model={} ({}), features=[{}], outputs=[{}], skipped=[{}]{prompt}{}{}{}",
            self.model.label(),
            &self.model.sha256[..12],
            inputs.join(", "),
            outputs.join(", "),
            skipped.join(", "),
            writing.unwrap_or_default(),
            compute.map_or(String::new(), |compute| format!(", dtype={compute}")),
            arguments.map_or(String::new(), |arguments| format!(", {arguments}")),
        )
    }
}

/// The node of a plan, if it is one.
pub(super) fn predict_of(plan: &LogicalPlan) -> Option<&PredictNode> {
    match plan {
        LogicalPlan::Extension(Extension { node }) => node.as_any().downcast_ref(),
        _ => None,
    }
}

fn names(ports: &[Port]) -> impl Iterator<Item = &str> {
    ports.iter().map(|port| port.name.as_str())
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

    /// A filter on input columns may move below the node; a filter on an output stays above.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // With `on_null => 'error'`, a filter below could remove the NULL for which the statement must fail.
        if self.options.error_on_null {
            return self
                .schema
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect();
        }
        let appended = self.appended.fields(&self.model);
        appended.iter().map(|field| field.name().clone()).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Predict: {}", self.describe())
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        self.over(inputs.swap_remove(0), self.appended.clone())
    }

    /// The needed input columns are those read above the node, and the features.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let width = self.input.schema().fields().len();
        let read = output_columns
            .iter()
            .copied()
            .filter(|column| *column < width);
        Some(needed_columns(read.chain(self.features.iter().copied())))
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// What makes two nodes equal.
type Key<'a> = (
    &'a str,
    Option<&'a Arguments>,
    &'a LogicalPlan,
    &'a PredictOptions,
    &'a Appended,
    Option<&'a [Column]>,
);

impl PredictNode {
    fn key(&self) -> Key<'_> {
        (
            &self.model.sha256,
            self.model.arguments.as_deref(),
            &self.input,
            &self.options,
            &self.appended,
            self.columns.as_deref(),
        )
    }
}

equal_by_key!(PredictNode);

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;
    use datafusion::common::DFSchema;
    use datafusion::logical_expr::EmptyRelation;
    use vatic_ml::model::compute::ComputeType;

    use super::*;
    use crate::error::{SqlState, report};
    use crate::model::example_model;

    fn input(columns: &[&str]) -> LogicalPlan {
        let field = |name: &&str| Field::new(*name, DataType::Float64, true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema: Arc::new(DFSchema::try_from(schema).unwrap()),
        })
    }

    fn node(columns: &[&str], options: PredictOptions) -> Result<PredictNode> {
        let model = Arc::new(example_model(&[("x", DataType::Float64)]));
        PredictNode::try_new(model, input(columns), options)
    }

    #[test]
    fn the_input_needs_the_columns_that_are_read_above_and_the_features() {
        let node = node(&["id", "x", "other"], PredictOptions::default()).unwrap();
        // Columns 3 and 4 are the outputs.
        assert_eq!(node.schema().fields().len(), 5);
        assert_eq!(node.necessary_children_exprs(&[3]), Some(vec![vec![1]]));
        assert_eq!(
            node.necessary_children_exprs(&[0, 4]),
            Some(vec![vec![0, 1]])
        );
        let none = Appended {
            outputs: vec![],
            name: None,
            has_error: false,
        };
        let pruned = node.over(node.input.clone(), none).unwrap();
        assert_eq!(pruned.necessary_children_exprs(&[2]), Some(vec![vec![2]]));
    }

    #[test]
    fn a_filter_on_an_output_stays_above_and_with_errors_on_null_every_filter_does() {
        let kept = |options| {
            let node = node(&["id", "x"], options).unwrap();
            let mut kept: Vec<_> = node
                .prevent_predicate_push_down_columns()
                .into_iter()
                .collect();
            kept.sort_unstable();
            kept
        };
        let outputs = ["predicted_y", "predicted_y_probs"];
        assert_eq!(kept(PredictOptions::default()), outputs);
        let strict = PredictOptions {
            error_on_null: true,
            ..PredictOptions::default()
        };
        assert_eq!(kept(strict), [&["id"], &outputs[..], &["x"]].concat());
    }

    #[test]
    fn an_input_with_a_column_of_an_output_s_name_is_refused() {
        let error = node(&["x", "predicted_y"], PredictOptions::default()).unwrap_err();
        assert_eq!(report(&error).state, SqlState::DuplicateName);
    }

    #[test]
    fn nodes_are_equal_only_if_model_input_options_and_outputs_are() {
        let one = node(&["id", "x"], PredictOptions::default()).unwrap();
        assert_eq!(one, node(&["id", "x"], PredictOptions::default()).unwrap());
        assert_ne!(
            one,
            node(&["other", "x"], PredictOptions::default()).unwrap()
        );
        let mut other = PredictOptions::default();
        other.set_threshold(0.25);
        assert_ne!(one, node(&["id", "x"], other).unwrap());
        assert_ne!(one, node(&["id", "x"], in_type(ComputeType::Bf16)).unwrap());
    }

    fn in_type(compute: ComputeType) -> PredictOptions {
        PredictOptions {
            compute: Some(compute),
            ..PredictOptions::default()
        }
    }

    #[test]
    fn a_type_other_than_that_of_the_training_is_shown() {
        let shown = |options| node(&["x"], options).unwrap().describe();
        let default = shown(PredictOptions::default());
        assert_eq!(shown(in_type(ComputeType::F32)), default);
        let expected = format!("{default}, dtype=bf16");
        assert_eq!(shown(in_type(ComputeType::Bf16)), expected);
    }

    #[test]
    fn features_of_given_columns_keep_their_columns_when_the_input_changes() {
        let model = Arc::new(example_model(&[("x", DataType::Float64)]));
        let columns = vec![Column::from_name("b")];
        let output = (0, "guess".to_owned());
        let options = PredictOptions::default();
        let node =
            PredictNode::of_columns(model, columns, input(&["a", "b", "x"]), options, output);
        let node = node.unwrap();
        assert_eq!(
            (node.features.as_slice(), node.schema().fields().len()),
            (&[1][..], 4)
        );
        assert_eq!(node.schema().field(3).name(), "guess");
        assert!(
            node.describe()
                .contains("features=[b], outputs=[guess], skipped=[predicted_y_probs]")
        );
        let moved = node
            .with_exprs_and_inputs(vec![], vec![input(&["b"])])
            .unwrap();
        assert_eq!(moved.features, [0]);
        assert!(
            node.with_exprs_and_inputs(vec![], vec![input(&["x"])])
                .is_err()
        );
    }
}
