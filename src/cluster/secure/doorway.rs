//! [`new_doorway`]: the accepted connections of a listener that have not shown yet that they are of this cluster.

use std::sync::Arc;

use crate::access::Places;

/// The most connections in the doorway of a listener. Each takes an open file until it is over or its time is.
pub(in crate::cluster) const STRANGERS_MAX: usize = 256;

/// The doorway of a listener, for at most so many connections.
pub(in crate::cluster) fn new_doorway(strangers_max: usize) -> Arc<Places> {
    let refusal = "too many connections at once do not say who they are; some are closed";
    Places::new(strangers_max, refusal)
}
