//! Logins: every call with every kind of wrong credential, separate sessions, tokens that end.

use std::time::{Duration, Instant};

use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest, CommandGetCatalogs,
    CommandGetCrossReference, CommandGetDbSchemas, CommandGetExportedKeys, CommandGetImportedKeys,
    CommandGetPrimaryKeys, CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables,
    CommandGetXdbcTypeInfo, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementUpdate, TicketStatementQuery,
};
use arrow_flight::{
    Action, Criteria, Empty, FlightData, FlightDescriptor, HandshakeRequest, Ticket,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{PASSWORD, Server, any, column, connect, error, runtime, user, users};

#[test]
fn whether_a_server_is_well_is_told_without_a_login() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let url = format!("http://{}", server.address());
        let channel = tonic::transport::Channel::from_shared(url).unwrap();
        let mut client = HealthClient::new(channel.connect().await.unwrap());
        let answer = client.check(HealthCheckRequest::default()).await.unwrap();
        assert_eq!(answer.get_ref().status(), ServingStatus::Serving);
    });
}

/// Sends one call of each kind; returns the number of calls, and the names of those that were not refused.
async fn calls_let_in(server: &Server, credential: Option<&str>) -> (usize, Vec<String>) {
    let mut client = server.client().await;
    let with = |request: &mut tonic::metadata::MetadataMap| {
        if let Some(credential) = credential {
            // The header type of tonic does not allow every byte.
            if let Ok(value) = MetadataValue::try_from(credential) {
                request.insert("authorization", value);
            }
        }
    };
    macro_rules! request {
        ($message:expr) => {{
            let mut request = Request::new($message);
            with(request.metadata_mut());
            request
        }};
    }
    let mut outcomes: Vec<(String, Option<Status>)> = vec![];
    let commands: Vec<(&str, Vec<u8>)> = vec![
        (
            "query",
            any(&CommandStatementQuery {
                query: "SELECT 1".into(),
                transaction_id: None,
            }),
        ),
        ("prepared", any(&CommandPreparedStatementQuery::default())),
        ("catalogs", any(&CommandGetCatalogs {})),
        ("schemas", any(&CommandGetDbSchemas::default())),
        ("tables", any(&CommandGetTables::default())),
        ("table types", any(&CommandGetTableTypes {})),
        ("primary keys", any(&CommandGetPrimaryKeys::default())),
        ("imported keys", any(&CommandGetImportedKeys::default())),
        ("exported keys", any(&CommandGetExportedKeys::default())),
        ("cross reference", any(&CommandGetCrossReference::default())),
        ("types", any(&CommandGetXdbcTypeInfo::default())),
        ("info", any(&CommandGetSqlInfo::default())),
        ("ticket", any(&TicketStatementQuery::default())),
    ];
    for (name, command) in &commands {
        let descriptor = FlightDescriptor::new_cmd(command.clone());
        let status = client
            .get_flight_info(request!(descriptor.clone()))
            .await
            .err();
        outcomes.push((format!("GetFlightInfo {name}"), status));
        let status = client.get_schema(request!(descriptor.clone())).await.err();
        outcomes.push((format!("GetSchema {name}"), status));
        let status = client
            .do_get(request!(Ticket::new(command.clone())))
            .await
            .err();
        outcomes.push((format!("DoGet {name}"), status));
    }
    let descriptor = FlightDescriptor::new_cmd(commands[0].1.clone());
    let status = client.poll_flight_info(request!(descriptor)).await.err();
    outcomes.push(("PollFlightInfo".into(), status));
    let status = client
        .list_flights(request!(Criteria::default()))
        .await
        .err();
    outcomes.push(("ListFlights".into(), status));
    let status = client.list_actions(request!(Empty {})).await.err();
    outcomes.push(("ListActions".into(), status));
    for (name, command) in [
        (
            "update",
            any(&CommandStatementUpdate {
                query: "SET vatic.workers = 1".into(),
                transaction_id: None,
            }),
        ),
        (
            "prepared update",
            any(&CommandPreparedStatementUpdate::default()),
        ),
        ("bind", any(&CommandPreparedStatementQuery::default())),
        ("ingest", any(&CommandStatementIngest::default())),
    ] {
        let data = FlightData::new().with_descriptor(FlightDescriptor::new_cmd(command));
        let request = request!(futures::stream::iter([data]));
        outcomes.push((format!("DoPut {name}"), client.do_put(request).await.err()));
    }
    let data = futures::stream::iter([FlightData::new()]);
    outcomes.push((
        "DoExchange".into(),
        client.do_exchange(request!(data)).await.err(),
    ));
    for name in [
        "CreatePreparedStatement",
        "ClosePreparedStatement",
        "CancelFlightInfo",
        "CancelQuery",
        "SetSessionOptions",
        "GetSessionOptions",
        "CloseSession",
        "VaticProgress",
        "Nonsense",
    ] {
        let body = match name {
            "CreatePreparedStatement" => any(&ActionCreatePreparedStatementRequest {
                query: "SELECT 1".into(),
                transaction_id: None,
            }),
            "ClosePreparedStatement" => any(&ActionClosePreparedStatementRequest::default()),
            _ => vec![],
        };
        let status = client
            .do_action(request!(Action::new(name, body)))
            .await
            .err();
        outcomes.push((format!("DoAction {name}"), status));
    }
    let count = outcomes.len();
    let let_in = outcomes
        .into_iter()
        .filter_map(|(name, status)| match status {
            Some(status) if status.code() == Code::Unauthenticated => {
                // The error does not repeat the credential.
                assert!(!status.message().contains("Bearer"), "{name}");
                None
            }
            _ => Some(name),
        });
    (count, let_in.collect())
}

