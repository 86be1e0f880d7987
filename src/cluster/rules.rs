//! DataFusion's physical optimizer rules, changed for a cluster: joins, orders and partitions stay correct on executors.
//!
//! In one process the tasks of a join share one table of its first side, and one list of the matched rows of that side;
//! the last task returns the unmatched rows. Each task on an executor has its own table and list, so:
//!
//! | join | becomes |
//! | --- | --- |
//! | hash join that collects its first side | both sides are partitioned by the keys |
//! | nested loop join that tracks the matched rows of its first side | the second side has one partition: one task |
//! | `NOT IN`, which depends on a NULL in any partition | runs in the engine's process ([`super::stages`]) |
//!
//! The scheduler swaps the sides of a hash join once it knows their sizes. So no operator relies on the order of the rows
//! of such a join. See `docs/decisions/0017-joins-on-a-cluster.md`.

use std::sync::Arc;

use datafusion::common::JoinType;
use datafusion::common::config::ConfigOptions;
use datafusion::datasource::physical_plan::FileScanConfigBuilder;
use datafusion::datasource::source::DataSourceExec;
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::joins::{HashJoinExec, NestedLoopJoinExec, PartitionMode};
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{
    ExecutionPlan, ExecutionPlanProperties, replace_children_if_necessary,
};

use crate::error::Result;
use crate::plan::joins::hidden_join::{Rule, hides_order};
use crate::plan::replace_rule::ReplaceRule;
use crate::plan::scans::file_scan;

/// DataFusion's rules, changed for a cluster.
pub(crate) fn for_cluster(rules: Vec<Rule>) -> Vec<Rule> {
    let mut changed: Vec<Rule> = vec![Arc::new(NO_FOLDER_PARTITIONS)];
    for rule in rules {
        match rule.name() {
            "join_selection" => changed.extend([rule, Arc::new(PARTITIONED) as _]),
            "EnsureRequirements" => {
                let rule = hides_order(Arc::new(WithoutRoundRobin(rule)), is_hash_join);
                changed.extend([
                    rule,
                    Arc::new(SINGLE_PROBE_PARTITION) as _,
                    Arc::new(PLAIN_ORDERS) as _,
                ]);
            }
            // The order in which this rule lets a scan read its files does not travel.
            "PushdownSort" => {}
            _ => changed.push(rule),
        }
    }
    changed
}

/// Removes the partitioning by folders of files (`preserve_file_partitions`), which differs from partitions by hash.
const NO_FOLDER_PARTITIONS: ReplaceRule = ReplaceRule {
    name: "FilesAsTheyCome",
    other: without_partitioning,
};

const PARTITIONED: ReplaceRule = ReplaceRule {
    name: "PartitionedJoins",
    other: partitioned,
};

/// A sort that takes over the order of a series puts NULLs last, which equals NULLs first where there are no NULLs. An
/// executor does not know that, so the order would not satisfy the window above.
const PLAIN_ORDERS: ReplaceRule = ReplaceRule {
    name: "PlainOrders",
    other: with_plain_order,
};

/// Runs after `EnsureRequirements`, which would remove the change again.
const SINGLE_PROBE_PARTITION: ReplaceRule = ReplaceRule {
    name: "OneProbe",
    other: with_one_probe,
};

fn without_partitioning(exec: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    Ok(file_scan(exec.as_ref())
        .filter(|config| config.output_partitioning.is_some())
        .map(|config| {
            let builder = FileScanConfigBuilder::from(config.clone());
            let config = builder.with_output_partitioning(None).build();
            DataSourceExec::from_data_source(config) as _
        }))
}

fn with_plain_order(exec: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(sort) = exec.downcast_ref::<SortExec>() else {
        return Ok(None);
    };
    let schema = sort.input().schema();
    let mut keys = Vec::new();
    for key in sort.expr() {
        let mut key = key.clone();
        let puts_nulls_last = !key.options.descending && !key.options.nulls_first;
        key.options.nulls_first |= puts_nulls_last && !key.expr.nullable(&schema)?;
        keys.push(key);
    }
    let order = LexOrdering::new(keys).filter(|order| order != sort.expr());
    Ok(order.map(|order| {
        let sort = SortExec::new(order, Arc::clone(sort.input()))
            .with_preserve_partitioning(sort.preserve_partitioning())
            .with_fetch(sort.fetch());
        Arc::new(sort) as _
    }))
}

fn is_hash_join(exec: &dyn ExecutionPlan) -> bool {
    exec.downcast_ref::<HashJoinExec>().is_some()
}

fn partitioned(exec: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let join = exec.downcast_ref::<HashJoinExec>();
    let is_collected = |join: &&HashJoinExec| {
        !join.null_aware && *join.partition_mode() != PartitionMode::Partitioned
    };
    let Some(join) = join.filter(is_collected) else {
        return Ok(None);
    };
    let mode = PartitionMode::Partitioned;
    let join = join
        .builder()
        .with_partition_mode(mode)
        .recompute_properties();
    join.build_exec().map(Some)
}

fn with_one_probe(exec: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if !shares_its_first_side(exec) {
        return Ok(None);
    }
    let [first, second] = exec.children()[..] else {
        return Ok(None);
    };
    let second = Arc::new(CoalescePartitionsExec::new(Arc::clone(second))) as _;
    let inputs = vec![Arc::clone(first), second];
    replace_children_if_necessary(Arc::clone(exec), inputs).map(Some)
}

/// Whether several tasks would have to share the list of the matched rows of the first side.
pub(super) fn shares_its_first_side(exec: &Arc<dyn ExecutionPlan>) -> bool {
    let Some(join) = exec.downcast_ref::<NestedLoopJoinExec>() else {
        return false;
    };
    let tells_what_was_found = match join.join_type() {
        JoinType::Inner
        | JoinType::Right
        | JoinType::RightSemi
        | JoinType::RightAnti
        | JoinType::RightMark => false,
        JoinType::Left
        | JoinType::Full
        | JoinType::LeftSemi
        | JoinType::LeftAnti
        | JoinType::LeftMark => true,
    };
    tells_what_was_found && join.right().output_partitioning().partition_count() > 1
}

/// A rule without round-robin repartitioning: the scheduler removes it from plans, whatever a session sets.
#[derive(Debug)]
struct WithoutRoundRobin(Rule);

impl PhysicalOptimizerRule for WithoutRoundRobin {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        options: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let mut options = options.clone();
        options.optimizer.enable_round_robin_repartition = false;
        self.0.optimize(plan, &options)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}
