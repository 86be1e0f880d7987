//! [`ResolvedModel`]: a version that a statement uses; [`ModelAddress`]: the same in a plan that travels.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vatic_ml::device::DeviceName;
use vatic_ml::formats::is_for_processor;

use super::{Manifest, ModelName, ModelRef};
use crate::error::{Result, SqlState, sql_err};
use crate::storage::Place;

/// A model reference resolved to one version, for the duration of a statement.
#[derive(Debug, Clone)]
pub(crate) struct ResolvedModel {
    pub(crate) name: ModelName,
    pub(crate) version: u64,
    pub(crate) sha256: String,
    pub(crate) directory: Place,
    pub(crate) manifest: Arc<Manifest>,
}

impl ResolvedModel {
    /// `name@version`
    pub(crate) fn label(&self) -> String {
        format!("{}@{}", self.name.short(), self.version)
    }

    /// The device that the model computes on where `wanted` is asked for: models of some formats compute on the processor.
    pub(crate) fn device(&self, wanted: DeviceName) -> DeviceName {
        match is_for_processor(&self.manifest.format) {
            true => DeviceName::Cpu,
            false => wanted,
        }
    }

    /// Refuses a GPU for a model that does not compute on one.
    pub(crate) fn check_device(&self, wanted: DeviceName) -> Result<()> {
        match (self.device(wanted), wanted) {
            (DeviceName::Cpu, DeviceName::Cuda(_)) => {
                let message = format!(
                    "model \"{}\" is in ONNX and computes on the processor; leave out device",
                    self.label()
                );
                Err(sql_err(SqlState::Unsupported, message))
            }
            _ => Ok(()),
        }
    }
}

/// The address of a model version in a plan that travels to another process: the version, and the place of its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelAddress {
    schema: String,
    name: String,
    version: u64,
    sha256: String,
    directory: Place,
}

impl ResolvedModel {
    pub(crate) fn address(&self) -> ModelAddress {
        let directory = self.directory.clone();
        ModelAddress::new(&self.name, self.version, &self.sha256, directory)
    }
}

impl ModelAddress {
    /// The address of a version of this model, whose files are in `directory` and whose manifest has this hash.
    pub(super) fn new(name: &ModelName, version: u64, sha256: &str, directory: Place) -> Self {
        Self {
            schema: name.schema.clone(),
            name: name.name.clone(),
            version,
            sha256: sha256.to_owned(),
            directory,
        }
    }

    /// `name@version`
    pub(crate) fn label(&self) -> String {
        let (schema, name) = (self.schema.clone(), self.name.clone());
        format!("{}@{}", ModelName { schema, name }.short(), self.version)
    }

    /// Opens the version, if its manifest still has the hash that the reference was resolved to.
    pub(crate) fn open(self) -> Result<ResolvedModel> {
        let label = self.label();
        let Self {
            schema,
            name,
            version,
            sha256,
            directory,
        } = self;
        let name = ModelName { schema, name };
        let manifest = Arc::new(Manifest::read(&directory, &sha256, &label)?);
        Ok(ResolvedModel {
            name,
            version,
            sha256,
            directory,
            manifest,
        })
    }
}

/// The resolved models of one statement.
pub(crate) type ResolvedModels = HashMap<ModelRef, Arc<ResolvedModel>>;
