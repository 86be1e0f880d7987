//! [`ModelRegistry`]: resolves, lists, commits, alters and drops the models of a data directory.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{ModelAddress, ModelName, ModelRef, ResolvedModel, Selector};
use crate::access::ownership::Ownership;
use crate::error::{Result, SqlState, sql_err, with_cause};
use crate::storage::IfTaken;
use crate::storage::data_dir::DataDir;
use crate::storage::state_log::{Log, LogPosition, names_in};

/// The state of a model.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct ModelState {
    /// Whether the model was dropped; the numbers of its versions stay used.
    pub(crate) is_dropped: bool,
    pub(crate) comment: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) default_version: u64,
    /// The highest version number given so far.
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

/// A version to be published.
#[derive(Debug)]
pub(crate) struct NewVersion {
    /// The name of the directory of its files.
    pub(crate) directory: String,
    /// The SHA-256 of its manifest.
    pub(crate) sha256: String,
    pub(crate) comment: Option<String>,
    /// `Replace` publishes the next version of an existing model, which becomes the default.
    pub(crate) if_taken: IfTaken,
    /// The ownership of the model, if the model is new.
    pub(crate) ownership: Ownership,
}

/// A published version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Published {
    pub(crate) version: u64,
    /// Whether the model is new.
    pub(crate) is_new: bool,
}

impl Published {
    /// The status in the statement's result.
    pub(crate) fn status(self) -> &'static str {
        if self.is_new { "CREATED" } else { "REPLACED" }
    }
}

