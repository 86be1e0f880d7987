//! Models as catalog objects: names, versions, files; and the models that are loaded.
//!
//! A version is immutable: a directory of files with a manifest that holds the hash of each. A model is a log of states
//! ([`crate::storage::state_log`]); a version exists when a state names it, and the state that first does so is the only
//! point at which it is published. Files of versions that no state names are removed a day later.
//!
//! * `name` what users write: `s.m@3`
//! * `manifest` what is known of a version; `read_manifest` from its file; `manifest_v1` those of before models had ports
//! * `registry` resolve, list, commit, alter, drop
//! * `rights` who may see a model, and change it
//! * `runtime` the loaded models of this process, and the workers of its devices

mod manifest;
mod manifest_v1;
mod name;
mod read_manifest;
mod registry;
mod rights;
pub(crate) mod runtime;

pub(crate) use manifest::{
    Imported, MANIFEST_FILE, MANIFEST_FORMAT, Manifest, Origin, RunSummary, Trained,
};
pub(crate) use name::{ModelName, ModelRef, Selector};
pub(crate) use read_manifest::is_plain_name;
pub(crate) use registry::{
    ModelAddress, ModelRegistry, ModelState, NewVersion, Publish, Published, ResolvedModel,
    ResolvedModels, VersionEntry, exists_err,
};
