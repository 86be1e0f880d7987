//! Results between their statement and their client: what waits to be fetched, is fetched, was cancelled or forgotten.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::JoinSet;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use vatic_ml::train::control::Progress;

use super::lock::lock;
use super::status::status;
use super::wire::result_schema;
use crate::error::{Result, SqlError, SqlState, report, sql_err};
use crate::progress::ProgressEvent;
use crate::sql::Effect;
use crate::sql::Limits;

/// Of a statement, as much as is shown to others.
const SHOWN_CHARACTERS: usize = 500;
/// The handle of every result without rows.
pub(super) const NOTHING: &str = "nothing";
/// Epochs of a training that are remembered.
const EPOCHS_MAX: usize = 10_000;
/// A result that nobody comes for holds memory.
const AGE_MAX: Duration = Duration::from_secs(300);
/// Who stops fetching for so long will not go on.
const SILENCE_MAX: Duration = Duration::from_secs(600);
/// And who stops asking for a training that is polled.
const POLL_SILENCE_MAX: Duration = Duration::from_secs(60);

/// A statement that was begun, and whose result waits for its client.
pub(super) struct Ticketed {
    /// The beginning of the statement, for those who look.
    pub(super) shown: String,
    /// Of the rows as clients get them; without columns if there are none.
    pub(super) schema: SchemaRef,
    /// Rows that were changed.
    pub(super) count: Option<u64>,
    content: tokio::sync::Mutex<Content>,
    seen: Arc<Mutex<Seen>>,
    stop: CancellationToken,
    /// Whether its rows are being fetched.
    is_fetched: AtomicBool,
    /// Whether somebody waits for the training to end.
    is_awaited: AtomicBool,
    is_done: AtomicBool,
    fetched_at: Mutex<Instant>,
    began_at: Instant,
    /// Of the time that a statement may compute.
    spent: Duration,
    /// Computes for a client that polls.
    background: Mutex<JoinSet<()>>,
}

/// A statement that was begun, before its result is kept.
pub(super) struct Begun {
    pub(super) shown: String,
    pub(super) effect: Effect,
    pub(super) rows: SendableRecordBatchStream,
    pub(super) count: Option<u64>,
    pub(super) seen: Arc<Mutex<Seen>>,
    /// How long it took so far.
    pub(super) spent: Duration,
}

impl std::fmt::Debug for Ticketed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticketed")
            .field("statement", &self.shown)
            .finish_non_exhaustive()
    }
}

/// What a statement said of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// Ends of epochs.
    pub(super) epochs: Vec<ProgressEvent>,
    /// What the user should know of a training's rows.
    pub(super) notices: Vec<ProgressEvent>,
    /// What came last.
    pub(super) last: Option<ProgressEvent>,
}

