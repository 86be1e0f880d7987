//! Runs statements and issues their tickets, then returns the rows for a ticket. Each statement runs once, when the
//! client requests it: a change or a training to its end, a query up to its first rows.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{Int64Type, Schema, SchemaRef, UInt64Type};
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::JoinSet;
use datafusion::execution::SendableRecordBatchStream;
use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tonic::Status;

use super::bound_rows::BoundRows;
use super::lock::lock;
use super::prepared::Prepared;
use super::results::{self, Begun, NOTHING, PendingResult, StatementProgress, collect};
use super::sessions::Client;
use super::state::Server;
use super::status::status;
use super::stop::Stop;
use super::work::Work;
use crate::error::{Result, SqlState, sql_err};
use crate::memory::StatementPool;
use crate::session::Session;
use crate::session::answer::{Answer, empty};
use crate::session::describe::check_script;
use crate::session::task::run_answer;
use crate::sql::Effect;
use crate::sql::script::{Piece, split};
use crate::sql::{Limits, Parameters};

/// Plans a statement without running it.
pub(super) async fn prepare(
    server: &Server,
    client: &Client,
    text: &str,
) -> Result<Prepared, Status> {
    let parameters = Parameters::find(text).map_err(|error| status(&error))?;
    let session = client.session.clone();
    let found = parameters.clone();
    let mut task = JoinSet::new();
    task.spawn_on(
        async move { session.describe(&found).await },
        &server.workers,
    );
    let described = task.join_next().await;
    let panicked = || {
        sql_err(
            SqlState::Internal,
            "planning ended in a panic, which is a bug",
        )
    };
    let described = described
        .and_then(Result::ok)
        .unwrap_or_else(|| Err(panicked()));
    let description = described.map_err(|error| status(&error))?;
    Ok(Prepared::new(parameters, description))
}

/// Starts a statement and keeps its result for the client.
pub(super) async fn start(
    server: &Server,
    client: &Client,
    work: Work,
) -> Result<(String, Arc<PendingResult>), Status> {
    let _slot = server.slot().await?;
    let ticketed = begin(server, client, work)
        .await
        .map_err(|error| status(&error))?;
    if ticketed.schema.fields().is_empty() {
        // The statement has finished and has no rows to fetch.
        return Ok((NOTHING.to_owned(), Arc::new(ticketed)));
    }
    client.keep(ticketed)
}

/// Runs a statement and returns the number of changed rows.
pub(super) async fn update(server: &Server, client: &Client, work: Work) -> Result<u64, Status> {
    let _slot = server.slot().await?;
    if let Work::Text(script) = &work
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
        let work = Work::Text(piece.text.to_owned());
        count = count.saturating_add(update_one(server, client, work).await?);
    }
    Ok(count)
}

async fn update_one(server: &Server, client: &Client, work: Work) -> Result<u64, Status> {
    let ticketed = begin(server, client, work)
        .await
        .map_err(|error| status(&error))?;
    ticketed.finish(client.session.limits()).await?;
    Ok(ticketed.count.unwrap_or(0))
}

async fn begin(server: &Server, client: &Client, work: Work) -> Result<PendingResult> {
    let seen: Arc<Mutex<StatementProgress>> = Arc::default();
    let sees = Arc::clone(&seen);
    let listener = move |event| lock(&sees).add(event);
    let (session, memory) = within_memory(server, client)?;
    let limit = session.limits().statement;
    let session = session
        .with_progress(Arc::new(listener))
        .with_column_tables();
    let shown = match &work {
        Work::Text(text) => text.clone(),
        Work::Bound(texts) => texts.first().cloned().unwrap_or_default(),
        Work::Rows { parameters, .. } => parameters.text().to_owned(),
    };
    let bound = BoundRows::of(&work);
    tracing::debug!(user = client.identity.user, "a statement begins");
    let stop = Stop::default();
    let asked = stop.clone();
    let stopped = async move {
        tokio::select! {
            error = memory.stopped() => error,
            error = asked.asked() => error,
        }
    }
    .boxed();
    let answer = answer(session, work, bound.clone()).boxed();
    let (answer, _) = run_answer(answer, &server.workers, stopped);
    let answering = async move {
        let Answer { effect, mut rows } = answer.await?;
        let count = match effect {
            Effect::Change => Some(count(&collect(&mut rows).await?)),
            Effect::Rows | Effect::Model => None,
        };
        Ok::<_, DataFusionError>((effect, rows, count))
    };
    let began_at = Instant::now();
    let outcome = stop.within(limit, answering).await;
    let (effect, rows, count) = outcome.map_err(|error| bound.explain(error))?;
    Ok(PendingResult::new(Begun {
        shown,
        effect,
        rows,
        count: count.flatten(),
        seen,
        stop,
        bound,
        spent: began_at.elapsed(),
    }))
}

