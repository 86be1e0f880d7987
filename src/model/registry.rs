//! The models of a data directory: resolve, list, commit, alter, drop.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{Manifest, ModelName, ModelRef, Selector};
use crate::access::ownership::Ownership;
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::storage::Place;
use crate::storage::data_dir::DataDir;
use crate::storage::state_log::{Log, names_in};

/// A model at one time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelState {
    /// Whether it was dropped; the numbers of its versions stay used.
    pub(crate) is_dropped: bool,
    pub(crate) comment: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) default_version: u64,
    /// The highest version ever given.
    pub(crate) last_version: u64,
    pub(crate) versions: Vec<VersionEntry>,
    #[serde(default)]
    pub(crate) ownership: Ownership,
}

/// A version of a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct VersionEntry {
    pub(crate) version: u64,
    /// The name of its directory.
    pub(crate) directory: String,
    /// The SHA-256 of its manifest.
    pub(crate) sha256: String,
    pub(crate) aliases: Vec<String>,
}

/// A model reference resolved to one version, for the length of a statement.
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
}

/// A version of a model in a plan that travels to another process: which one, and where its files are.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ModelAddress {
    schema: String,
    name: String,
    version: u64,
    sha256: String,
    directory: Place,
}

impl ResolvedModel {
    pub(crate) fn address(&self) -> ModelAddress {
        ModelAddress {
            schema: self.name.schema.clone(),
            name: self.name.name.clone(),
            version: self.version,
            sha256: self.sha256.clone(),
            directory: self.directory.clone(),
        }
    }
}

impl ModelAddress {
    /// The version, if its manifest still has the hash that it was resolved with.
    pub(crate) fn open(self) -> Result<ResolvedModel> {
        let Self {
            schema,
            name,
            version,
            sha256,
            directory,
        } = self;
        let name = ModelName { schema, name };
        let label = format!("{}@{version}", name.short());
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

/// The models of one statement.
pub(crate) type ResolvedModels = HashMap<ModelRef, Arc<ResolvedModel>>;

/// How a new version enters a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Publish {
    /// As version 1 of a new name.
    New,
    /// As the next version and the default.
    Replace,
}

/// A version that is to come to be.
#[derive(Debug)]
pub(crate) struct NewVersion {
    /// The name of the directory of its files.
    pub(crate) directory: String,
    /// Of its manifest.
    pub(crate) sha256: String,
    pub(crate) comment: Option<String>,
    pub(crate) how: Publish,
    /// Whose the model is, if there is none yet.
    pub(crate) ownership: Ownership,
}

/// A version that has come to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    pub(crate) version: u64,
    /// Whether there was no model of the name.
    pub(crate) is_new: bool,
}

impl Published {
    /// What a statement says that it did.
    pub(crate) fn status(self) -> &'static str {
        if self.is_new { "CREATED" } else { "REPLACED" }
    }
}

/// All models of a data directory.
#[derive(Debug)]
pub(crate) struct ModelRegistry {
    data: Arc<DataDir>,
}

impl ModelRegistry {
    pub(crate) fn new(data: Arc<DataDir>) -> Self {
        Self { data }
    }

    fn log(&self, name: &ModelName) -> Log {
        Log::new(self.data.models(&name.schema).join(&name.name))
    }

    /// The last state of a name, which is dropped if there never was a model.
    pub(crate) fn state(&self, name: &ModelName) -> Result<(Option<u64>, ModelState)> {
        match self.log(name).latest::<ModelState>()? {
            Some((number, state)) => Ok((Some(number), state)),
            None => Ok((
                None,
                ModelState {
                    is_dropped: true,
                    ..Default::default()
                },
            )),
        }
    }

    /// Whether there is a model of this name.
    pub(crate) fn exists(&self, name: &ModelName) -> Result<bool> {
        Ok(!self.state(name)?.1.is_dropped)
    }

    /// The model of this name.
    pub(crate) fn get(&self, name: &ModelName) -> Result<ModelState> {
        let (_, state) = self.state(name)?;
        if state.is_dropped {
            Err(self.no_such_model(name))
        } else {
            Ok(state)
        }
    }

    fn no_such_model(&self, name: &ModelName) -> datafusion::common::DataFusionError {
        let known = self.list().unwrap_or_default();
        let known: Vec<String> = known.iter().map(|(name, _)| name.short()).collect();
        let what = format!("model \"{}\" does not exist", name.short());
        let message = with_cause(what, &name.short(), known.iter().map(String::as_str));
        sql_err(SqlState::NoSuchModel, message)
    }

    /// Every model, by name.
    pub(crate) fn list(&self) -> Result<Vec<(ModelName, ModelState)>> {
        let mut models = Vec::new();
        for schema in self.data.schema_names()? {
            for name in names_in(&self.data.models(&schema))? {
                let name = ModelName {
                    schema: schema.clone(),
                    name,
                };
                let (_, state) = self.state(&name)?;
                if !state.is_dropped {
                    models.push((name, state));
                }
            }
        }
        Ok(models)
    }

    /// The version that a reference means in a state of its model.
    pub(crate) fn resolve(
        &self,
        reference: &ModelRef,
        state: &ModelState,
    ) -> Result<ResolvedModel> {
        let found = state
            .versions
            .iter()
            .find(|entry| match &reference.selector {
                Selector::Default => entry.version == state.default_version,
                Selector::Version(version) => entry.version == *version,
                Selector::Alias(alias) => entry.aliases.contains(alias),
            });
        let entry = found.ok_or_else(|| {
            let name = reference.name.short();
            let versions: Vec<String> = state
                .versions
                .iter()
                .map(|entry| entry.version.to_string())
                .collect();
            let aliases = state
                .versions
                .iter()
                .flat_map(|entry| entry.aliases.clone());
            let known = versions
                .into_iter()
                .chain(aliases)
                .collect::<Vec<_>>()
                .join(", ");
            let wanted = match &reference.selector {
                Selector::Default => "a default version".to_owned(),
                Selector::Version(version) => format!("version {version}"),
                Selector::Alias(alias) => format!("alias \"{alias}\""),
            };
            sql_err(
                SqlState::NoSuchModel,
                format!("model \"{name}\" has no {wanted}; it has {known}"),
            )
        })?;
        self.open(&reference.name, entry)
    }

