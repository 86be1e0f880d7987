//! [`Remote`]: a session on a server, for the shell. SQL text in, record batches out, as with a local session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{CommandGetTables, CommandStatementQuery, ProstMessageExt};
use arrow_flight::{Action, FlightDescriptor, FlightInfo, HandshakeRequest, Ticket};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::array::{ArrayRef, AsArray, UInt64Array};
use datafusion::arrow::datatypes::Schema;
use datafusion::arrow::ipc::convert::try_schema_from_ipc_buffer;
use datafusion::arrow::record_batch::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::common::runtime::SpawnedTask;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::metadata::AsciiMetadataValue;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use crate::error::{Result, SqlState, io_err, sql_err};
use crate::progress::{ProgressEvent, ProgressListener};
use crate::server::actions::{CLOSE_SESSION, PROGRESS, WATCHED};
use crate::server::status::from_status;
use crate::session::answer::{Answer, empty, rows};
use crate::sql::Effect;

const CONNECT_TIME: Duration = Duration::from_secs(5);
const PROGRESS_INTERVAL: Duration = Duration::from_millis(300);
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);
const PING_INTERVAL: Duration = Duration::from_secs(20);
const MESSAGE_BYTES_MAX: usize = 1 << 30;

/// The address of a server and the client's credentials.
#[derive(Debug, Clone, Default)]
pub struct RemoteOptions {
    /// `grpc://host:port`, or `grpc+tls://host:port`.
    pub url: String,
    /// A user with a password.
    pub user: Option<(String, String)>,
    /// A token instead of a user.
    pub token: Option<String>,
    /// The CA of the server's certificate, in PEM; the CAs that this machine trusts if `None`.
    pub ca: Option<std::path::PathBuf>,
    /// The client certificate and its key, in PEM, for a server that requires one.
    pub certificate: Option<(std::path::PathBuf, std::path::PathBuf)>,
}

/// A session on a server.
#[derive(Clone)]
pub struct Remote {
    options: Arc<RemoteOptions>,
    client: FlightServiceClient<Channel>,
    token: Arc<Mutex<String>>,
    listener: Option<ProgressListener>,
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Remote")
            .field("url", &self.options.url)
            .finish_non_exhaustive()
    }
}

