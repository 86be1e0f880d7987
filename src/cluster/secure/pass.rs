//! [`TaskPass`]: who gives a task, in the settings of the task: the name of the engine, and the proof that it is of the cluster.

use std::any::Any;
use std::fmt;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};
use datafusion::prelude::SessionConfig;

use crate::error::{Result, SqlState, sql_err};

/// The pass of a task. Sessions of users do not have it, so SQL cannot show it.
#[derive(Clone, Default)]
pub(in crate::cluster) struct TaskPass {
    /// The proof; empty in a cluster without a secret.
    pub(super) pass: String,
    pub(super) engine: String,
}

impl TaskPass {
    /// The name of the engine that gives a task with these settings.
    pub(in crate::cluster) fn engine_of(config: &SessionConfig) -> &str {
        let pass = config.options().extensions.get::<Self>();
        pass.map_or("", |pass| &pass.engine)
    }
}

impl fmt::Debug for TaskPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPass")
            .field("engine", &self.engine)
            .finish_non_exhaustive()
    }
}

impl ConfigExtension for TaskPass {
    const PREFIX: &'static str = "vatic_task";
}

// Implemented by hand, because the entries of DataFusion's macro lack the prefix and would not travel.
impl ExtensionOptions for TaskPass {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn cloned(&self) -> Box<dyn ExtensionOptions> {
        Box::new(self.clone())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        match key {
            "pass" => {
                value.clone_into(&mut self.pass);
                Ok(())
            }
            "engine" => {
                value.clone_into(&mut self.engine);
                Ok(())
            }
            _ => {
                let message = format!("there is no setting vatic_task.{key}");
                Err(sql_err(SqlState::InvalidParameter, message))
            }
        }
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let pass = ConfigEntry {
            key: "vatic_task.pass".into(),
            value: Some(self.pass.clone()),
            description: "the proof that a task is from the engine of its cluster",
        };
        let engine = ConfigEntry {
            key: "vatic_task.engine".into(),
            value: Some(self.engine.clone()),
            description: "the name of the engine that gives a task",
        };
        vec![pass, engine]
    }
}