    /// A version with its manifest.
    pub(crate) fn open(&self, name: &ModelName, entry: &VersionEntry) -> Result<ResolvedModel> {
        let address = ModelAddress {
            schema: name.schema.clone(),
            name: name.name.clone(),
            version: entry.version,
            sha256: entry.sha256.clone(),
            directory: self.data.blobs().join(&entry.directory),
        };
        address.open()
    }

    /// Publishes a version, the only way for one to come to be. Whether the model may be changed is asked in the state that
    /// gets the version: it may have become another one while the training ran.
    pub(crate) fn publish(
        &self,
        name: &ModelName,
        new: &NewVersion,
        check: impl Fn(&ModelState) -> Result<()>,
    ) -> Result<Published> {
        self.data.check_schema(&name.schema)?;
        let mut published = Published {
            version: 0,
            is_new: false,
        };
        self.update(name, |state| {
            if !state.is_dropped && new.how == Publish::New {
                return Err(exists_err(name));
            }
            published.is_new = state.is_dropped;
            if state.is_dropped {
                let last_version = state.last_version;
                *state = ModelState {
                    created_at: Utc::now(),
                    last_version,
                    ownership: new.ownership.clone(),
                    ..Default::default()
                };
            } else {
                check(state)?;
            }
            state.last_version += 1;
            published.version = state.last_version;
            state.default_version = published.version;
            state.comment = new.comment.clone().or(state.comment.take());
            let (directory, sha256) = (new.directory.clone(), new.sha256.clone());
            state.versions.push(VersionEntry {
                version: published.version,
                directory,
                sha256,
                aliases: vec![],
            });
            Ok(())
        })?;
        Ok(published)
    }

    /// Changes a model that exists.
    pub(crate) fn alter(
        &self,
        name: &ModelName,
        change: impl Fn(&mut ModelState) -> Result<()>,
    ) -> Result<()> {
        self.update(name, |state| {
            if state.is_dropped {
                return Err(self.no_such_model(name));
            }
            change(state)
        })
    }

    /// Gives a model another name, and returns whose it was and is. Its versions, default and aliases go with it.
    /// `claimed` is whose it is from now on, in the state that moves.
    pub(crate) fn rename(
        &self,
        name: &ModelName,
        to: &ModelName,
        claimed: impl Fn(&ModelState) -> Result<Ownership>,
    ) -> Result<(Ownership, Ownership)> {
        self.data.check_schema(&to.schema)?;
        for _ in 0..TRIES {
            let (number, state) = self.state(name)?;
            if state.is_dropped {
                return Err(self.no_such_model(name));
            }
            let (before, after) = (state.ownership.clone(), claimed(&state)?);
            let (target_number, target) = self.state(to)?;
            if !target.is_dropped {
                let message = format!(
                    "model \"{}\" exists; choose another name, or drop it first",
                    to.short()
                );
                return Err(sql_err(SqlState::ModelExists, message));
            }
            let last_version = target.last_version.max(state.last_version);
            let moved = ModelState {
                last_version,
                ownership: after.clone(),
                ..state.clone()
            };
            if !self.log(to).commit(target_number, &moved)? {
                continue;
            }
            let gone = ModelState {
                is_dropped: true,
                versions: vec![],
                ownership: Ownership::default(),
                ..state
            };
            if self.log(name).commit(number, &gone)? {
                return Ok((before, after));
            }
            // A version was published meanwhile, which the copy lacks: take the copy back and begin again.
            self.alter(to, |state| {
                if state.ownership.id == after.id {
                    state.is_dropped = true;
                    state.versions.clear();
                }
                Ok(())
            })?;
        }
        Err(busy_err(name))
    }

    /// Applies a change to the last state until no other process was faster.
    fn update(
        &self,
        name: &ModelName,
        mut change: impl FnMut(&mut ModelState) -> Result<()>,
    ) -> Result<()> {
        for _ in 0..TRIES {
            let (number, mut state) = self.state(name)?;
            change(&mut state)?;
            if self.log(name).commit(number, &state)? {
                return Ok(());
            }
        }
        Err(busy_err(name))
    }

    /// The directories that some model names.
    pub(crate) fn used_directories(&self) -> Result<std::collections::HashSet<String>> {
        let models = self.list()?;
        Ok(models
            .into_iter()
            .flat_map(|(_, state)| state.versions)
            .map(|entry| entry.directory)
            .collect())
    }
}

/// How often a change is tried while other processes change the same model.
const TRIES: u32 = 100;

fn busy_err(name: &ModelName) -> datafusion::common::DataFusionError {
    let message = format!(
        "model \"{}\" is being changed by other processes; try again",
        name.short()
    );
    sql_err(SqlState::LostRace, message)
}

/// A model of this name is there already.
pub(crate) fn exists_err(name: &ModelName) -> datafusion::common::DataFusionError {
    let message = format!(
        "model \"{}\" exists; use OR REPLACE for a new version, or IF NOT EXISTS to keep it",
        name.short()
    );
    sql_err(SqlState::ModelExists, message)
}
