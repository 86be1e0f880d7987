//! Statements from text to ticket. Each runs once, when the client asks for it: what changes something and a training to
//! their end, a query as far as its first rows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Int64Type, Schema, SchemaRef, UInt64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::JoinSet;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use vatic_ml::fit::Progress;

use super::output::result_schema;
use super::service::Server;
use super::sessions::Client;
use super::status::status;
use crate::error::{Result, SqlError, SqlState, report, sql_err};
use crate::run::run_answer;
use crate::session::{Answer, Description, Effect, Session, check_script, empty};
use crate::sql::script::{Piece, split};
use crate::sql::{Limits, Parameters};
use crate::train::ProgressEvent;

/// Of a statement, as much as is shown to others.
const SHOWN_CHARACTERS: usize = 500;
/// And who stops asking for a training that is polled.
const POLL_SILENCE_MAX: Duration = Duration::from_secs(60);
/// The handle of every result without rows.
const NOTHING: &str = "nothing";
/// Epochs of a training that are remembered.
const EPOCHS_MAX: usize = 10_000;
/// A result that nobody comes for holds memory.
const AGE_MAX: Duration = Duration::from_secs(300);
/// Who stops fetching for so long will not go on.
const SILENCE_MAX: Duration = Duration::from_secs(600);

/// A prepared statement.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) parameters: Parameters,
    pub(super) description: Description,
    /// The rows of values that were bound last.
    bound: Mutex<Option<RecordBatch>>,
}

impl Prepared {
    /// Plans a statement without running it.
    pub(super) async fn new(server: &Server, client: &Client, text: &str) -> Result<Self, Status> {
        let parameters = Parameters::find(text).map_err(|error| status(&error))?;
        let session = client.session.clone();
        let found = parameters.clone();
        let mut task = JoinSet::new();
        task.spawn_on(
            async move { session.describe(&found).await },
            &server.workers,
        );
        let described = task.join_next().await;
        let panicked = || sql_err(SqlState::Internal, "planning ended in a panic, a bug");
        let described = described
            .and_then(Result::ok)
            .unwrap_or_else(|| Err(panicked()));
        Ok(Self {
            parameters,
            description: described.map_err(|error| status(&error))?,
            bound: Mutex::default(),
        })
    }

    pub(super) fn bind(&self, values: RecordBatch) {
        *lock(&self.bound) = Some(values);
    }

