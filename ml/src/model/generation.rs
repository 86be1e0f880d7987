//! [`Generation`]: how a model writes text.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// How a model writes text: the arguments of a call. The code that reads an argument checks its range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Generation {
    /// The most tokens that the model writes for a prompt, from 1.
    pub tokens_max: usize,
    /// What scores are divided by before a token is drawn, from 0; with 0 the most probable token is taken and nothing is drawn.
    pub temperature: f64,
    /// The seed of what is drawn.
    pub seed: u64,
    /// Draws among the most probable tokens that have this probability together, above 0 and up to 1.
    pub top_p: f64,
    /// Draws among so many of the most probable tokens, from 1; among all if `None`.
    pub top_k: Option<usize>,
    /// Texts before whose first occurrence the written text ends, none of them empty.
    pub stop: Vec<String>,
    /// Whether the prompt is the message of a user in the model's own template of a chat; if `None`, it is where the model has a
    /// template.
    pub chat: Option<bool>,
}

impl Generation {
    /// The most tokens of a call that says nothing.
    pub const TOKENS_MAX_DEFAULT: usize = 128;
}

impl Default for Generation {
    fn default() -> Self {
        Self {
            tokens_max: Self::TOKENS_MAX_DEFAULT,
            temperature: 0.0,
            seed: 0,
            top_p: 1.0,
            top_k: None,
            stop: vec![],
            chat: None,
        }
    }
}

/// As EXPLAIN shows it: the most tokens, the temperature, and what else a call says.
impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let default = Self::default();
        write!(
            f,
            "max_tokens={}, temperature={}",
            self.tokens_max, self.temperature
        )?;
        if self.temperature > 0.0 {
            write!(f, ", seed={}", self.seed)?;
        }
        if self.top_p != default.top_p {
            write!(f, ", top_p={}", self.top_p)?;
        }
        if let Some(top_k) = self.top_k {
            write!(f, ", top_k={top_k}")?;
        }
        if !self.stop.is_empty() {
            write!(f, ", stop={:?}", self.stop)?;
        }
        match self.chat {
            Some(chat) => write!(f, ", chat={chat}"),
            None => Ok(()),
        }
    }
}

// The numbers are never NaN, so equality is reflexive.
impl Eq for Generation {}

impl Hash for Generation {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let numbers = [self.temperature, self.top_p].map(f64::to_bits);
        (self.tokens_max, numbers, self.seed, self.top_k).hash(state);
        (&self.stop, self.chat).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_says_is_shown() {
        let default = Generation::default();
        assert_eq!(default.to_string(), "max_tokens=128, temperature=0");
        let more = Generation {
            tokens_max: 9,
            temperature: 0.5,
            seed: 3,
            top_p: 0.9,
            top_k: Some(4),
            stop: vec!["a\n".into()],
            chat: Some(false),
        };
        let expected = "max_tokens=9, temperature=0.5, seed=3, top_p=0.9, top_k=4, stop=[\"a\\n\"], chat=false";
        assert_eq!(more.to_string(), expected);
        assert_eq!(more, more.clone());
        assert_ne!(more, default);
    }
}
