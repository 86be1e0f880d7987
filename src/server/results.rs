//! Results of started statements: waiting to be fetched, being fetched, cancelled or forgotten.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arrow_flight::CancelStatus;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::runtime::JoinSet;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tonic::Status;
use vatic_ml::train::control::Progress;

use super::bound_rows::BoundRows;
use super::lock::lock;
use super::status::status;
use super::stop::{Stop, StopOnDrop, cancelled, timed_out};
use super::wire::result_schema;
use crate::error::{Result, SqlError, SqlState, report, sql_err};
use crate::progress::ProgressEvent;
use crate::sql::Effect;
use crate::sql::Limits;

/// The length of a statement's beginning that the web page shows.
const SHOWN_CHARACTERS: usize = 500;
/// The handle of every result without rows.
pub(super) const NOTHING: &str = "nothing";
/// The maximum number of epochs kept for a training.
const EPOCHS_MAX: usize = 10_000;
/// How long a result waits to be fetched, since it holds memory.
const AGE_MAX: Duration = Duration::from_secs(300);
/// A client that stops fetching for this long will not continue.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// A client that stops polling a training for this long will not continue.
const POLL_SILENCE_MAX: Duration = Duration::from_secs(60);
/// How long a cancel waits until it is known how the training ended.
const CANCEL_TIME_MAX: Duration = Duration::from_secs(5);

/// A started statement whose result waits for the client.
pub(super) struct PendingResult {
    /// The beginning of the statement, for the web page.
    pub(super) shown: String,
    /// The schema of the rows on the wire; empty if the statement has no rows.
    pub(super) schema: SchemaRef,
    /// The number of changed rows.
    pub(super) count: Option<u64>,
    content: tokio::sync::Mutex<Content>,
    seen: Arc<Mutex<StatementProgress>>,
    stop: Stop,
    bound: BoundRows,
    effect: Effect,
    /// How the result ended: whoever sets it decides what the client that fetches and the client that cancels are told.
    end: OnceLock<End>,
    /// Whether the client is fetching the rows.
    is_fetched: AtomicBool,
    /// Whether a call waits for the training to end.
    is_awaited: AtomicBool,
    is_done: AtomicBool,
    fetched_at: Mutex<Instant>,
    began_at: Instant,
    /// Computing time used so far, which counts towards the statement's time limit.
    spent: Duration,
    /// The task that computes for a client that polls.
    background: Mutex<JoinSet<()>>,
}

/// A started statement, before its result is kept.
pub(super) struct Begun {
    pub(super) shown: String,
    pub(super) effect: Effect,
    pub(super) rows: SendableRecordBatchStream,
    pub(super) count: Option<u64>,
    pub(super) seen: Arc<Mutex<StatementProgress>>,
    /// Ends the statement.
    pub(super) stop: Stop,
    pub(super) bound: BoundRows,
    /// Computing time used so far.
    pub(super) spent: Duration,
}

impl std::fmt::Debug for PendingResult {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingResult")
            .field("statement", &self.shown)
            .finish_non_exhaustive()
    }
}

/// The progress events of a statement.
#[derive(Debug, Clone, Default)]
pub(super) struct StatementProgress {
    /// Events at the end of an epoch.
    pub(super) epochs: Vec<ProgressEvent>,
    /// Notices about the rows of a training, and about what a query used.
    pub(super) notices: Vec<ProgressEvent>,
    /// The last other event.
    pub(super) last: Option<ProgressEvent>,
}

impl StatementProgress {
    pub(super) fn add(&mut self, event: ProgressEvent) {
        let is_epoch = matches!(
            event,
            ProgressEvent::Training {
                progress: Progress::Epoch(_),
                ..
            }
        );
        if let Some(said) = notice(&event) {
            // A training that restarts on a cluster repeats its notices.
            let is_known = self.notices.iter().any(|known| notice(known) == Some(said));
            if !is_known {
                self.notices.push(event);
            }
        } else if is_epoch && self.epochs.len() < EPOCHS_MAX {
            self.epochs.push(event);
        } else {
            self.last = Some(event);
        }
    }
}

