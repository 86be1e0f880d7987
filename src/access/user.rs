//! [`Access`]: as whom a session acts, and what it may do.

use std::sync::Arc;

use datafusion::common::DataFusionError;

use super::grants::{Grant, Grants, Object, PUBLIC, Privilege};
use super::ownership::{Ownership, new_id};
use crate::error::{Result, SqlState, sql_err};

/// As whom a session acts.
#[derive(Debug, Clone, Default)]
pub(crate) enum Access {
    /// As the owner of everything.
    #[default]
    All,
    /// As this user.
    User(Arc<UserAccess>),
}

/// A user of a server.
#[derive(Debug)]
pub(crate) struct UserAccess {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    grants: Arc<Grants>,
}

/// What a session may do by the privileges of one moment.
#[derive(Debug)]
pub(crate) enum Rights<'a> {
    All,
    User(&'a UserAccess, Arc<Vec<Grant>>),
}

impl Access {
    /// As a user of a server, to whom this was granted.
    pub(crate) fn user(name: String, roles: Vec<String>, grants: Arc<Grants>) -> Self {
        Self::User(Arc::new(UserAccess {
            name,
            roles,
            grants,
        }))
    }

    /// The user's name.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::User(user) => Some(&user.name),
        }
    }

    /// The privileges as they are now.
    pub(crate) fn rights(&self) -> Result<Rights<'_>> {
        match self {
            Self::All => Ok(Rights::All),
            Self::User(user) => Ok(Rights::User(user, user.grants.all()?)),
        }
    }

    /// Whether an object that is there is open.
    pub(crate) fn may(
        &self,
        privilege: Privilege,
        object: &Object,
        ownership: &Ownership,
    ) -> Result<bool> {
        Ok(self.rights()?.may(privilege, object, ownership))
    }

    /// Refuses to change a table of others.
    pub(crate) fn check_table(&self, at: &(String, String), ownership: &Ownership) -> Result<()> {
        let object = Object::table(&at.0, &at.1);
        match self.may(Privilege::Own, &object, ownership)? {
            true => Ok(()),
            false => Err(not_yours("table", &at.1)),
        }
    }

    /// Refuses what only an administrator may.
    pub(crate) fn check_all(&self, what: &str) -> Result<()> {
        match self {
            Self::All => Ok(()),
            Self::User(_) => {
                let message = format!("{what} is for administrators");
                Err(sql_err(SqlState::NotAllowed, message))
            }
        }
    }

    /// The ownership of a new object which this session makes.
    pub(crate) fn new_ownership(&self) -> Ownership {
        let (owner, roles) = match self {
            Self::All => (None, vec![]),
            Self::User(user) => (Some(user.name.clone()), user.roles.clone()),
        };
        Ownership {
            id: Some(new_id()),
            owner,
            roles,
        }
    }

    /// The ownership of an object after this session gives it another state, which the session is allowed to do. The
    /// owner stays the same; if the session is the owner's, the roles become those that the owner has now. The owner of an
    /// object of before is among the privileges only, and is kept from now on: a view must not read as the process.
    pub(crate) fn kept_ownership(&self, ownership: &Ownership) -> Ownership {
        let mut kept = ownership.clone();
        let is_of_before = kept.id.is_none() && kept.owner.is_none();
        if let Self::User(user) = self
            && (is_of_before || kept.owner.as_ref() == Some(&user.name))
        {
            kept.owner = Some(user.name.clone());
            kept.roles.clone_from(&user.roles);
        }
        kept
    }

    /// As whom a view reads: who may read it need not be allowed to read its tables, but its owner must be.
    pub(crate) fn of_owner(ownership: &Ownership, grants: &Arc<Grants>) -> Self {
        match &ownership.owner {
            None => Self::All,
            Some(owner) => {
                let roles = ownership.roles.clone();
                Self::user(owner.clone(), roles, Arc::clone(grants))
            }
        }
    }
}

impl UserAccess {
    pub(crate) fn is(&self, to: &str) -> bool {
        to == PUBLIC || to == self.name || self.roles.iter().any(|role| role == to)
    }
}

impl Rights<'_> {
    /// Whether an object that is there is open.
    pub(crate) fn may(&self, privilege: Privilege, object: &Object, ownership: &Ownership) -> bool {
        let Self::User(user, grants) = self else {
            return true;
        };
        let is_owner = ownership.owner.as_ref() == Some(&user.name);
        is_owner
            || grants.iter().any(|grant| {
                let is_enough = [privilege, Privilege::Own].contains(&grant.privilege);
                is_enough && grant.is_on(object, ownership) && user.is(&grant.to)
            })
    }
}

/// The error about an object that may be looked at only.
pub(crate) fn not_yours(kind: &str, name: &str) -> DataFusionError {
    let message = format!("{kind} \"{name}\" belongs to somebody else");
    sql_err(SqlState::NotAllowed, message)
}
