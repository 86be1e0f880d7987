//! What a statement made becomes a version. Ranks of a training only write files.

use std::sync::atomic::Ordering;

use vatic_ml::artifact::sha256;

use super::task::BlobGuard;
use crate::access::Access;
use crate::access::grants::Privilege;
use crate::error::{Result, SqlState, report};
use crate::model::{
    MANIFEST_FILE, Manifest, ModelName, ModelRegistry, ModelState, NewVersion, Publish, Published,
    exists_err,
};

/// The model that a statement makes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewModel<'a> {
    pub(crate) name: &'a ModelName,
    pub(crate) or_replace: bool,
    pub(crate) if_not_exists: bool,
    pub(crate) comment: Option<&'a str>,
}

impl NewModel<'_> {
    /// The model of this name, if that is to stay; an error if it is in the way.
    pub(crate) fn existing(
        &self,
        registry: &ModelRegistry,
        access: &Access,
    ) -> Result<Option<ModelState>> {
        let state = registry.state(self.name)?.1;
        if state.is_dropped {
            return Ok(None);
        }
        if self.or_replace || self.if_not_exists {
            let wanted = match self.or_replace {
                true => Privilege::Own,
                false => Privilege::Execute,
            };
            let is_open = registry.check_for(access, wanted, self.name, &state);
            is_open.map_err(|_| exists_err(self.name))?;
        }
        match (self.or_replace, self.if_not_exists) {
            (true, _) => Ok(None),
            (false, true) => Ok(Some(state)),
            (false, false) => Err(exists_err(self.name)),
        }
    }
}

/// Writes the manifest, the last file of a version, and lets the registry name it.
pub(crate) fn publish(
    registry: &ModelRegistry,
    access: &Access,
    new_model: &NewModel<'_>,
    manifest: &Manifest,
    target: &BlobGuard,
) -> Result<Published> {
    let failed = |error: std::io::Error| crate::error::io_err(&target.place, &error);
    let content = serde_json::to_vec_pretty(manifest).map_err(|error| failed(error.into()))?;
    let place = target.place.join(MANIFEST_FILE);
    place.create(&content).map_err(failed)?;
    let how = if new_model.or_replace {
        Publish::Replace
    } else {
        Publish::New
    };
    // From here on the files must stay: a failure to answer does not mean that nothing was published.
    target.is_kept.store(true, Ordering::Relaxed);
    let new = NewVersion {
        directory: target.name.clone(),
        sha256: sha256(&content),
        comment: new_model.comment.map(str::to_owned),
        how,
        ownership: access.new_ownership(),
    };
    let published = registry.publish_for(access, new_model.name, &new);
    if let Err(error) = &published
        && report(error).state == SqlState::ModelExists
    {
        target.is_kept.store(false, Ordering::Relaxed);
    }
    published
}
