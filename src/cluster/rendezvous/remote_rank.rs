//! The side of a rank: enters, reads its rows, joins, connects to the other ranks, sends beats, and stops on an abort or
//! without answers. One task serves the connection to the coordinator from the first message to the last.

use std::net::{IpAddr, TcpListener as StdListener};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::SpawnedTask;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use vatic_ml::train::control::{Control, Progress};

use super::attempt::JOIN_TIMEOUT;
use super::checkpoint::CheckpointFile;
use super::message::{FromRank, ToRank, Wire};
use super::rank::{Next, RankState};
use crate::cluster::collective::{Breaker, Seat, TcpCollective};
use crate::cluster::errors::is_lost_input;
use crate::cluster::pulse::{Activity, Pulse};
use crate::cluster::secure::{SecureStream, Security};
use crate::error::{Result, SqlError, SqlState, io_err, ml_err, sql_err};
use crate::testing::crash;
use crate::train::{Entered, Joined, RankExit, Rendezvous, TrainTask};

pub(super) const BEAT: Duration = Duration::from_secs(1);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(200);

/// The rendezvous of ranks on several machines. The coordinator runs beside the scheduler.
#[derive(Debug)]
pub(in crate::cluster) struct RemoteRendezvous {
    /// The host of the scheduler, as this machine reaches it.
    pub(in crate::cluster) host: String,
    pub(in crate::cluster) security: Security,
}

#[async_trait]
impl Rendezvous for RemoteRendezvous {
    async fn enter(&self, task: &Arc<TrainTask>, rank: usize) -> Result<Box<dyn Entered>> {
        let began = Instant::now();
        // An engine may stall for some seconds, for example as all ranks enter.
        let stream = loop {
            match self.connect(task).await {
                Err(error)
                    if crate::error::report(&error).state == SqlState::Peer
                        && began.elapsed() < JOIN_TIMEOUT =>
                {
                    tracing::debug!(%error, "the engine cannot be reached; trying again");
                    tokio::time::sleep(RETRY).await;
                }
                connected => break connected?,
            }
        };
        let failed = |error: std::io::Error| io_err("the rendezvous of a training", &error);
        // Other ranks reach this machine at the address from which it reaches the coordinator.
        let here: IpAddr = stream.local_addr().map_err(failed)?.ip();
        let listener = StdListener::bind((here, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        let mut wire = Wire::new(stream);
        let enter = FromRank::Enter {
            run_id: task.run_id.clone(),
            rank,
            address,
        };
        wire.send(&enter).await.map_err(failed)?;
        let (sender, outgoing) = mpsc::unbounded_channel();
        let (start, started) = oneshot::channel();
        let (stop, pulse) = (Stop::default(), Arc::new(Pulse::default()));
        let link = CoordinatorLink {
            wire,
            outgoing,
            start: Some(start),
            stop: stop.clone(),
            pulse: Arc::clone(&pulse),
        };
        Ok(Box::new(RemoteEntered {
            task: Arc::clone(task),
            rank,
            rows: 0,
            listener,
            started,
            seat: Membership {
                rank,
                sender: Some(sender),
                tending: Some(SpawnedTask::spawn(link.serve())),
                stop,
            },
            pulse,
            security: self.security.clone(),
        }))
    }

    fn is_lost_input(&self, error: &DataFusionError) -> bool {
        is_lost_input(error)
    }
}

impl RemoteRendezvous {
    async fn connect(&self, task: &TrainTask) -> Result<SecureStream> {
        let port = task
            .port
            .ok_or_else(|| sql_err(SqlState::Internal, "a training without a coordinator"))?;
        let unreachable = |problem: String| {
            let message = format!(
                "the engine at {}:{port} cannot be reached: {problem}",
                self.host
            );
            sql_err(SqlState::Peer, message)
        };
        let connecting = TcpStream::connect((self.host.as_str(), port));
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error| unreachable(error.to_string()))?,
            Err(_) => return Err(unreachable("no answer".into())),
        };
        let greeted = self.security.connect(stream).await;
        greeted.map_err(|error| unreachable(error.to_string()))
    }
}

/// What a rank learns when all ranks have joined.
struct Started {
    /// The addresses of all ranks.
    peers: Vec<String>,
    /// The time that the attempt had taken when the rank learnt this.
    spent: Duration,
    at: Instant,
}

/// A rank that reads its rows.
struct RemoteEntered {
    task: Arc<TrainTask>,
    rank: usize,
    rows: u64,
    listener: StdListener,
    started: oneshot::Receiver<Started>,
    seat: Membership,
    pulse: Arc<Pulse>,
    security: Security,
}

