//! Who may do what. What is not granted looks like what is not there.
//!
//! Names are resolved by the catalog of a session and by whoever plans, and both ask here; so every statement is covered,
//! whatever its form. What changes an object asks again in the step that publishes the change, of the state that it is about
//! to replace. Views are opened with the rights of their owners, and external tables with those of the process: who may read
//! one need not be allowed to read what it reads.
//!
//! * `ownership` which object it is, and whose
//! * `grants` what was granted, and where that is kept
//! * `files` which files statements may touch
//! * `secrets` options that no plan may show
//! * `locked_settings` what SET may change on a server

pub(crate) mod files;
pub(crate) mod grants;
pub(crate) mod locked_settings;
pub(crate) mod ownership;
pub(crate) mod secrets;

use std::sync::Arc;

use datafusion::common::DataFusionError;

use self::grants::{Grant, Grants, Object, PUBLIC, Privilege};
use self::ownership::{Ownership, new_id};
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
    pub(crate) fn access(&self, grants: &Arc<Grants>) -> Access {
        match &self.owner {
            None => Access::All,
            Some(owner) => Access::user(owner.clone(), self.roles.clone(), Arc::clone(grants)),
        }
    }
}

/// The error about an object that may be looked at only.
pub(crate) fn not_yours(kind: &str, name: &str) -> DataFusionError {
    let message = format!("{kind} \"{name}\" belongs to somebody else");
    sql_err(SqlState::NotAllowed, message)
}
