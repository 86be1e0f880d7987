//! The Flight SQL service: one short method for each call of the protocol.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{
    ActionCancelQueryRequest, ActionCancelQueryResult, ActionClosePreparedStatementRequest,
    ActionCreatePreparedStatementRequest, Any, Command, DoPutPreparedStatementResult,
    DoPutUpdateResult, ProstMessageExt, TicketStatementQuery,
};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use datafusion::arrow::datatypes::Schema;
use futures::{Stream, StreamExt};
use prost::Message;
use prost::bytes::Bytes;
use tonic::{Request, Response, Status, Streaming};

use super::auth::Identity;
use super::ingest::ingest_upload;
use super::lock::lock;
use super::output::{WireOptions, encoded, one_batch, schema_bytes};
use super::prepared::{Prepared, parameter_schema, values, work};
use super::results::PendingResult;
use super::sessions::Client;
use super::state::Server;
use super::statements::{fetch, prepare, start, update};
use super::status::failed;
use super::upload::Upload;
use super::wire::result_schema;
use super::work::Work;
use super::{actions, metadata};
use crate::error::SqlState;
use crate::session::describe::Description;
use crate::sql::Effect;

/// How long a poll waits for news.
const POLL_TIME: Duration = Duration::from_millis(500);

/// The implementation of arrow-flight's service trait.
#[derive(Debug, Clone)]
pub(super) struct Service(pub(super) Arc<Server>);

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn answers<T: Send + 'static>(items: Vec<Result<T, Status>>) -> Response<Answers<T>> {
    Response::new(Box::pin(futures::stream::iter(items)))
}

fn command(bytes: &[u8]) -> Result<Command, Status> {
    let broken = |error: String| {
        Status::invalid_argument(format!("the descriptor or ticket cannot be read: {error}"))
    };
    let any = Any::decode(bytes).map_err(|error| broken(error.to_string()))?;
    if any.type_url.is_empty() {
        return Err(broken("it is empty".into()));
    }
    Command::try_from(any).map_err(|error| broken(error.to_string()))
}

fn unpacked<M: ProstMessageExt>(body: &[u8]) -> Result<M, Status> {
    let wrong = || Status::invalid_argument("the body does not fit the action");
    let any = Any::decode(body).map_err(|_| wrong())?;
    any.unpack().map_err(|_| wrong())?.ok_or_else(wrong)
}

fn unsupported(command: &Command) -> Status {
    let name = command.type_url().rsplit('.').next().unwrap_or_default();
    let message = format!("{name} is not supported, nor are transactions and Substrait plans");
    failed(SqlState::Unsupported, message)
}

fn no_transaction(transaction: Option<&Bytes>) -> Result<(), Status> {
    match transaction {
        Some(id) if !id.is_empty() => Err(failed(
            SqlState::Unsupported,
            "transactions are not supported; turn autocommit on",
        )),
        _ => Ok(()),
    }
}

/// The identity of the caller, which [`Gate`](super::auth::Gate) has added.
fn identity<T>(request: &Request<T>) -> Result<&Identity, Status> {
    let identity = request.extensions().get::<Identity>();
    identity.ok_or_else(|| Status::unauthenticated("log in first"))
}

impl Service {
    async fn client<T>(&self, request: &Request<T>) -> Result<Arc<Client>, Status> {
        let identity = identity(request)?;
        self.0.sessions.client(&self.0.auth, identity).await
    }

