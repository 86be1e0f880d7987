//! GRANT, REVOKE, SHOW GRANTS.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;

use crate::access::Access;
use crate::access::grants::{Grant, Kind, Object, Privilege};
use crate::access::ownership::Ownership;
use crate::catalog::TableEntry;
use crate::engine::Engine;
use crate::error::{Result, SqlState, sql_err};
use crate::model::ModelName;
use crate::session::Session;
use crate::session::answer::{empty, rows};
use crate::sql::GrantStatement;

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

/// Checks that the session owns the object, and adds the object's id: the grant applies to no later object of the name.
fn checked(session: &Session, grant: Grant) -> Result<Grant> {
    let (engine, access) = (session.engine(), session.access());
    let Object { kind, schema, name } = &grant.object;
    let ownership = match kind {
        Kind::Model => {
            let name = ModelName {
                schema: schema.clone(),
                name: name.clone(),
            };
            engine
                .registry()
                .get_for(access, Privilege::Own, &name)?
                .ownership
        }
        Kind::Table => {
            let at = (schema.clone(), name.clone());
            let TableEntry {
                state, ownership, ..
            } = engine.catalog().entry(schema, name)?;
            let is_open = access.may(Privilege::Select, &grant.object, &ownership)?;
            if state.is_none() || !is_open {
                let message = format!("table \"{name}\" does not exist");
                return Err(sql_err(SqlState::NoSuchTable, message));
            }
            access.check_table(&at, &ownership)?;
            ownership
        }
    };
    let id = ownership.id;
    Ok(Grant { id, ..grant })
}

/// The owner and the grants of each existing object, under its current name.
fn in_force(engine: &Engine) -> Result<Vec<Grant>> {
    let models = engine.registry().list()?.into_iter();
    let models = models.map(|(name, state)| (name.object(), state.ownership));
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

/// The grants to the user and those on the user's own objects; with full access, all grants.
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
