//! Settings of sessions and threads on a cluster.

use ballista_core::extension::SessionConfigExt;
use datafusion::prelude::SessionConfig;

/// The stack of a thread: Ballista's own recommendation for threads that plan.
pub(super) const STACK_BYTES: usize = 32 << 20;

/// The initial settings of a session on a cluster, without features that Ballista cannot carry from stage to stage.
pub(crate) fn restrict(config: SessionConfig) -> SessionConfig {
    config
        .upgrade_for_ballista()
        .with_round_robin_repartition(false)
        // Adaptive planning replaces the planning of our operators, and waits forever when a machine is lost.
        .with_ballista_adaptive_query_planner(false)
}