#[async_trait]
impl Entered for RemoteEntered {
    fn read(&mut self, rows: u64) -> Result<()> {
        self.rows += rows;
        self.pulse.count(rows);
        match self.seat.stop.reason() {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
    }

    async fn join(self: Box<Self>) -> Result<Joined> {
        crash::point("before-join");
        let Self {
            task,
            rank,
            rows,
            listener,
            started,
            seat,
            pulse,
            security,
        } = *self;
        seat.tell(FromRank::Join { rows });
        let Ok(Started { peers, spent, at }) = started.await else {
            return Err(seat.stop.reason().unwrap_or_else(connection_ended).into());
        };
        pulse.set(Activity::Computing);
        let (run_id, shards) = (task.run_id.clone(), task.spec.shards);
        let shared = Arc::clone(&pulse);
        let connecting = move || {
            let seat = Seat {
                run_id: &run_id,
                rank,
                addresses: &peers,
                shards,
            };
            TcpCollective::connect(&seat, &listener, &security, shared)
        };
        let collective = tokio::task::spawn_blocking(connecting).await;
        let collective = collective
            .map_err(|error| sql_err(SqlState::Internal, format!("connecting workers: {error}")))?;
        let collective = match collective {
            Ok(collective) => collective,
            Err(error) => {
                let error = unconnected(crate::error::report(&ml_err(error)));
                seat.end(FromRank::End {
                    result: None,
                    error: Some(error.clone()),
                    is_consequence: true,
                })
                .await;
                return Err(error.into());
            }
        };
        seat.stop.arm(collective.breaker());
        tracing::info!(run = %task.run_id, rank, "started a training");
        let mut control = Control {
            stop: seat.stop.work.clone(),
            checkpoints: Some(Arc::new(CheckpointFile {
                place: task.checkpoint.clone(),
                pulse: Arc::clone(&pulse),
            })),
            spent: spent + at.elapsed(),
            ..Control::default()
        };
        if rank == 0 {
            let sender = seat.sender.clone();
            control.progress = Some(Arc::new(move |progress: Progress| {
                if let Some(sender) = &sender {
                    // After the end of the training nobody listens.
                    let _ = sender.send(FromRank::Progress(progress));
                }
            }));
        }
        Ok(Joined {
            collective: Box::new(collective),
            control,
            on_write: Box::new(move |bytes| {
                pulse.set(match bytes {
                    Some(bytes) => Activity::Writing { bytes },
                    None => Activity::Computing,
                });
            }),
            exit: Box::new(seat),
        })
    }

    async fn refuse(self: Box<Self>, error: &SqlError) {
        let error = error.clone();
        // If the coordinator does not get this message, the failed task reports the error.
        let refusing = self.seat.end(FromRank::Refuse { error });
        let _ = tokio::time::timeout(BEAT, refusing).await;
    }
}

/// The time since the first call in this process.
fn now() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

/// Stops this rank, whether it reads, computes or waits for other ranks.
#[derive(Clone, Default)]
struct Stop {
    /// Ends the computation.
    work: vatic_ml::stop::Stop,
    state: Arc<Mutex<StopState>>,
}

#[derive(Default)]
struct StopState {
    /// The connections of the rank, once it has some.
    breaker: Option<Breaker>,
    reason: Option<SqlError>,
}

impl Stop {
    fn stop(&self, reason: SqlError) {
        let mut state = self.lock();
        state.reason.get_or_insert(reason);
        self.work.ask();
        if let Some(breaker) = &state.breaker {
            breaker.disconnect();
        }
    }

    /// From now on, these connections are ended too.
    fn arm(&self, breaker: Breaker) {
        let mut state = self.lock();
        if state.reason.is_some() {
            breaker.disconnect();
        }
        state.breaker = Some(breaker);
    }

    /// Why the rank was stopped, if it was.
    fn reason(&self) -> Option<SqlError> {
        self.lock().reason.clone()
    }

