//! [`with_sound_keys`]: a plan in which each schema has exactly the dependencies that follow from its inputs.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{
    DFSchema, DFSchemaRef, Dependency, FunctionalDependence, FunctionalDependencies, Result,
};
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};

/// The plan with sound dependencies, including its sub-queries.
pub(super) fn with_sound_keys(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    let queries = plan.map_subqueries(with_sound_keys)?;
    let below = queries.data.map_children(with_sound_keys)?;
    let mut node = match &below.data {
        // Their dependencies are set below.
        LogicalPlan::Aggregate(_) | LogicalPlan::Unnest(_) => below.data,
        // Our nodes have no dependencies of their own.
        LogicalPlan::Extension(_) => below.data,
        _ if below.transformed => below.data.recompute_schema()?,
        _ => below.data,
    };
    let is_mended = match &mut node {
        LogicalPlan::Aggregate(aggregate) => {
            let sound = of_groups(aggregate);
            replace(&mut aggregate.schema, sound)?
        }
        LogicalPlan::Unnest(unnest) => {
            replace(&mut unnest.schema, FunctionalDependencies::empty())?
        }
        _ => false,
    };
    let is_changed = queries.transformed || below.transformed || is_mended;
    Ok(Transformed::new_transformed(node, is_changed))
}

/// Sets the dependencies of a schema, and returns whether it had others.
fn replace(schema: &mut DFSchemaRef, sound: FunctionalDependencies) -> Result<bool> {
    if *schema.functional_dependencies() == sound {
        return Ok(false);
    }
    let of_schema = DFSchema::clone(schema);
    *schema = Arc::new(of_schema.with_functional_dependencies(sound)?);
    Ok(true)
}

/// The dependencies of an aggregate: the expressions of GROUP BY determine all columns, and dependencies of the input between
/// these expressions stay.
fn of_groups(aggregate: &Aggregate) -> FunctionalDependencies {
    if let [Expr::GroupingSet(_)] = aggregate.group_expr.as_slice() {
        return FunctionalDependencies::empty();
    }
    let mut groups: Vec<String> = Vec::new();
    for expr in &aggregate.group_expr {
        let name = expr.schema_name().to_string();
        if !groups.contains(&name) {
            groups.push(name);
        }
    }
    if groups.is_empty() {
        return FunctionalDependencies::empty();
    }
    let input = aggregate.input.schema();
    let names = input.field_names();
    let place = |column: &usize| groups.iter().position(|group| *group == names[*column]);
    let all: Vec<usize> = (0..aggregate.schema.fields().len()).collect();
    let mut sound = Vec::new();
    let mut is_known = false;
    for dependence in input.functional_dependencies().iter() {
        let sources: Option<Vec<usize>> = dependence.source_indices.iter().map(place).collect();
        let Some(sources) = sources else {
            continue;
        };
        let mut determined: Vec<usize> =
            dependence.target_indices.iter().filter_map(place).collect();
        determined.extend(&sources);
        determined.sort_unstable();
        determined.dedup();
        let is_key = determined.len() == groups.len();
        let (targets, mode) = match is_key {
            true => (all.clone(), Dependency::Single),
            false => (determined, Dependency::Multi),
        };
        is_known |= is_key && !dependence.nullable;
        let kept = FunctionalDependence::new(sources, targets, dependence.nullable);
        sound.push(kept.with_mode(mode));
    }
    if !is_known {
        let fields = aggregate.schema.fields();
        let is_nullable = (0..groups.len()).any(|group| fields[group].is_nullable());
        let key = FunctionalDependence::new((0..groups.len()).collect(), all, is_nullable);
        sound.push(key.with_mode(Dependency::Single));
    }
    FunctionalDependencies::new(sound)
}