/// The session of a statement with its own memory pool, if the process has memory for another statement. The statement
/// must end when its pool is stopped.
pub(super) fn within_memory(
    server: &Server,
    client: &Client,
) -> Result<(Session, Arc<StatementPool>)> {
    let memory = client.session.engine().memory();
    let size = memory.check(server.process_bytes_max)?;
    let bytes = client.session.limits().memory;
    let pool = memory.statement(bytes.unwrap_or(usize::MAX), size);
    let session = client.session.clone().with_memory(Arc::clone(&pool));
    Ok((session, pool))
}

async fn answer(session: Session, work: Work, bound: BoundRows) -> Result<Answer> {
    match work {
        Work::Text(text) => session.answer(&text).await,
        Work::Bound(texts) => {
            // The statement was checked when it was prepared; its values may have any size.
            let limits = Limits {
                statement_bytes: usize::MAX,
                ..session.limits().clone()
            };
            bound.answer(session.with_limits(limits), texts).await
        }
        Work::Rows { parameters, rows } => {
            let table = session.add_rows(rows)?;
            let text = parameters.insert_select(&table.quoted_name());
            let text = text.ok_or_else(|| {
                sql_err(
                    SqlState::Internal,
                    "the statement is not an INSERT of one row",
                )
            })?;
            // The plan holds the rows when the table goes.
            session.answer(&text).await
        }
    }
}

/// The sum of the counts, if the statement returns counts.
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

/// The schema and the rows of a started statement.
pub(super) async fn fetch(
    server: &Server,
    client: &Arc<Client>,
    handle: &[u8],
) -> Result<(SchemaRef, SendableRecordBatchStream), Status> {
    if handle == NOTHING.as_bytes() {
        return Ok((Arc::new(Schema::empty()), empty()));
    }
    let ticketed = client.ticketed(handle)?;
    let slot = server.slot().await?;
    let schema = Arc::clone(&ticketed.schema);
    let hold = || Fetching {
        _slot: slot,
        client: Arc::clone(client),
        handle: handle.to_vec(),
    };
    let rows = results::fetch(ticketed, client.session.limits(), hold)?;
    Ok((schema, rows))
}

/// A result that is being fetched; its ticket is dropped afterwards.
struct Fetching {
    _slot: OwnedSemaphorePermit,
    client: Arc<Client>,
    handle: Vec<u8>,
}

impl Drop for Fetching {
    fn drop(&mut self) {
        self.client.drop_ticket(&self.handle);
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array};

    use super::*;
    use crate::Engine;

    #[tokio::test]
    async fn bound_rows_go_with_a_statement_that_is_cancelled_while_it_is_planned() {
        let session = Engine::builder().build().unwrap().session().unwrap();
        let column: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
        let work = Work::Rows {
            parameters: Parameters::find("INSERT INTO t VALUES (?)").unwrap(),
            rows: RecordBatch::try_from_iter([("$1", column)]).unwrap(),
        };
        let bound = BoundRows::of(&work);
        // Dropped while a thread plans it, or if that is fast, after its error: there is no table t.
        let _ = answer(session.clone(), work, bound).now_or_never();
        let catalog = session.context().catalog("bound").unwrap();
        let tables = catalog.schema("bound").unwrap().table_names();
        assert_eq!(tables, [""; 0]);
    }
}
