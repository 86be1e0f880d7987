//! The state of a client between calls: its session, its prepared statements, and results not yet fetched.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tonic::Status;

use super::auth::{Auth, Identity, Tie};
use super::listener::Link;
use super::lock::lock;
use super::output::WireOptions;
use super::prepared::Prepared;
use super::results::{PendingResult, StatementProgress};
use super::status::{failed, status};
use super::users::User;
use crate::access::Access;
use crate::engine::Engine;
use crate::error::SqlState;
use crate::session::{PlannerShare, Session};
use crate::sql::Limits;

const SESSIONS_MAX: usize = 10_000;
const PREPARED_MAX: usize = 1_024;
const TICKETS_MAX: usize = 1_024;
const WATCHED_MAX: usize = 64;
/// How long a session outlives its connection, so that the client can come back by another one and fetch a result.
const AFTER_CONNECTION: Duration = Duration::from_secs(60);

/// A client's state between its calls.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) identity: Identity,
    /// The tie of the session. A client that starts to send cookies is no longer tied to its first connection.
    tie: Mutex<Tie>,
    /// The connection whose cookie identifies the session; clients of this connection without cookies share the session.
    connection: Mutex<Weak<Link>>,
    /// When the session was first found without its connection.
    left_at: Mutex<Option<Instant>>,
    /// The user as of the start of the session.
    user: Option<User>,
    pub(super) session: Session,
    used: Mutex<Instant>,
    prepared: Mutex<HashMap<String, Arc<Prepared>>>,
    tickets: Mutex<HashMap<String, Arc<PendingResult>>>,
    /// The progress of statements that clients asked to watch, the latest last.
    watched: Mutex<VecDeque<(String, Arc<Mutex<StatementProgress>>)>>,
    /// All clients of the server.
    all: Weak<Clients>,
    pub(super) wire: Mutex<WireOptions>,
}

/// The clients of a server by session key.
type Clients = Mutex<HashMap<String, Arc<Client>>>;