    /// Starts the statement or metadata request of a descriptor.
    async fn begin(
        &self,
        client: &Arc<Client>,
        descriptor: &FlightDescriptor,
    ) -> Result<Begun, Status> {
        let (handle, ticketed) = match command(&descriptor.cmd)? {
            Command::CommandStatementQuery(query) => {
                no_transaction(query.transaction_id.as_ref())?;
                start(&self.0, client, Work::Text(query.query)).await?
            }
            Command::CommandPreparedStatementQuery(query) => {
                let prepared = client.prepared(&query.prepared_statement_handle)?;
                let work = work(&prepared, prepared.bound())?;
                start(&self.0, client, work).await?
            }
            // A statement that a polling client started before.
            Command::TicketStatementQuery(ticket) => {
                let handle = String::from_utf8_lossy(&ticket.statement_handle).into_owned();
                let ticketed = client.ticketed(&ticket.statement_handle)?;
                (handle, ticketed)
            }
            command => {
                let Some(schema) = metadata::schema(&command) else {
                    return Err(unsupported(&command));
                };
                let ticket = Ticket::new(descriptor.cmd.clone());
                return Ok(Begun::Metadata(info(descriptor, &schema, ticket)?));
            }
        };
        Ok(Begun::Statement(handle, ticketed))
    }

    async fn put(&self, client: &Arc<Client>, upload: Upload) -> Result<Vec<u8>, Status> {
        let updated = |record_count: u64| DoPutUpdateResult {
            record_count: record_count.try_into().unwrap_or(i64::MAX),
        };
        Ok(match command(&upload.descriptor.cmd)? {
            Command::CommandStatementUpdate(command) => {
                no_transaction(command.transaction_id.as_ref())?;
                let work = Work::Text(command.query);
                updated(update(&self.0, client, work).await?).encode_to_vec()
            }
            Command::CommandPreparedStatementUpdate(command) => {
                let prepared = client.prepared(&command.prepared_statement_handle)?;
                let values = values(&prepared, upload).await?;
                let work = work(&prepared, Some(values))?;
                updated(update(&self.0, client, work).await?).encode_to_vec()
            }
            Command::CommandPreparedStatementQuery(command) => {
                let handle = command.prepared_statement_handle;
                let prepared = client.prepared(&handle)?;
                prepared.bind(values(&prepared, upload).await?);
                // The same handle: clients close only the last handle that they received.
                DoPutPreparedStatementResult {
                    prepared_statement_handle: Some(handle),
                }
                .encode_to_vec()
            }
            Command::CommandStatementIngest(command) => {
                no_transaction(command.transaction_id.as_ref())?;
                let rows = ingest_upload(&self.0, client, command, upload).await?;
                updated(rows).encode_to_vec()
            }
            command => return Err(unsupported(&command)),
        })
    }

    async fn act(
        &self,
        client: &Arc<Client>,
        request: &Request<Action>,
    ) -> Result<Option<Bytes>, Status> {
        let action = request.get_ref();
        let body = &action.body;
        Ok(Some(match action.r#type.as_str() {
            "CreatePreparedStatement" => {
                let request: ActionCreatePreparedStatementRequest = unpacked(body)?;
                no_transaction(request.transaction_id.as_ref())?;
                let prepared = prepare(&self.0, client, &request.query).await?;
                prepared_result(client, prepared)?
            }
            "ClosePreparedStatement" => {
                let request: ActionClosePreparedStatementRequest = unpacked(body)?;
                client.close_prepared(&request.prepared_statement_handle);
                return Ok(None);
            }
            "CancelQuery" => {
                let request: ActionCancelQueryRequest = unpacked(body)?;
                let info = FlightInfo::decode(request.info);
                let info = info.map_err(|_| Status::invalid_argument("no FlightInfo"))?;
                // Both enumerations have the same numbers.
                let result = ActionCancelQueryResult {
                    result: actions::cancel_info(client, &info).await.into(),
                };
                result.as_any().encode_to_vec().into()
            }
            "CancelFlightInfo" => actions::cancel(client, body).await?,
            "SetSessionOptions" => actions::set_options(client, body).await?,
            "GetSessionOptions" => actions::options(client),
            actions::CLOSE_SESSION => actions::close_session(&self.0, identity(request)?),
            actions::PROGRESS => actions::progress(client, body),
            other => {
                let message = format!("there is no action {other}");
                return Err(failed(SqlState::Unsupported, message));
            }
        }))
    }
}

/// Whether the client is a Java driver.
fn is_java<T>(request: &Request<T>) -> bool {
    let agent = request.metadata().get("user-agent");
    agent.is_some_and(|agent| agent.as_bytes().starts_with(b"grpc-java"))
}

