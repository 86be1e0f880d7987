//! Who may do what. What is not granted looks like what is not there.
//!
//! Names are resolved by the catalog of a session and by `Engine::plan`, and both ask here; so every statement is covered,
//! whatever its form. Views and external tables are opened with the rights of the process: who may read a view need not
//! be allowed to read what it reads.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err};
use crate::log::Log;
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

/// What can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Privilege {
    /// Everything; belongs to whoever made the object.
    Own,
    /// To read a table or a view.
    Select,
    /// To predict with a model, and to look at it.
    Execute,
}

impl fmt::Display for Privilege {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "OWN",
            Self::Select => "SELECT",
            Self::Execute => "EXECUTE",
        })
    }
}

/// The kind of an object. A table and a view cannot have one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Table,
    Model,
}

/// What a privilege is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    pub(crate) schema: String,
    pub(crate) name: String,
}

impl Object {
    pub(crate) fn table(schema: &str, name: &str) -> Self {
        Self {
            kind: Kind::Table,
            schema: schema.to_owned(),
            name: name.to_owned(),
        }
    }

    pub(crate) fn model(name: &ModelName) -> Self {
        Self {
            kind: Kind::Model,
            schema: name.schema.clone(),
            name: name.name.clone(),
        }
    }
}

/// That somebody may do something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) privilege: Privilege,
    pub(crate) object: Object,
    /// A user or a role; `public` is everybody.
    pub(crate) to: String,
}

/// Everybody.
const PUBLIC: &str = "public";

/// Everything that was granted.
#[derive(Debug)]
pub(crate) struct Grants {
    log: Log,
}

impl Grants {
    pub(crate) fn new(log: Log) -> Self {
        Self { log }
    }

    pub(crate) fn all(&self) -> Result<Vec<Grant>> {
        Ok(self
            .log
            .latest()?
            .map_or_else(Vec::new, |(_, grants)| grants))
    }

    /// Changes them, again if another process was first.
    fn change(&self, change: impl Fn(&mut Vec<Grant>)) -> Result<()> {
        loop {
            let (number, before) = match self.log.latest::<Vec<Grant>>()? {
                Some((number, grants)) => (Some(number), grants),
                None => (None, vec![]),
            };
            let mut after = before.clone();
            change(&mut after);
            if after == before || self.log.commit(number, &after)? {
                return Ok(());
            }
        }
    }

    pub(crate) fn add(&self, grant: &Grant) -> Result<()> {
        self.change(|grants| {
            if !grants.contains(grant) {
                grants.push(grant.clone());
            }
        })
    }

    pub(crate) fn remove(&self, grant: &Grant) -> Result<()> {
        self.change(|grants| grants.retain(|known| known != grant))
    }

    /// An object that is gone leaves no privileges to another one of its name.
    pub(crate) fn forget(&self, object: &Object) -> Result<()> {
        self.change(|grants| grants.retain(|known| known.object != *object))
    }

    pub(crate) fn forget_schema(&self, schema: &str) -> Result<()> {
        self.change(|grants| grants.retain(|known| known.object.schema != schema))
    }

    pub(crate) fn rename(&self, object: &Object, name: &str) -> Result<()> {
        self.change(|grants| {
            for grant in grants.iter_mut().filter(|grant| grant.object == *object) {
                name.clone_into(&mut grant.object.name);
            }
        })
    }
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

    /// What was granted, as far as it is about this user.
    pub(crate) fn grants(&self, engine: &Engine) -> Result<RecordBatch> {
        let all = engine.grants().all()?;
        let shown: Vec<&Grant> = match self {
            Self::All => all.iter().collect(),
            Self::User(user) => {
                let is_shown = |grant: &&Grant| {
                    user.is(&grant.to) || user.may(&all, Privilege::Own, &grant.object)
                };
                all.iter().filter(is_shown).collect()
            }
        };
        let column = |text: fn(&Grant) -> String| -> ArrayRef {
            Arc::new(StringArray::from_iter_values(
                shown.iter().map(|grant| text(grant)),
            ))
        };
        Ok(RecordBatch::try_from_iter([
            ("privilege", column(|grant| grant.privilege.to_string())),
            (
                "object_type",
                column(|grant| match grant.object.kind {
                    Kind::Table => "TABLE".into(),
                    Kind::Model => "MODEL".into(),
                }),
            ),
            ("object_schema", column(|grant| grant.object.schema.clone())),
            ("object_name", column(|grant| grant.object.name.clone())),
            ("grantee", column(|grant| grant.to.clone())),
        ])?)
    }
}

impl UserAccess {
    fn is(&self, to: &str) -> bool {
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