fn unknown(what: &str) -> Status {
    Status::not_found(format!(
        "{what} does not exist or has expired; run the statement again"
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
        let found = self.find(handle, |client, handle| {
            lock(&client.prepared).get(handle).cloned()
        });
        found.ok_or_else(|| unknown("the prepared statement"))
    }

    /// Forgets a prepared statement, if it exists.
    pub(super) fn close_prepared(&self, handle: &[u8]) {
        self.find(handle, |client, handle| {
            lock(&client.prepared).remove(handle)
        });
    }

    /// Looks a handle up in this session first, then in the other sessions of the same identity group, since a client
    /// without a cookie may use another connection. A client that knows a handle got it from its owner.
    fn find<T>(&self, handle: &[u8], look: impl Fn(&Self, &str) -> Option<T>) -> Option<T> {
        let handle = std::str::from_utf8(handle).ok()?;
        if let Some(found) = look(self, handle) {
            return Some(found);
        }
        let all = self.all.upgrade()?;
        let others: Vec<Arc<Self>> = lock(&all)
            .values()
            .filter(|client| client.identity.group == self.identity.group)
            .cloned()
            .collect();
        others.iter().find_map(|client| look(client, handle))
    }

    /// Keeps a result until it is fetched.
    pub(super) fn keep(
        &self,
        ticketed: PendingResult,
    ) -> Result<(String, Arc<PendingResult>), Status> {
        let mut all = lock(&self.tickets);
        if all.len() >= TICKETS_MAX {
            let idle = all.iter().filter(|(_, ticketed)| !ticketed.is_busy());
            let oldest = idle.max_by_key(|(_, ticketed)| ticketed.age());
            let Some(oldest) = oldest.map(|(handle, _)| handle.clone()) else {
                let message = format!("the session fetches {TICKETS_MAX} results at once");
                return Err(failed(SqlState::TooMany, message));
            };
            if let Some(ticketed) = all.remove(&oldest) {
                ticketed.abandon();
            }
        }
        let handle = uuid::Uuid::new_v4().to_string();
        let ticketed = Arc::new(ticketed);
        all.insert(handle.clone(), Arc::clone(&ticketed));
        Ok((handle, ticketed))
    }

    pub(super) fn ticketed(&self, handle: &[u8]) -> Result<Arc<PendingResult>, Status> {
        let found = self.find(handle, |client, handle| {
            lock(&client.tickets).get(handle).cloned()
        });
        found.ok_or_else(|| unknown("the result"))
    }

    pub(super) fn drop_ticket(&self, handle: &[u8]) -> Option<Arc<PendingResult>> {
        self.find(handle, |client, handle| {
            lock(&client.tickets).remove(handle)
        })
    }

    /// Keeps the progress of a statement under this id, so that the client can ask for it.
    pub(super) fn watch(&self, id: String, ticketed: &PendingResult) {
        let mut watched = lock(&self.watched);
        watched.push_back((id, ticketed.sight()));
        if watched.len() > WATCHED_MAX {
            watched.pop_front();
        }
    }

    pub(super) fn seen(&self, id: &str) -> Option<StatementProgress> {
        let watched = lock(&self.watched);
        let (_, seen) = watched.iter().rev().find(|(of, _)| of == id)?;
        Some(lock(seen).clone())
    }

    /// Cancels the client's running statements and unfetched results.
    fn end(&self) {
        for (_, ticketed) in lock(&self.tickets).drain() {
            ticketed.abandon();
        }
        lock(&self.prepared).clear();
        // In a store, removing the temporary tables may take a while.
        let temporary = Arc::clone(self.session.temporary());
        tokio::task::spawn_blocking(move || temporary.clear());
    }

    fn sweep(&self) {
        lock(&self.tickets).retain(|_, ticketed| {
            let stays = !ticketed.is_stale();
            if !stays {
                ticketed.abandon();
            }
            stays
        });
    }

    /// Results that are being computed or fetched, with their handles.
    pub(super) fn running(&self) -> Vec<(String, Arc<PendingResult>)> {
        let tickets = lock(&self.tickets);
        let running = tickets.iter().filter(|(_, ticketed)| ticketed.is_busy());
        let running = running.map(|(handle, ticketed)| (handle.clone(), Arc::clone(ticketed)));
        running.collect()
    }

    /// Whether the session's user had these rights at its start. A change of password or tokens does not matter.
    fn may_as(&self, user: Option<&User>) -> bool {
        let rights = |user: &User| (user.is_admin, user.roles.clone());
        self.user.as_ref().map(rights) == user.map(rights)
    }

    /// Whether the session is tied to a connection that is closed.
    fn is_left(&self) -> bool {
        match &*lock(&self.tie) {
            Tie::Client => false,
            Tie::Connection(link) => link.strong_count() == 0,
        }
    }

    /// The time since the session was first found left.
    fn left_for(&self) -> Option<Duration> {
        let is_left = self.is_left();
        let mut left_at = lock(&self.left_at);
        match is_left {
            true => Some(left_at.get_or_insert_with(Instant::now).elapsed()),
            false => {
                *left_at = None;
                None
            }
        }
    }

    /// Ties the session to its connection, if that is still open.
    fn tie_to_connection(&self) -> bool {
        let connection = Weak::clone(&lock(&self.connection));
        let is_there = connection.strong_count() > 0;
        if is_there {
            *lock(&self.tie) = Tie::Connection(connection);
        }
        is_there
    }

    /// Whether the session can end: not busy, and idle or left for too long.
    fn is_over(&self, idle_max: Duration) -> bool {
        let is_idle = lock(&self.used).elapsed() >= idle_max;
        let is_left = self
            .left_for()
            .is_some_and(|left_for| left_for >= AFTER_CONNECTION);
        !self.is_busy() && (is_idle || is_left)
    }

    fn is_busy(&self) -> bool {
        lock(&self.tickets)
            .values()
            .any(|ticketed| ticketed.is_busy())
    }
}

/// The access rights of a client.
fn access(engine: &Engine, identity: &Identity, user: Option<&User>) -> Access {
    match (&identity.user, user) {
        (Some(name), Some(user)) if !user.is_admin => Access::user(
            name.clone(),
            user.roles.clone(),
            Arc::clone(engine.grants()),
        ),
        // An administrator, or a server without users.
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
    clients: Arc<Clients>,
    /// The share of each user in planning, which all sessions of the user have.
    shares: Mutex<HashMap<String, Weak<PlannerShare>>>,
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
            clients: Arc::default(),
            shares: Mutex::default(),
        }
    }

    /// The share of a client in planning. A client without a user has one of its own.
    fn share(&self, identity: &Identity) -> Arc<PlannerShare> {
        let Some(user) = &identity.user else {
            return Arc::default();
        };
        let mut shares = lock(&self.shares);
        // A share lives as long as the sessions of its user, and the threads that still plan for them.
        shares.retain(|_, share| share.strong_count() > 0);
        if let Some(share) = shares.get(user).and_then(Weak::upgrade) {
            return share;
        }
        let share = Arc::default();
        shares.insert(user.clone(), Arc::downgrade(&share));
        share
    }

    /// A new session for the web page, which is not kept.
    pub(super) fn session_of(&self, auth: &Auth, identity: &Identity) -> Result<Session, Status> {
        let user = auth.user(identity)?;
        let session = self
            .engine
            .session_as(access(&self.engine, identity, user.as_ref()));
        let session = session.map_err(|error| status(&error))?;
        let session = session.with_planner_share(self.share(identity));
        Ok(session.with_limits(self.limits.clone()))
    }

    /// The client of an identity, with a new session if it has none.
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
                match &identity.tie {
                    Tie::Client => *lock(&client.tie) = Tie::Client,
                    Tie::Connection(link) => *lock(&client.connection) = Weak::clone(link),
                }
                return Ok(client);
            }
            // The user's rights changed, so the user gets a new session.
            Some(_) => {
                self.close(identity);
            }
            None => {}
        }
        let client = Arc::new(self.open(identity, user).await?);
        if lock(&self.clients).len() >= SESSIONS_MAX {
            self.end_those(|client| client.is_left() && !client.is_busy());
        }
        let mut clients = lock(&self.clients);
        if clients.len() >= SESSIONS_MAX {
            return Err(failed(
                SqlState::TooMany,
                "the server has too many sessions",
            ));
        }
        // Two first calls may arrive at the same time.
        let client = clients.entry(identity.key.clone()).or_insert(client);
        Ok(Arc::clone(client))
    }

    async fn open(&self, identity: &Identity, user: Option<User>) -> Result<Client, Status> {
        let session = self
            .engine
            .session_as(access(&self.engine, identity, user.as_ref()));
        let session = session.map_err(|error| status(&error))?;
        let session = session.with_planner_share(self.share(identity));
        for (name, value) in &self.settings {
            let statement = format!("SET {name} = {}", crate::sql::quoted(value));
            let done = session.sql(&statement).await;
            done.map_err(|error| status(&error))?;
        }
        let connection = match &identity.tie {
            Tie::Client => Weak::new(),
            Tie::Connection(link) => Weak::clone(link),
        };
        Ok(Client {
            identity: identity.clone(),
            tie: Mutex::new(identity.tie.clone()),
            connection: Mutex::new(connection),
            left_at: Mutex::default(),
            user,
            session: session.with_limits(self.limits.clone()),
            used: Mutex::new(Instant::now()),
            prepared: Mutex::default(),
            tickets: Mutex::default(),
            watched: Mutex::default(),
            all: Arc::downgrade(&self.clients),
            wire: Mutex::default(),
        })
    }

    /// Whether the session belongs to a connection that is still open. Other clients on the connection may share the
    /// session, so it ends with the connection and not when one of them closes it.
    pub(super) fn ends_with_connection(&self, identity: &Identity) -> bool {
        let client = lock(&self.clients).get(&identity.key).cloned();
        client.is_some_and(|client| client.tie_to_connection())
    }

    /// Ends a client's session; the client's next call gets a new one.
    pub(super) fn close(&self, identity: &Identity) -> bool {
        let client = lock(&self.clients).remove(&identity.key);
        if let Some(client) = &client {
            client.end();
        }
        client.is_some()
    }

    /// Ends idle and left sessions, and drops stale results.
    pub(super) fn sweep(&self) {
        self.end_those(|client| {
            client.sweep();
            client.is_over(self.idle_max)
        });
    }

    fn end_those(&self, ends: impl Fn(&Client) -> bool) {
        let mut clients = lock(&self.clients);
        let ended = clients.extract_if(|_, client| ends(client));
        let ended: Vec<Arc<Client>> = ended.map(|(_, client)| client).collect();
        drop(clients);
        ended.iter().for_each(|client| client.end());
    }

    /// Every client that has a session.
    pub(super) fn all(&self) -> Vec<Arc<Client>> {
        lock(&self.clients).values().cloned().collect()
    }
}
