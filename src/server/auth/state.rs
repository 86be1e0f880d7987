//! [`Auth`]: logs clients in and out, and identifies the callers of a server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::codegen::http::HeaderMap;

use super::delays::{FAILURES_KEPT, delay, failures_at};
use super::headers::{authorization, basic, denied};
use super::identity::Identity;
use super::tokens::{TOKENS_MAX, Token, make_room};
use crate::server::listener::Link;
use crate::server::lock::lock;
use crate::server::logins::{Login, Logins};
use crate::server::users::{User, UsersFile, hash, new_token};

/// The session of clients without credentials, on a server without users.
const ANONYMOUS: &str = "anonymous";
/// Concurrent password checks: each takes a core and 19 MiB.
const CHECKS: usize = 2;

/// Authentication state of a server.
#[derive(Debug)]
pub(in crate::server) struct Auth {
    /// `None` if no login is needed.
    users: Option<UsersFile>,
    /// The tokens of logins, by hash.
    tokens: Mutex<HashMap<String, Token>>,
    /// The checked passwords of the page's readers, by the hash of cookie and credentials. They end with the server.
    readers: Mutex<HashMap<String, Token>>,
    logins: Logins,
    /// Held while a login's file is written or removed.
    writing: Mutex<()>,
    checks: Semaphore,
    failures: Mutex<HashMap<String, (u32, Instant)>>,
}

impl Auth {
    pub(in crate::server) fn new(users: Option<UsersFile>, logins: Logins) -> Self {
        let tokens = match &users {
            Some(_) => logins.all(),
            None => vec![],
        };
        let tokens = tokens.into_iter().map(|(key, login)| {
            let now = Instant::now();
            // A machine that started after the last use cannot represent that instant.
            let used = now.checked_sub(login.age()).unwrap_or(now);
            let kept = used;
            let Login { user, proof, .. } = login;
            let token = Token {
                user,
                proof,
                used,
                kept,
            };
            (key, token)
        });
        Self {
            users,
            tokens: Mutex::new(tokens.collect()),
            readers: Mutex::default(),
            logins,
            writing: Mutex::default(),
            checks: Semaphore::new(CHECKS),
            failures: Mutex::default(),
        }
    }

    /// Whether a login is needed.
    pub(in crate::server) fn has_users(&self) -> bool {
        self.users.is_some()
    }

    /// The user as currently in the users file; `None` on a server without users.
    ///
    /// # Errors
    /// If the user is no longer in the file.
    pub(in crate::server) fn user(&self, identity: &Identity) -> Result<Option<User>, Status> {
        match (&self.users, &identity.user) {
            (None, _) => Ok(None),
            (Some(users), Some(name)) => users.named(name).map(Some).ok_or_else(denied),
            (Some(_), None) => Err(denied()),
        }
    }

    /// Logs a client in and returns a token.
    ///
    /// # Errors
    /// UNAUTHENTICATED, after a delay if there were many wrong passwords.
    pub(in crate::server) async fn log_in(
        self: &Arc<Self>,
        headers: &HeaderMap,
    ) -> Result<String, Status> {
        match authorization(headers)? {
            Some(("basic", credentials)) => {
                let (user, password) = basic(credentials)?;
                let proof = self.check_password(&user, password).await?;
                Ok(self.issue(user, proof).await)
            }
            // A valid token stays valid.
            Some(("bearer", token)) => {
                self.identify(headers, None)?;
                Ok(token.to_owned())
            }
            None if self.users.is_none() => Ok(self.issue(ANONYMOUS.into(), String::new()).await),
            _ => Err(denied()),
        }
    }

