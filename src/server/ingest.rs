//! Bulk ingest: writes the rows of an upload to a table.

use arrow_flight::sql::{CommandStatementIngest, TableExistsOption, TableNotExistOption};
use datafusion::common::TableReference;
use tonic::Status;

use super::sessions::Client;
use super::state::Server;
use super::statements::within_memory;
use super::status::{failed, status};
use super::upload::Upload;
use crate::error::SqlState;
use crate::statements::ingest::{IfExists, Ingest, ingest};

/// Writes the rows of an upload to a table.
pub(super) async fn ingest_upload(
    server: &Server,
    client: &Client,
    command: CommandStatementIngest,
    upload: Upload,
) -> Result<u64, Status> {
    let _slot = server.slot().await?;
    let options = command.table_definition_options.unwrap_or_default();
    let creates = match options.if_not_exist() {
        TableNotExistOption::Fail => false,
        TableNotExistOption::Create | TableNotExistOption::Unspecified => true,
    };
    let if_exists = match options.if_exists() {
        TableExistsOption::Append => IfExists::Append,
        TableExistsOption::Replace => IfExists::Replace,
        TableExistsOption::Fail | TableExistsOption::Unspecified => IfExists::Fail,
    };
    let schema = command
        .schema
        .unwrap_or_else(|| client.session.default_schema());
    let table = match command.catalog {
        Some(catalog) => TableReference::full(catalog, schema, command.table),
        None => TableReference::partial(schema, command.table),
    };
    let rows = upload.rows().await?;
    let rows = rows.ok_or_else(|| {
        let message = "the upload has no schema, so its table would have no columns; to send no rows, send a schema";
        failed(SqlState::InvalidParameter, message)
    })?;
    let ingesting = Ingest {
        table,
        creates,
        if_exists,
        is_temporary: command.temporary,
    };
    let ingesting = async {
        let (session, memory) = within_memory(server, client)?;
        tokio::select! {
            biased;
            error = memory.stopped() => Err(error),
            written = ingest(&session, ingesting, rows) => written,
        }
    };
    ingesting.await.map_err(|error| status(&error))
}
