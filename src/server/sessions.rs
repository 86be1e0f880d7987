//! What is kept for a client between calls: its session, its prepared statements, and results that it has not fetched.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tonic::Status;

use super::auth::{Auth, Identity};
use super::output::WireOptions;
use super::prepared::Prepared;
use super::results::{Seen, Ticketed};
use super::status::{failed, status};
use super::users::User;
use crate::access::{Access, UserAccess};
use crate::engine::Engine;
use crate::error::SqlState;
use crate::session::Session;
use crate::sql::Limits;

const SESSIONS_MAX: usize = 10_000;
const PREPARED_MAX: usize = 1_024;
const TICKETS_MAX: usize = 1_024;
const WATCHED_MAX: usize = 64;

/// A client between its calls.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) identity: Identity,
    /// The user when the session began.
    user: Option<User>,
    pub(super) session: Session,
    used: Mutex<Instant>,
    prepared: Mutex<HashMap<String, Arc<Prepared>>>,
    tickets: Mutex<HashMap<String, Arc<Ticketed>>>,
    /// What clients that want to know are told of their statements, the latest last.
    watched: Mutex<VecDeque<(String, Arc<Mutex<Seen>>)>>,
    /// The session of before, of clients that found out about cookies with their first answer.
    before: Option<Arc<Client>>,
    pub(super) wire: Mutex<WireOptions>,
}

/// What a panic left behind is as good as before: nothing here is changed in several steps.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown(what: &str) -> Status {
    Status::not_found(format!(
        "{what} is not known, or not any more; run the statement again"
    ))
}

impl Client {
    /// Keeps a prepared statement under a new handle.
    pub(super) fn prepare(&self, prepared: Prepared) -> Result<String, Status> {
        let mut all = lock(&self.prepared);
        if all.len() >= PREPARED_MAX {
            let message =
                format!("the session has {PREPARED_MAX} prepared statements; close some of them");
            return Err(failed(SqlState::TooMany, message));
        }
        let handle = uuid::Uuid::new_v4().to_string();
        all.insert(handle.clone(), Arc::new(prepared));
        Ok(handle)
    }

    pub(super) fn prepared(&self, handle: &[u8]) -> Result<Arc<Prepared>, Status> {
        let found = std::str::from_utf8(handle)
            .ok()
            .and_then(|handle| lock(&self.prepared).get(handle).cloned());
        if let (None, Some(before)) = (&found, &self.before) {
            return before.prepared(handle);
        }
        found.ok_or_else(|| unknown("the prepared statement"))
    }

    /// Forgets a prepared statement, if it is there.
    pub(super) fn close_prepared(&self, handle: &[u8]) {
        if let Ok(handle) = std::str::from_utf8(handle) {
            lock(&self.prepared).remove(handle);
        }
    }

    /// Keeps a result until it is fetched.
    pub(super) fn keep(&self, ticketed: Ticketed) -> Result<(String, Arc<Ticketed>), Status> {
        let mut all = lock(&self.tickets);
        if all.len() >= TICKETS_MAX {
            let idle = all.iter().filter(|(_, ticketed)| !ticketed.is_busy());
            let oldest = idle.max_by_key(|(_, ticketed)| ticketed.age());
            let Some(oldest) = oldest.map(|(handle, _)| handle.clone()) else {
                let message = format!("the session fetches {TICKETS_MAX} results at once");
                return Err(failed(SqlState::TooMany, message));
            };
            if let Some(ticketed) = all.remove(&oldest) {
                ticketed.cancel();
            }
        }
        let handle = uuid::Uuid::new_v4().to_string();
        let ticketed = Arc::new(ticketed);
        all.insert(handle.clone(), Arc::clone(&ticketed));
        Ok((handle, ticketed))
    }

    pub(super) fn ticketed(&self, handle: &[u8]) -> Result<Arc<Ticketed>, Status> {
        let found = std::str::from_utf8(handle)
            .ok()
            .and_then(|handle| lock(&self.tickets).get(handle).cloned());
        if let (None, Some(before)) = (&found, &self.before) {
            return before.ticketed(handle);
        }
        found.ok_or_else(|| unknown("the result"))
    }

    pub(super) fn drop_ticket(&self, handle: &[u8]) -> Option<Arc<Ticketed>> {
        let handle = std::str::from_utf8(handle).ok()?;
        lock(&self.tickets).remove(handle)
    }

    /// Lets the client ask for the progress of a statement by this id.
    pub(super) fn watch(&self, id: String, ticketed: &Ticketed) {
        let mut watched = lock(&self.watched);
        watched.push_back((id, ticketed.sight()));
        if watched.len() > WATCHED_MAX {
            watched.pop_front();
        }
    }

    pub(super) fn seen(&self, id: &str) -> Option<Seen> {
        let watched = lock(&self.watched);
        let (_, seen) = watched.iter().rev().find(|(of, _)| of == id)?;
        Some(lock(seen).clone())
    }

    /// What runs for the client, and what waits to be fetched, is stopped.
    fn end(&self) {
        for (_, ticketed) in lock(&self.tickets).drain() {
            ticketed.cancel();
        }
        lock(&self.prepared).clear();
        // In a store that may take a while.
        let temporary = Arc::clone(self.session.temporary());
        tokio::task::spawn_blocking(move || temporary.clear());
    }

