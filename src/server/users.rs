//! The users file: TOML, with argon2 hashes of passwords and SHA-256 hashes of tokens. Nothing in the file can be used to
//! log in.
//!
//! ```toml
//! [users.ada]
//! password = "$argon2id$v=19$…"
//! tokens = ["5e88489…"]
//! is_admin = true
//! roles = ["analyst"]
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use serde::{Deserialize, Serialize};
use vatic_ml::artifact::sha256;

use crate::error::{Result, SqlState, io_err, sql_err};
use crate::storage::Place;

const NAME_BYTES_MAX: usize = 128;
const PASSWORD_BYTES_MAX: usize = 4096;
/// How long the file's content is used before the file is checked for changes.
const AGE_MAX: Duration = Duration::from_secs(1);

/// The users of a server.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Users {
    #[serde(default)]
    users: BTreeMap<String, User>,
}

/// A user of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    /// The Argon2id hash, in PHC format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    password: Option<String>,
    /// The SHA-256 hash of each token, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tokens: Vec<String>,
    /// Whether the user may do everything.
    #[serde(default)]
    pub(super) is_admin: bool,
    /// Names that privileges are granted to, beside the user's own name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) roles: Vec<String>,
}

impl User {
    /// A hash of the password's hash: it identifies this password of this user without revealing it.
    pub(super) fn proof(&self) -> String {
        hash(self.password.as_deref().unwrap_or_default())
    }
}

impl Users {
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(|error| io_err(path.display(), &error))?;
        toml::from_str(&text).map_err(|error| {
            // The line with the mistake may contain a hash, so the message leaves it out.
            let message = format!("{}: {}", path.display(), error.message());
            sql_err(SqlState::InvalidParameter, message)
        })
    }

    /// The user with this password. The check takes the same time if the user does not exist.
    fn with_password(&self, name: &str, password: &str) -> Option<User> {
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$\
            AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        let user = self.users.get(name);
        let hash = user.and_then(|user| user.password.as_deref());
        let parsed = PasswordHash::new(hash.unwrap_or(NOBODY)).ok()?;
        let is_right = Argon2::default()
            .verify_password(password.as_bytes(), &parsed)
            .is_ok();
        user.filter(|_| is_right && hash.is_some()).cloned()
    }
}

/// The users file, read again when it changes: added users can log in, and removed users are logged out.
#[derive(Debug)]
pub(super) struct UsersFile {
    path: PathBuf,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    users: Arc<Users>,
    modified: Option<SystemTime>,
    looked_at: Instant,
}

impl UsersFile {
    /// Reads the file.
    ///
    /// # Errors
    /// If the file cannot be read or is invalid.
    pub(super) fn open(path: &Path) -> Result<Self> {
        warn_if_open(path);
        let known = Known {
            modified: modified(path),
            users: Arc::new(Users::read(path)?),
            looked_at: Instant::now(),
        };
        Ok(Self {
            path: path.to_owned(),
            known: Mutex::new(known),
        })
    }

    fn users(&self) -> Arc<Users> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.looked_at.elapsed() < AGE_MAX {
            return Arc::clone(&known.users);
        }
        known.looked_at = Instant::now();
        let modified = modified(&self.path);
        if modified != known.modified {
            match Users::read(&self.path) {
                Ok(users) => {
                    known.users = Arc::new(users);
                    known.modified = modified;
                }
                Err(error) => {
                    tracing::warn!(%error, "the users file cannot be read; its last content stays in use")
                }
            }
        }
        Arc::clone(&known.users)
    }

    pub(super) fn with_password(&self, name: &str, password: &str) -> Option<User> {
        self.users().with_password(name, password)
    }

    /// The user of a static token.
    pub(super) fn with_token(&self, token: &str) -> Option<(String, User)> {
        let hash = hash(token);
        let users = self.users();
        let found = users
            .users
            .iter()
            .find(|(_, user)| user.tokens.contains(&hash));
        found.map(|(name, user)| (name.clone(), user.clone()))
    }

    /// The user as currently in the file.
    pub(super) fn named(&self, name: &str) -> Option<User> {
        self.users().users.get(name).cloned()
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|found| found.modified()).ok()
}