#[test]
fn every_call_needs_a_login() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let basic = STANDARD.encode(format!("ada:{PASSWORD}"));
        let long = format!("Bearer {}", "x".repeat(10_000));
        let mut cases = 0;
        for credential in [
            None,
            Some("Bearer garbage"),
            Some("bearer 00000000000000000000000000000000"),
            Some("Bearer "),
            Some("Bearer"),
            Some(""),
            Some(&long),
            Some(&*format!("Basic {basic}")),
            Some("Digest x"),
        ] {
            let (count, let_in) = calls_let_in(&server, credential).await;
            assert!(let_in.is_empty(), "{credential:?}: {let_in:?}");
            cases += count;
        }
        assert!(cases > 300, "{cases}");
        // With a login, the same calls are not refused for lack of one.
        let (_, token) = user(&["token", "--users", &file, "ada"], "");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let (count, let_in) = calls_let_in(&server, Some(&format!("Bearer {token}"))).await;
        assert_eq!(let_in.len(), count);
    });
}

#[test]
fn a_login_is_right_or_refused() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let ada = connect(&server, "ada", PASSWORD).await.unwrap();
        assert_eq!(column(&ada, "SELECT 1").await, ["1"]);
        for (name, password) in [
            ("ada", "p:w"),
            ("ada", ""),
            ("eve", PASSWORD),
            ("", ""),
            ("ada", "p:w d\0"),
        ] {
            let refused = connect(&server, name, password).await.unwrap_err();
            assert!(
                refused.starts_with("user or password is wrong"),
                "{refused}"
            );
        }
        // A handshake without credentials is refused.
        let mut client = server.client().await;
        let request = futures::stream::iter([HandshakeRequest::default()]);
        assert_eq!(
            client.handshake(request).await.unwrap_err().code(),
            Code::Unauthenticated
        );
    });
}

#[test]
fn wrong_passwords_slow_their_user_down_and_nobody_else() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        for _ in 0..8 {
            assert!(connect(&server, "bob", "wrong").await.is_err());
        }
        let began = Instant::now();
        assert!(connect(&server, "bob", "wrong").await.is_err());
        assert!(
            began.elapsed() > Duration::from_millis(700),
            "{:?}",
            began.elapsed()
        );
        let began = Instant::now();
        connect(&server, "ada", PASSWORD).await.unwrap();
        assert!(
            began.elapsed() < Duration::from_millis(700),
            "{:?}",
            began.elapsed()
        );
    });
}

