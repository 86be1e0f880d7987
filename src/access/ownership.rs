//! [`Ownership`]: which object it is, and whose. Part of an object's own state, so both come, change and go with it in one
//! step, whenever a process ends.

use serde::{Deserialize, Serialize};

/// Which object it is, and whose.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ownership {
    /// Tells the object from all others that had or will have its name: privileges are about this one. Objects that were
    /// made before it was kept have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The user who made it; nobody, if that was an administrator, or a process that asks nobody who he is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// The roles that the owner had then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<String>,
}

pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
