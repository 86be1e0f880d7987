//! Publishing: the files that a statement wrote become a version of a model.

use std::sync::atomic::{AtomicBool, Ordering};

use vatic_ml::artifact::sha256;

use super::manifest::{MANIFEST_FILE, Manifest};
use super::name::ModelName;
use super::registry::{ModelRegistry, ModelState, NewVersion, Published, exists_err, taken_err};
use crate::access::Access;
use crate::access::grants::Privilege;
use crate::error::{Result, SqlState, report};
use crate::storage::data_dir::DataDir;
use crate::storage::{IfTaken, Place};

/// The model that a statement creates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewModel<'a> {
    pub(crate) name: &'a ModelName,
    pub(crate) if_taken: IfTaken,
    pub(crate) comment: Option<&'a str>,
}

impl NewModel<'_> {
    /// The existing model that IF NOT EXISTS keeps; an error if the name is taken and the model must not be replaced.
    pub(crate) fn existing(
        &self,
        registry: &ModelRegistry,
        access: &Access,
    ) -> Result<Option<ModelState>> {
        let state = registry.state(self.name)?.1;
        if state.is_dropped {
            return Ok(None);
        }
        let check = |wanted| {
            let checked = registry.check_for(access, wanted, self.name, &state);
            checked.map_err(|_| taken_err(self.name))
        };
        match self.if_taken {
            IfTaken::Fail => check(Privilege::Own).and(Err(exists_err(self.name))),
            IfTaken::Keep => check(Privilege::Execute).map(|()| Some(state.clone())),
            IfTaken::Replace => check(Privilege::Own).map(|()| None),
        }
    }
}

/// The directory of a version's files, which is removed on drop unless the version was published.
#[derive(Debug)]
pub(crate) struct VersionFiles {
    name: String,
    place: Place,
    is_kept: AtomicBool,
}

impl VersionFiles {
    /// Creates the directory.
    pub(crate) fn create(data: &DataDir) -> Result<Self> {
        let (name, place) = data.create_blob()?;
        Ok(Self {
            name,
            place,
            is_kept: false.into(),
        })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for VersionFiles {
    fn drop(&mut self) {
        if !self.is_kept.load(Ordering::Relaxed) {
            // A directory that cannot be removed now is an orphan, and is removed a day later.
            let _ = self.place.remove_directory();
        }
    }
}

/// Writes the manifest, the last file of a version, and publishes the version.
pub(crate) fn publish(
    registry: &ModelRegistry,
    access: &Access,
    new_model: &NewModel<'_>,
    manifest: &Manifest,
    files: &VersionFiles,
) -> Result<Published> {
    let failed = |error: std::io::Error| crate::error::io_err(&files.place, &error);
    let content = serde_json::to_vec_pretty(manifest).map_err(|error| failed(error.into()))?;
    let place = files.place.join(MANIFEST_FILE);
    place.create(&content).map_err(failed)?;
    // The files must stay from here on: an error of the commit may come after the commit.
    files.is_kept.store(true, Ordering::Relaxed);
    let new = NewVersion {
        directory: files.name.clone(),
        sha256: sha256(&content),
        comment: new_model.comment.map(str::to_owned),
        if_taken: new_model.if_taken,
        ownership: access.new_ownership(),
    };
    let published = registry.publish_for(access, new_model.name, &new);
    if let Err(error) = &published
        && report(error).state == SqlState::ModelExists
        && !registry.names(new_model.name, &files.name)?
    {
        files.is_kept.store(false, Ordering::Relaxed);
    }
    published
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::example_model;
    use crate::storage::DEFAULT_SCHEMA;

    #[test]
    fn files_are_deleted_only_if_no_state_names_them() {
        let data = Arc::new(DataDir::temporary().unwrap());
        let registry = ModelRegistry::new(Arc::clone(&data));
        let (schema, name) = (DEFAULT_SCHEMA.to_owned(), "m".to_owned());
        let name = ModelName { schema, name };
        let new_model = NewModel {
            name: &name,
            if_taken: IfTaken::Fail,
            comment: None,
        };
        let manifest = example_model(&[]).manifest;
        let publish_again = |files: VersionFiles| {
            let published = publish(&registry, &Access::All, &new_model, &manifest, &files);
            let error = published.unwrap_err();
            assert_eq!(report(&error).state, SqlState::ModelExists);
        };
        let files = VersionFiles::create(&data).unwrap();
        let ours = files.place().clone();
        // A try whose reply was lost.
        let new = NewVersion {
            directory: files.name.clone(),
            sha256: "hash".into(),
            comment: None,
            if_taken: IfTaken::Fail,
            ownership: Access::All.new_ownership(),
        };
        let first = registry.publish_for(&Access::All, &name, &new);
        assert!(first.unwrap().is_new);
        publish_again(files);
        assert!(ours.kind().unwrap().is_some());
        // Another version has the name.
        let files = VersionFiles::create(&data).unwrap();
        let others = files.place().clone();
        publish_again(files);
        assert!(others.kind().unwrap().is_none());
    }
}
