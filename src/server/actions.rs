//! Flight actions: session options, cancellation, progress. Their messages are plain protobuf; the specification has
//! messages about sessions that arrow-flight lacks, so they are defined here.

use std::collections::HashMap;

use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    ActionType, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
};
use datafusion::common::config::ConfigEntry;
use prost::Message;
use prost::bytes::Bytes;
use tonic::Status;
use vatic_ml::train::control::Progress;

use super::auth::{Identity, Tie};
use super::lock::lock;
use super::output::{COMPRESSIONS, WireOptions};
use super::sessions::Client;
use super::state::Server;
use crate::catalog::CATALOG;
use crate::progress::ProgressEvent;
use crate::sql::quoted;

/// The name and description of each action.
pub(super) const ACTIONS: &[(&str, &str)] = &[
    (
        "CreatePreparedStatement",
        "ActionCreatePreparedStatementRequest: plans a statement",
    ),
    (
        "ClosePreparedStatement",
        "ActionClosePreparedStatementRequest: forgets a prepared statement",
    ),
    (
        "CancelFlightInfo",
        "CancelFlightInfoRequest: stops a statement",
    ),
    (
        "CancelQuery",
        "ActionCancelQueryRequest: stops a statement, for older clients",
    ),
    (
        "SetSessionOptions",
        "SetSessionOptionsRequest: changes settings, the catalog or the schema of the session",
    ),
    (
        "GetSessionOptions",
        "GetSessionOptionsRequest: the settings of the session",
    ),
    (CLOSE_SESSION, "CloseSessionRequest: ends the session"),
    (
        PROGRESS,
        "the id of a statement, from its vatic-statement header: its progress, as JSON",
    ),
];
pub(crate) const CLOSE_SESSION: &str = "CloseSession";
pub(crate) const PROGRESS: &str = "VaticProgress";
/// The header with a statement's id, by which the client can ask for its progress.
pub(crate) const WATCHED: &str = "vatic-statement";

/// The supported actions, for clients that list them.
pub(super) fn types() -> Vec<Result<ActionType, Status>> {
    let types = ACTIONS.iter().map(|(name, description)| {
        Ok(ActionType {
            r#type: (*name).into(),
            description: (*description).into(),
        })
    });
    types.collect()
}

#[derive(Clone, PartialEq, Message)]
struct OptionValue {
    #[prost(oneof = "option_value::Value", tags = "1, 2, 3, 4, 5")]
    value: Option<Value>,
}

mod option_value {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Strings {
        #[prost(string, repeated, tag = "1")]
        pub(super) values: Vec<String>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum Value {
        #[prost(string, tag = "1")]
        Text(String),
        #[prost(bool, tag = "2")]
        Boolean(bool),
        #[prost(sfixed64, tag = "3")]
        Integer(i64),
        #[prost(double, tag = "4")]
        Number(f64),
        #[prost(message, tag = "5")]
        Strings(Strings),
    }
}

use option_value::Value;

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct OptionError {
    #[prost(int32, tag = "1")]
    value: i32,
}

/// Codes of the specification for a wrong option.
const INVALID_NAME: i32 = 1;
const INVALID_VALUE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, OptionError>,
}

#[derive(Clone, PartialEq, Message)]
struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    options: HashMap<String, OptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

/// Codes of the specification for the result of closing a session.
const CLOSED: i32 = 1;
const CLOSING: i32 = 2;

fn decoded<M: Message + Default>(body: &[u8]) -> Result<M, Status> {
    M::decode(body).map_err(|error| {
        Status::invalid_argument(format!("the action's body cannot be decoded: {error}"))
    })
}

/// Changes options of the session; the reply lists the options that could not be changed.
pub(super) async fn set_options(client: &Client, body: &[u8]) -> Result<Bytes, Status> {
    let request: SetSessionOptionsRequest = decoded(body)?;
    let mut errors = HashMap::new();
    for (name, OptionValue { value }) in request.options {
        if let Err(value) = set_option(client, &name, value).await {
            errors.insert(name, OptionError { value });
        }
    }
    Ok(SetSessionOptionsResult { errors }.encode_to_vec().into())
}

