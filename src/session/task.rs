//! Runs a statement on the worker runtime and streams its rows to another runtime.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::JoinSet;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::BoxFuture;
use futures::{FutureExt, Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::coop::{Unconstrained, unconstrained};

use super::answer::Answer;
use crate::error::{Result, SqlState, sql_err};
use crate::sql::Effect;

/// Batches computed ahead of the reader.
const BATCHES_AHEAD: usize = 2;

/// The signal that ends a statement with an error. It is polled without tokio's budget, since the work that is polled
/// before it may have used the budget up.
type StopSignal = Unconstrained<BoxFuture<'static, DataFusionError>>;

/// Runs `answer` on `workers`. Dropping the future or the rows cancels it; `stop` ends it with an error, even if no one
/// reads the rows. A change or a training that was published before it noticed `stop` returns its rows and no error. The
/// receiver resolves when all resources are released.
pub(crate) fn run_answer(
    answer: BoxFuture<'static, Result<Answer>>,
    workers: &Handle,
    stop: BoxFuture<'static, DataFusionError>,
) -> (
    impl Future<Output = Result<Answer>> + Send + use<>,
    oneshot::Receiver<()>,
) {
    let (sender, mut batches) = mpsc::channel(BATCHES_AHEAD);
    let (schema_sender, schema) = oneshot::channel();
    let (alive, gone) = oneshot::channel::<()>();
    let mut task = JoinSet::new();
    let wanted = Arc::new(Notify::new());
    let is_wanted = Arc::clone(&wanted);
    let mut stop = unconstrained(stop);
    let work = async move {
        let _alive = alive;
        let Answer { effect, mut rows } = unless_stopped(&mut stop, answer).await?;
        // The receiver of a cancelled statement is gone.
        let _ = schema_sender.send((effect, rows.schema()));
        if effect == Effect::Model {
            // Queries may compute ahead of the reader; a training must wait until its row is requested. A training that
            // is stopped before must not begin.
            tokio::select! {
                biased;
                error = &mut stop => return Err(error),
                () = is_wanted.notified() => {}
            }
        }
        loop {
            let next = async { rows.next().await.transpose() };
            let Some(batch) = unless_stopped(&mut stop, next).await? else {
                return Ok(());
            };
            let sent = async { Ok(sender.send(batch).await.is_ok()) };
            let is_read = match effect {
                Effect::Rows => unless_stopped(&mut stop, sent).await?,
                // The batch says what was published, so it must arrive.
                Effect::Change | Effect::Model => sent.await?,
            };
            if !is_read {
                return Ok(());
            }
        }
    };
    // A panic is a bug; it ends the statement, not the session.
    let work = AssertUnwindSafe(work).catch_unwind();
    let work = async { work.await.unwrap_or_else(|_| Err(panicked())) };
    task.spawn_on(work, workers);
    let answer = async move {
        let Ok((effect, schema)) = schema.await else {
            return Err(outcome(&mut task).await.err().unwrap_or_else(panicked));
        };
        let poll = move |context: &mut Context<'_>| {
            wanted.notify_one();
            batches.poll_recv(context)
        };
        let rows = until_the_end(poll, task);
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        Ok(Answer { effect, rows })
    };
    (answer, gone)
}

/// The outcome of `work`, or the error of `stop`. An outcome that is there when `stop` is noticed counts: from the moment
/// in which a statement publishes, it does not wait any more, so a published statement is never said to be stopped.
async fn unless_stopped<T>(
    stop: &mut StopSignal,
    work: impl Future<Output = Result<T>>,
) -> Result<T> {
    tokio::select! {
        biased;
        outcome = work => outcome,
        error = stop => Err(error),
    }
}

/// The rows of an answer, without its effect.
pub(crate) async fn rows_of(
    answer: impl Future<Output = Result<Answer>>,
) -> Result<SendableRecordBatchStream> {
    Ok(answer.await?.rows)
}

/// The batches, then the task's error, if any.
fn until_the_end(
    poll: impl FnMut(&mut Context<'_>) -> Poll<Option<RecordBatch>> + Send,
    task: JoinSet<Result<()>>,
) -> impl Stream<Item = Result<RecordBatch>> + Send {
    let batches = futures::stream::poll_fn(poll).map(Ok);
    let end = futures::stream::once(async move {
        let mut task = task;
        outcome(&mut task).await.err().map(Err)
    });
    batches.chain(end.filter_map(std::future::ready))
}

async fn outcome(task: &mut JoinSet<Result<()>>) -> Result<()> {
    match task.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(_)) | None => Err(panicked()),
    }
}

fn panicked() -> DataFusionError {
    sql_err(
        SqlState::Internal,
        "the statement ended in a panic, which is a bug; the session continues",
    )
}
