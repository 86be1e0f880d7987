//! Models as catalog objects: names, versions, files; and the cache of loaded models.
//!
//! A version is immutable: a directory of files with a manifest that holds the hash of each file. A model is a log of
//! states ([`crate::storage::state_log`]). A version exists when a state names it; the first such state publishes the
//! version. The files of versions that no state names are removed a day later.
//!
//! * `name` names in statements: `s.m@3`
//! * `manifest` the description of a version; `read_manifest` reads its file; `manifest_v1` the older format
//! * `registry` resolves, lists, commits, alters and drops models; `resolved` a version in a statement, and in a plan that travels
//! * `publish` files that become a version
//! * `rights` access checks for models
//! * `runtime` the loaded models of this process, and the workers of its devices
//! * `in_flight` the batches of a stream that models compute side by side; `batch_memory` their memory

pub(crate) mod batch_memory;
#[cfg(test)]
mod example;
pub(crate) mod in_flight;
mod manifest;
mod manifest_v1;
mod name;
mod publish;
mod read_manifest;
mod registry;
mod resolved;
mod rights;
pub(crate) mod runtime;

#[cfg(test)]
pub(crate) use example::example_model;
pub(crate) use manifest::{
    Imported, MANIFEST_FILE, MANIFEST_FORMAT, Manifest, Origin, RunSummary, Trained,
};
pub(crate) use name::{ModelName, ModelRef, Selector};
pub(crate) use publish::{NewModel, VersionFiles, publish};
pub(crate) use read_manifest::is_plain_name;
pub(crate) use registry::{
    ModelRegistry, ModelState, NewVersion, Published, VersionEntry, taken_err,
};
pub(crate) use resolved::{ModelAddress, ResolvedModel, ResolvedModels};