/// The SHA-256 of a token, in hexadecimal digits. A token has 256 random bits, so a fast hash is safe.
pub(super) fn hash(token: &str) -> String {
    sha256(token.as_bytes())
}

/// A new token of 256 random bits.
pub(super) fn new_token() -> String {
    format!(
        "{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}

/// Adds a user to the file, or changes the password of one. Creates the file if it does not exist.
///
/// # Errors
/// If the name or the password is invalid, or the file cannot be read or written.
pub fn add_user(path: &Path, name: &str, password: &str, is_admin: bool) -> Result<()> {
    check_name(name)?;
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        let message = format!("a password must have 1 to {PASSWORD_BYTES_MAX} bytes");
        return Err(sql_err(SqlState::InvalidParameter, message));
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    let hash = hash.map_err(|error| sql_err(SqlState::Internal, format!("argon2: {error}")))?;
    change(path, |users| {
        let user = users.users.entry(name.to_owned()).or_default();
        user.password = Some(hash.to_string());
        user.is_admin |= is_admin;
        Ok(())
    })
}

/// Adds a token of a user to the file and returns it; the file keeps only its hash.
///
/// # Errors
/// If the user does not exist, or the file cannot be read or written.
pub fn add_token(path: &Path, name: &str) -> Result<String> {
    let token = new_token();
    change(path, |users| {
        let missing = || {
            let message = format!("user \"{name}\" does not exist; create it with vatic user add");
            sql_err(SqlState::InvalidParameter, message)
        };
        let user = users.users.get_mut(name).ok_or_else(missing)?;
        user.tokens.push(hash(&token));
        Ok(())
    })?;
    Ok(token)
}

fn check_name(name: &str) -> Result<()> {
    let is_plain = name
        .chars()
        .all(|c| c.is_alphanumeric() || "_-.@".contains(c));
    if is_plain && (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(());
    }
    let message = format!(
        "\"{name}\" is not a valid user name: use letters, digits, and _ - . @, and up to {NAME_BYTES_MAX} bytes"
    );
    Err(sql_err(SqlState::InvalidName, message))
}

/// Replaces the file atomically, so that a server never reads a partial file.
fn change(path: &Path, change: impl FnOnce(&mut Users) -> Result<()>) -> Result<()> {
    let mut users = match path.exists() {
        true => Users::read(path)?,
        false => Users::default(),
    };
    change(&mut users)?;
    let text = toml::to_string(&users)
        .map_err(|error| sql_err(SqlState::Internal, format!("{}: {error}", path.display())))?;
    let failed = |error: std::io::Error| io_err(path.display(), &error);
    let path = std::path::absolute(path).map_err(failed)?;
    Place::Local(path).replace(text.as_bytes()).map_err(failed)
}

#[cfg(unix)]
fn warn_if_open(path: &Path) {
    use std::os::unix::fs::PermissionsExt;

    if fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 != 0) {
        tracing::warn!(path = %path.display(), "others than its owner can read the users file; run chmod 600");
    }
}

#[cfg(not(unix))]
fn warn_if_open(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_log_in_with_their_password_or_token_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.toml");
        add_user(&path, "ada", "a:b c", false).unwrap();
        add_user(&path, "bob", "b", true).unwrap();
        let token = add_token(&path, "ada").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("a:b c") && !text.contains(&token));
        let file = UsersFile::open(&path).unwrap();
        assert!(!file.with_password("ada", "a:b c").unwrap().is_admin);
        assert!(file.with_password("bob", "b").unwrap().is_admin);
        for (name, password) in [("ada", "b"), ("ada", ""), ("eve", "a:b c"), ("", "")] {
            assert_eq!(file.with_password(name, password), None, "{name}");
        }
        assert_eq!(file.with_token(&token).unwrap().0, "ada");
        assert!(file.with_token("guess").is_none());
        assert!(add_token(&path, "eve").is_err());
        assert!(add_user(&path, "a:b", "x", false).is_err());
        assert!(add_user(&path, "ada", "", false).is_err());
    }
}