/// The models of a data directory.
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

    /// The latest state of a name; a dropped state if the model never existed.
    pub(crate) fn state(&self, name: &ModelName) -> Result<(Option<LogPosition>, ModelState)> {
        match self.log(name).latest::<ModelState>()? {
            Some((seen, state)) => Ok((Some(seen), state)),
            None => Ok((
                None,
                ModelState {
                    is_dropped: true,
                    ..Default::default()
                },
            )),
        }
    }

    /// Whether a model of this name exists.
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

    /// The version that a reference selects in a state of its model.
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

    /// Opens a version with its manifest.
    pub(crate) fn open(&self, name: &ModelName, entry: &VersionEntry) -> Result<ResolvedModel> {
        let address = ModelAddress {
            schema: name.schema.clone(),
            name: name.name.clone(),
            version: entry.version,
            sha256: entry.sha256.clone(),
            directory: self.data.blobs().join(&entry.directory),
            arguments: None,
        };
        address.open()
    }

    /// Publishes a version; versions are published in no other way. `check` decides whether the model may be changed,
    /// in the state that gets the version: the model may have been replaced during the training.
    pub(super) fn publish_version(
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
            if !state.is_dropped && new.if_taken != IfTaken::Replace {
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

    /// Whether a version of this model has its files in this directory.
    pub(super) fn names(&self, name: &ModelName, directory: &str) -> Result<bool> {
        let (_, state) = self.state(name)?;
        let mut versions = state.versions.iter();
        Ok(versions.any(|entry| entry.directory == directory))
    }

    /// Changes an existing model.
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

    /// Renames a model with its versions, default and aliases, and returns its ownership before and after. `claimed`
    /// gives the new ownership for the state that is renamed.
    pub(crate) fn rename(
        &self,
        name: &ModelName,
        to: &ModelName,
        claimed: impl Fn(&ModelState) -> Result<Ownership>,
    ) -> Result<(Ownership, Ownership)> {
        self.data.check_schema(&to.schema)?;
        for _ in 0..TRIES {
            let (seen, state) = self.state(name)?;
            if state.is_dropped {
                return Err(self.no_such_model(name));
            }
            let (before, after) = (state.ownership.clone(), claimed(&state)?);
            let (target_seen, target) = self.state(to)?;
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
            if !self.log(to).commit(target_seen.as_ref(), &moved)? {
                continue;
            }
            let gone = ModelState {
                is_dropped: true,
                versions: vec![],
                ownership: Ownership::default(),
                ..state
            };
            if self.log(name).commit(seen.as_ref(), &gone)? {
                return Ok((before, after));
            }
            // Another process published a version in between, which the copy lacks: remove the copy and try again.
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

    /// Applies a change to the latest state, and tries again if another process was first.
    fn update(
        &self,
        name: &ModelName,
        mut change: impl FnMut(&mut ModelState) -> Result<()>,
    ) -> Result<()> {
        for _ in 0..TRIES {
            let (seen, mut state) = self.state(name)?;
            change(&mut state)?;
            if self.log(name).commit(seen.as_ref(), &state)? {
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

/// The error for a model name that is taken.
pub(crate) fn exists_err(name: &ModelName) -> datafusion::common::DataFusionError {
    let message = format!(
        "model \"{}\" exists; use OR REPLACE for a new version, or IF NOT EXISTS to keep it",
        name.short()
    );
    sql_err(SqlState::ModelExists, message)
}

/// The error for the name of a model that the user may not replace. It does not say whether the user may see the model.
pub(crate) fn taken_err(name: &ModelName) -> datafusion::common::DataFusionError {
    let message = format!("model \"{}\" exists; choose another name", name.short());
    sql_err(SqlState::ModelExists, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::report;

    fn registry() -> ModelRegistry {
        let data = Arc::new(DataDir::temporary().unwrap());
        data.create_schema("s").unwrap();
        ModelRegistry::new(data)
    }

    fn name(name: &str) -> ModelName {
        let (schema, name) = ("s".into(), name.into());
        ModelName { schema, name }
    }

    fn publish(registry: &ModelRegistry, model: &str, if_taken: IfTaken) -> Result<Published> {
        let new = NewVersion {
            directory: format!("files of {model}"),
            sha256: "hash".into(),
            comment: None,
            if_taken,
            ownership: Ownership::default(),
        };
        registry.publish_version(&name(model), &new, |_| Ok(()))
    }

    fn code<T: std::fmt::Debug>(result: Result<T>) -> SqlState {
        report(&result.unwrap_err()).state
    }

    fn versions(registry: &ModelRegistry, model: &str) -> Vec<u64> {
        let state = registry.get(&name(model)).unwrap();
        state.versions.iter().map(|entry| entry.version).collect()
    }

    #[test]
    fn a_version_s_number_is_never_given_twice_even_after_a_drop() {
        let registry = registry();
        assert!(publish(&registry, "m", IfTaken::Fail).unwrap().is_new);
        let taken = publish(&registry, "m", IfTaken::Fail);
        assert_eq!(code(taken), SqlState::ModelExists);
        let second = publish(&registry, "m", IfTaken::Replace).unwrap();
        assert_eq!((second.version, second.status()), (2, "REPLACED"));
        registry
            .alter(&name("m"), |state| {
                state.is_dropped = true;
                state.versions.clear();
                Ok(())
            })
            .unwrap();
        assert_eq!(code(registry.get(&name("m"))), SqlState::NoSuchModel);
        let third = publish(&registry, "m", IfTaken::Fail).unwrap();
        assert_eq!((third.version, third.status()), (3, "CREATED"));
        assert_eq!(versions(&registry, "m"), [3]);
        let used = registry.used_directories().unwrap();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["files of m"]);
    }

    #[test]
    fn files_that_two_models_name_are_used_until_both_are_dropped() {
        let registry = registry();
        publish(&registry, "m", IfTaken::Fail).unwrap();
        publish(&registry, "n", IfTaken::Fail).unwrap();
        let alter = |model: &str, change: fn(&mut ModelState)| {
            let changed = registry.alter(&name(model), |state| {
                change(state);
                Ok(())
            });
            changed.unwrap();
        };
        alter("n", |state| {
            state.versions[0].directory = "files of m".into();
        });
        let dropped: fn(&mut ModelState) = |state| {
            state.is_dropped = true;
            state.versions.clear();
        };
        alter("m", dropped);
        let used = registry.used_directories().unwrap();
        assert_eq!(used.into_iter().collect::<Vec<_>>(), ["files of m"]);
        alter("n", dropped);
        assert!(registry.used_directories().unwrap().is_empty());
    }

    #[test]
    fn a_model_may_have_ten_thousand_versions() {
        let registry = registry();
        publish(&registry, "m", IfTaken::Fail).unwrap();
        registry
            .alter(&name("m"), |state| {
                let first = state.versions[0].clone();
                state
                    .versions
                    .extend((2..=10_000).map(|version| VersionEntry {
                        version,
                        ..first.clone()
                    }));
                state.last_version = 10_000;
                Ok(())
            })
            .unwrap();
        let next = publish(&registry, "m", IfTaken::Replace).unwrap();
        assert_eq!(next.version, 10_001);
        let all: Vec<u64> = (1..=10_001).collect();
        assert_eq!(versions(&registry, "m"), all);
        let models = registry.list().unwrap();
        assert_eq!((models.len(), models[0].1.default_version), (1, 10_001));
    }

    #[test]
    fn a_model_that_is_renamed_keeps_its_versions_and_leaves_its_name() {
        let registry = registry();
        publish(&registry, "old", IfTaken::Fail).unwrap();
        publish(&registry, "old", IfTaken::Replace).unwrap();
        publish(&registry, "taken", IfTaken::Fail).unwrap();
        let rename = |from: &str, to: &str| {
            let claimed = |state: &ModelState| Ok(state.ownership.clone());
            registry.rename(&name(from), &name(to), claimed)
        };
        assert_eq!(code(rename("old", "taken")), SqlState::ModelExists);
        assert_eq!(code(rename("nobody", "new")), SqlState::NoSuchModel);
        rename("old", "new").unwrap();
        assert!(!registry.exists(&name("old")).unwrap());
        assert_eq!(versions(&registry, "new"), [1, 2]);
        assert_eq!(registry.get(&name("new")).unwrap().default_version, 2);
        // The numbers of both names stay used.
        assert_eq!(publish(&registry, "old", IfTaken::Fail).unwrap().version, 3);
        assert_eq!(
            publish(&registry, "new", IfTaken::Replace).unwrap().version,
            3
        );
    }

    #[test]
    fn writers_at_the_same_time_publish_a_version_each() {
        let registry = registry();
        publish(&registry, "m", IfTaken::Fail).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        publish(&registry, "m", IfTaken::Replace).unwrap();
                    }
                });
            }
        });
        assert_eq!(versions(&registry, "m"), (1..=21).collect::<Vec<_>>());
    }

    #[test]
    fn a_name_that_is_nearly_right_is_suggested() {
        let registry = registry();
        publish(&registry, "churn", IfTaken::Fail).unwrap();
        let error = report(&registry.get(&name("chrun")).unwrap_err());
        assert!(error.message.contains("\"s.churn\""), "{}", error.message);
    }
}
