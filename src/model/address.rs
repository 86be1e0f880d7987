//! [`ModelAddress`]: a model version in a plan that travels to another process.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vatic_ml::model::arguments::Arguments;
use vatic_ml::pretrained::ports_for;

use super::registry::ResolvedModel;
use super::{Manifest, ModelName};
use crate::error::{Result, SqlState, sql_err};
use crate::storage::Place;

/// The address of a model version in a plan that travels to another process: the version, and the place of its files.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ModelAddress {
    schema: String,
    name: String,
    version: u64,
    sha256: String,
    directory: Place,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    arguments: Option<Arguments>,
}

impl ResolvedModel {
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
