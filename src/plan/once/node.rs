//! [`MarkNode`]: a query that may have to be computed once. [`OnceNode`]: a query that is computed once, as a leaf.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};
use datafusion::optimizer::AnalyzerRule;

use crate::error::{SqlState, sql_err};
use crate::plan::chance::is_nondeterministic;

/// A reference to a WITH query.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct MarkNode {
    id: String,
    /// The name of the query.
    label: String,
    input: LogicalPlan,
}

impl MarkNode {
    pub(super) fn new(id: String, label: String, input: LogicalPlan) -> Self {
        Self { id, label, input }
    }

    fn of(plan: &LogicalPlan) -> Option<&Self> {
        match plan {
            LogicalPlan::Extension(Extension { node }) => node.as_any().downcast_ref::<Self>(),
            _ => None,
        }
    }
}

impl PartialOrd for MarkNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for MarkNode {
    fn name(&self) -> &str {
        "Mark"
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

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Once: {}", self.label)
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let (id, label) = (self.id.clone(), self.label.clone());
        Ok(Self::new(id, label, inputs.swap_remove(0)))
    }
}

/// The plan without the marks of queries that are read once or give the same rows each time.
pub(crate) fn keep_marks(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut reads = HashMap::new();
    count_reads(&plan, false, &mut reads)?;
    if reads.is_empty() {
        return Ok(plan);
    }
    let mut kept = HashSet::new();
    plan.apply_with_subqueries(|node| {
        if let Some(mark) = MarkNode::of(node)
            && reads.get(&mark.id).is_some_and(|count| *count > 1)
            && is_nondeterministic(&mark.input)?
        {
            check_is_closed(mark)?;
            kept.insert(mark.id.clone());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let plan = plan.transform_up_with_subqueries(|node| {
        let unneeded = MarkNode::of(&node).filter(|mark| !kept.contains(&mark.id));
        Ok(match unneeded.map(|mark| mark.input.clone()) {
            Some(input) => Transformed::yes(input),
            None => Transformed::no(node),
        })
    })?;
    Ok(plan.data)
}

/// Counts the readers of each marked query, as if each query were computed once.
fn count_reads(
    plan: &LogicalPlan,
    in_rounds: bool,
    reads: &mut HashMap<String, usize>,
) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::RecursiveQuery(query) = node {
            count_reads(&query.static_term, in_rounds, reads)?;
            count_reads(&query.recursive_term, true, reads)?;
            return Ok(TreeNodeRecursion::Jump);
        }
        let Some(mark) = MarkNode::of(node) else {
            return Ok(TreeNodeRecursion::Continue);
        };
        let count = reads.entry(mark.id.clone()).or_default();
        let is_known = *count > 0;
        *count += 1 + usize::from(in_rounds);
        Ok(match is_known {
            true => TreeNodeRecursion::Jump,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(())
}

/// Refuses a query that reads columns of an outer query, because its rows differ for each outer row.
fn check_is_closed(mark: &MarkNode) -> Result<()> {
    if mark.input.all_out_ref_exprs().is_empty() {
        return Ok(());
    }
    let message = format!(
        "WITH query \"{}\" has random values or a LIMIT, is read more than once, and refers to the query around it; \
         compute the random part outside",
        mark.label
    );
    Err(sql_err(SqlState::Unsupported, message))
}

/// Turns marked queries into leaves. Runs last, because no rule looks into leaves.
#[derive(Debug)]
pub(crate) struct ComputeOnce;

impl AnalyzerRule for ComputeOnce {
    fn name(&self) -> &str {
        "compute_once"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|node| {
            let leaf = MarkNode::of(&node).map(|mark| OnceNode {
                id: mark.id.clone(),
                label: mark.label.clone(),
                plan: Arc::new(mark.input.clone()),
            });
            Ok(match leaf {
                Some(leaf) => Transformed::yes(LogicalPlan::Extension(Extension {
                    node: Arc::new(leaf),
                })),
                None => Transformed::no(node),
            })
        })?;
        Ok(plan.data)
    }
}

/// A query that is computed once for all its readers.
#[derive(Debug, Clone)]
pub(super) struct OnceNode {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) plan: Arc<LogicalPlan>,
}

impl PartialEq for OnceNode {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for OnceNode {}

impl PartialOrd for OnceNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for OnceNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.id.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for OnceNode {
    fn name(&self) -> &str {
        "Once"
    }

    /// No input that rules may change: even a filter without columns would reach the copy of one reader only.
    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        self.plan.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Once: {}", self.label)
    }

    fn with_exprs_and_inputs(&self, _exprs: Vec<Expr>, _inputs: Vec<LogicalPlan>) -> Result<Self> {
        Ok(self.clone())
    }

    fn necessary_children_exprs(&self, _output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(Vec::new())
    }
}
