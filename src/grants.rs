//! Privileges: what was granted, where that is kept, and the statements about it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::answer::{empty, rows};
use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err};
use crate::log::Log;
use crate::model::ModelName;
use crate::session::Session;
use crate::sql::GrantStatement;

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
pub(crate) const PUBLIC: &str = "public";

/// Everything that was granted.
#[derive(Debug)]
pub(crate) struct Grants {
    log: Log,
    /// The last state that was read, with its number: names are looked up far more often than privileges change.
    known: Mutex<Option<Known>>,
}

type Known = (u64, Arc<Vec<Grant>>);

impl Grants {
    pub(crate) fn new(log: Log) -> Self {
        let known = Mutex::default();
        Self { log, known }
    }

    pub(crate) fn all(&self) -> Result<Arc<Vec<Grant>>> {
        let Some(number) = self.log.last_number()? else {
            return Ok(Arc::default());
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, grants)) = known.as_ref()
            && *of == number
        {
            return Ok(Arc::clone(grants));
        }
        let Some((number, grants)) = self.log.latest()? else {
            return Ok(Arc::default());
        };
        let grants = Arc::new(grants);
        *known = Some((number, Arc::clone(&grants)));
        Ok(grants)
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

/// Runs a statement about privileges.
pub(crate) fn run(
    session: &Session,
    statement: GrantStatement,
) -> Result<SendableRecordBatchStream> {
    let grants = session.engine().grants();
    match statement {
        GrantStatement::Grant(grant) => {
            check_grant(session, &grant)?;
            grants.add(&grant)?;
        }
        GrantStatement::Revoke(grant) => {
            check_grant(session, &grant)?;
            grants.remove(&grant)?;
        }
        GrantStatement::Show => return Ok(rows(shown(session.engine(), session.access())?)),
    }
    Ok(empty())
}

/// Only who owns an object says who else may use it.
fn check_grant(session: &Session, grant: &Grant) -> Result<()> {
    let (engine, access) = (session.engine(), session.access());
    let Object { kind, schema, name } = &grant.object;
    match kind {
        Kind::Model => {
            let name = ModelName {
                schema: schema.clone(),
                name: name.clone(),
            };
            access.check_model(engine, Privilege::Own, &name)?;
            engine.registry().get(&name).map(|_| ())
        }
        Kind::Table => {
            let is_there = engine.catalog().state(schema, name)?.1.is_some();
            if !is_there || !access.may(engine, Privilege::Select, &grant.object)? {
                let message = format!("table \"{name}\" does not exist");
                return Err(sql_err(SqlState::NoSuchTable, message));
            }
            access.check_table(engine, schema, name)
        }
    }
}

/// What was granted, as far as it is about this user.
fn shown(engine: &Engine, access: &Access) -> Result<RecordBatch> {
    let all = engine.grants().all()?;
    let shown: Vec<&Grant> = match access {
        Access::All => all.iter().collect(),
        Access::User(user) => {
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