    fn sweep(&self) {
        lock(&self.tickets).retain(|_, ticketed| {
            let stays = !ticketed.is_stale();
            if !stays {
                ticketed.cancel();
            }
            stays
        });
    }

    /// Statements that compute, or whose rows are being fetched.
    pub(super) fn running(&self) -> Vec<Arc<Ticketed>> {
        let tickets = lock(&self.tickets);
        let running = tickets.values().filter(|ticketed| ticketed.is_busy());
        running.cloned().collect()
    }

    /// Whether this is the session of a user with these rights. That there is another way to log in changes nothing.
    fn may_as(&self, user: Option<&User>) -> bool {
        let rights = |user: &User| (user.is_admin, user.roles.clone());
        self.user.as_ref().map(rights) == user.map(rights)
    }

    fn is_busy(&self) -> bool {
        lock(&self.tickets)
            .values()
            .any(|ticketed| ticketed.is_busy())
    }
}

/// What a client may do.
fn access(identity: &Identity, user: Option<&User>) -> Access {
    match (&identity.user, user) {
        (Some(name), Some(user)) if !user.is_admin => Access::User(Arc::new(UserAccess {
            name: name.clone(),
            roles: user.roles.clone(),
        })),
        // An administrator, or a server that asks nobody who he is.
        _ => Access::All,
    }
}

/// The clients of a server.
#[derive(Debug)]
pub(super) struct Sessions {
    engine: Engine,
    limits: Limits,
    settings: Vec<(String, String)>,
    idle_max: Duration,
    clients: Mutex<HashMap<String, Arc<Client>>>,
}

impl Sessions {
    pub(super) fn new(
        engine: Engine,
        limits: Limits,
        settings: Vec<(String, String)>,
        idle_max: Duration,
    ) -> Self {
        Self {
            engine,
            limits,
            settings,
            idle_max,
            clients: Mutex::default(),
        }
    }

    /// A session of its own for somebody who only looks.
    pub(super) fn session_of(&self, auth: &Auth, identity: &Identity) -> Result<Session, Status> {
        let user = auth.user(identity)?;
        let session = self.engine.session_as(access(identity, user.as_ref()));
        let session = session.map_err(|error| status(&error))?;
        Ok(session.with_limits(self.limits.clone()))
    }

    /// The client, which gets a session if it has none.
    pub(super) async fn client(
        &self,
        auth: &Auth,
        identity: &Identity,
    ) -> Result<Arc<Client>, Status> {
        let known = lock(&self.clients).get(&identity.key).cloned();
        let user = auth.user(identity)?;
        match known {
            Some(client) if client.may_as(user.as_ref()) => {
                *lock(&client.used) = Instant::now();
                return Ok(client);
            }
            // Other roles, another session.
            Some(_) => {
                self.close(identity);
            }
            None => {}
        }
        let before = identity.shared_key.as_ref();
        let before = before.and_then(|key| lock(&self.clients).get(key).cloned());
        let client = Arc::new(self.open(identity, user, before).await?);
        let mut clients = lock(&self.clients);
        if clients.len() >= SESSIONS_MAX {
            return Err(failed(
                SqlState::TooMany,
                "the server has too many sessions",
            ));
        }
        // Two first calls may come at once.
        let client = clients.entry(identity.key.clone()).or_insert(client);
        Ok(Arc::clone(client))
    }

    async fn open(
        &self,
        identity: &Identity,
        user: Option<User>,
        before: Option<Arc<Client>>,
    ) -> Result<Client, Status> {
        let session = self.engine.session_as(access(identity, user.as_ref()));
        let session = session.map_err(|error| status(&error))?;
        for (name, value) in &self.settings {
            let statement = format!("SET {name} = {}", crate::sql::quoted(value));
            let done = session.sql(&statement).await;
            done.map_err(|error| status(&error))?;
        }
        Ok(Client {
            identity: identity.clone(),
            user,
            session: session.with_limits(self.limits.clone()),
            used: Mutex::new(Instant::now()),
            prepared: Mutex::default(),
            tickets: Mutex::default(),
            watched: Mutex::default(),
            before,
            wire: Mutex::default(),
        })
    }

    /// Ends the session of a client; its next call gets a new one.
    pub(super) fn close(&self, identity: &Identity) -> bool {
        let client = lock(&self.clients).remove(&identity.key);
        if let Some(client) = &client {
            client.end();
        }
        client.is_some()
    }

    /// Ends what nobody has used for long.
    pub(super) fn sweep(&self) {
        let mut clients = lock(&self.clients);
        let ended: Vec<Arc<Client>> = clients
            .extract_if(|_, client| {
                client.sweep();
                !client.is_busy() && lock(&client.used).elapsed() >= self.idle_max
            })
            .map(|(_, client)| client)
            .collect();
        drop(clients);
        ended.iter().for_each(|client| client.end());
    }

    /// Every client that has a session.
    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        lock(&self.clients).values().cloned().collect()
    }
}