    fn lock(&self) -> MutexGuard<'_, StopState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a rank that the coordinator stopped.
fn stopped(reason: &str) -> SqlError {
    SqlError {
        state: SqlState::Cancelled,
        message: format!("the training was stopped: {reason}"),
        position: None,
    }
}

/// The error of a rank without a coordinator, which is not the cause of the end of a training.
fn lost(reason: &str) -> SqlError {
    SqlError {
        state: SqlState::Peer,
        message: format!("a worker was stopped: {reason}"),
        position: None,
    }
}

/// The error of a rank that cannot connect to the others: another attempt may succeed, on other machines or later.
fn unconnected(error: SqlError) -> SqlError {
    match error.state {
        SqlState::Io => SqlError {
            state: SqlState::Peer,
            ..error
        },
        _ => error,
    }
}

fn connection_ended() -> SqlError {
    lost("its connection ended")
}

/// The connection of a rank to the coordinator.
struct CoordinatorLink {
    wire: Wire,
    outgoing: mpsc::UnboundedReceiver<FromRank>,
    /// Receives the start.
    start: Option<oneshot::Sender<Started>>,
    stop: Stop,
    pulse: Arc<Pulse>,
}

impl CoordinatorLink {
    /// Serves the connection until the rank has ended or is stopped.
    async fn serve(self) {
        let Self {
            mut wire,
            mut outgoing,
            mut start,
            stop,
            pulse,
        } = self;
        let mut state = RankState::new(now());
        let mut beats = tokio::time::interval(BEAT);
        loop {
            let (next, is_last) = tokio::select! {
                message = wire.next::<ToRank>() => match message {
                    Ok(Some(message)) => (state.heard(now(), message), false),
                    Ok(None) | Err(_) => (state.closed(), false),
                },
                _ = beats.tick() => match state.tick(now()) {
                    Next::Beat => {
                        let beat = FromRank::Beat(pulse.vitals());
                        (sent(&mut wire, &state, &beat).await, false)
                    }
                    other => (other, false),
                },
                message = outgoing.recv() => {
                    // The channel is closed: the rank was dropped.
                    let Some(message) = message else {
                        return stop.stop(connection_ended());
                    };
                    let next = sent(&mut wire, &state, &message).await;
                    if matches!(message, FromRank::Join { .. }) {
                        crash::point("after-join");
                    }
                    (next, matches!(message, FromRank::End { .. }))
                }
            };
            match next {
                Next::Start { peers, spent } => {
                    let at = Instant::now();
                    if let Some(start) = start.take() {
                        // The rank may have been dropped.
                        let _ = start.send(Started { peers, spent, at });
                    }
                }
                Next::Stop(reason) => {
                    tracing::info!(reason, "a training was stopped");
                    return stop.stop(stopped(&reason));
                }
                Next::LostEngine(reason) => {
                    tracing::info!(reason, "a worker of a training was stopped");
                    return stop.stop(lost(&reason));
                }
                Next::Nothing | Next::Beat => {}
            }
            if is_last {
                return;
            }
        }
    }
}

/// Sends a message.
async fn sent(wire: &mut Wire, state: &RankState, message: &FromRank) -> Next {
    match wire.send(message).await {
        Ok(()) => Next::Nothing,
        Err(_) => state.closed(),
    }
}

/// A rank that has entered. Dropping it stops the rank, and closes its connection.
struct Membership {
    rank: usize,
    /// `None` once the last message was sent.
    sender: Option<mpsc::UnboundedSender<FromRank>>,
    tending: Option<SpawnedTask<()>>,
    stop: Stop,
}

impl Membership {
    fn tell(&self, message: FromRank) {
        if let Some(sender) = &self.sender {
            // The connection may have ended before.
            let _ = sender.send(message);
        }
    }

    /// Sends the last message, and waits for the end of the connection.
    async fn end(mut self, message: FromRank) {
        self.tell(message);
        // The channel stays open: if it closed, the rank would count as dropped.
        let _sender = self.sender.take();
        if let Some(tending) = self.tending.take() {
            let _ = tending.join().await;
        }
    }
}

#[async_trait]
impl RankExit for Membership {
    async fn end(self: Box<Self>, result: Result<Option<&str>, &SqlError>) {
        let is_stopped = self.stop.work.is_asked();
        let error = result.err().cloned().map(|mut error| {
            // An error in the data names the row; an internal error must name the worker.
            if error.state == SqlState::Internal {
                error.message = format!("worker {}: {}", self.rank, error.message);
            }
            error
        });
        let is_peer = |error: &SqlError| error.state == SqlState::Peer;
        let end = FromRank::End {
            result: result.ok().flatten().map(str::to_owned),
            is_consequence: error
                .as_ref()
                .is_some_and(|error| is_stopped || is_peer(error)),
            error,
        };
        crash::point("before-vote");
        Membership::end(*self, end).await;
        crash::point("after-vote");
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // No end was reported: the task was cancelled.
        if self.sender.is_some() {
            self.stop.stop(connection_ended());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_that_cannot_connect_are_not_an_error_of_files() {
        let state = |error| unconnected(crate::error::report(&ml_err(error))).state;
        let refused = vatic_ml::Error::from(std::io::Error::from(std::io::ErrorKind::TimedOut));
        // Of this state, the training has another attempt.
        assert_eq!(state(refused), SqlState::Peer);
        assert_eq!(state(vatic_ml::Error::Peer), SqlState::Peer);
        let bug = vatic_ml::Error::Internal("x".into());
        assert_eq!(state(bug), SqlState::Internal);
    }
}