async fn set_option(client: &Client, name: &str, value: Option<Value>) -> Result<(), i32> {
    let session = &client.session;
    let text = match value {
        Some(Value::Text(text)) => Some(text),
        Some(Value::Boolean(value)) => Some(value.to_string()),
        Some(Value::Integer(value)) => Some(value.to_string()),
        Some(Value::Number(value)) => Some(value.to_string()),
        Some(Value::Strings(_)) => return Err(INVALID_VALUE),
        None => None,
    };
    match (name, text) {
        ("catalog", text) => match text.as_deref() {
            None | Some("" | CATALOG) => Ok(()),
            Some(_) => Err(INVALID_VALUE),
        },
        ("schema", text) => {
            let schema = text.unwrap_or_else(|| crate::storage::DEFAULT_SCHEMA.into());
            let catalog = session.context().catalog(CATALOG).ok_or(INVALID_VALUE)?;
            if catalog.schema(&schema).is_none() {
                return Err(INVALID_VALUE);
            }
            session.set_default_schema(&schema);
            Ok(())
        }
        ("max_message_bytes", text) => {
            let default = WireOptions::default().message_bytes_max;
            let bytes = text.map_or(Some(default), |text| text.parse().ok());
            let bytes = bytes.filter(|bytes| *bytes > 0).ok_or(INVALID_VALUE)?;
            lock(&client.wire).message_bytes_max = bytes;
            Ok(())
        }
        ("compression", text) => {
            let text = text.unwrap_or_else(|| "none".into());
            let mut known = COMPRESSIONS.iter();
            let found = known.find(|(name, _)| name.eq_ignore_ascii_case(&text));
            lock(&client.wire).compression = found.ok_or(INVALID_VALUE)?.1;
            Ok(())
        }
        (name, _) if !is_setting(client, name) => Err(INVALID_NAME),
        (name, Some(text)) => run(client, &format!("SET {name} = {}", quoted(&text))).await,
        (name, None) => {
            // As RESET, with an answer for each name.
            let fresh = client
                .session
                .engine()
                .session()
                .map_err(|_| INVALID_VALUE)?;
            let entries = fresh.context().state().config_options().entries();
            let found = entries.into_iter().find(|entry| entry.key == name);
            match found.and_then(|entry| entry.value) {
                Some(value) => run(client, &format!("SET {name} = {}", quoted(&value))).await,
                None => Err(INVALID_VALUE),
            }
        }
    }
}

async fn run(client: &Client, statement: &str) -> Result<(), i32> {
    match client.session.sql(statement).await {
        Ok(_) => Ok(()),
        Err(_) => Err(INVALID_VALUE),
    }
}

fn is_setting(client: &Client, name: &str) -> bool {
    settings(client).iter().any(|entry| entry.key == name)
}

fn settings(client: &Client) -> Vec<ConfigEntry> {
    client.session.context().state().config_options().entries()
}

/// The options of the session.
pub(super) fn options(client: &Client) -> Bytes {
    let text = |text: String| OptionValue {
        value: Some(Value::Text(text)),
    };
    let entries = settings(client).into_iter();
    let mut options: HashMap<String, OptionValue> = entries
        .filter_map(|entry| Some((entry.key, text(entry.value?))))
        .collect();
    options.insert("catalog".into(), text(CATALOG.into()));
    options.insert("schema".into(), text(client.session.default_schema()));
    let wire = *lock(&client.wire);
    let bytes = i64::try_from(wire.message_bytes_max).unwrap_or(i64::MAX);
    let bytes = OptionValue {
        value: Some(Value::Integer(bytes)),
    };
    options.insert("max_message_bytes".into(), bytes);
    let mut compressions = COMPRESSIONS.iter();
    let found = compressions.find(|(_, compression)| *compression == wire.compression);
    let name = found.map_or("none", |(name, _)| *name);
    options.insert("compression".into(), text(name.into()));
    GetSessionOptionsResult { options }.encode_to_vec().into()
}

