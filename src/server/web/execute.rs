//! [`execute`]: a statement of the reader, with the session, the queue and the limits that every client has.

use std::time::Instant;

use datafusion::arrow::record_batch::RecordBatch;
use futures::StreamExt;
use tonic::Status;

use super::rows::Rows;
use super::visit::Visit;
use crate::server::statements::{fetch, start};
use crate::server::status::status;
use crate::server::work::Work;

/// A statement that has ended.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) rows: Rows,
    /// Whether there are more rows.
    pub(super) is_cut: bool,
    /// The number of changed rows.
    pub(super) count: Option<u64>,
    pub(super) seconds: f64,
}

/// Runs a statement to its end, or until it has given `rows_max` rows. Dropping the future cancels the statement.
pub(super) async fn execute(
    visit: &Visit,
    statement: &str,
    rows_max: usize,
) -> Result<Executed, Status> {
    let server = &visit.server;
    let began_at = Instant::now();
    let client = server
        .sessions
        .client(&server.auth, &visit.identity)
        .await?;
    let work = Work::Text(statement.to_owned());
    let (handle, ticketed) = start(server, &client, work).await?;
    let (schema, mut stream) = fetch(server, &client, handle.as_bytes()).await?;
    let mut batches: Vec<RecordBatch> = Vec::new();
    let mut rows = 0;
    let mut is_cut = false;
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|error| status(&error))?;
        let kept = batch.num_rows().min(rows_max - rows);
        is_cut = kept < batch.num_rows();
        rows += kept;
        batches.push(batch.slice(0, kept));
        if is_cut {
            break;
        }
    }
    drop(stream);
    client.drop_ticket(handle.as_bytes());
    Ok(Executed {
        rows: Rows::try_new(&schema, &batches).map_err(|error| status(&error))?,
        is_cut,
        count: ticketed.count,
        seconds: began_at.elapsed().as_secs_f64(),
    })
}