    /// Checks the password and returns the proof of the login.
    async fn check_password(
        self: &Arc<Self>,
        user: &str,
        password: String,
    ) -> Result<String, Status> {
        if self.users.is_none() {
            return Ok(String::new());
        }
        tokio::time::sleep(self.wait(user)).await;
        let _permit = self.checks.acquire().await.map_err(|_| denied())?;
        let auth = Arc::clone(self);
        let name = user.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            let users = auth.users.as_ref()?;
            users.with_password(&name, &password)
        });
        let found = found.await.ok().flatten();
        let mut failures = lock(&self.failures);
        if let Some(found) = found {
            failures.remove(user);
            return Ok(found.proof());
        }
        tracing::warn!(user, "a login was refused");
        if failures.len() > TOKENS_MAX {
            failures.retain(|_, (_, at)| at.elapsed() < FAILURES_KEPT);
        }
        let count = failures_at(failures.get(user), Instant::now()).saturating_add(1);
        failures.insert(user.to_owned(), (count, Instant::now()));
        Err(denied())
    }

    /// The delay of a login, which grows with every wrong password beyond the free ones, until a minute passes without one.
    fn wait(&self, user: &str) -> Duration {
        let failures = lock(&self.failures);
        delay(failures_at(failures.get(user), Instant::now()))
    }

    async fn issue(self: &Arc<Self>, user: String, proof: String) -> String {
        let token = new_token();
        let key = hash(&token);
        // Stores the login even if the client stops waiting; a panic was logged where it happened.
        let _ = self
            .with_logins(move |auth| auth.add(key, user, proof))
            .await;
        token
    }

    /// Adds a token. Its file is written before the client receives the token, so the token survives a server crash.
    fn add(&self, key: String, user: String, proof: String) {
        if self.users.is_some() {
            let login = Login::now(user.clone(), proof.clone());
            self.logins.keep(&key, &login);
        }
        let mut tokens = lock(&self.tokens);
        let (idle, oldest) = make_room(&mut tokens, self.logins.idle_max());
        tokens.insert(key, Token::now(user, proof));
        drop(tokens);
        idle.iter().for_each(|key| self.logins.forget_idle(key));
        if let Some(key) = oldest {
            self.logins.forget(&key);
        }
    }

    /// Runs work on the files of logins on a blocking thread, one job at a time.
    fn with_logins(self: &Arc<Self>, work: impl FnOnce(&Self) + Send + 'static) -> JoinHandle<()> {
        let auth = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let _alone = lock(&auth.writing);
            work(&auth);
        })
    }

    /// Removes the file of an invalid token.
    fn forget(self: &Arc<Self>, key: String) {
        self.with_logins(move |auth| auth.logins.forget(&key));
    }

    /// Identifies the caller.
    ///
    /// # Errors
    /// UNAUTHENTICATED, without a reason.
    pub(in crate::server) fn identify(
        self: &Arc<Self>,
        headers: &HeaderMap,
        link: Option<&Arc<Link>>,
    ) -> Result<Identity, Status> {
        let Some(users) = &self.users else {
            return Ok(self.welcome(headers, link));
        };
        let Some(("bearer", token)) = authorization(headers)? else {
            return Err(denied());
        };
        let key = hash(token);
        if let Some((user, _)) = users.with_token(token) {
            return Ok(Identity::shared(key, Some(user), headers, link));
        }
        let mut tokens = lock(&self.tokens);
        let Some(found) = tokens.get_mut(&key) else {
            return Err(denied());
        };
        // A removed user or a changed password invalidates the user's tokens.
        if !found.is_of(users) {
            tokens.remove(&key);
            self.forget(key);
            return Err(denied());
        }
        if found.used.elapsed() >= self.logins.idle_max() {
            tokens.remove(&key);
            self.with_logins(move |auth| auth.logins.forget_idle(&key));
            return Err(denied());
        }
        found.used = Instant::now();
        if self.logins.is_due(found.kept.elapsed()) {
            found.kept = found.used;
            let login = Login::now(found.user.clone(), found.proof.clone());
            let key = key.clone();
            self.with_logins(move |auth| {
                // Unless the token was forgotten in the meantime.
                if lock(&auth.tokens).contains_key(&key) {
                    auth.logins.keep(&key, &login);
                }
            });
        }
        Ok(Identity::of_login(key, Some(found.user.clone())))
    }

    /// Identifies a reader of the web page: a browser sends name and password with each request, a program sends a token.
    /// A password is checked once for a cookie, which nobody who guesses passwords has.
    ///
    /// # Errors
    /// UNAUTHENTICATED.
    pub(in crate::server) async fn identify_reader(
        self: &Arc<Self>,
        headers: &HeaderMap,
        cookie: &str,
    ) -> Result<Identity, Status> {
        match (&self.users, authorization(headers)?) {
            (Some(users), Some(("basic", credentials))) => {
                let key = hash(&format!("{cookie} {credentials}"));
                let user = match self.known_reader(users, &key) {
                    Some(user) => user,
                    None => {
                        let (user, password) = basic(credentials)?;
                        let proof = self.check_password(&user, password).await?;
                        let mut readers = lock(&self.readers);
                        make_room(&mut readers, self.logins.idle_max());
                        readers.insert(key, Token::now(user.clone(), proof));
                        user
                    }
                };
                Ok(Identity::of_login(hash(credentials), Some(user)))
            }
            _ => self.identify(headers, None),
        }
    }

    /// The user whose password was checked, unless the user is gone, has another password or was idle for too long.
    fn known_reader(&self, users: &UsersFile, key: &str) -> Option<String> {
        let mut readers = lock(&self.readers);
        let found = readers.get_mut(key)?;
        if !found.is_of(users) || found.used.elapsed() >= self.logins.idle_max() {
            readers.remove(key);
            return None;
        }
        found.used = Instant::now();
        Some(found.user.clone())
    }

    /// Without users, a token only distinguishes sessions; without a token, a cookie or the connection does.
    fn welcome(&self, headers: &HeaderMap, link: Option<&Arc<Link>>) -> Identity {
        match authorization(headers) {
            Ok(Some((_, credentials))) => {
                let key = hash(credentials);
                match lock(&self.tokens).contains_key(&key) {
                    true => Identity::of_login(key, None),
                    false => Identity::shared(key, None, headers, link),
                }
            }
            Ok(None) | Err(_) => Identity::shared(ANONYMOUS.into(), None, headers, link),
        }
    }

    /// Invalidates a token.
    pub(in crate::server) fn log_out(self: &Arc<Self>, identity: &Identity) {
        if lock(&self.tokens).remove(&identity.key).is_some() {
            self.forget(identity.key.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", value.parse().unwrap());
        headers
    }

    /// Base64 of ada:p:w.
    const CREDENTIALS: &str = "Basic YWRhOnA6dw==";

    fn with_user() -> (tempfile::TempDir, Arc<Auth>) {
        with_user_idle(Duration::from_secs(60))
    }

    fn with_user_idle(idle_max: Duration) -> (tempfile::TempDir, Arc<Auth>) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("users.toml");
        crate::server::users::add_user(&path, "ada", "p:w", false).unwrap();
        let users = UsersFile::open(&path).unwrap();
        let auth = Auth::new(Some(users), Logins::new(None, idle_max));
        (directory, Arc::new(auth))
    }

    #[tokio::test]
    async fn the_password_of_a_reader_is_checked_once_for_a_cookie() {
        let (directory, auth) = with_user();
        let right = headers(CREDENTIALS);
        let first = auth.identify_reader(&right, "c").await.unwrap();
        // From now on, no password can be checked.
        auth.checks.close();
        let again = auth.identify_reader(&right, "c").await.unwrap();
        assert_eq!(again.user.as_deref(), Some("ada"));
        assert_eq!(again.key, first.key);
        assert!(auth.identify_reader(&right, "d").await.is_err());
        // Base64 of ada:a.
        let wrong = headers("Basic YWRhOmE=");
        assert!(auth.identify_reader(&wrong, "c").await.is_err());
        // A changed password ends the session, as it ends tokens; the file is looked at again after a second.
        let path = directory.path().join("users.toml");
        crate::server::users::add_user(&path, "ada", "other", false).unwrap();
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        assert!(auth.identify_reader(&right, "c").await.is_err());
    }

    #[tokio::test]
    async fn the_password_of_an_idle_reader_is_checked_again() {
        let (_directory, auth) = with_user_idle(Duration::ZERO);
        let right = headers(CREDENTIALS);
        assert!(auth.identify_reader(&right, "c").await.is_ok());
        auth.checks.close();
        assert!(auth.identify_reader(&right, "c").await.is_err());
    }

    #[tokio::test]
    async fn a_login_gives_a_token_with_or_without_padding() {
        let (_directory, auth) = with_user();
        // Base64 of ada:p:w, with and without its padding.
        for credentials in ["YWRhOnA6dw==", "YWRhOnA6dw"] {
            let token = auth
                .log_in(&headers(&format!("Basic {credentials}")))
                .await
                .unwrap();
            for scheme in ["Bearer", "bearer"] {
                let identity = auth
                    .identify(&headers(&format!("{scheme} {token}")), None)
                    .unwrap();
                assert_eq!(identity.user.as_deref(), Some("ada"));
            }
        }
    }

    #[tokio::test]
    async fn everything_else_is_denied() {
        let (_directory, auth) = with_user();
        for value in [
            "Basic YWRhOmE=",
            "Basic !",
            "Basic",
            "Basic YWRh",
            "Negotiate x",
            "",
            "x",
        ] {
            let status = auth.log_in(&headers(value)).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unauthenticated, "{value}");
        }
        let long = format!("Bearer {}", "x".repeat(10_000));
        for value in [
            "Bearer x",
            "Basic YWRhOnA6dw==",
            "Bearer",
            "Bearer  ",
            &long,
        ] {
            assert!(auth.identify(&headers(value), None).is_err(), "{value}");
        }
        assert!(auth.identify(&HeaderMap::new(), None).is_err());
        let mut two = headers("Bearer x");
        two.append("authorization", "Bearer y".parse().unwrap());
        assert!(auth.identify(&two, None).is_err());
    }

    #[tokio::test]
    async fn tokens_end_when_they_are_idle_or_logged_out() {
        let (_directory, auth) = with_user();
        let token = auth.log_in(&headers("Basic YWRhOnA6dw==")).await.unwrap();
        let bearer = headers(&format!("Bearer {token}"));
        let identity = auth.identify(&bearer, None).unwrap();
        auth.log_out(&identity);
        assert!(auth.identify(&bearer, None).is_err());
        let short = Arc::new(Auth::new(None, Logins::new(None, Duration::ZERO)));
        assert!(
            short.identify(&HeaderMap::new(), None).is_ok(),
            "anybody is welcome"
        );
    }
}