/// What a notice event is about, and its text.
fn notice(event: &ProgressEvent) -> Option<(&str, &str)> {
    match event {
        ProgressEvent::Training {
            model,
            progress: Progress::Notice(text),
        } => Some((model.as_str(), text.as_str())),
        ProgressEvent::Notice { about, text } => Some((about.as_str(), text.as_str())),
        _ => None,
    }
}

/// How a result ended.
#[derive(Debug, Clone, Copy)]
enum End {
    /// The client cancelled it.
    Cancelled,
    /// All its rows were fetched, or it failed.
    Over,
}

enum Content {
    /// The rows of a query, gone once they are fetched.
    Query(Option<SendableRecordBatchStream>),
    /// The stream that trains and then yields the row of the result, and what it has yielded so far.
    Training(SendableRecordBatchStream, Vec<RecordBatch>),
    /// A small result that may be fetched again.
    Kept(Vec<RecordBatch>),
    Failed(SqlError),
}

impl PendingResult {
    /// The result of a statement that has just started.
    pub(super) fn new(begun: Begun) -> Self {
        let Begun {
            shown,
            effect,
            rows,
            count,
            seen,
            stop,
            bound,
            spent,
        } = begun;
        let (schema, content) = match effect {
            Effect::Rows => (result_schema(&rows.schema()), Content::Query(Some(rows))),
            Effect::Model => (
                result_schema(&rows.schema()),
                Content::Training(rows, vec![]),
            ),
            Effect::Change => (Arc::new(Schema::empty()), Content::Kept(vec![])),
        };
        Self {
            shown: shown.chars().take(SHOWN_CHARACTERS).collect(),
            schema,
            count,
            is_done: AtomicBool::new(effect != Effect::Model),
            content: tokio::sync::Mutex::new(content),
            seen,
            stop,
            bound,
            effect,
            end: OnceLock::new(),
            is_fetched: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            fetched_at: Mutex::new(Instant::now()),
            began_at: Instant::now(),
            spent,
            background: Mutex::default(),
        }
    }

    /// Runs the statement to its end and discards its rows.
    pub(super) async fn finish(&self, limits: &Limits) -> Result<(), Status> {
        self.settle(limits.training).await;
        match &mut *self.content.lock().await {
            Content::Failed(error) => Err(status(&error.clone().into())),
            // The rows of a query that runs as an update are discarded; only its success or error matters.
            Content::Query(Some(rows)) => {
                let discarding = async {
                    while rows.next().await.transpose()?.is_some() {}
                    Ok(())
                };
                let discarded = within(limits.statement, self.spent, discarding).await;
                discarded.map_err(|error| status(&error))
            }
            Content::Query(None) | Content::Training(..) | Content::Kept(_) => Ok(()),
        }
    }

    /// Cancels the statement for a client. `Cancelled` means that this call ended the statement: a query whose rows were
    /// not all fetched, or a training that has not published a model and will not.
    pub(super) async fn cancel(&self) -> CancelStatus {
        if self.effect != Effect::Model {
            if !self.end_as(End::Cancelled) {
                return CancelStatus::NotCancellable;
            }
            self.abandon();
            return CancelStatus::Cancelled;
        }
        self.abandon();
        // Waits for whoever waits for the training, or for the training.
        let settling = tokio::time::timeout(CANCEL_TIME_MAX, self.settle(None));
        if settling.await.is_err() {
            return CancelStatus::Cancelling;
        }
        let was_cancelled = match &*self.content.lock().await {
            Content::Failed(error) => error.state == SqlState::Cancelled,
            Content::Query(_) | Content::Training(..) | Content::Kept(_) => false,
        };
        match was_cancelled && self.end_as(End::Cancelled) {
            true => CancelStatus::Cancelled,
            false => CancelStatus::NotCancellable,
        }
    }

