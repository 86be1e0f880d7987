//! Privileges and the log of grants.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::ownership::Ownership;
use crate::error::Result;
use crate::storage::state_log::Log;

/// A privilege that can be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Privilege {
    /// Everything; the creator of an object has this privilege.
    Own,
    /// Read a table or a view.
    Select,
    /// Predict with a model, and inspect the model.
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

/// The kind of an object. Tables and views share a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    Table,
    Model,
}

/// The object of a privilege.
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
}

/// A privilege on an object, granted to a user or a role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) privilege: Privilege,
    /// The object's name at the time of the grant.
    pub(crate) object: Object,
    /// The object's id. A dropped object's grants do not apply to the next object of its name, even if they were not
    /// removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// A user or a role; `public` means everybody.
    pub(crate) to: String,
}

impl Grant {
    /// Whether the grant applies to this object. Objects without an id are compared by name.
    pub(crate) fn is_on(&self, object: &Object, ownership: &Ownership) -> bool {
        match (&self.id, &ownership.id) {
            (Some(id), Some(of)) => id == of && self.object.kind == object.kind,
            (None, None) => self.object == *object,
            _ => false,
        }
    }

    /// Whether two grants are equal, regardless of the object's name at the time.
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

/// All grants.
#[derive(Debug)]
pub(crate) struct Grants {
    log: Log,
    /// The last state read, with its number: names are looked up far more often than privileges change.
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
        let Some((seen, grants)) = self.log.latest()? else {
            return Ok(Arc::default());
        };
        let grants = Arc::new(grants);
        *known = Some((seen.number(), Arc::clone(&grants)));
        Ok(grants)
    }

    /// Applies a change to the grants, and retries if another process was first.
    fn change(&self, change: impl Fn(&mut Vec<Grant>)) -> Result<()> {
        loop {
            let (seen, before) = match self.log.latest::<Vec<Grant>>()? {
                Some((seen, grants)) => (Some(seen), grants),
                None => (None, vec![]),
            };
            let mut after = before.clone();
            change(&mut after);
            if after == before || self.log.commit(seen.as_ref(), &after)? {
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

    /// Removes the grants on a dropped object, which apply to no other object.
    pub(crate) fn forget(&self, object: &Object, ownership: &Ownership) -> Result<()> {
        self.change(|grants| grants.retain(|known| !known.is_on(object, ownership)))
    }

    /// Removes these grants.
    pub(crate) fn forget_all(&self, gone: &[Grant]) -> Result<()> {
        self.change(|grants| grants.retain(|known| !gone.contains(known)))
    }

    /// The grants on objects of a schema.
    pub(crate) fn of_schema(&self, schema: &str) -> Result<Vec<Grant>> {
        let all = self.all()?;
        let found = all.iter().filter(|grant| grant.object.schema == schema);
        Ok(found.cloned().collect())
    }

    /// Moves the grants on an object to the renamed object.
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
            // The object's own state stores the owner.
            let is_own = |grant: &Grant| grant.privilege == Privilege::Own;
            grants.retain(|grant| !(is_own(grant) && grant.is_on(to.0, to.1)));
        })
    }
}
