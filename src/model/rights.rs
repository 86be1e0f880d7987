//! Access checks for models.

use super::{ModelName, ModelRegistry, ModelState, NewVersion, Published, taken_err};
use crate::access::grants::Privilege;
use crate::access::{Access, not_yours};
use crate::error::{Result, SqlState, sql_err, with_cause};

impl ModelRegistry {
    /// The latest state of a model, if the session has the privilege.
    ///
    /// # Errors
    /// The same error as for a missing model, if the session may not see the model.
    pub(crate) fn get_for(
        &self,
        access: &Access,
        privilege: Privilege,
        name: &ModelName,
    ) -> Result<ModelState> {
        let Access::User(_) = access else {
            return self.get(name);
        };
        let state = self.state(name)?.1;
        self.check_for(access, privilege, name, &state)?;
        Ok(state)
    }

    /// Publishes a version. If the user may not change the model of this name, the error only says that the model exists.
    pub(crate) fn publish_for(
        &self,
        access: &Access,
        name: &ModelName,
        new: &NewVersion,
    ) -> Result<Published> {
        self.publish_version(name, new, |state| {
            let is_own = self.check_for(access, Privilege::Own, name, state);
            is_own.map_err(|_| taken_err(name))
        })
    }

    /// Checks the privilege in this state. A model that the session may not see gives the error of a missing model.
    pub(crate) fn check_for(
        &self,
        access: &Access,
        privilege: Privilege,
        name: &ModelName,
        state: &ModelState,
    ) -> Result<()> {
        let Access::User(_) = access else {
            return Ok(());
        };
        let rights = access.rights()?;
        let may = |privilege, name: &ModelName, state: &ModelState| {
            !state.is_dropped && rights.may(privilege, &name.object(), &state.ownership)
        };
        if may(privilege, name, state) {
            return Ok(());
        }
        if may(Privilege::Execute, name, state) {
            return Err(not_yours("model", &name.short()));
        }
        let known = self.list()?.into_iter();
        let known = known.filter(|(name, state)| may(Privilege::Execute, name, state));
        let known: Vec<String> = known.map(|(name, _)| name.short()).collect();
        let what = format!("model \"{}\" does not exist", name.short());
        let message = with_cause(what, &name.short(), known.iter().map(String::as_str));
        Err(sql_err(SqlState::NoSuchModel, message))
    }
}
