//! A statement that runs among the workers, while whoever wants its rows stays able to do something else.

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

use super::answer::Answer;
use crate::error::{Result, SqlState, sql_err};
use crate::sql::Effect;

/// Batches that a statement computes before those before them are taken.
const BATCHES_AHEAD: usize = 2;

/// Works on an answer on `workers` and gives its rows. Dropping them, or the future, cancels it, and `stop` ends it with an
/// error whether anybody waits for its rows or not; once it has let go of all that it held, the receiver hears of it.
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
    let work = async move {
        let _alive = alive;
        let Answer { effect, mut rows } = answer.await?;
        // Nobody waits for the rows of a statement that was cancelled.
        let _ = schema_sender.send((effect, rows.schema()));
        if effect == Effect::Model {
            // Rows may be computed ahead of who wants them; a model may not be made.
            is_wanted.notified().await;
        }
        while let Some(batch) = rows.next().await.transpose()? {
            if sender.send(batch).await.is_err() {
                break;
            }
        }
        Ok(())
    };
    let work = async {
        tokio::select! {
            biased;
            error = stop => Err(error),
            result = work => result,
        }
    };
    // A panic is a bug, but it costs one statement and not the session.
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

/// The rows of an answer, whatever its effect.
pub(crate) async fn rows_of(
    answer: impl Future<Output = Result<Answer>>,
) -> Result<SendableRecordBatchStream> {
    Ok(answer.await?.rows)
}

/// The batches that come, and after the last one the error of the task that sends them, if it has one.
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
        "the statement ended in a panic, which is a bug; the session goes on",
    )
}
