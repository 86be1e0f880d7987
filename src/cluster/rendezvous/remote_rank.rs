//! The side of a rank: joins, connects to the other ranks, sends beats, and stops on an abort or without answers.

use std::net::{IpAddr, TcpListener as StdListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion::common::runtime::SpawnedTask;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Interval;
use vatic_ml::train::control::{Checkpoints, Control, Progress};

use super::message::{FromRank, ToRank, Wire};
use super::rank::{Next, RankState};
use crate::cluster::collective::{Breaker, TcpCollective};
use crate::cluster::errors::is_lost_input;
use crate::cluster::secure::{SecureStream, Security};
use crate::error::{Result, SqlError, SqlState, io_err, ml_err, sql_err};
use crate::storage::Place;
use crate::testing::crash;
use crate::train::{Joined, RankExit, Rendezvous, TrainTask};
use datafusion::common::DataFusionError;

pub(super) const BEAT: Duration = Duration::from_secs(1);
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The rendezvous of ranks on several machines. The coordinator runs beside the scheduler.
#[derive(Debug)]
pub(in crate::cluster) struct RemoteRendezvous {
    /// The host of the scheduler, as this machine reaches it.
    pub(in crate::cluster) host: String,
    pub(in crate::cluster) security: Security,
}

#[async_trait]
impl Rendezvous for RemoteRendezvous {
    fn read(&self, _task: &TrainTask, _rows: u64) {}

    async fn join(&self, task: &TrainTask, rank: usize) -> Result<Joined> {
        crash::point("before-join");
        let stream = self.connect(task).await?;
        let failed = |error: std::io::Error| io_err("the rendezvous of a training", &error);
        // Other ranks reach this machine at the address from which it reaches the coordinator.
        let here: IpAddr = stream.local_addr().map_err(failed)?.ip();
        let listener = StdListener::bind((here, 0)).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?.to_string();
        let mut wire = Wire::new(stream);
        let join = FromRank::Join {
            run_id: task.run_id.clone(),
            rank,
            address,
        };
        wire.send(&join).await.map_err(failed)?;
        crash::point("after-join");
        tracing::info!(run = %task.run_id, rank, "joined a training");
        let (state, peers) = wait_for_start(&mut wire).await?;
        let (run_id, shards) = (task.run_id.clone(), task.spec.shards);
        let security = self.security.clone();
        let connecting =
            move || TcpCollective::connect(&run_id, rank, &peers, shards, &listener, &security);
        let collective = tokio::task::spawn_blocking(connecting).await;
        let collective = collective
            .map_err(|error| sql_err(SqlState::Internal, format!("connecting workers: {error}")))?;
        let collective = match collective {
            Ok(collective) => collective,
            Err(error) => {
                let error = crate::error::report(&ml_err(error));
                let is_consequence = true;
                let end = FromRank::End {
                    result: None,
                    error: Some(error.clone()),
                    is_consequence,
                };
                // The coordinator notices the end of the connection in any case.
                let _ = wire.send(&end).await;
                return Err(error.into());
            }
        };
        tracing::info!(run = %task.run_id, rank, "started a training");
        let mut joined = joined(wire, state, rank, collective);
        joined.control.checkpoints = Some(Arc::new(CheckpointFile(task.checkpoint.clone())));
        Ok(joined)
    }

    async fn refuse(&self, task: &TrainTask, _rank: usize, error: &SqlError) {
        let refuse = FromRank::Refuse {
            run_id: task.run_id.clone(),
            error: error.clone(),
        };
        // If the coordinator does not get this message, the failed task reports the error.
        if let Ok(stream) = self.connect(task).await {
            let mut wire = Wire::new(stream);
            let _ = wire.send(&refuse).await;
            let _ = tokio::time::timeout(BEAT, wire.next::<ToRank>()).await;
        }
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
            sql_err(SqlState::Io, message)
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

/// Sends beats until all ranks have joined.
async fn wait_for_start(wire: &mut Wire) -> Result<(RankState, Vec<String>)> {
    let mut state = RankState::new(now());
    let mut beats = tokio::time::interval(BEAT);
    loop {
        match next(wire, &mut state, &mut beats).await {
            Next::Start(peers) => return Ok((state, peers)),
            Next::Stop(reason) => {
                let message = format!("the training was stopped: {reason}");
                return Err(sql_err(SqlState::Cancelled, message));
            }
            Next::Nothing | Next::Beat => {}
        }
    }
}

/// The action after the next message or beat. This function sends the beat.
async fn next(wire: &mut Wire, state: &mut RankState, beats: &mut Interval) -> Next {
    tokio::select! {
        message = wire.next::<ToRank>() => match message {
            Ok(Some(message)) => state.heard(now(), message),
            Ok(None) | Err(_) => state.closed(),
        },
        _ = beats.tick() => match state.tick(now()) {
            Next::Beat if wire.send(&FromRank::Beat).await.is_err() => state.closed(),
            other => other,
        },
    }
}

/// The time since the first call in this process.
fn now() -> Duration {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    BEGAN.elapsed()
}

/// A checkpoint in a file that all machines can reach.
struct CheckpointFile(Place);

impl Checkpoints for CheckpointFile {
    fn load(&self) -> Option<Vec<u8>> {
        self.0.read().ok()
    }

    fn save(&self, content: &[u8]) -> vatic_ml::Result<()> {
        self.0.replace(content)?;
        crash::point("checkpoint-kept");
        Ok(())
    }
}

fn joined(wire: Wire, state: RankState, rank: usize, collective: TcpCollective) -> Joined {
    let (sender, outgoing) = mpsc::unbounded_channel();
    let stop = Stop {
        cancelled: Arc::default(),
        breaker: collective.breaker(),
    };
    let mut control = Control {
        cancelled: Arc::clone(&stop.cancelled),
        ..Control::default()
    };
    if rank == 0 {
        let sender = sender.clone();
        control.progress = Some(Arc::new(move |progress: Progress| {
            // After the end of the training nobody listens.
            let _ = sender.send(FromRank::Progress(progress));
        }));
    }
    let task = SpawnedTask::spawn(tend(wire, state, outgoing, stop.clone()));
    Joined {
        collective: Box::new(collective),
        control,
        exit: Box::new(RemoteExit {
            rank,
            sender: Some(sender),
            task: Some(task),
            stop,
        }),
    }
}

/// Stops this rank, whether it computes or waits for other ranks.
#[derive(Clone)]
struct Stop {
    cancelled: Arc<AtomicBool>,
    breaker: Breaker,
}

impl Stop {
    fn stop(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.breaker.disconnect();
    }
}

/// Serves the connection of a rank that trains.
async fn tend(
    mut wire: Wire,
    mut state: RankState,
    mut outgoing: mpsc::UnboundedReceiver<FromRank>,
    stop: Stop,
) {
    let mut beats = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            next = next(&mut wire, &mut state, &mut beats) => if let Next::Stop(reason) = next {
                tracing::info!(reason, "a training was stopped");
                return stop.stop();
            },
            message = outgoing.recv() => {
                // The channel is closed: the rank was dropped.
                let Some(message) = message else {
                    return stop.stop();
                };
                if wire.send(&message).await.is_err() {
                    return stop.stop();
                }
                if matches!(message, FromRank::End { .. }) {
                    return;
                }
            }
        }
    }
}

struct RemoteExit {
    rank: usize,
    sender: Option<mpsc::UnboundedSender<FromRank>>,
    task: Option<SpawnedTask<()>>,
    stop: Stop,
}

#[async_trait]
impl RankExit for RemoteExit {
    async fn end(mut self: Box<Self>, result: Result<Option<&str>, &SqlError>) {
        let is_stopped = self.stop.cancelled.load(Ordering::Relaxed);
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
        if let Some(sender) = self.sender.take() {
            // The connection may have ended before.
            let _ = sender.send(end);
        }
        if let Some(task) = self.task.take() {
            let _ = task.join().await;
        }
        crash::point("after-vote");
    }
}

impl Drop for RemoteExit {
    fn drop(&mut self) {
        // No end was reported: the task was cancelled.
        if self.sender.is_some() {
            self.stop.stop();
        }
    }
}
