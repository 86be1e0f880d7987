//! [`SoundKeys`]: the rule that corrects dependencies, at the end of the analysis and before each DataFusion rule that reads
//! them. Rules that rebuild a node restore the wrong dependencies.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::Transformed;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::{AnalyzerRule, Optimizer, OptimizerConfig, OptimizerRule};

use super::dependencies::with_sound_keys;

/// The rules that read dependencies.
const READERS: [&str; 4] = [
    "replace_distinct_aggregate",
    "eliminate_join",
    "eliminate_duplicated_expr",
    "optimize_projections",
];

/// DataFusion's optimizer rules, with [`SoundKeys`] before each that reads dependencies.
pub(crate) fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn OptimizerRule + Send + Sync>> = Vec::new();
    for rule in Optimizer::new().rules {
        if READERS.contains(&rule.name()) {
            rules.push(Arc::new(SoundKeys));
        }
        rules.push(rule);
    }
    rules
}

/// Corrects the dependencies of a plan.
#[derive(Debug)]
pub(crate) struct SoundKeys;

impl OptimizerRule for SoundKeys {
    fn name(&self) -> &str {
        "sound_keys"
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        with_sound_keys(plan)
    }
}

impl AnalyzerRule for SoundKeys {
    fn name(&self) -> &str {
        "sound_keys"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        Ok(with_sound_keys(plan)?.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_that_reads_dependencies_is_there_under_its_name() {
        let rules = Optimizer::new().rules;
        for reader in READERS {
            assert!(rules.iter().any(|rule| rule.name() == reader), "{reader}");
        }
    }
}
