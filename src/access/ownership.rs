//! [`Ownership`]: which object it is, and whose. Part of an object's own state, so both come, change and go with it in one
//! step, whenever a process ends.

use serde::{Deserialize, Serialize};

use crate::access::Access;

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

impl Ownership {
    /// That of a new object which this session makes.
    pub(crate) fn new(access: &Access) -> Self {
        let (owner, roles) = match access {
            Access::All => (None, vec![]),
            Access::User(user) => (Some(user.name.clone()), user.roles.clone()),
        };
        Self {
            id: Some(new_id()),
            owner,
            roles,
        }
    }

    /// The ownership of an object after this session gives it another state, which the session is allowed to do. The
    /// owner stays the same; if the session is the owner's, the roles become those that the owner has now. The owner of an
    /// object of before is among the privileges only, and is kept from now on: a view must not read as the process.
    pub(crate) fn kept(&self, access: &Access) -> Self {
        let mut kept = self.clone();
        let is_of_before = self.id.is_none() && self.owner.is_none();
        if let Access::User(user) = access
            && (is_of_before || self.owner.as_ref() == Some(&user.name))
        {
            kept.owner = Some(user.name.clone());
            kept.roles.clone_from(&user.roles);
        }
        kept
    }

    /// As whom a view reads: who may read it need not be allowed to read its tables, but its owner must be.
    pub(crate) fn access(&self) -> Access {
        match &self.owner {
            None => Access::All,
            Some(owner) => Access::user(owner.clone(), self.roles.clone()),
        }
    }
}

pub(crate) fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
