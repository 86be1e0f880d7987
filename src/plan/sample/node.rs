//! [`SampleNode`]: the logical node of `TABLESAMPLE`.

use std::cmp::Ordering;
use std::fmt;

use datafusion::common::{DFSchemaRef, Result};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::plan::chance::without_new_columns;

/// Takes each row with a probability.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SampleNode {
    input: LogicalPlan,
    /// The bits of the percentage, so that nodes can be compared.
    percent: u64,
    pub(super) seed: Option<u64>,
}

impl SampleNode {
    pub(super) fn new(input: LogicalPlan, percent: f64, seed: Option<u64>) -> Self {
        let percent = percent.to_bits();
        Self {
            input,
            percent,
            seed,
        }
    }

    pub(super) fn percent(&self) -> f64 {
        f64::from_bits(self.percent)
    }
}

impl PartialOrd for SampleNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for SampleNode {
    fn name(&self) -> &str {
        "Sample"
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
        write!(f, "Sample: {} percent", self.percent())?;
        match self.seed {
            Some(seed) => write!(f, ", seed={seed}"),
            None => Ok(()),
        }
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<Self> {
        let input = without_new_columns(inputs.swap_remove(0), self.input.schema())?;
        Ok(Self::new(input, self.percent(), self.seed))
    }

    /// With a seed the content of the whole row decides, so all columns are needed.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let all = || (0..self.input.schema().fields().len()).collect();
        Some(vec![match self.seed {
            Some(_) => all(),
            None => output_columns.to_vec(),
        }])
    }
}