/// Ends the session and its token. Several clients of a connection may share the connection's session, whether they send
/// its cookie or not, so such a session ends with the connection.
pub(super) fn close_session(server: &Server, identity: &Identity) -> Bytes {
    let status = match identity.tie {
        Tie::Client if server.sessions.ends_with_connection(identity) => CLOSING,
        Tie::Client => {
            server.sessions.close(identity);
            server.auth.log_out(identity);
            CLOSED
        }
        Tie::Connection(_) => CLOSING,
    };
    CloseSessionResult { status }.encode_to_vec().into()
}

/// Cancels the statement of a FlightInfo.
pub(super) async fn cancel(client: &Client, body: &[u8]) -> Result<Bytes, Status> {
    let request: CancelFlightInfoRequest = decoded(body)?;
    let status = cancel_info(client, &request.info.unwrap_or_default()).await;
    Ok(CancelFlightInfoResult::new(status).encode_to_vec().into())
}

/// Cancels the statements of a FlightInfo. A statement that has ended, or that the server does not know, is not cancellable.
pub(super) async fn cancel_info(client: &Client, info: &FlightInfo) -> CancelStatus {
    let mut status = CancelStatus::NotCancellable;
    let tickets = info.endpoint.iter();
    let tickets = tickets.filter_map(|endpoint| endpoint.ticket.as_ref());
    let handles: Vec<Bytes> = tickets.filter_map(|found| handle(&found.ticket)).collect();
    for handle in handles {
        let Ok(ticketed) = client.ticketed(&handle) else {
            continue;
        };
        match ticketed.cancel().await {
            CancelStatus::Cancelled => {
                client.drop_ticket(&handle);
                status = CancelStatus::Cancelled;
            }
            CancelStatus::Cancelling => status = CancelStatus::Cancelling,
            // The client may still fetch the result.
            CancelStatus::NotCancellable | CancelStatus::Unspecified => {}
        }
    }
    status
}

/// The handle of a statement in a ticket.
fn handle(ticket: &[u8]) -> Option<Bytes> {
    match Command::try_from(Any::decode(ticket).ok()?).ok()? {
        Command::TicketStatementQuery(ticket) => Some(ticket.statement_handle),
        _ => None,
    }
}

/// The progress of a statement as a JSON list: its notices, its last epoch, and its last other event.
pub(super) fn progress(client: &Client, body: &[u8]) -> Bytes {
    let seen = std::str::from_utf8(body)
        .ok()
        .and_then(|id| client.seen(id));
    let events: Vec<ProgressEvent> = match seen {
        Some(seen) => {
            let epoch = seen.epochs.last().cloned();
            let said = seen.notices.into_iter();
            said.chain(epoch).chain(seen.last).collect()
        }
        None => vec![],
    };
    serde_json::to_vec(&events).unwrap_or_default().into()
}

/// The completed fraction of a statement, from 0 to 1.
pub(super) fn fraction(event: &ProgressEvent) -> Option<f64> {
    match event {
        ProgressEvent::Training {
            progress:
                Progress::Step {
                    epoch,
                    epochs,
                    share,
                    ..
                },
            ..
        } => Some((epoch.saturating_sub(1) as f64 + share) / (*epochs).max(1) as f64),
        ProgressEvent::Stages {
            stages,
            stages_done,
            ..
        } => Some(*stages_done as f64 / (*stages).max(1) as f64),
        ProgressEvent::Training { .. }
        | ProgressEvent::Reading { .. }
        | ProgressEvent::Notice { .. }
        | ProgressEvent::Waiting { .. }
        | ProgressEvent::Done => None,
    }
}
