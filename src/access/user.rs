//! [`Access`]: the user of a session and the user's rights.

use std::sync::Arc;

use datafusion::common::DataFusionError;

use super::grants::{Grant, Grants, Object, PUBLIC, Privilege};
use super::ownership::{Ownership, new_id};
use crate::error::{Result, SqlState, sql_err};

/// The identity that a session acts with.
#[derive(Debug, Clone, Default)]
pub(crate) enum Access {
    /// An owner of everything.
    #[default]
    All,
    /// A user of a server.
    User(Arc<UserAccess>),
}

/// A user of a server.
#[derive(Debug)]
pub(crate) struct UserAccess {
    pub(crate) name: String,
    pub(crate) roles: Vec<String>,
    grants: Arc<Grants>,
}

/// The rights of a session at one moment.
#[derive(Debug)]
pub(crate) enum Rights<'a> {
    All,
    User(&'a UserAccess, Arc<Vec<Grant>>),
}

impl Access {
    /// The access of a server's user with these grants.
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

    /// The current rights.
    pub(crate) fn rights(&self) -> Result<Rights<'_>> {
        match self {
            Self::All => Ok(Rights::All),
            Self::User(user) => Ok(Rights::User(user, user.grants.all()?)),
        }
    }

    /// Whether the session has a privilege on an existing object.
    pub(crate) fn may(
        &self,
        privilege: Privilege,
        object: &Object,
        ownership: &Ownership,
    ) -> Result<bool> {
        Ok(self.rights()?.may(privilege, object, ownership))
    }

    /// Checks that the session may change a table.
    pub(crate) fn check_table(&self, at: &(String, String), ownership: &Ownership) -> Result<()> {
        let object = Object::table(&at.0, &at.1);
        match self.may(Privilege::Own, &object, ownership)? {
            true => Ok(()),
            false => Err(not_yours("table", &at.1)),
        }
    }

    /// Refuses a statement that only an administrator may run.
    pub(crate) fn check_all(&self, what: &str) -> Result<()> {
        match self {
            Self::All => Ok(()),
            Self::User(_) => {
                let message = format!("{what} is for administrators");
                Err(sql_err(SqlState::NotAllowed, message))
            }
        }
    }

    /// The ownership of a new object that this session creates.
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

    /// The ownership of an object after this session replaces its state, which the session may do. The owner stays the
    /// same; if the session belongs to the owner, the owner's current roles are stored. An object of an older version has
    /// its owner only in the grants; its state stores the owner from now on, so that a view does not read as the process.
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

    /// The access that a view is read with: its owner's. A reader of the view needs no access to its tables.
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
    /// Whether the rights include a privilege on an existing object.
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

/// The error for a change to an object that the user may only read.
pub(crate) fn not_yours(kind: &str, name: &str) -> DataFusionError {
    let message = format!("{kind} \"{name}\" belongs to another user");
    sql_err(SqlState::NotAllowed, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::data_dir::DataDir;
    use crate::storage::state_log::Log;

    fn grants() -> Arc<Grants> {
        let data = DataDir::temporary().unwrap();
        Arc::new(Grants::new(Log::new(data.grants())))
    }

    fn access(name: &str, roles: &[&str], grants: &Arc<Grants>) -> Access {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Access::user(name.to_owned(), roles, Arc::clone(grants))
    }

    fn grant(privilege: Privilege, of: &Ownership, to: &str) -> Grant {
        Grant {
            privilege,
            object: Object::table("s", "t"),
            id: of.id.clone(),
            to: to.to_owned(),
        }
    }

    /// Whether a session may read, and whether it may change, the table `s.t`.
    fn may(access: &Access, ownership: &Ownership) -> (bool, bool) {
        let may = |privilege| {
            access
                .may(privilege, &Object::table("s", "t"), ownership)
                .unwrap()
        };
        (may(Privilege::Select), may(Privilege::Own))
    }

    #[test]
    fn a_grant_reaches_its_user_the_members_of_a_role_and_with_public_everybody() {
        let grants = grants();
        let (ada, bob) = (
            access("ada", &["staff"], &grants),
            access("bob", &[], &grants),
        );
        let ownership = access("owner", &[], &grants).new_ownership();
        assert_eq!(may(&ada, &ownership), (false, false));
        for (to, ada_may, bob_may) in [
            ("bob", false, true),
            ("staff", true, false),
            (PUBLIC, true, true),
        ] {
            let grant = grant(Privilege::Select, &ownership, to);
            grants.add(&grant).unwrap();
            assert_eq!(may(&ada, &ownership), (ada_may, false), "{to}");
            assert_eq!(may(&bob, &ownership), (bob_may, false), "{to}");
            grants.remove(&grant).unwrap();
        }
        assert_eq!(may(&bob, &ownership), (false, false));
    }

    #[test]
    fn owners_administrators_and_who_has_own_may_read_and_change() {
        let grants = grants();
        let owner = access("owner", &[], &grants);
        let ownership = owner.new_ownership();
        assert_eq!(may(&owner, &ownership), (true, true));
        assert_eq!(may(&Access::All, &ownership), (true, true));
        let ada = access("ada", &[], &grants);
        grants
            .add(&grant(Privilege::Own, &ownership, "ada"))
            .unwrap();
        assert_eq!(may(&ada, &ownership), (true, true));
    }

    #[test]
    fn a_grant_on_a_dropped_table_does_not_apply_to_the_next_one_of_its_name() {
        let grants = grants();
        let (owner, ada) = (access("owner", &[], &grants), access("ada", &[], &grants));
        let (before, after) = (owner.new_ownership(), owner.new_ownership());
        grants
            .add(&grant(Privilege::Select, &before, "ada"))
            .unwrap();
        assert_eq!(may(&ada, &before), (true, false));
        assert_eq!(may(&ada, &after), (false, false));
        // Neither does one by name alone, from a version without ids.
        let by_name = Grant {
            id: None,
            ..grant(Privilege::Select, &before, "ada")
        };
        grants.add(&by_name).unwrap();
        assert_eq!(may(&ada, &after), (false, false));
        assert_eq!(may(&ada, &Ownership::default()), (true, false));
    }

    #[test]
    fn a_replaced_object_keeps_its_owner_and_only_the_owner_renews_the_roles() {
        let grants = grants();
        let ownership = access("ada", &["old"], &grants).new_ownership();
        let by_ada = access("ada", &["new"], &grants).kept_ownership(&ownership);
        assert_eq!(
            (by_ada.owner.as_deref(), &by_ada.roles[..]),
            (Some("ada"), &["new".to_owned()][..])
        );
        assert_eq!(
            access("bob", &["x"], &grants).kept_ownership(&ownership),
            ownership
        );
        assert_eq!(Access::All.kept_ownership(&ownership), ownership);
        // An object of an older version gets the owner who replaces it.
        let claimed = access("bob", &[], &grants).kept_ownership(&Ownership::default());
        assert_eq!(claimed.owner.as_deref(), Some("bob"));
    }
}
