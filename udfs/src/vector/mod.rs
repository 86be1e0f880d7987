//! Functions on vectors: lists of numbers.

mod l2_normalize;

use std::sync::Arc;

use datafusion_expr::ScalarUDF;

/// The functions of this group.
pub(crate) fn functions() -> Vec<Arc<ScalarUDF>> {
    vec![Arc::new(ScalarUDF::from(l2_normalize::L2Normalize::new()))]
}