impl Seen {
    pub(super) fn add(&mut self, event: ProgressEvent) {
        let is_epoch = matches!(
            event,
            ProgressEvent::Training {
                progress: Progress::Epoch(_),
                ..
            }
        );
        if let Some(text) = notice(&event) {
            // A training that begins again on a cluster says the same again.
            let is_known = self.notices.iter().any(|known| notice(known) == Some(text));
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

/// What the user should know, if the event says that.
fn notice(event: &ProgressEvent) -> Option<&str> {
    match event {
        ProgressEvent::Training {
            progress: Progress::Notice(text),
            ..
        } => Some(text),
        _ => None,
    }
}

enum Content {
    /// Rows of a query, which are gone once they are fetched.
    Query(Option<SendableRecordBatchStream>),
    /// What becomes the row of a training.
    Training(SendableRecordBatchStream),
    /// A small result that may be fetched again.
    Kept(Vec<RecordBatch>),
    Failed(SqlError),
}

impl Ticketed {
    /// What was begun just now.
    pub(super) fn new(begun: Begun) -> Self {
        let Begun {
            shown,
            effect,
            rows,
            count,
            seen,
            spent,
        } = begun;
        let (schema, content) = match effect {
            Effect::Rows => (result_schema(&rows.schema()), Content::Query(Some(rows))),
            Effect::Model => (result_schema(&rows.schema()), Content::Training(rows)),
            Effect::Change => (Arc::new(Schema::empty()), Content::Kept(vec![])),
        };
        Self {
            shown: shown.chars().take(SHOWN_CHARACTERS).collect(),
            schema,
            count,
            is_done: AtomicBool::new(effect != Effect::Model),
            content: tokio::sync::Mutex::new(content),
            seen,
            stop: CancellationToken::new(),
            is_fetched: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            fetched_at: Mutex::new(Instant::now()),
            began_at: Instant::now(),
            spent,
            background: Mutex::default(),
        }
    }

    /// Computes to the end for nothing but what it changes.
    pub(super) async fn finish(&self, limits: &Limits) -> Result<(), Status> {
        self.settle(limits.training).await;
        match &mut *self.content.lock().await {
            Content::Failed(error) => Err(status(&error.clone().into())),
            // Nobody wants the rows of a query that is run as an update; that it works is an answer.
            Content::Query(Some(rows)) => {
                let discarding = async {
                    while rows.next().await.transpose()?.is_some() {}
                    Ok(())
                };
                let discarded = within(limits.statement, self.spent, discarding).await;
                discarded.map_err(|error| status(&error))
            }
            Content::Query(None) | Content::Training(_) | Content::Kept(_) => Ok(()),
        }
    }

    /// Returns when its client wants no more of it.
    async fn stopped(&self) -> DataFusionError {
        self.stop.cancelled().await;
        cancelled()
    }

    pub(super) fn cancel(&self) {
        self.stop.cancel();
        lock(&self.background).abort_all();
    }

    /// Whether it computes for a client, or the client fetches or asks for it still.
    pub(super) fn is_busy(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
            || (self.is_polled() && self.age() < POLL_SILENCE_MAX)
            || (self.is_fetched.load(Ordering::Relaxed) && self.age() < SILENCE_MAX)
    }

    fn is_polled(&self) -> bool {
        !self.is_ready() && !lock(&self.background).is_empty()
    }

    /// Whether its client has forgotten it.
    pub(super) fn is_stale(&self) -> bool {
        let age_max = match self.is_polled() {
            true => POLL_SILENCE_MAX,
            false => AGE_MAX,
        };
        !self.is_busy() && self.age() >= age_max
    }

    /// Whether nothing is left to compute before the result can be fetched.
    pub(super) fn is_ready(&self) -> bool {
        self.is_done.load(Ordering::Relaxed)
    }

    /// Since its client last took something of it.
    pub(super) fn age(&self) -> Duration {
        lock(&self.fetched_at).elapsed()
    }

    pub(super) fn seconds(&self) -> f64 {
        self.began_at.elapsed().as_secs_f64()
    }

    pub(super) fn seen(&self) -> Seen {
        lock(&self.seen).clone()
    }

    /// What is seen of the statement, also when that has ended.
    pub(super) fn sight(&self) -> Arc<Mutex<Seen>> {
        Arc::clone(&self.seen)
    }

    pub(super) fn touch(&self) {
        *lock(&self.fetched_at) = Instant::now();
    }

    /// The row of a training, computed now if nobody did before.
    async fn settle(&self, limit: Option<Duration>) {
        let mut content = self.content.lock().await;
        if matches!(*content, Content::Training(_)) {
            // Whoever stops waiting drops the rows with it, and so cancels the training.
            let abandoned = Content::Failed(report(&cancelled()));
            let Content::Training(mut rows) = std::mem::replace(&mut *content, abandoned) else {
                return;
            };
            let result = tokio::select! {
                result = within(limit, Duration::ZERO, collect(&mut rows)) => result,
                error = self.stopped() => Err(error),
            };
            *content = match result {
                Ok(batches) => Content::Kept(batches),
                Err(error) => Content::Failed(report(&error)),
            };
        }
        self.is_done.store(true, Ordering::Relaxed);
    }

    /// Trains, if that is what the statement does; of other statements nothing is done.
    pub(super) async fn train(&self, limit: Option<Duration>) -> Result<(), Status> {
        if matches!(*self.content.lock().await, Content::Training(_)) {
            let _awaited = Awaited::by(self);
            self.settle(limit).await;
        }
        match &*self.content.lock().await {
            Content::Failed(error) => Err(status(&error.clone().into())),
            Content::Query(_) | Content::Training(_) | Content::Kept(_) => Ok(()),
        }
    }

    /// Computes without anybody who fetches, as long as this is kept.
    pub(super) fn begin(self: &Arc<Self>, limit: Option<Duration>) {
        let mut background = lock(&self.background);
        if !background.is_empty() || self.is_ready() {
            return;
        }
        // Whoever forgets a result cancels it, so it is not computed on for nobody.
        let ticketed = Arc::clone(self);
        background.spawn(async move { ticketed.settle(limit).await });
    }
}

/// Somebody who waits for a training, until this is dropped.
struct Awaited<'a>(&'a AtomicBool);

impl<'a> Awaited<'a> {
    fn by(ticketed: &'a Ticketed) -> Self {
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

fn cancelled() -> DataFusionError {
    sql_err(SqlState::Cancelled, "cancelled")
}

/// What comes within the limit, some of which is spent already.
pub(super) async fn within<T>(
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

fn timed_out(limit: Duration) -> DataFusionError {
    let message = format!("the statement took longer than {} s", limit.as_secs());
    sql_err(SqlState::TimedOut, message)
}

/// The rows of a result. What `hold` gives is let go of with the rows of a query, which are gone once they are fetched.
pub(super) fn fetch<H: Send + 'static>(
    ticketed: Arc<Ticketed>,
    limits: &Limits,
    hold: impl FnOnce() -> H,
) -> Result<SendableRecordBatchStream, Status> {
    let taken = match ticketed.content.try_lock() {
        Ok(mut content) => match &mut *content {
            Content::Query(rows) => Some(rows.take()),
            Content::Training(_) | Content::Kept(_) | Content::Failed(_) => None,
        },
        // A training is being computed.
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
    (ticketed, held): (Arc<Ticketed>, H),
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
            let next = tokio::select! {
                biased;
                error = ticketed.stopped() => Some(Err(error)),
                () = async { tokio::time::sleep(left.unwrap_or_default()).await }, if left.is_some() => {
                    Some(Err(timed_out(limit.unwrap_or_default())))
                }
                next = rows.next() => next,
            };
            used += waiting_since.elapsed();
            let mut next = next?;
            if let (Ok(batch), Some(max)) = (&next, rows_max) {
                count += batch.num_rows() as u64;
                if count > max {
                    let message = format!(
                        "the result has over {max} rows, which this server does not send; use LIMIT"
                    );
                    next = Err(sql_err(SqlState::OutOfMemory, message));
                }
            }
            // After an error there is nothing.
            let rows = next.is_ok().then_some(rows);
            Some((next, (rows, (ticketed, held), used, count)))
        },
    );
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The small result of what runs once; it may be fetched again.
fn settled(ticketed: Arc<Ticketed>, limit: Option<Duration>) -> SendableRecordBatchStream {
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
            Content::Query(_) | Content::Training(_) => Err(cancelled()),
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows.try_flatten()))
}
