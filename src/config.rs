//! [`VaticOptions`]: the settings `vatic.*`, set by `SET vatic.batch_size = 1000`.

use std::any::Any;

use datafusion::common::config::{ConfigEntry, ConfigExtension, ConfigOptions, ExtensionOptions};
use serde::{Deserialize, Serialize};

use crate::error::{Result, SqlState, sql_err, with_cause};

/// The settings of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VaticOptions {
    /// Rows per call of a model.
    pub batch_size: usize,
    /// Tokens per call of a model of texts; 0 means as many as the model wants.
    pub max_batch_tokens: usize,
    /// Whether equal rows are computed once.
    pub dedupe: Dedupe,
    /// Memory for the weights of loaded models, in bytes.
    pub cache_bytes: usize,
    /// The number of workers of a training; 0 means one for each core, or most slots of a cluster.
    pub workers: usize,
    /// How long a statement waits for the first executor of a cluster, and a training for its slots, in seconds.
    pub executor_wait_s: usize,
    /// Whether searches for the nearest vectors use indexes.
    pub vector_index: bool,
    /// The vectors of a graph that such a search keeps on its way.
    pub ef_search: usize,
    /// Whether EXPLAIN ANALYZE runs the statement, which is no setting.
    pub(crate) is_analyzed: bool,
}

/// Whether a model computes equal rows once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Dedupe {
    /// For models of texts and images: finding equal rows of numbers takes longer than computing them.
    #[default]
    Auto,
    /// For every model.
    On,
    /// For none.
    Off,
}

impl Dedupe {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Auto, Self::On, Self::Off];

    /// The name in statements.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }

    /// The value of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|value| value.name() == name)
    }
}

impl Default for VaticOptions {
    fn default() -> Self {
        Self {
            batch_size: 8_192,
            max_batch_tokens: 0,
            dedupe: Dedupe::Auto,
            cache_bytes: 1 << 30,
            workers: 0,
            executor_wait_s: 60,
            vector_index: false,
            ef_search: 64,
            is_analyzed: false,
        }
    }
}

const KEYS: [&str; 8] = [
    "batch_size",
    "max_batch_tokens",
    "dedupe",
    "cache_bytes",
    "workers",
    "executor_wait_s",
    "vector_index",
    "ef_search",
];

impl ConfigExtension for VaticOptions {
    const PREFIX: &'static str = "vatic";
}

// Implemented by hand, because the entries of DataFusion's macro lack the prefix and SHOW would not find them.
impl ExtensionOptions for VaticOptions {
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
        let number = |min: usize| {
            let number = value.parse().ok().filter(|number| *number >= min);
            number.ok_or_else(|| {
                let message =
                    format!("setting vatic.{key} is {value}; expected a whole number from {min}");
                sql_err(SqlState::InvalidParameter, message)
            })
        };
        match key {
            "batch_size" => self.batch_size = number(1)?,
            "max_batch_tokens" => self.max_batch_tokens = number(0)?,
            "dedupe" => {
                let wrong = || {
                    let message = format!(
                        "setting vatic.dedupe is {value}; expected one of {}",
                        Dedupe::ALL.map(Dedupe::name).join(", ")
                    );
                    sql_err(SqlState::InvalidParameter, message)
                };
                self.dedupe = Dedupe::parse(&value.to_lowercase()).ok_or_else(wrong)?;
            }
            "cache_bytes" => self.cache_bytes = number(0)?,
            "workers" => self.workers = number(0)?,
            "executor_wait_s" => self.executor_wait_s = number(0)?,
            "vector_index" => {
                self.vector_index = match value.to_lowercase().as_str() {
                    "on" | "true" => true,
                    "off" | "false" => false,
                    _ => {
                        let message =
                            format!("setting vatic.vector_index is {value}; expected on or off");
                        return Err(sql_err(SqlState::InvalidParameter, message));
                    }
                }
            }
            "ef_search" => self.ef_search = number(1)?,
            _ => {
                let what = format!("there is no setting vatic.{key}");
                let message = with_cause(what, key, KEYS);
                return Err(sql_err(SqlState::InvalidParameter, message));
            }
        }
        Ok(())
    }

    fn entries(&self) -> Vec<ConfigEntry> {
        let entry = |key: &str, value: &dyn ToString, description: &'static str| ConfigEntry {
            key: format!("vatic.{key}"),
            value: Some(value.to_string()),
            description,
        };
        vec![
            entry(
                "batch_size",
                &self.batch_size,
                "rows that a model predicts at once",
            ),
            entry(
                "max_batch_tokens",
                &self.max_batch_tokens,
                "tokens that a model of texts computes at once; 0 means as many as the model wants",
            ),
            entry(
                "dedupe",
                &self.dedupe.name(),
                "whether equal rows are computed once: auto means for models of texts and images",
            ),
            entry(
                "cache_bytes",
                &self.cache_bytes,
                "memory for the weights of loaded models",
            ),
            entry(
                "workers",
                &self.workers,
                "workers of a training; 0 means one for each core, or most slots of a cluster",
            ),
            entry(
                "executor_wait_s",
                &self.executor_wait_s,
                "seconds that a statement waits for the first executor of a cluster, and a training for the slots that workers asks for",
            ),
            entry(
                "vector_index",
                &if self.vector_index { "on" } else { "off" },
                "whether searches for the nearest vectors use indexes: on finds most of the nearest, off all",
            ),
            entry(
                "ef_search",
                &self.ef_search,
                "vectors that a search with an index keeps on its way; more find more of the nearest and take longer",
            ),
        ]
    }
}

impl VaticOptions {
    /// The settings of a session.
    pub fn of(options: &ConfigOptions) -> Self {
        options
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_default()
    }
}
