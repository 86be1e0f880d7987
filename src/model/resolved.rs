//! [`ResolvedModel`]: a model version during a statement; [`ModelAddress`]: the same version in a plan that travels to another process.

use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vatic_ml::device::DeviceName;
use vatic_ml::formats::is_for_processor;
use vatic_ml::model::arguments::Arguments;
use vatic_ml::pretrained::ports_for;

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
    /// With the inputs and outputs that the model has for these arguments.
    pub(crate) manifest: Arc<Manifest>,
    /// What a call says of the task of the model.
    pub(crate) arguments: Option<Arc<Arguments>>,
}

impl ResolvedModel {
    /// `name@version`
    pub(crate) fn label(&self) -> String {
        format!("{}@{}", self.name.short(), self.version)
    }

    /// The device that the model computes on where `wanted` is asked for: models of some formats, and those that write text, compute on
    /// the processor.
    pub(crate) fn device(&self, wanted: DeviceName) -> DeviceName {
        let writes_text = self.manifest.signature.generated().is_some();
        match writes_text || is_for_processor(&self.manifest.format) {
            true => DeviceName::Cpu,
            false => wanted,
        }
    }

    /// Refuses a GPU for a model that does not compute on one.
    pub(crate) fn check_device(&self, wanted: DeviceName) -> Result<()> {
        match (self.device(wanted), wanted) {
            (DeviceName::Cpu, DeviceName::Cuda(_)) => {
                let what = match is_for_processor(&self.manifest.format) {
                    true => "is in ONNX",
                    false => "writes text",
                };
                let message = format!(
                    "model \"{}\" {what} and computes on the processor; leave out device",
                    self.label()
                );
                Err(sql_err(SqlState::Unsupported, message))
            }
            _ => Ok(()),
        }
    }

    /// The version in a plan that travels.
    pub(crate) fn address(&self) -> ModelAddress {
        ModelAddress {
            schema: self.name.schema.clone(),
            name: self.name.name.clone(),
            version: self.version,
            sha256: self.sha256.clone(),
            directory: self.directory.clone(),
            arguments: self.arguments.as_deref().cloned(),
        }
    }

    /// The model for calls with these arguments, with the inputs and outputs that it has for them.
    pub(crate) fn with_arguments(&self, arguments: Arguments) -> Result<Self> {
        let Manifest {
            signature,
            batching,
            ..
        } = self.manifest.as_ref();
        let (signature, batching) =
            ports_for(&arguments, signature, batching).ok_or_else(|| {
                let message = format!(
                    "argument {} needs {}; \"{}\" is none",
                    arguments.name(),
                    arguments.needs(),
                    self.label()
                );
                sql_err(SqlState::InvalidParameter, message)
            })?;
        let manifest = Manifest {
            signature,
            batching,
            ..self.manifest.as_ref().clone()
        };
        Ok(Self {
            manifest: Arc::new(manifest),
            arguments: Some(Arc::new(arguments)),
            ..self.clone()
        })
    }
}

/// The resolved models of one statement.
pub(crate) type ResolvedModels = HashMap<ModelRef, Arc<ResolvedModel>>;

/// The address of a model version in a plan that travels to another process: the version, and the place of its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelAddress {
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) version: u64,
    pub(super) sha256: String,
    pub(super) directory: Place,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) arguments: Option<Arguments>,
}

impl ModelAddress {
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
            arguments,
        } = self;
        let name = ModelName { schema, name };
        let manifest = Arc::new(Manifest::read(&directory, &sha256, &label)?);
        let model = ResolvedModel {
            name,
            version,
            sha256,
            directory,
            manifest,
            arguments: None,
        };
        match arguments {
            None => Ok(model),
            Some(arguments) => model.with_arguments(arguments),
        }
    }
}
