//! Privileges: what was granted, where that is kept, and the statements about it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use serde::{Deserialize, Serialize};

use super::Access;
use super::ownership::Ownership;
use crate::catalog::TableEntry;
use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err};
use crate::model::ModelName;
use crate::session::Session;
use crate::session::answer::{empty, rows};
use crate::sql::GrantStatement;
use crate::storage::state_log::Log;

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
    /// As it was named then.
    pub(crate) object: Object,
    /// Which object it is. One that was dropped leaves nothing to the next of its name, even if nobody was left to take its
    /// privileges away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// A user or a role; `public` is everybody.
    pub(crate) to: String,
}

impl Grant {
    /// Whether it is about this object: old ones are told by their names.
    pub(crate) fn is_on(&self, object: &Object, ownership: &Ownership) -> bool {
        match (&self.id, &ownership.id) {
            (Some(id), Some(of)) => id == of && self.object.kind == object.kind,
            (None, None) => self.object == *object,
            _ => false,
        }
    }

    /// Whether it says the same, whatever the object was called.
    fn is_same(&self, other: &Self) -> bool {
        let is_same_object = match (&self.id, &other.id) {
            (Some(id), Some(of)) => id == of && self.object.kind == other.object.kind,
            (None, None) => self.object == other.object,
            _ => false,
        };
        is_same_object && self.privilege == other.privilege && self.to == other.to
    }
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
            if !grants.iter().any(|known| known.is_same(grant)) {
                grants.push(grant.clone());
            }
        })
    }

    pub(crate) fn remove(&self, grant: &Grant) -> Result<()> {
        self.change(|grants| grants.retain(|known| !known.is_same(grant)))
    }

    /// Forgets what was about an object that is gone, which holds for no other one anyway.
    pub(crate) fn forget(&self, object: &Object, ownership: &Ownership) -> Result<()> {
        self.change(|grants| grants.retain(|known| !known.is_on(object, ownership)))
    }

    /// Forgets these.
    pub(crate) fn forget_all(&self, gone: &[Grant]) -> Result<()> {
        self.change(|grants| grants.retain(|known| !gone.contains(known)))
    }

    /// Those about objects of a schema.
    pub(crate) fn of_schema(&self, schema: &str) -> Result<Vec<Grant>> {
        let all = self.all()?;
        let found = all.iter().filter(|grant| grant.object.schema == schema);
        Ok(found.cloned().collect())
    }

    /// Lets what was about an object be about what it has become.
    pub(crate) fn rename(
        &self,
        from: (&Object, &Ownership),
        to: (&Object, &Ownership),
    ) -> Result<()> {
        self.change(|grants| {
            let its = grants
                .iter_mut()
                .filter(|grant| grant.is_on(from.0, from.1));
            for grant in its {
                grant.object = to.0.clone();
                grant.id = to.1.id.clone();
            }
            // Whose it is stands with the object.
            let is_own = |grant: &Grant| grant.privilege == Privilege::Own;
            grants.retain(|grant| !(is_own(grant) && grant.is_on(to.0, to.1)));
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
        GrantStatement::Grant(grant) => grants.add(&checked(session, grant)?)?,
        GrantStatement::Revoke(grant) => grants.remove(&checked(session, grant)?)?,
        GrantStatement::Show => return Ok(rows(shown(session.engine(), session.access())?)),
    }
    Ok(empty())
}

/// Only who owns an object says who else may use it. The privilege is that on the object which is there now.
fn checked(session: &Session, grant: Grant) -> Result<Grant> {
    let (engine, access) = (session.engine(), session.access());
    let Object { kind, schema, name } = &grant.object;
    let ownership = match kind {
        Kind::Model => {
            let name = ModelName {
                schema: schema.clone(),
                name: name.clone(),
            };
            access.model(engine, Privilege::Own, &name)?.ownership
        }
        Kind::Table => {
            let at = (schema.clone(), name.clone());
            let TableEntry {
                state, ownership, ..
            } = engine.catalog().entry(schema, name)?;
            let is_open = access.may(engine, Privilege::Select, &grant.object, &ownership)?;
            if state.is_none() || !is_open {
                let message = format!("table \"{name}\" does not exist");
                return Err(sql_err(SqlState::NoSuchTable, message));
            }
            access.check_table(engine, &at, &ownership)?;
            ownership
        }
    };
    let id = ownership.id;
    Ok(Grant { id, ..grant })
}

/// What there is of each object, under the name that it has now: its owner, and what was granted.
fn in_force(engine: &Engine) -> Result<Vec<Grant>> {
    let models = engine.registry().list()?.into_iter();
    let models = models.map(|(name, state)| (Object::model(&name), state.ownership));
    let objects: Vec<(Object, Ownership)> = models.chain(engine.catalog().owned()?).collect();
    let all = engine.grants().all()?;
    let mut found = Vec::new();
    for (object, ownership) in &objects {
        let here = |privilege, to: &String| Grant {
            privilege,
            object: object.clone(),
            id: ownership.id.clone(),
            to: to.clone(),
        };
        let owner = ownership.owner.iter();
        found.extend(owner.map(|owner| here(Privilege::Own, owner)));
        let granted = all.iter().filter(|grant| grant.is_on(object, ownership));
        found.extend(granted.map(|grant| here(grant.privilege, &grant.to)));
    }
    Ok(found)
}

/// What was granted, as far as it is about this user.
fn shown(engine: &Engine, access: &Access) -> Result<RecordBatch> {
    let all = in_force(engine)?;
    let shown: Vec<&Grant> = match access {
        Access::All => all.iter().collect(),
        Access::User(user) => {
            let owns = |object: &Object| {
                let mut its = all.iter().filter(|grant| grant.object == *object);
                its.any(|grant| grant.privilege == Privilege::Own && user.is(&grant.to))
            };
            let is_shown = |grant: &&Grant| user.is(&grant.to) || owns(&grant.object);
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