impl Remote {
    /// Connects and logs in.
    ///
    /// # Errors
    /// If the server cannot be reached within 5 s, or rejects the credentials.
    pub async fn connect(options: RemoteOptions) -> Result<Self> {
        let channel = endpoint(&options)?.connect().await.map_err(|error| {
            let mut text = format!("{} cannot be reached: {error}", options.url);
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                text.push_str(&format!(": {cause}"));
                source = cause.source();
            }
            sql_err(SqlState::NoResources, text)
        })?;
        let client = FlightServiceClient::new(channel)
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(usize::MAX);
        let remote = Self {
            options: Arc::new(options),
            client,
            token: Arc::default(),
            listener: None,
        };
        remote.log_in().await?;
        Ok(remote)
    }

    /// Reports the progress of statements to `listener`.
    #[must_use]
    pub fn with_progress(mut self, listener: ProgressListener) -> Self {
        self.listener = Some(listener);
        self
    }

    /// The URL of the server.
    pub fn url(&self) -> &str {
        &self.options.url
    }

    async fn log_in(&self) -> Result<()> {
        let mut request = Request::new(futures::stream::iter([HandshakeRequest::default()]));
        let credentials = match (&self.options.token, &self.options.user) {
            (Some(token), _) => Some(format!("Bearer {token}")),
            (None, Some((user, password))) => {
                let pair = STANDARD.encode(format!("{user}:{password}"));
                Some(format!("Basic {pair}"))
            }
            (None, None) => None,
        };
        if let Some(credentials) = credentials {
            let value = AsciiMetadataValue::try_from(credentials);
            let value = value.map_err(|_| {
                sql_err(
                    SqlState::NotAuthenticated,
                    "the token is not a valid header value",
                )
            })?;
            request.metadata_mut().insert("authorization", value);
        }
        let response = self.client.clone().handshake(request).await;
        let response = response.map_err(|status| from_status(&status))?;
        let header = response.metadata().get("authorization");
        let header = header
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let token = header.trim_start_matches("Bearer ").to_owned();
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = token;
        Ok(())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(value) = AsciiMetadataValue::try_from(format!("Bearer {token}")) {
            request.metadata_mut().insert("authorization", value);
        }
        request
    }

    /// Runs one statement. Dropping the rows, or the future, cancels it.
    ///
    /// # Errors
    /// The statement's error from the server, or a connection error.
    pub async fn sql(&self, text: &str) -> Result<SendableRecordBatchStream> {
        Ok(self.answer(text).await?.rows)
    }

    pub(crate) async fn answer(&self, text: &str) -> Result<Answer> {
        let command = CommandStatementQuery {
            query: text.to_owned(),
            transaction_id: None,
        };
        let id = uuid::Uuid::new_v4().to_string();
        let progress = self.listener.clone().map(|listener| {
            let (remote, id) = (self.clone(), id.clone());
            SpawnedTask::spawn(async move { remote.tell(id, listener).await })
        });
        let info = self
            .info(command.as_any().encode_to_vec(), Some(&id))
            .await?;
        let schema = try_schema_from_ipc_buffer(&info.schema)?;
        if schema.fields().is_empty() {
            return changed(info.total_records);
        }
        let ticket = info
            .endpoint
            .into_iter()
            .find_map(|endpoint| endpoint.ticket);
        let missing = || sql_err(SqlState::Internal, "the server sent no ticket");
        let rows = self.fetch(schema, ticket.ok_or_else(missing)?).await?;
        let schema = rows.schema();
        let rows = rows.inspect(move |_| {
            // The task that asks for progress ends with the rows.
            let _progress = &progress;
        });
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        let effect = Effect::Rows;
        Ok(Answer { effect, rows })
    }

    /// Requests a statement. Logs in again once if the token is invalid, for instance after a restart of the server.
    async fn info(&self, command: Vec<u8>, id: Option<&str>) -> Result<FlightInfo> {
        let descriptor = FlightDescriptor::new_cmd(command);
        let ask = || async {
            let mut request = self.request(descriptor.clone());
            if let Some(id) = id.and_then(|id| id.parse().ok()) {
                request.metadata_mut().insert(WATCHED, id);
            }
            self.client.clone().get_flight_info(request).await
        };
        let mut answered = ask().await;
        if answered
            .as_ref()
            .is_err_and(|status| status.code() == Code::Unauthenticated)
        {
            self.log_in().await?;
            answered = ask().await;
        }
        match answered {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(from_status(&status)),
        }
    }

    async fn fetch(&self, schema: Schema, ticket: Ticket) -> Result<SendableRecordBatchStream> {
        let response = self.client.clone().do_get(self.request(ticket)).await;
        let messages = response
            .map_err(|status| from_status(&status))?
            .into_inner();
        let messages = messages.map_err(|status| FlightError::Tonic(Box::new(status)));
        let batches = FlightRecordBatchStream::new_from_flight_data(messages);
        let batches = batches.map(|batch| batch.map_err(|error| from_flight(&error)));
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            Arc::new(schema),
            batches,
        )))
    }

    /// Polls the progress of a statement.
    async fn tell(&self, id: String, listener: ProgressListener) {
        let mut told = String::new();
        loop {
            tokio::time::sleep(PROGRESS_INTERVAL).await;
            let Ok(body) = self.act(PROGRESS, id.clone().into_bytes()).await else {
                continue;
            };
            let text = String::from_utf8_lossy(&body).into_owned();
            if text == told {
                continue;
            }
            let events: Vec<ProgressEvent> = serde_json::from_str(&text).unwrap_or_default();
            events.into_iter().for_each(|event| listener(event));
            told = text;
        }
    }

    async fn act(&self, action: &str, body: Vec<u8>) -> Result<Vec<u8>, Status> {
        let request = self.request(Action::new(action, body));
        let mut results = self.client.clone().do_action(request).await?.into_inner();
        let result = results.message().await?;
        Ok(result
            .map(|result| result.body.to_vec())
            .unwrap_or_default())
    }

    /// Ends the session, unless other clients may use the same token. If the server cannot be reached, the session
    /// expires there.
    pub async fn close(self) {
        if self.options.token.is_none() {
            let closing = self.act(CLOSE_SESSION, vec![]);
            let _ = tokio::time::timeout(CLOSE_TIME_MAX, closing).await;
        }
    }

    /// The schema and name of each table; if `columns_of` is given, only the tables with this name and their columns.
    pub(crate) async fn tables(&self, columns_of: Option<&str>) -> Result<Vec<RemoteTable>> {
        let command = CommandGetTables {
            catalog: None,
            db_schema_filter_pattern: None,
            table_name_filter_pattern: columns_of.map(escaped),
            table_types: vec![],
            include_schema: columns_of.is_some(),
        };
        let info = self.info(command.as_any().encode_to_vec(), None).await?;
        let schema = try_schema_from_ipc_buffer(&info.schema)?;
        let ticket = info
            .endpoint
            .into_iter()
            .find_map(|endpoint| endpoint.ticket);
        let rows = self.fetch(schema, ticket.unwrap_or_default()).await?;
        let batches: Vec<RecordBatch> = rows.try_collect().await?;
        let mut tables = Vec::new();
        for batch in &batches {
            let text = |column: usize, row: usize| {
                let column = batch.column(column).as_string_opt::<i32>();
                column
                    .map(|column| column.value(row).to_owned())
                    .unwrap_or_default()
            };
            for row in 0..batch.num_rows() {
                let columns = match batch.column_by_name("table_schema") {
                    Some(schemas) => names(schemas, row)?,
                    None => vec![],
                };
                tables.push(RemoteTable {
                    schema: text(1, row),
                    name: text(2, row),
                    columns,
                });
            }
        }
        Ok(tables)
    }
}

