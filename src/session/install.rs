//! [`session_state`]: DataFusion's session state with Vatic's catalog, functions and rules. `planner` adds the relation
//! planners, which need the models of a statement.

use std::sync::Arc;

use datafusion::catalog::CatalogProviderList;
use datafusion::catalog::MemoryCatalogProviderList;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::context::QueryPlanner;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_planner::{DefaultPhysicalPlanner, PhysicalPlanner};
use datafusion::prelude::SessionConfig;

use crate::access::Access;
use crate::catalog::CATALOG;
use crate::catalog::changes::as_insertions;
use crate::catalog::images::{READ_IMAGES, ReadImages};
use crate::catalog::indexes::UseIndexes;
use crate::catalog::partitions::PartitionNulls;
use crate::catalog::provider::VaticCatalog;
use crate::catalog::system_tables::SystemTables;
use crate::catalog::temporary::TemporaryTables;
use crate::cluster;
use crate::config::VaticOptions;
use crate::engine::Engine;
use crate::error::Result;
use crate::evaluate::is_evaluation;
use crate::extensions::EXTENSIONS;
use crate::plan::chance::DrawOnce;
use crate::plan::conditions;
use crate::plan::functions::register_functions;
use crate::plan::integer_overflow::CheckedArithmetic;
use crate::plan::joins::NULLABLE_FILTERS;
use crate::plan::joins::hidden_join::{
    keeps_conditions, keeps_limits, keeps_projections, sorts_again,
};
use crate::plan::keys::{SoundKeys, optimizer_rules};
use crate::plan::once::ComputeOnce;
use crate::plan::orders::computed_keys::ComputedKeys;
use crate::plan::orders::known_order::sound_orders;
use crate::plan::orders::missing_sorts::AddMissingSorts;
use crate::plan::scans::{
    FLOAT_PREDICATES, FLOAT_STATISTICS, SCAN_EQUALITIES, VECTOR_SCANS, WIDE_ROWS,
};
use crate::plan::series::SHORT_BATCHES;
use crate::plan::short_filters::SHORT_FILTERS;
use crate::plan::times::analyzer_rules;
use crate::plan::types::StandardTypes;
use crate::predict::{ComputeCalls, ModelsByJoins, PruneOutputs, register_model_functions};
use crate::storage::DEFAULT_SCHEMA;
use crate::train::RendezvousExtension;

/// The state of a new session with these temporary tables.
pub(crate) fn session_state(
    engine: &Engine,
    access: &Access,
    temporary: &Arc<TemporaryTables>,
) -> Result<SessionState> {
    let config = match engine.cluster() {
        Some(_) => cluster::restrict(SessionConfig::new()),
        None => SessionConfig::new(),
    };
    let mut config = config
        .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
        .with_create_default_catalog_and_schema(false)
        // DataFusion's information_schema would hide ours, which extends it.
        .with_information_schema(false)
        .with_extension(Arc::clone(engine.runtime()))
        .with_extension(Arc::new(RendezvousExtension(
            Arc::clone(engine.rendezvous()) as _,
        )));
    let options = config.options_mut();
    options.extensions.insert(VaticOptions::default());
    // Errors show their position in the statement.
    options.sql_parser.collect_spans = true;
    // As nanoseconds, 9999-12-31 (INT96, from Spark) would become another date.
    options.execution.parquet.coerce_int96 = Some("us".into());
    let catalogs: Arc<dyn CatalogProviderList> = Arc::new(MemoryCatalogProviderList::new());
    let builder = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(Arc::clone(engine.runtime_env()))
        .with_default_features()
        .with_type_planner(Arc::new(StandardTypes))
        .with_catalog_list(Arc::clone(&catalogs))
        .with_analyzer_rules(analyzer_rules())
        .with_analyzer_rule(Arc::new(PartitionNulls))
        .with_analyzer_rule(Arc::new(CheckedArithmetic))
        .with_analyzer_rule(Arc::new(DrawOnce));
    let builder = conditions::analyzer_rules(is_evaluation)
        .into_iter()
        .fold(builder, SessionStateBuilder::with_analyzer_rule);
    let mut state = builder
        .with_analyzer_rule(Arc::new(ComputeCalls))
        .with_analyzer_rule(Arc::new(ComputedKeys))
        .with_analyzer_rule(Arc::new(ComputeOnce))
        .with_analyzer_rule(Arc::new(SoundKeys))
        .with_optimizer_rules(optimizer_rules())
        .with_optimizer_rule(Arc::new(PruneOutputs))
        .with_optimizer_rule(Arc::new(ModelsByJoins))
        .with_optimizer_rule(Arc::new(UseIndexes))
        .with_physical_optimizer_rules(physical_rules(engine.cluster().is_some()))
        .with_query_planner(Arc::new(VaticQueryPlanner))
        .build();
    register_functions(&mut state)?;
    // For help; each statement gets those of its models.
    register_model_functions(&mut state, &Arc::default())?;
    for function in engine.functions() {
        state.register_udf(Arc::clone(function))?;
    }
    let read_images = ReadImages::new(Arc::new(engine.clone()));
    state.register_udtf(READ_IMAGES, Arc::new(read_images));
    let system = SystemTables {
        catalog: Arc::clone(engine.catalog()),
        registry: Arc::clone(engine.registry()),
        runs: Arc::clone(engine.runs()),
        cache: Arc::clone(engine.runtime()),
        cluster: engine.cluster().map(Arc::clone),
    };
    let catalog = Arc::new(VaticCatalog::new(
        Arc::clone(engine.catalog()),
        Arc::new(engine.clone()),
        Arc::new(system),
        access.clone(),
        Arc::clone(temporary),
    ));
    catalogs.register_catalog(CATALOG.into(), catalog);
    Ok(state)
}

/// DataFusion's physical optimizer rules, some wrapped by ours, with our rules added.
fn physical_rules(is_cluster: bool) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> =
        vec![Arc::new(FLOAT_STATISTICS), Arc::new(NULLABLE_FILTERS)];
    for rule in PhysicalOptimizer::default().rules {
        let hands_conditions = rule.name().starts_with("FilterPushdown");
        rules.push(match rule.name() {
            _ if hands_conditions => keeps_conditions(rule),
            "ProjectionPushdown" => keeps_projections(rule),
            "EnsureRequirements" => sound_orders(sorts_again(keeps_limits(rule))),
            "SanityCheckPlan" => Arc::new(AddMissingSorts(rule)),
            _ => rule,
        });
        if hands_conditions {
            rules.push(Arc::new(SCAN_EQUALITIES));
        }
    }
    rules.push(Arc::new(FLOAT_PREDICATES));
    rules.push(Arc::new(WIDE_ROWS));
    rules.push(Arc::new(SHORT_BATCHES));
    rules.push(Arc::new(SHORT_FILTERS));
    if is_cluster {
        return cluster::for_cluster(rules);
    }
    rules.push(Arc::new(VECTOR_SCANS));
    rules
}

/// DataFusion's planner with the operators of [`EXTENSIONS`].
#[derive(Debug)]
struct VaticQueryPlanner;

#[async_trait::async_trait]
impl QueryPlanner for VaticQueryPlanner {
    async fn create_physical_plan(
        &self,
        plan: &LogicalPlan,
        state: &dyn datafusion::catalog::Session,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let planners = EXTENSIONS
            .iter()
            .filter_map(|extension| extension.physical_planner())
            .collect();
        let changes = as_insertions(plan)?;
        let plan = changes.as_ref().unwrap_or(plan);
        DefaultPhysicalPlanner::with_extension_planners(planners)
            .create_physical_plan(plan, state)
            .await
    }
}