/// The started work of a descriptor.
enum Begun {
    Statement(String, Arc<PendingResult>),
    Metadata(FlightInfo),
}

fn statement_ticket(handle: &str) -> Ticket {
    let ticket = TicketStatementQuery {
        statement_handle: handle.to_owned().into(),
    };
    Ticket::new(ticket.as_any().encode_to_vec())
}

fn info(
    descriptor: &FlightDescriptor,
    schema: &Schema,
    ticket: Ticket,
) -> Result<FlightInfo, Status> {
    // No location: clients reuse their connection. One endpoint: some clients would mix the rows of several.
    let endpoint = FlightEndpoint::new().with_ticket(ticket);
    let mut info = FlightInfo::new()
        .with_endpoint(endpoint)
        .with_descriptor(descriptor.clone())
        .with_ordered(true);
    info.schema = schema_bytes(schema)?;
    Ok(info)
}

fn statement_info(
    descriptor: &FlightDescriptor,
    handle: &str,
    ticketed: &PendingResult,
) -> Result<FlightInfo, Status> {
    let count = ticketed
        .count
        .map_or(-1, |count| count.try_into().unwrap_or(i64::MAX));
    Ok(info(descriptor, &ticketed.schema, statement_ticket(handle))?.with_total_records(count))
}

/// The reply with a field that arrow-flight's message lacks: whether the statement is an update.
#[derive(Clone, PartialEq, Message)]
struct PreparedResult {
    #[prost(bytes = "bytes", tag = "1")]
    handle: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    dataset_schema: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    parameter_schema: Bytes,
    #[prost(bool, optional, tag = "4")]
    is_update: Option<bool>,
}

fn prepared_result(client: &Client, prepared: Prepared) -> Result<Bytes, Status> {
    let Description { effect, schema, .. } = &prepared.description;
    let is_update = *effect == Effect::Change;
    let parameters = parameter_schema(&prepared);
    let result = PreparedResult {
        // JDBC treats a statement with a schema as a query, whatever the other fields contain.
        dataset_schema: match is_update {
            true => Bytes::new(),
            false => schema_bytes(&result_schema(schema))?,
        },
        parameter_schema: match parameters.fields().is_empty() {
            true => Bytes::new(),
            false => schema_bytes(&parameters)?,
        },
        is_update: Some(is_update),
        handle: client.prepare(prepared)?.into(),
    };
    let any = Any {
        type_url: "type.googleapis.com/arrow.flight.protocol.sql.\
                   ActionCreatePreparedStatementResult"
            .into(),
        value: result.encode_to_vec().into(),
    };
    Ok(any.encode_to_vec().into())
}

