//! [`Rendezvous`]: how ranks join a training, so that the same operator runs in one process and on many machines.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::common::DataFusionError;
use vatic_ml::collective::{Collective, LocalCollective};
use vatic_ml::device::cores;
use vatic_ml::train::control::{Control, Progress};

use super::task::TrainTask;
use crate::error::{Result, SqlError, SqlState, sql_err};
use crate::progress::{ProgressEvent, ProgressListener};

/// How ranks find each other. Each rank enters, reads its rows, then joins, or refuses with an error.
#[async_trait]
pub(crate) trait Rendezvous: fmt::Debug + Send + Sync {
    /// Tells that the task of a rank has begun, before the rank reads its rows.
    async fn enter(&self, task: &Arc<TrainTask>, rank: usize) -> Result<Box<dyn Entered>>;

    /// Whether the error means that a machine with rows of this rank was lost, so that the rows are fetched again.
    fn is_lost_input(&self, _error: &DataFusionError) -> bool {
        false
    }
}

/// A rank that reads its rows. If it is dropped, the rank does not join, unless another task enters for it.
#[async_trait]
pub(crate) trait Entered: Send {
    /// Reports that the rank has read `rows` more rows.
    ///
    /// # Errors
    /// If the training has ended meanwhile.
    fn read(&mut self, rows: u64) -> Result<()>;

    /// Joins the training. Waits for the other ranks here, or at the first call of the collective.
    async fn join(self: Box<Self>) -> Result<Joined>;

    /// Tells the other ranks that this rank will not join.
    async fn refuse(self: Box<Self>, error: &SqlError);
}

/// A callback for what a rank writes to files.
pub(crate) type OnWrite = Box<dyn Fn(Option<u64>) + Send + Sync>;

/// The handles that a rank gets when it joins.
pub(crate) struct Joined {
    pub(crate) collective: Box<dyn Collective>,
    /// Its `spent` is what the attempt has taken so far, as far as is known.
    pub(crate) control: Control,
    /// Called with a number of bytes before the rank writes as many to files, and with `None` afterwards.
    pub(crate) on_write: OnWrite,
    /// Reports how the rank ended. On a cluster, dropping the exit stops the rank.
    pub(crate) exit: Box<dyn RankExit>,
}

/// Reports the end of a rank to the other ranks.
#[async_trait]
pub(crate) trait RankExit: Send {
    /// Reports that the rank has ended; rank 0 passes a result. An error of the rank itself stops the other ranks. Of
    /// several errors the first one counts.
    async fn end(self: Box<Self>, result: Result<Option<&str>, &SqlError>);
}

/// The rendezvous of this process, as an extension of the session configuration.
#[derive(Debug)]
pub(crate) struct RendezvousExtension(pub(crate) Arc<dyn Rendezvous>);

/// The rendezvous of ranks that are threads of this process, by run id.
#[derive(Debug, Default)]
pub(crate) struct LocalRendezvous {
    runs: Mutex<HashMap<String, Arc<Run>>>,
}

/// One training: the collectives of ranks that have not joined yet, the control that stops it, and its progress.
struct Run {
    places: Mutex<Vec<Option<LocalCollective>>>,
    control: Control,
    model: String,
    listener: Option<ProgressListener>,
    rows: AtomicU64,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("model", &self.model)
            .finish_non_exhaustive()
    }
}

/// A control that reports progress to the listener until the training is cancelled.
fn control(model: &str, listener: Option<ProgressListener>) -> Control {
    let mut control = Control::default();
    if let Some(listener) = listener {
        let (model, stop) = (model.to_owned(), control.stop.clone());
        control.progress = Some(Arc::new(move |progress: Progress| {
            // After a cancel, a worker may still report its last step, when the shell no longer expects progress.
            if !stop.is_asked() {
                let model = model.clone();
                listener(ProgressEvent::Training { model, progress });
            }
        }));
    }
    control
}

impl LocalRendezvous {
    /// Opens a run of `workers` ranks. Dropping the [`OpenRun`] stops them.
    pub(super) fn open(
        self: &Arc<Self>,
        run_id: &str,
        model: &str,
        workers: usize,
        listener: Option<ProgressListener>,
    ) -> OpenRun {
        let places = LocalCollective::group(workers);
        let run = Arc::new(Run {
            places: Mutex::new(places.into_iter().map(Some).collect()),
            control: Control {
                threads: cores() / workers,
                ..control(model, listener.clone())
            },
            model: model.into(),
            listener,
            rows: AtomicU64::new(0),
        });
        self.lock().insert(run_id.into(), Arc::clone(&run));
        OpenRun {
            rendezvous: Arc::clone(self),
            run_id: run_id.into(),
            run,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Run>>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, run_id: &str, rank: usize) -> Option<(Arc<Run>, LocalCollective)> {
        let run = self.lock().get(run_id).cloned()?;
        let mut places = run.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.get_mut(rank)?.take()?;
        drop(places);
        Some((run, place))
    }
}

#[async_trait]
impl Rendezvous for LocalRendezvous {
    async fn enter(&self, task: &Arc<TrainTask>, rank: usize) -> Result<Box<dyn Entered>> {
        let (run, collective) = self.take(&task.run_id, rank).ok_or_else(|| {
            let message = format!("training {} has no place for worker {rank}", task.run_id);
            sql_err(SqlState::Internal, message)
        })?;
        Ok(Box::new(LocalEntered { run, collective }))
    }
}

/// A rank that reads its rows. Dropping its collective makes the collectives of the other ranks fail.
struct LocalEntered {
    run: Arc<Run>,
    collective: LocalCollective,
}

#[async_trait]
impl Entered for LocalEntered {
    fn read(&mut self, rows: u64) -> Result<()> {
        let rows = self.run.rows.fetch_add(rows, Ordering::Relaxed) + rows;
        if let Some(listener) = &self.run.listener {
            let model = self.run.model.clone();
            listener(ProgressEvent::Reading { model, rows });
        }
        Ok(())
    }

    async fn join(self: Box<Self>) -> Result<Joined> {
        Ok(Joined {
            collective: Box::new(self.collective),
            control: self.run.control.clone(),
            on_write: Box::new(|_| {}),
            exit: Box::new(LocalExit),
        })
    }

    async fn refuse(self: Box<Self>, _error: &SqlError) {}
}

/// Reports nothing: the other ranks see the end in the collective, and the runner has the results of all ranks.
struct LocalExit;

#[async_trait]
impl RankExit for LocalExit {
    async fn end(self: Box<Self>, _result: Result<Option<&str>, &SqlError>) {}
}

/// Keeps a run open until dropped.
#[derive(Debug)]
pub(super) struct OpenRun {
    rendezvous: Arc<LocalRendezvous>,
    run_id: String,
    run: Arc<Run>,
}

impl Drop for OpenRun {
    fn drop(&mut self) {
        self.run.control.stop.ask();
        self.rendezvous.lock().remove(&self.run_id);
        // Drop the collectives that no rank took: the other ranks would wait for them.
        self.run
            .places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        if let Some(listener) = &self.run.listener {
            listener(ProgressEvent::Done);
        }
    }
}
