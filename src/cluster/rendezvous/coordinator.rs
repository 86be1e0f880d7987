//! [`Coordinator`]: the attempts of an engine, and their connections.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use vatic_ml::train::control::Progress;

use super::attempt::{Actions, Attempt, Connection, Event, Outcome};
use super::message::{FromRank, ToRank, Wire};
use super::reports::Reports;
use crate::access::{Admitted, Places};
use crate::cluster::secure::{Refused, STRANGERS_MAX, Security, new_doorway};

const TICK: Duration = Duration::from_millis(200);
/// A connection without a first message in this time is closed.
const FIRST_MESSAGE_TIMEOUT: Duration = Duration::from_secs(5);

/// What ranks report while they read and train.
#[derive(Debug)]
pub(in crate::cluster) enum RankReport {
    /// All ranks together have read this many rows.
    Rows(u64),
    Progress(Progress),
}

/// A callback for what ranks report.
pub(in crate::cluster) type Watcher = Arc<dyn Fn(RankReport) + Send + Sync>;

pub(in crate::cluster) struct Coordinator {
    started: Instant,
    /// The least time without movement after which a path between ranks counts as lost.
    link_timeout: Duration,
    next_connection: AtomicU64,
    runs: Mutex<HashMap<String, Run>>,
    reports: Reports,
    security: Security,
}

struct Run {
    attempt: Attempt,
    connections: HashMap<Connection, mpsc::UnboundedSender<Order>>,
    outcome: watch::Sender<Option<Outcome>>,
    watcher: Option<Watcher>,
}

/// An order to the task of a connection.
enum Order {
    Send(ToRank),
    Close,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").finish_non_exhaustive()
    }
}

impl Coordinator {
    pub(in crate::cluster) fn new(security: Security, link_timeout: Duration) -> Self {
        Self {
            started: Instant::now(),
            link_timeout,
            next_connection: AtomicU64::new(1),
            runs: Mutex::default(),
            reports: Reports::new(),
            security,
        }
    }

    /// Whether ranks may still join.
    pub(in crate::cluster) fn is_joining(&self, run_id: &str) -> bool {
        self.lock()
            .get(run_id)
            .is_some_and(|run| run.attempt.is_joining())
    }

    /// Opens an attempt. Dropping the result cancels the attempt and turns late ranks away. With `reads_once`, an attempt is
    /// lost when a rank would read its rows again.
    pub(in crate::cluster) fn open(
        self: &Arc<Self>,
        run_id: &str,
        world_size: usize,
        reads_once: bool,
        watcher: Option<Watcher>,
    ) -> Opened {
        let (sender, outcome) = watch::channel(None);
        let mut attempt = Attempt::new(world_size, self.link_timeout);
        attempt.opened_at = self.started.elapsed();
        attempt.reads_once = reads_once;
        let run = Run {
            attempt,
            connections: HashMap::new(),
            outcome: sender,
            watcher,
        };
        self.lock().insert(run_id.to_owned(), run);
        Opened {
            coordinator: Arc::clone(self),
            run_id: run_id.to_owned(),
            outcome,
        }
    }

    /// Serves ranks forever.
    pub(in crate::cluster) async fn serve(self: Arc<Self>, listener: TcpListener) {
        let doorway = new_doorway(STRANGERS_MAX);
        self.serve_through(doorway, listener).await;
    }

    async fn serve_through(self: Arc<Self>, doorway: Arc<Places>, listener: TcpListener) {
        let mut ticks = tokio::time::interval(TICK);
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick(),
                Some(_) = connections.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        if let Some(place) = doorway.admit(peer.ip()) {
                            connections.spawn(Arc::clone(&self).connection(stream, peer, place));
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a worker of a training cannot connect");
                        // For example too many open files: an immediate retry would fail again.
                        tokio::time::sleep(TICK).await;
                    }
                },
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tick(&self) {
        let now = self.started.elapsed();
        for run in self.lock().values_mut() {
            let actions = run.attempt.tick(now);
            run.apply(actions);
        }
    }

