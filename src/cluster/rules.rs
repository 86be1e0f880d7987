//! DataFusion's physical rules as a cluster needs them: joins that tasks can share, orders and partitions that travel.
//!
//! In one process the tasks of a join see one table of its first side, and one list of which of its rows have found
//! another; the last task gives the rest. Tasks on executors have a table and a list each, so:
//!
//! | join | becomes |
//! | --- | --- |
//! | hash join that collects its first side | both sides are partitioned by the keys |
//! | nested loops that give rows of the first side by whether they were found | the second side in one partition: one task |
//! | `NOT IN`, which must know of a NULL anywhere | runs in the engine's process ([`super::stages`]) |
//!
//! And the scheduler swaps the sides of a hash join when it knows how large they are; so nothing relies on the order in which
//! such a join gives its rows. See `docs/decisions/0017-joins-on-a-cluster.md`.

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
use crate::plan::instead::Instead;
use crate::plan::joins::veil::{Rule, hides_order};
use crate::plan::scans::file_scan;

/// DataFusion's rules for a cluster.
pub(crate) fn for_cluster(rules: Vec<Rule>) -> Vec<Rule> {
    let mut changed: Vec<Rule> = vec![Arc::new(FILES_AS_THEY_COME)];
    for rule in rules {
        match rule.name() {
            "join_selection" => changed.extend([rule, Arc::new(PARTITIONED) as _]),
            "EnsureRequirements" => {
                let rule = hides_order(Arc::new(Spread(rule)), is_hash_join);
                changed.extend([rule, Arc::new(ONE_PROBE) as _, Arc::new(PLAIN_ORDERS) as _]);
            }
            // The order in which a scan is told to read its files does not travel.
            "PushdownSort" => {}
            _ => changed.push(rule),
        }
    }
    changed
}

/// Folders of files may count as partitions by a key (`preserve_file_partitions`), but not those that the key's hash gives.
const FILES_AS_THEY_COME: Instead = Instead {
    name: "FilesAsTheyCome",
    other: without_partitioning,
};

const PARTITIONED: Instead = Instead {
    name: "PartitionedJoins",
    other: partitioned,
};

/// A sort that takes over the order of a series puts NULLs last, which is the same where there are none. Read on an executor,
/// where nobody knows that any more, it is not the order that a window asks for.
const PLAIN_ORDERS: Instead = Instead {
    name: "PlainOrders",
    other: with_plain_order,
};

/// Comes after what the joins require was put below them, as that would take it away again.
const ONE_PROBE: Instead = Instead {
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

/// Whether several tasks would have to know together which rows of the first side have found another.
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

/// A rule that deals no rows out in turn: the scheduler takes that out of plans, whatever a session sets.
#[derive(Debug)]
struct Spread(Rule);

impl PhysicalOptimizerRule for Spread {
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
