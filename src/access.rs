//! Who may do what. What is not granted looks like what is not there.
//!
//! Names are resolved by the catalog of a session and by `Engine::plan`, and both ask here; so every statement is covered,
//! whatever its form. Views and external tables are opened with the rights of the process: who may read a view need not
//! be allowed to read what it reads.

use std::sync::Arc;

use datafusion::common::DataFusionError;

use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err};
use crate::grants::{Grant, Object, PUBLIC, Privilege};
use crate::model::ModelName;
use crate::sql::with_cause;

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
    /// Whether this is open.
    pub(crate) fn may(
        &self,
        engine: &Engine,
        privilege: Privilege,
        object: &Object,
    ) -> Result<bool> {
        let Self::User(user) = self else {
            return Ok(true);
        };
        let grants = engine.grants().all()?;
        Ok(user.may(&grants, privilege, object))
    }

    /// Those of the names that are open; all of them are of objects of one kind and schema.
    pub(crate) fn open(
        &self,
        engine: &Engine,
        privilege: Privilege,
        names: Vec<String>,
        object: impl Fn(&str) -> Object,
    ) -> Vec<String> {
        let Self::User(user) = self else {
            return names;
        };
        // What cannot be read opens nothing.
        let grants = engine.grants().all().unwrap_or_default();
        let mut names = names;
        names.retain(|name| user.may(&grants, privilege, &object(name)));
        names
    }

    /// The error of a model that does not exist, unless it is open.
    pub(crate) fn check_model(
        &self,
        engine: &Engine,
        privilege: Privilege,
        name: &ModelName,
    ) -> Result<()> {
        if self.may(engine, privilege, &Object::model(name))? {
            return Ok(());
        }
        if self.may(engine, Privilege::Execute, &Object::model(name))? {
            return Err(not_yours("model", &name.short()));
        }
        let grants = engine.grants().all()?;
        let known: Vec<String> = match self {
            Self::All => vec![],
            Self::User(user) => {
                let models = engine.registry().list()?.into_iter().map(|(name, _)| name);
                models
                    .filter(|name| user.may(&grants, Privilege::Execute, &Object::model(name)))
                    .map(|name| name.short())
                    .collect()
            }
        };
        let what = format!("model \"{}\" does not exist", name.short());
        let message = with_cause(what, &name.short(), known.iter().map(String::as_str));
        Err(sql_err(SqlState::NoSuchModel, message))
    }

    /// Refuses to change a table of others.
    pub(crate) fn check_table(&self, engine: &Engine, schema: &str, name: &str) -> Result<()> {
        match self.may(engine, Privilege::Own, &Object::table(schema, name))? {
            true => Ok(()),
            false => Err(not_yours("table", name)),
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

    /// Who made an object owns it.
    pub(crate) fn own(&self, engine: &Engine, object: Object) -> Result<()> {
        let Self::User(user) = self else {
            return Ok(());
        };
        engine.grants().add(&Grant {
            privilege: Privilege::Own,
            object,
            to: user.name.clone(),
        })
    }
}

impl UserAccess {
    pub(crate) fn is(&self, to: &str) -> bool {
        to == PUBLIC || to == self.name || self.roles.iter().any(|role| role == to)
    }

    pub(crate) fn may(&self, grants: &[Grant], privilege: Privilege, object: &Object) -> bool {
        grants.iter().any(|grant| {
            let is_enough = [privilege, Privilege::Own].contains(&grant.privilege);
            is_enough && grant.object == *object && self.is(&grant.to)
        })
    }
}

fn not_yours(kind: &str, name: &str) -> DataFusionError {
    let message = format!("{kind} \"{name}\" belongs to somebody else");
    sql_err(SqlState::NotAllowed, message)
}