/// A table on a server.
#[derive(Debug)]
pub(crate) struct RemoteTable {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
}

fn names(schemas: &ArrayRef, row: usize) -> Result<Vec<String>> {
    let Some(schemas) = schemas.as_binary_opt::<i32>() else {
        return Ok(vec![]);
    };
    let schema = try_schema_from_ipc_buffer(schemas.value(row))?;
    let names = schema.fields().iter().map(|field| field.name().clone());
    Ok(names.collect())
}

fn escaped(name: &str) -> String {
    let mut pattern = String::new();
    for c in name.chars() {
        if "%_\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

fn from_flight(error: &FlightError) -> DataFusionError {
    match error {
        FlightError::Tonic(status) => from_status(status),
        error => sql_err(SqlState::Internal, format!("the server's rows: {error}")),
    }
}

/// The answer of a statement without rows, as from a local session: a count, or nothing.
fn changed(count: i64) -> Result<Answer> {
    let effect = Effect::Change;
    let Ok(count) = u64::try_from(count) else {
        let rows = empty();
        return Ok(Answer { effect, rows });
    };
    let count: ArrayRef = Arc::new(UInt64Array::from(vec![count]));
    let batch = RecordBatch::try_from_iter([("count", count)])?;
    let rows = rows(batch);
    Ok(Answer { effect, rows })
}

fn endpoint(options: &RemoteOptions) -> Result<Endpoint> {
    let wrong = |problem: String| {
        let message = format!(
            "{}: {problem}; use a URL such as grpc://localhost:31337, or grpc+tls://host:31337",
            options.url
        );
        sql_err(SqlState::InvalidParameter, message)
    };
    let (scheme, address) = options
        .url
        .split_once("://")
        .ok_or_else(|| wrong("it has no scheme".into()))?;
    let is_encrypted = match scheme {
        "grpc" | "grpc+tcp" => false,
        "grpc+tls" => true,
        other => return Err(wrong(format!("{other} is not a supported scheme"))),
    };
    let address = address.trim_end_matches('/');
    let scheme = if is_encrypted { "https" } else { "http" };
    let endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| wrong(error.to_string()))?
        .connect_timeout(CONNECT_TIME)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(16 << 20);
    if !is_encrypted {
        return Ok(endpoint);
    }
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| io_err(path.display(), &error))
    };
    let mut tls = ClientTlsConfig::new();
    tls = match &options.ca {
        Some(path) => tls.ca_certificate(Certificate::from_pem(read(path)?)),
        None => tls.with_native_roots(),
    };
    if let Some((certificate, key)) = &options.certificate {
        tls = tls.identity(Identity::from_pem(read(certificate)?, read(key)?));
    }
    endpoint
        .tls_config(tls)
        .map_err(|error| wrong(error.to_string()))
}