#[tonic::async_trait]
impl FlightService for Service {
    type HandshakeStream = Answers<HandshakeResponse>;
    type ListFlightsStream = Answers<FlightInfo>;
    type DoGetStream = Answers<FlightData>;
    type DoPutStream = Answers<PutResult>;
    type DoActionStream = Answers<arrow_flight::Result>;
    type ListActionsStream = Answers<ActionType>;
    type DoExchangeStream = Answers<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        let headers = request.metadata().clone().into_headers();
        let token = self.0.auth.log_in(&headers).await?;
        let mut response = answers(vec![Ok(HandshakeResponse {
            protocol_version: 0,
            payload: token.clone().into(),
        })]);
        let value = format!("Bearer {token}").parse();
        let value = value.map_err(|_| Status::internal("the token is not a valid header value"))?;
        response.metadata_mut().insert("authorization", value);
        Ok(response)
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        Ok(answers(vec![]))
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let client = self.client(&request).await?;
        let watched = request.metadata().get(actions::WATCHED);
        let watched = watched.and_then(|id| Some(id.to_str().ok()?.to_owned()));
        let descriptor = request.get_ref();
        let (handle, ticketed) = match self.begin(&client, descriptor).await? {
            Begun::Metadata(info) => return Ok(Response::new(info)),
            Begun::Statement(handle, ticketed) => (handle, ticketed),
        };
        if let Some(id) = watched {
            client.watch(id, &ticketed);
        }
        // The training runs even if its row is never fetched; closing the call cancels it. JDBC cannot close this call,
        // only the call for the row, which follows at once.
        let limit = client.session.limits().training;
        if is_java(&request) {
            return Ok(Response::new(statement_info(
                descriptor, &handle, &ticketed,
            )?));
        }
        if let Err(error) = ticketed.train(limit).await {
            client.drop_ticket(handle.as_bytes());
            return Err(error);
        }
        let info = statement_info(descriptor, &handle, &ticketed)?;
        Ok(Response::new(info))
    }

    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        let client = self.client(&request).await?;
        let descriptor = request.get_ref();
        let (handle, ticketed) = match self.begin(&client, descriptor).await? {
            Begun::Metadata(info) => return Ok(Response::new(PollInfo::new().with_info(info))),
            Begun::Statement(handle, ticketed) => (handle, ticketed),
        };
        ticketed.begin(client.session.limits().training);
        let until = tokio::time::Instant::now() + POLL_TIME;
        while !ticketed.is_ready() && tokio::time::Instant::now() < until {
            tokio::time::sleep(POLL_TIME / 20).await;
        }
        ticketed.touch();
        if ticketed.is_ready() {
            // The training is done, so this call only returns its error.
            ticketed.train(None).await?;
        }
        let info = statement_info(descriptor, &handle, &ticketed)?;
        let mut poll = PollInfo::new().with_info(info);
        if ticketed.is_ready() {
            poll.progress = Some(1.0);
        } else {
            poll.progress = ticketed.seen().last.as_ref().and_then(actions::fraction);
            let ticket = statement_ticket(&handle);
            poll = poll.with_descriptor(FlightDescriptor::new_cmd(ticket.ticket));
        }
        Ok(Response::new(poll))
    }

    async fn get_schema(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        let client = self.client(&request).await?;
        let command = command(&request.get_ref().cmd)?;
        let schema = match command {
            Command::CommandStatementQuery(query) => {
                let prepared = prepare(&self.0, &client, &query.query).await?;
                result_schema(&prepared.description.schema)
            }
            Command::CommandPreparedStatementQuery(query) => {
                let prepared = client.prepared(&query.prepared_statement_handle)?;
                result_schema(&prepared.description.schema)
            }
            command => metadata::schema(&command).ok_or_else(|| unsupported(&command))?,
        };
        let schema = schema_bytes(&schema)?;
        Ok(Response::new(SchemaResult { schema }))
    }

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let client = self.client(&request).await?;
        let command = command(&request.get_ref().ticket)?;
        if let Command::TicketStatementQuery(ticket) = command {
            let (schema, rows) = fetch(&self.0, &client, &ticket.statement_handle).await?;
            let options = match is_java(&request) {
                // Java drivers have no limit.
                true => WireOptions {
                    message_bytes_max: usize::MAX,
                    compression: None,
                },
                false => *lock(&client.wire),
            };
            let messages = encoded(schema, rows, options)?;
            return Ok(Response::new(messages.boxed()));
        }
        match metadata::answer(&client, command).await? {
            Some(batch) => Ok(Response::new(one_batch(batch).boxed())),
            None => Err(Status::not_found("there is no result for this ticket")),
        }
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        let client = self.client(&request).await?;
        let upload = Upload::begin(request.into_inner()).await?;
        let result = self.put(&client, upload).await?;
        Ok(answers(vec![Ok(PutResult {
            app_metadata: result.into(),
        })]))
    }

    async fn do_action(
        &self,
        request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        let client = self.client(&request).await?;
        let body = self.act(&client, &request).await?;
        let results = body
            .into_iter()
            .map(|body| Ok(arrow_flight::Result { body }));
        Ok(answers(results.collect()))
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        Ok(answers(actions::types()))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        Err(failed(SqlState::Unsupported, "DoExchange is not supported"))
    }
}