    /// One rank's connection, from its greeting to its end. It keeps its place in the doorway until its first message.
    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, place: Admitted) {
        let mut wire = match self.security.accept(stream, peer).await {
            Ok(stream) => Wire::new(stream),
            Err(error) => {
                match Refused::of(&error) {
                    Some(refused) => tracing::warn!("{refused}"),
                    None => tracing::debug!(%peer, %error, "a connection without a greeting"),
                }
                return;
            }
        };
        let greeting = tokio::time::timeout(FIRST_MESSAGE_TIMEOUT, wire.next()).await;
        drop(place);
        let (run_id, event) = match greeting {
            Ok(Ok(Some(FromRank::Enter {
                run_id,
                rank,
                address,
            }))) => (run_id, Event::Enter { rank, address }),
            Ok(Ok(Some(FromRank::Has {
                executor,
                report,
                answers,
            }))) => {
                return self.reports.listen(wire, executor, (report, answers)).await;
            }
            other => {
                tracing::debug!(%peer, ?other, "a connection that is not of a worker");
                return;
            }
        };
        let connection = self.next_connection.fetch_add(1, Ordering::Relaxed);
        let (sender, mut orders) = mpsc::unbounded_channel();
        if !self.enter(&run_id, connection, sender, event) {
            let reason = "this attempt is over".to_owned();
            // A rank without an answer stops as well.
            let _ = wire.send(&ToRank::Abort { reason }).await;
            return;
        }
        loop {
            let event = tokio::select! {
                biased;
                order = orders.recv() => match order {
                    Some(Order::Send(message)) => match wire.send(&message).await {
                        Ok(()) => continue,
                        Err(_) => break,
                    },
                    Some(Order::Close) | None => break,
                },
                message = wire.next::<FromRank>() => match message {
                    Ok(Some(FromRank::Beat(vitals))) => Event::Beat(vitals),
                    Ok(Some(FromRank::Join { rows })) => Event::Join { rows },
                    Ok(Some(FromRank::Refuse { error })) => Event::Refuse { error },
                    Ok(Some(FromRank::End { result, error, is_consequence })) => {
                        Event::End { result, error, is_consequence }
                    }
                    Ok(Some(FromRank::Progress(progress))) => {
                        self.watch(&run_id, RankReport::Progress(progress));
                        continue;
                    }
                    Ok(Some(FromRank::Enter { .. } | FromRank::Has { .. }) | None) | Err(_) => {
                        break;
                    }
                },
            };
            self.handle(&run_id, connection, event);
        }
        self.handle(&run_id, connection, Event::Closed);
        if let Some(run) = self.lock().get_mut(&run_id) {
            run.connections.remove(&connection);
        }
    }

    /// The reports of executors.
    pub(in crate::cluster) fn reports(&self) -> &Reports {
        &self.reports
    }

    /// Adds a connection with its first event to a run; `false` if there is no such run.
    fn enter(
        &self,
        run_id: &str,
        connection: Connection,
        sender: mpsc::UnboundedSender<Order>,
        event: Event,
    ) -> bool {
        let mut runs = self.lock();
        let Some(run) = runs.get_mut(run_id) else {
            return false;
        };
        run.connections.insert(connection, sender);
        let actions = run
            .attempt
            .handle(self.started.elapsed(), connection, event);
        run.apply(actions);
        true
    }

    fn handle(&self, run_id: &str, connection: Connection, event: Event) {
        let mut rows_read = None;
        if let Some(run) = self.lock().get_mut(run_id) {
            let actions = run
                .attempt
                .handle(self.started.elapsed(), connection, event);
            rows_read = actions.rows_read;
            run.apply(actions);
        }
        if let Some(rows) = rows_read {
            self.watch(run_id, RankReport::Rows(rows));
        }
    }

    fn watch(&self, run_id: &str, seen: RankReport) {
        let watcher = self
            .lock()
            .get(run_id)
            .and_then(|run| run.watcher.as_ref().map(Arc::clone));
        if let Some(watcher) = watcher {
            watcher(seen);
        }
    }
}

impl Run {
    fn apply(&mut self, actions: Actions) {
        for (connection, message) in actions.send {
            self.order(connection, Order::Send(message));
        }
        for connection in actions.close {
            self.order(connection, Order::Close);
        }
        if let Some(outcome) = self.attempt.outcome()
            && self.outcome.borrow().is_none()
        {
            self.outcome.send_replace(Some(outcome.clone()));
        }
    }

    fn order(&self, connection: Connection, order: Order) {
        if let Some(sender) = self.connections.get(&connection) {
            // The task of the connection may have ended.
            let _ = sender.send(order);
        }
    }
}

/// An open attempt.
pub(in crate::cluster) struct Opened {
    coordinator: Arc<Coordinator>,
    run_id: String,
    outcome: watch::Receiver<Option<Outcome>>,
}

impl Opened {
    /// Waits for the outcome of the attempt.
    pub(in crate::cluster) async fn outcome(&mut self) -> Outcome {
        match self.outcome.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or(Outcome::Cancelled),
            Err(_) => Outcome::Cancelled,
        }
    }

    /// The outcome of the attempt, if the attempt is over.
    pub(in crate::cluster) fn outcome_now(&self) -> Option<Outcome> {
        self.outcome.borrow().clone()
    }

    /// Returns when no rank of the attempt is at work, as far as the coordinator knows.
    pub(in crate::cluster) async fn emptied(&self) {
        let is_empty = || {
            self.coordinator
                .lock()
                .get(&self.run_id)
                .is_none_or(|run| run.attempt.is_empty())
        };
        while !is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(in crate::cluster) fn cancel(&self) {
        if let Some(run) = self.coordinator.lock().get_mut(&self.run_id) {
            let actions = run.attempt.cancel();
            run.apply(actions);
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.cancel();
        self.coordinator.lock().remove(&self.run_id);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::runtime::SpawnedTask;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn connections_beyond_the_maximum_are_not_greeted() {
        let security = Security::default();
        let coordinator = Coordinator::new(security.clone(), Duration::from_secs(60));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::new(coordinator).serve_through(new_doorway(2), listener);
        let _serving = SpawnedTask::spawn(serving);
        let silent = TcpStream::connect(address).await.unwrap();
        let greeted = TcpStream::connect(address).await.unwrap();
        let mut late = TcpStream::connect(address).await.unwrap();
        // The engine greets first.
        let first = late.read(&mut [0]).await;
        assert!(matches!(first, Ok(0) | Err(_)), "{first:?}");
        let mut rank = Wire::new(security.connect(greeted).await.unwrap());
        let enter = FromRank::Enter {
            run_id: "unknown".into(),
            rank: 0,
            address: "127.0.0.1:1".into(),
        };
        rank.send(&enter).await.unwrap();
        let answer = rank.next::<ToRank>().await.unwrap();
        assert!(matches!(answer, Some(ToRank::Abort { .. })), "{answer:?}");
        // Its place is free again.
        let next = TcpStream::connect(address).await.unwrap();
        assert!(security.connect(next).await.is_ok());
        drop(silent);
    }
}
