//! [`FenceNode`] and [`FenceExec`]: operators that pass rows on and stop expressions. No filter on a drawn column moves
//! below a fence, and no projection above a fence is merged with the projection that draws.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::{DFSchema, DFSchemaRef, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, UserDefinedLogicalNodeCore};
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};

use crate::plan::display::write_name;
use crate::plan::one_input::one_input;

/// Passes on the rows of its input; `draws` names the columns of random values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct FenceNode {
    input: LogicalPlan,
    draws: Vec<String>,
}

impl FenceNode {
    pub(super) fn new(input: LogicalPlan, draws: Vec<String>) -> Self {
        Self { input, draws }
    }
}

impl PartialOrd for FenceNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for FenceNode {
    fn name(&self) -> &str {
        "Fence"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    /// A filter on other columns may move below: the random value of a row does not depend on which other rows draw.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.draws.iter().cloned().collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fence: {}", self.draws.join(", "))
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let input = without_new_columns(inputs.swap_remove(0), self.input.schema())?;
        Ok(Self::new(input, self.draws.clone()))
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}

/// `input` without columns that are not in `known`. An optimizer rule that moves expressions below a node finds that the
/// node does not output them, and leaves the expressions where they are.
pub(crate) fn without_new_columns(input: LogicalPlan, known: &DFSchema) -> Result<LogicalPlan> {
    let columns = input.schema().columns();
    let (kept, new): (Vec<_>, Vec<_>) = columns
        .into_iter()
        .partition(|column| known.has_column(column));
    if new.is_empty() {
        return Ok(input);
    }
    let kept = kept.into_iter().map(Expr::Column).collect();
    let input = Projection::try_new(kept, Arc::new(input))?;
    Ok(LogicalPlan::Projection(input))
}

/// The operator of a [`FenceNode`].
pub(super) fn plan(
    _node: &FenceNode,
    inputs: &[Arc<dyn ExecutionPlan>],
    _session: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    Ok(Arc::new(FenceExec::new(Arc::clone(&inputs[0]))))
}

/// [`FenceNode`] in a physical plan. Physical optimizer rules also merge projections and push filters down; this operator
/// prevents both.
#[derive(Debug)]
pub(super) struct FenceExec {
    input: Arc<dyn ExecutionPlan>,
}

impl FenceExec {
    pub(super) fn new(input: Arc<dyn ExecutionPlan>) -> Self {
        Self { input }
    }

    fn with_input(&self, input: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self::new(input)))
    }
}

impl DisplayAs for FenceExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_name(f, format, "FenceExec")
    }
}

impl ExecutionPlan for FenceExec {
    fn name(&self) -> &str {
        "FenceExec"
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    one_input!(in_order);

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn cardinality_effect(&self) -> CardinalityEffect {
        CardinalityEffect::Equal
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}
