//! Who may see a model, and change it.

use super::{ModelName, ModelRegistry, ModelState, NewVersion, Published, exists_err};
use crate::access::grants::Privilege;
use crate::access::{Access, not_yours};
use crate::error::{Result, SqlState, sql_err, with_cause};

impl ModelRegistry {
    /// A model as it is now.
    ///
    /// # Errors
    /// The error of a model that does not exist, unless it is open.
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

    /// Publishes a version. Who may not change the model that has the name by now hears what he would have heard before.
    pub(crate) fn publish_for(
        &self,
        access: &Access,
        name: &ModelName,
        new: &NewVersion,
    ) -> Result<Published> {
        self.publish(name, new, |state| {
            let is_own = self.check_for(access, Privilege::Own, name, state);
            is_own.map_err(|_| exists_err(name))
        })
    }

    /// The error of a model that does not exist, unless it is open in this state.
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