    /// Stops the statement, whose result nobody will fetch.
    pub(super) fn abandon(&self) {
        self.stop.ask(&cancelled());
    }

    /// Whether the result has not ended before.
    fn end_as(&self, end: End) -> bool {
        self.end.set(end).is_ok()
    }

    /// Whether the statement computes for a client, or the client is still fetching or polling.
    pub(super) fn is_busy(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
            || (self.is_polled() && self.age() < POLL_SILENCE_MAX)
            || (self.is_fetched.load(Ordering::Relaxed) && self.age() < SILENCE_MAX)
    }

    fn is_polled(&self) -> bool {
        !self.is_ready() && !lock(&self.background).is_empty()
    }

    /// Whether the client has stopped asking for the result.
    pub(super) fn is_stale(&self) -> bool {
        let age_max = match self.is_polled() {
            true => POLL_SILENCE_MAX,
            false => AGE_MAX,
        };
        !self.is_busy() && self.age() >= age_max
    }

    /// Whether the result can be fetched without further computing.
    pub(super) fn is_ready(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }

    /// The time since the client last fetched or polled.
    pub(super) fn age(&self) -> Duration {
        lock(&self.fetched_at).elapsed()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.began_at.elapsed().as_secs_f64()
    }

    pub(super) fn seen(&self) -> StatementProgress {
        lock(&self.seen).clone()
    }

    /// The progress of the statement, shared so that it can be read after the end of the statement.
    pub(super) fn sight(&self) -> Arc<Mutex<StatementProgress>> {
        Arc::clone(&self.seen)
    }

    pub(super) fn touch(&self) {
        *lock(&self.fetched_at) = Instant::now();
    }

    /// Runs a training if it has not run yet, and keeps its row.
    async fn settle(&self, limit: Option<Duration>) {
        let mut content = self.content.lock().await;
        if let Content::Training(rows, batches) = &mut *content {
            // If the caller stops waiting, the training is stopped. Its rows stay here and say how it ended: it may have
            // been published before.
            let mut stopping = StopOnDrop {
                stop: &self.stop,
                is_over: false,
            };
            let training = async {
                while let Some(batch) = rows.next().await.transpose()? {
                    batches.push(batch);
                }
                Ok(std::mem::take(batches))
            };
            let result = self.stop.within(limit, training).await;
            stopping.is_over = true;
            drop(stopping);
            *content = match result {
                Ok(batches) => Content::Kept(batches),
                Err(error) => Content::Failed(report(&self.bound.explain(error))),
            };
        }
        self.is_done.store(true, Ordering::Relaxed);
    }

    /// Runs the statement if it is a training; does nothing for other statements.
    pub(super) async fn train(&self, limit: Option<Duration>) -> Result<(), Status> {
        if matches!(*self.content.lock().await, Content::Training(..)) {
            let _awaited = Awaited::by(self);
            self.settle(limit).await;
        }
        match &*self.content.lock().await {
            Content::Failed(error) => Err(status(&error.clone().into())),
            Content::Query(_) | Content::Training(..) | Content::Kept(_) => Ok(()),
        }
    }

    /// Computes in the background, as long as this result is kept.
    pub(super) fn begin(self: &Arc<Self>, limit: Option<Duration>) {
        let mut background = lock(&self.background);
        if !background.is_empty() || self.is_ready() {
            return;
        }
        // Abandoning the result ends this task, so it does not compute for nobody.
        let ticketed = Arc::clone(self);
        background.spawn(async move { ticketed.settle(limit).await });
    }
}

/// Marks a training as awaited until this is dropped.
struct Awaited<'a>(&'a AtomicBool);