#[test]
fn sessions_have_their_own_settings_and_share_tables() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let ada = connect(&server, "root", PASSWORD).await.unwrap();
        let again = connect(&server, "root", PASSWORD).await.unwrap();
        column(&ada, "SET vatic.batch_size = 77").await;
        column(&ada, "CREATE TABLE t AS SELECT 1 AS a").await;
        let show = "SHOW vatic.batch_size";
        assert_eq!(column(&ada, show).await, ["vatic.batch_size,77"]);
        assert_ne!(column(&again, show).await, ["vatic.batch_size,77"]);
        assert_eq!(column(&again, "SELECT * FROM t").await, ["1"]);
        column(&ada, "CREATE TEMPORARY TABLE t AS SELECT 2 AS a").await;
        assert_eq!(column(&ada, "SELECT * FROM t").await, ["2"]);
        assert_eq!(column(&again, "SELECT * FROM t").await, ["1"]);
        // Files of temporary tables end with the session.
        let blobs = || {
            let entries = std::fs::read_dir(server.data.path().join("blobs")).unwrap();
            entries
                .filter(|entry| entry.as_ref().unwrap().path().is_dir())
                .count()
        };
        assert_eq!(blobs(), 2);
        ada.close().await;
        let until = Instant::now() + Duration::from_secs(10);
        while blobs() > 1 {
            assert!(Instant::now() < until, "the files are still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(column(&again, "SELECT * FROM t").await, ["1"]);
    });
}

/// The token that a user gets by logging in.
async fn bearer(server: &Server, user: &str) -> MetadataValue<Ascii> {
    let mut request = Request::new(futures::stream::iter([HandshakeRequest::default()]));
    let basic = format!("Basic {}", STANDARD.encode(format!("{user}:{PASSWORD}")));
    let headers = request.metadata_mut();
    headers.insert("authorization", basic.parse().unwrap());
    let response = server.client().await.handshake(request).await.unwrap();
    response.metadata().get("authorization").unwrap().clone()
}

/// The code with which a call with this token is refused; `None` if it is accepted.
async fn refusal(server: &Server, bearer: &MetadataValue<Ascii>) -> Option<Code> {
    let mut request = Request::new(Empty {});
    let headers = request.metadata_mut();
    headers.insert("authorization", bearer.clone());
    let answer = server.client().await.list_actions(request).await;
    answer.err().map(|status| status.code())
}

#[test]
fn another_password_ends_logins_and_a_restart_does_not() {
    let (_directory, file) = users();
    let mut server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let (ada, bob) = (bearer(&server, "ada").await, bearer(&server, "bob").await);
        let logins = server.data.path().join("logins");
        assert_eq!(std::fs::read_dir(&logins).unwrap().count(), 2);
        let (worked, output) = user(&["add", "--users", &file, "ada"], "another\n");
        assert!(worked, "{output}");
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(refusal(&server, &bob).await, None);
        server.signal("-KILL");
        server.child.wait().unwrap();
        let data = std::mem::replace(&mut server.data, tempfile::tempdir().unwrap());
        let server = Server::start_in(data, &["--users", &file]);
        assert_eq!(refusal(&server, &ada).await, Some(Code::Unauthenticated));
        assert_eq!(refusal(&server, &bob).await, None);
        let until = Instant::now() + Duration::from_secs(10);
        while std::fs::read_dir(server.data.path().join("logins"))
            .unwrap()
            .count()
            > 1
        {
            assert!(Instant::now() < until, "the login is kept");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn a_user_that_is_removed_is_out() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file]);
    runtime().block_on(async {
        let bob = connect(&server, "bob", PASSWORD).await.unwrap();
        column(&bob, "SELECT 1").await;
        let text = std::fs::read_to_string(&file).unwrap();
        let (before, rest) = text.split_once("[users.bob]").unwrap();
        let after = rest.split_once("[users.root]").unwrap().1;
        std::fs::write(&file, format!("{before}[users.root]{after}")).unwrap();
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert!(error(&bob, "SELECT 1").await.starts_with("28000"));
    });
}

#[test]
fn a_token_that_is_not_used_ends() {
    let (_directory, file) = users();
    let server = Server::start(&["--users", &file, "--token-idle", "1"]);
    runtime().block_on(async {
        let ada = bearer(&server, "ada").await;
        // A token that is used stays valid.
        for _ in 0..4 {
            assert_eq!(refusal(&server, &ada).await, None);
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        assert_eq!(refusal(&server, &ada).await, Some(Code::Unauthenticated));
    });
}
