//! [`Ownership`]: the id and the owner of an object. Both are part of the object's state, so they change atomically with
//! the object.

use serde::{Deserialize, Serialize};

/// The id and the owner of an object.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ownership {
    /// Distinguishes the object from all others with its name, before or after; privileges refer to the id. Objects that
    /// older versions created have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// The user who created the object; `None` if that was an administrator, or a process without users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<String>,
    /// The owner's roles at the time of the last change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<String>,
}

pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
