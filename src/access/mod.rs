//! Who may do what. What is not granted looks like what is not there.
//!
//! Names are resolved by the catalog of a session and by `Engine::plan`, and both ask here; so every statement is covered,
//! whatever its form. What changes an object asks again in the step that publishes the change, of the state that it is about
//! to replace. Views are opened with the rights of their owners, and external tables with those of the process: who may read
//! one need not be allowed to read what it reads.
//!
//! * `ownership` which object it is, and whose
//! * `grants` what was granted, where that is kept, and the statements about it
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

use self::grants::{Grant, Object, PUBLIC, Privilege};
use self::ownership::Ownership;
use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::model::{ModelName, ModelState};

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
}

impl Access {
    /// As a user of a server.
    pub(crate) fn user(name: String, roles: Vec<String>) -> Self {
        Self::User(Arc::new(UserAccess { name, roles }))
    }

    /// The user's name.
    pub(crate) fn name(&self) -> Option<&str> {
        match self {
            Self::All => None,
            Self::User(user) => Some(&user.name),
        }
    }

    /// Whether an object that is there is open.
    pub(crate) fn may(
        &self,
        engine: &Engine,
        privilege: Privilege,
        object: &Object,
        ownership: &Ownership,
    ) -> Result<bool> {
        let Self::User(user) = self else {
            return Ok(true);
        };
        let grants = engine.grants().all()?;
        Ok(user.may(&grants, privilege, object, ownership))
    }

    /// Those of the tables of a schema that are open.
    pub(crate) fn open(&self, engine: &Engine, schema: &str, names: Vec<String>) -> Vec<String> {
        let Self::User(user) = self else {
            return names;
        };
        // What cannot be read opens nothing.
        let grants = engine.grants().all().unwrap_or_default();
        let is_open = |name: &String| {
            let entry = engine.catalog().entry(schema, name);
            entry.is_ok_and(|entry| {
                let object = Object::table(schema, name);
                user.may(&grants, Privilege::Select, &object, &entry.ownership)
            })
        };
        let mut names = names;
        names.retain(is_open);
        names
    }

    /// A model as it is now.
    ///
    /// # Errors
    /// The error of a model that does not exist, unless it is open.
    pub(crate) fn model(
        &self,
        engine: &Engine,
        privilege: Privilege,
        name: &ModelName,
    ) -> Result<ModelState> {
        let Self::User(_) = self else {
            return engine.registry().get(name);
        };
        let state = engine.registry().state(name)?.1;
        self.check_model(engine, privilege, name, &state)?;
        Ok(state)
    }

    /// The error of a model that does not exist, unless it is open in this state.
    pub(crate) fn check_model(
        &self,
        engine: &Engine,
        privilege: Privilege,
        name: &ModelName,
        state: &ModelState,
    ) -> Result<()> {
        let Self::User(user) = self else {
            return Ok(());
        };
        let grants = engine.grants().all()?;
        let may = |privilege, name: &ModelName, state: &ModelState| {
            let object = Object::model(name);
            !state.is_dropped && user.may(&grants, privilege, &object, &state.ownership)
        };
        if may(privilege, name, state) {
            return Ok(());
        }
        if may(Privilege::Execute, name, state) {
            return Err(not_yours("model", &name.short()));
        }
        let known = engine.registry().list()?.into_iter();
        let known = known.filter(|(name, state)| may(Privilege::Execute, name, state));
        let known: Vec<String> = known.map(|(name, _)| name.short()).collect();
        let what = format!("model \"{}\" does not exist", name.short());
        let message = with_cause(what, &name.short(), known.iter().map(String::as_str));
        Err(sql_err(SqlState::NoSuchModel, message))
    }

    /// Refuses to change a table of others.
    pub(crate) fn check_table(
        &self,
        engine: &Engine,
        at: &(String, String),
        ownership: &Ownership,
    ) -> Result<()> {
        let object = Object::table(&at.0, &at.1);
        match self.may(engine, Privilege::Own, &object, ownership)? {
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

    pub(crate) fn may(
        &self,
        grants: &[Grant],
        privilege: Privilege,
        object: &Object,
        ownership: &Ownership,
    ) -> bool {
        let is_owner = ownership.owner.as_ref() == Some(&self.name);
        is_owner
            || grants.iter().any(|grant| {
                let is_enough = [privilege, Privilege::Own].contains(&grant.privilege);
                is_enough && grant.is_on(object, ownership) && self.is(&grant.to)
            })
    }
}

fn not_yours(kind: &str, name: &str) -> DataFusionError {
    let message = format!("{kind} \"{name}\" belongs to somebody else");
    sql_err(SqlState::NotAllowed, message)
}
