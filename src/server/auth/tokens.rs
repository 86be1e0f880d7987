//! Tokens in memory: whose they are, and which of them make room for others.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::server::users::UsersFile;

pub(super) const TOKENS_MAX: usize = 10_000;

#[derive(Debug)]
pub(super) struct Token {
    pub(super) user: String,
    /// See [`Login::proof`](crate::server::logins::Login::proof).
    pub(super) proof: String,
    pub(super) used: Instant,
    /// When the last use was stored.
    pub(super) kept: Instant,
}

impl Token {
    pub(super) fn now(user: String, proof: String) -> Self {
        let now = Instant::now();
        Self {
            user,
            proof,
            used: now,
            kept: now,
        }
    }

    /// Whether the user is still there, with the same password.
    pub(super) fn is_of(&self, users: &UsersFile) -> bool {
        let user = users.named(&self.user);
        user.is_some_and(|user| user.proof() == self.proof)
    }
}

/// Removes idle tokens, and if there are too many, the one that was used longest ago. Returns the keys of both.
pub(super) fn make_room(
    tokens: &mut HashMap<String, Token>,
    idle_max: Duration,
) -> (Vec<String>, Option<String>) {
    let idle = tokens.extract_if(|_, token| token.used.elapsed() >= idle_max);
    let idle = idle.map(|(key, _)| key).collect();
    let mut oldest = None;
    if tokens.len() >= TOKENS_MAX {
        let found = tokens.iter().min_by_key(|(_, token)| token.used);
        oldest = found.map(|(key, _)| key.clone());
        oldest.as_ref().map(|key| tokens.remove(key));
    }
    (idle, oldest)
}