    pub(super) fn bound(&self) -> Option<RecordBatch> {
        lock(&self.bound).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    /// Computes for a client that polls.
    background: Mutex<JoinSet<()>>,
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
    /// What came last.
    pub(super) last: Option<ProgressEvent>,
}

impl Seen {
    fn add(&mut self, event: ProgressEvent) {
        let is_epoch = matches!(
            event,
            ProgressEvent::Training {
                progress: Progress::Epoch(_),
                ..
            }
        );
        if is_epoch && self.epochs.len() < EPOCHS_MAX {
            self.epochs.push(event);
        } else {
            self.last = Some(event);
        }
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
            let working = async {
                match limit {
                    Some(limit) => match tokio::time::timeout(limit, collect(&mut rows)).await {
                        Ok(result) => result,
                        Err(_) => Err(timed_out(limit)),
                    },
                    None => collect(&mut rows).await,
                }
            };
            let result = tokio::select! {
                result = working => result,
                () = self.stop.cancelled() => Err(cancelled()),
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

async fn collect(rows: &mut SendableRecordBatchStream) -> Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await.transpose()? {
        batches.push(batch);
    }
    Ok(batches)
}

fn cancelled() -> DataFusionError {
    sql_err(SqlState::Cancelled, "cancelled")
}

fn timed_out(limit: Duration) -> DataFusionError {
    let message = format!("the statement took longer than {} s", limit.as_secs());
    sql_err(SqlState::TimedOut, message)
}

/// What is to be run.
pub(super) enum Work {
    /// One statement.
    Texts(Vec<String>),
    /// A prepared statement with its values, or several rows of them: their results follow each other.
    Bound(Vec<String>),
    /// A statement over rows that are bound to it.
    Rows {
        parameters: Parameters,
        rows: RecordBatch,
    },
}

/// Begins a statement and keeps it for its client.
pub(super) async fn start(
    server: &Server,
    client: &Client,
    work: Work,
) -> Result<(String, Arc<Ticketed>), Status> {
    let _slot = server.slot().await?;
    let ticketed = begin(server, client, work)
        .await
        .map_err(|error| status(&error))?;
    if ticketed.schema.fields().is_empty() {
        // It has happened; there is nothing to come back for.
        return Ok((NOTHING.to_owned(), Arc::new(ticketed)));
    }
    client.keep(ticketed)
}

/// Runs a statement for what it changes.
pub(super) async fn update(server: &Server, client: &Client, work: Work) -> Result<u64, Status> {
    let _slot = server.slot().await?;
    if let Work::Texts(texts) = &work
        && let [script] = texts.as_slice()
        && let pieces = split(script)
        && pieces.len() > 1
    {
        return run_script(server, client, &pieces).await;
    }
    update_one(server, client, work).await
}

/// Runs a script up to its first error.
async fn run_script(server: &Server, client: &Client, pieces: &[Piece<'_>]) -> Result<u64, Status> {
    check_script(pieces).map_err(|error| status(&error))?;
    let mut count: u64 = 0;
    for piece in pieces {
        let work = Work::Texts(vec![piece.text.to_owned()]);
        count = count.saturating_add(update_one(server, client, work).await?);
    }
    Ok(count)
}

async fn update_one(server: &Server, client: &Client, work: Work) -> Result<u64, Status> {
    let ticketed = begin(server, client, work)
        .await
        .map_err(|error| status(&error))?;
    ticketed.settle(client.session.limits().training).await;
    let mut content = ticketed.content.lock().await;
    match &mut *content {
        Content::Failed(error) => Err(status(&error.clone().into())),
        // Of a query, executed as an update, nobody wants the rows; that it works is an answer.
        Content::Query(rows) => {
            if let Some(rows) = rows {
                collect(rows).await.map_err(|error| status(&error))?;
            }
            Ok(0)
        }
        Content::Training(_) | Content::Kept(_) => Ok(ticketed.count.unwrap_or(0)),
    }
}

async fn begin(server: &Server, client: &Client, work: Work) -> Result<Ticketed> {
    let seen: Arc<Mutex<Seen>> = Arc::default();
    let sees = Arc::clone(&seen);
    let listener = move |event| lock(&sees).add(event);
    let session = client.session.clone().with_progress(Arc::new(listener));
    let limit = session.limits().statement;
    let shown = match &work {
        Work::Texts(texts) | Work::Bound(texts) => texts.first().cloned().unwrap_or_default(),
        Work::Rows { parameters, .. } => parameters.text().to_owned(),
    };
    tracing::debug!(user = client.identity.user, "a statement begins");
    let (answer, _) = run_answer(answer(session, work).boxed(), &server.workers);
    let answering = async move {
        let Answer { effect, mut rows } = answer.await?;
        let count = match effect {
            Effect::Change => Some(count(&collect(&mut rows).await?)),
            Effect::Rows | Effect::Training => None,
        };
        Ok::<_, DataFusionError>((effect, rows, count))
    };
    let (effect, rows, count) = match limit {
        Some(limit) => match tokio::time::timeout(limit, answering).await {
            Ok(answered) => answered?,
            Err(_) => return Err(timed_out(limit)),
        },
        None => answering.await?,
    };
    let (schema, content) = match effect {
        Effect::Rows => (result_schema(&rows.schema()), Content::Query(Some(rows))),
        Effect::Training => (result_schema(&rows.schema()), Content::Training(rows)),
        Effect::Change => (Arc::new(Schema::empty()), Content::Kept(vec![])),
    };
    Ok(Ticketed {
        shown: shown.chars().take(SHOWN_CHARACTERS).collect(),
        schema,
        count: count.flatten(),
        is_done: AtomicBool::new(effect != Effect::Training),
        content: tokio::sync::Mutex::new(content),
        seen,
        stop: CancellationToken::new(),
        is_fetched: AtomicBool::new(false),
        is_awaited: AtomicBool::new(false),
        fetched_at: Mutex::new(Instant::now()),
        began_at: Instant::now(),
        background: Mutex::default(),
    })
}

async fn answer(session: Session, work: Work) -> Result<Answer> {
    match work {
        Work::Texts(texts) => answer_all(session, texts).await,
        Work::Bound(texts) => {
            // The statement was checked when it was prepared; its values may be as large as they like.
            let limits = Limits {
                statement_bytes: usize::MAX,
                ..session.limits().clone()
            };
            answer_all(session.with_limits(limits), texts).await
        }
        Work::Rows { parameters, rows } => {
            let table = session.add_rows(rows)?;
            let text = parameters.insert_select(&table.to_quoted_string());
            let text = text.ok_or_else(|| sql_err(SqlState::Internal, "no INSERT of one row"))?;
            let answer = session.answer(&text).await;
            // The plan holds the rows.
            session.remove_rows(table);
            answer
        }
    }
}

/// The answers to several statements of the same kind, one after the other.
async fn answer_all(session: Session, mut texts: Vec<String>) -> Result<Answer> {
    if texts.is_empty() {
        return Err(sql_err(
            SqlState::WrongParameters,
            "no row of values was bound",
        ));
    }
    let rest = texts.split_off(1);
    let Answer { effect, rows } = session.answer(&texts[0]).await?;
    if rest.is_empty() {
        return Ok(Answer { effect, rows });
    }
    let schema = rows.schema();
    let rest = futures::stream::iter(rest)
        .then(move |text| {
            let session = session.clone();
            async move { Ok::<_, DataFusionError>(session.answer(&text).await?.rows) }
        })
        .try_flatten();
    let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows.chain(rest)));
    Ok(Answer { effect, rows })
}

/// The sum of the counts, if the statement counts.
fn count(batches: &[RecordBatch]) -> Option<u64> {
    let mut total = None;
    for batch in batches {
        let column = batch.column_by_name("count")?;
        let counted: u64 = match column.as_primitive_opt::<UInt64Type>() {
            Some(counts) => counts.iter().flatten().sum(),
            None => {
                let counts = column.as_primitive_opt::<Int64Type>()?;
                counts.iter().flatten().map(i64::unsigned_abs).sum()
            }
        };
        *total.get_or_insert(0) += counted;
    }
    total
}

/// The rows behind a ticket.
pub(super) async fn fetch(
    server: &Arc<Server>,
    client: &Arc<Client>,
    handle: &[u8],
) -> Result<(SchemaRef, SendableRecordBatchStream), Status> {
    if handle == NOTHING.as_bytes() {
        return Ok((Arc::new(Schema::empty()), empty()));
    }
    let ticketed = client.ticketed(handle)?;
    let slot = server.slot().await?;
    let schema = Arc::clone(&ticketed.schema);
    let limits = client.session.limits();
    let taken = match ticketed.content.try_lock() {
        Ok(mut content) => match &mut *content {
            Content::Query(rows) => Some(rows.take()),
            Content::Training(_) | Content::Kept(_) | Content::Failed(_) => None,
        },
        // A training is being computed.
        Err(_) => None,
    };
    let rows = match taken {
        Some(Some(rows)) => {
            let fetching = Fetching {
                _slot: slot,
                ticketed: Arc::clone(&ticketed),
                client: Arc::clone(client),
                handle: handle.to_vec(),
            };
            ticketed.is_fetched.store(true, Ordering::Relaxed);
            fetched(rows, fetching, limits.statement, limits.result_rows)
        }
        Some(None) => return Err(Status::not_found("the result was fetched already")),
        None => settled(ticketed, limits.training),
    };
    Ok((schema, rows))
}

/// A result that is being fetched; afterwards it is gone.
struct Fetching {
    _slot: tokio::sync::OwnedSemaphorePermit,
    ticketed: Arc<Ticketed>,
    client: Arc<Client>,
    handle: Vec<u8>,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.client.drop_ticket(&self.handle);
    }
}

fn fetched(
    rows: SendableRecordBatchStream,
    fetching: Fetching,
    limit: Option<Duration>,
    rows_max: Option<u64>,
) -> SendableRecordBatchStream {
    let schema = rows.schema();
    let state = (Some(rows), fetching, Duration::ZERO, 0);
    let rows = futures::stream::unfold(
        state,
        move |(rows, fetching, mut used, mut count)| async move {
            let mut rows = rows?;
            fetching.ticketed.touch();
            let waiting_since = Instant::now();
            let left = limit.map(|limit| limit.saturating_sub(used));
            let next = tokio::select! {
                biased;
                () = fetching.ticketed.stop.cancelled() => Some(Err(cancelled())),
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
            Some((next, (rows, fetching, used, count)))
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
