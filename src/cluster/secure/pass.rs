//! [`TaskPass`]: the proof, in the settings of a task, that the task is from the engine.

use std::any::Any;
use std::fmt;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ExtensionOptions};

use crate::error::{Result, SqlState, sql_err};

/// The pass of a task. Sessions of users do not have it, so SQL cannot show it.
#[derive(Clone, Default)]
pub(in crate::cluster) struct TaskPass {
    pub(super) pass: String,
}

impl fmt::Debug for TaskPass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskPass").finish_non_exhaustive()
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
            _ => {
                let message = format!("there is no setting vatic_task.{key}");
                Err(sql_err(SqlState::InvalidParameter, message))
            }
        }
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        vec![ConfigEntry {
            key: "vatic_task.pass".into(),
            value: Some(self.pass.clone()),
            description: "the proof that a task is from the engine of its cluster",
        }]
    }
}
