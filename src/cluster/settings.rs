//! What the settings of sessions and threads are on a cluster.

use ballista_core::extension::SessionConfigExt;
use datafusion::prelude::SessionConfig;

/// Ballista's own recommendation for threads that plan.
pub(super) const STACK_BYTES: usize = 32 << 20;

/// What a session's settings begin with on a cluster: what Ballista cannot carry from stage to stage is off.
pub(crate) fn restrict(config: SessionConfig) -> SessionConfig {
    config
        .upgrade_for_ballista()
        .with_round_robin_repartition(false)
        // It replaces our operators' planning, and waits for ever when a machine is lost.
        .with_ballista_adaptive_query_planner(false)
}