impl<'a> Awaited<'a> {
    fn by(ticketed: &'a PendingResult) -> Self {
        ticketed.is_awaited.store(true, Ordering::Relaxed);
        Self(&ticketed.is_awaited)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

pub(super) async fn collect(rows: &mut SendableRecordBatchStream) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await.transpose()? {
        batches.push(batch);
    }
    Ok(batches)
}

/// Runs `work`, which changes nothing, within the limit, of which `spent` is already used.
async fn within<T>(
    limit: Option<Duration>,
    spent: Duration,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    let Some(limit) = limit else {
        return work.await;
    };
    let result = tokio::time::timeout(limit.saturating_sub(spent), work).await;
    result.unwrap_or_else(|_| Err(timed_out(limit)))
}

/// The rows of a result. The value of `hold` is dropped with the rows of a query, which are gone once they are fetched.
pub(super) fn fetch<H: Send + 'static>(
    ticketed: Arc<PendingResult>,
    limits: &Limits,
    hold: impl FnOnce() -> H,
) -> Result<SendableRecordBatchStream, Status> {
    let taken = match ticketed.content.try_lock() {
        Ok(mut content) => match &mut *content {
            Content::Query(rows) => Some(rows.take()),
            Content::Training(..) | Content::Kept(_) | Content::Failed(_) => None,
        },
        // A training is running.
        Err(_) => None,
    };
    match taken {
        Some(Some(rows)) => {
            ticketed.is_fetched.store(true, Ordering::Relaxed);
            Ok(fetched(
                rows,
                (ticketed, hold()),
                limits.statement,
                limits.result_rows,
            ))
        }
        Some(None) => Err(Status::not_found("the result was fetched already")),
        None => Ok(settled(ticketed, limits.training)),
    }
}

fn fetched<H: Send + 'static>(
    rows: SendableRecordBatchStream,
    (ticketed, held): (Arc<PendingResult>, H),
    limit: Option<Duration>,
    rows_max: Option<u64>,
) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let spent = ticketed.spent;
    let state = (Some(rows), (ticketed, held), spent, 0);
    let rows = futures::stream::unfold(
        state,
        move |(rows, (ticketed, held), mut used, mut count)| async move {
            let mut rows = rows?;
            ticketed.touch();
            let waiting_since = Instant::now();
            let left = limit.map(|limit| limit.saturating_sub(used));
            let mut next = tokio::select! {
                biased;
                error = ticketed.stop.asked() => Some(Err(error)),
                () = async { tokio::time::sleep(left.unwrap_or_default()).await }, if left.is_some() => {
                    Some(Err(timed_out(limit.unwrap_or_default())))
                }
                next = rows.next() => next,
            };
            used += waiting_since.elapsed();
            if let (Some(Ok(batch)), Some(max)) = (&next, rows_max) {
                count += batch.num_rows() as u64;
                if count > max {
                    let message = format!(
                        "the result has over {max} rows, the limit of this server; use LIMIT"
                    );
                    next = Some(Err(sql_err(SqlState::OutOfMemory, message)));
                }
            }
            let is_last = !matches!(next, Some(Ok(_)));
            if is_last && !ticketed.end_as(End::Over) {
                // The client that cancelled was told so.
                next = Some(Err(cancelled()));
            }
            let next = next?;
            // The stream ends after an error.
            let rows = next.is_ok().then_some(rows);
            Some((next, (rows, (ticketed, held), used, count)))
        },
    );
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The result of a training or a change; it may be fetched again.
fn settled(ticketed: Arc<PendingResult>, limit: Option<Duration>) -> SendableRecordBatchStream {
    let schema = Arc::clone(&ticketed.schema);
    let rows = futures::stream::once(async move {
        ticketed.touch();
        let awaited = Awaited::by(&ticketed);
        ticketed.settle(limit).await;
        drop(awaited);
        let content = ticketed.content.lock().await;
        match &*content {
            Content::Kept(batches) => Ok(futures::stream::iter(batches.clone()).map(Ok)),
            Content::Failed(error) => Err(error.clone().into()),
            Content::Query(_) | Content::Training(..) => Err(cancelled()),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows.try_flatten()))
}
