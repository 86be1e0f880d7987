//! Statements of clients: crashes of plain DataFusion, limits, cancelling, results that are fetched late or twice.

use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, CancelStatus, FlightInfo,
};
use prost::Message;
use tonic::Code;
use tonic::transport::Channel;

use super::{Server, any, column, error, outcome, query, runtime, ticket};
use crate::vatic;

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b, \
                       generate_series(1, 100) c";

/// Statements that crash or block a plain DataFusion process, each with the error codes allowed; no code if it must work.
fn killers() -> Vec<(&'static str, String, &'static [&'static str])> {
    let row = |first: &str, more: &str, count: usize| format!("{first}{}", more.repeat(count));
    let doubled = |levels: usize| {
        let with: Vec<String> = (1..=levels)
            .map(|at| format!("c{at} AS (SELECT x.a FROM c{0} x, c{0} y)", at - 1))
            .collect();
        format!(
            "WITH c0 AS (SELECT 1 AS a), {} SELECT count(*) FROM c{levels}",
            with.join(", ")
        )
    };
    let nested = |open: &str, close: &str, count: usize| {
        format!("SELECT {}1{}", open.repeat(count), close.repeat(count))
    };
    let numbers = |count: usize| {
        (0..count)
            .map(|at| at.to_string())
            .collect::<Vec<_>>()
            .join(",")
    };
    let complex: &[&str] = &["54001"];
    let depth: &[&str] = &["42601", "54001"];
    let memory: &[&str] = &["53200"];
    vec![
        ("plus", row("SELECT 1", "+1", 1_632), complex),
        ("plus, long", row("SELECT 1", "+1", 100_000), complex),
        ("plus, allowed", row("SELECT 1", "+1", 200), &[]),
        ("or", row("SELECT 1 WHERE 1=0", " OR 1=1", 1_750), complex),
        (
            "or, long",
            row("SELECT 1 WHERE 1=0", " OR 1=1", 20_000),
            complex,
        ),
        ("cast", row("SELECT 1", "::bigint", 1_593), complex),
        (
            "union",
            row("SELECT 1", " UNION ALL SELECT 1", 2_625),
            complex,
        ),
        ("concat", row("SELECT 'a'", "||'a'", 2_000), complex),
        (
            "comma",
            row("SELECT 1 FROM (SELECT 1) t", ", (SELECT 1)", 3_000),
            complex,
        ),
        ("parentheses", nested("(", ")", 100_000), depth),
        ("functions", nested("abs(", ")", 100_000), depth),
        ("arrays", nested("[", "]", 100_000), depth),
        ("minus", row("SELECT ", "- ", 100_000), depth),
        ("with, doubled", doubled(8), &[]),
        ("with, doubled 14 times", doubled(14), complex),
        ("with, doubled 22 times", doubled(22), complex),
        (
            "in",
            format!("SELECT 1 WHERE 1 IN ({})", numbers(20_000)),
            &[],
        ),
        (
            "literal",
            format!("SELECT '{}'", "x".repeat(20 << 20)),
            complex,
        ),
        (
            "name",
            format!("SELECT 1 AS {}", "x".repeat(20 << 20)),
            complex,
        ),
        ("repeat", "SELECT repeat('a', 2000000000)".into(), memory),
        ("lpad", "SELECT lpad('a', 2000000000)".into(), memory),
        ("range", "SELECT range(0, 300000000)".into(), memory),
        (
            "array_repeat",
            "SELECT array_repeat(1, 2000000000)".into(),
            memory,
        ),
        (
            "regex",
            "SELECT regexp_like('a', '(((a{100}){100}){100})')".into(),
            &["22000"],
        ),
        ("zero", "SELECT 1/0".into(), &["22012"]),
        (
            "negated",
            "SELECT -arrow_cast('-9223372036854775808', 'Int64')".into(),
            &["22003"],
        ),
        ("nul", "SELECT '\0'".into(), &[]),
        ("unterminated", "SELECT 'a".into(), &["42601"]),
        ("empty", String::new(), &[]),
        ("semicolons", ";;".into(), &[]),
    ]
}

fn check(name: &str, found: &Result<Vec<String>, String>, codes: &[&str]) {
    match found {
        Ok(_) => assert!(codes.is_empty(), "{name} works"),
        Err(error) => {
            let is_expected = codes.iter().any(|code| error.contains(code));
            assert!(is_expected, "{name}: {error}");
        }
    }
}

#[test]
fn statements_that_end_a_bare_process_are_errors_in_the_shell() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("killer.sql");
    for (name, sql, codes) in killers() {
        std::fs::write(&file, &sql).unwrap();
        let output = vatic(std::path::Path::new(":memory:"))
            .arg("-f")
            .arg(&file)
            .output();
        let output = output.unwrap();
        let found = match output.status.code() {
            Some(0) => Ok(vec![]),
            Some(1) => Err(crate::text(&output.stderr).to_string()),
            code => panic!("{name}: exit code {code:?}"),
        };
        check(name, &found, codes);
    }
}

#[test]
fn statements_that_end_a_bare_process_are_errors_of_a_server() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        for (name, sql, codes) in killers() {
            let began = Instant::now();
            check(name, &outcome(&remote, &sql).await, codes);
            assert!(began.elapsed() < Duration::from_secs(12), "{name}");
        }
        // A view in a view is also copied for each use.
        column(&remote, "CREATE VIEW v0 AS SELECT 1 AS a").await;
        let mut refused = None;
        for at in 1..=30 {
            let sql = format!(
                "CREATE VIEW v{at} AS SELECT x.a FROM v{0} x, v{0} y",
                at - 1
            );
            if let Err(error) = outcome(&remote, &sql).await {
                refused = Some(error);
                break;
            }
        }
        assert!(refused.unwrap().starts_with("54001"));
        server.assert_alive().await;
    });
}

#[test]
fn a_statement_beyond_its_time_is_an_error() {
    let server = Server::start(&["--statement-timeout", "2"]);
    runtime().block_on(async {
        let remote = server.connect().await;
        let began = Instant::now();
        assert_eq!(
            error(&remote, ENDLESS).await,
            "57014: the statement took longer than 2 s"
        );
        assert!(began.elapsed() < Duration::from_secs(4));
        assert!(server.is_idle_within(Duration::from_secs(3)).await);
    });
}

#[test]
fn a_result_with_too_many_rows_is_an_error() {
    let server = Server::start(&["--result-rows", "1000"]);
    runtime().block_on(async {
        let remote = server.connect().await;
        let sql = |rows| format!("SELECT * FROM generate_series(1, {rows})");
        assert_eq!(column(&remote, &sql(1_000)).await.len(), 1_000);
        assert!(
            error(&remote, &sql(100_000))
                .await
                .contains("over 1000 rows")
        );
    });
}

#[test]
fn more_statements_than_run_at_once_wait_or_are_refused() {
    let server = Server::start(&["--statements", "1"]);
    runtime().block_on(async {
        let remote = server.connect().await;
        let first = remote.clone();
        let running = tokio::task::JoinSet::from_iter([async move {
            first.sql(ENDLESS).await.map(|rows| (rows, ()))
        }]);
        let rows: Vec<_> = running.join_all().await;
        let mut rows = rows.into_iter().next().unwrap().unwrap().0;
        let fetching = futures::StreamExt::next(&mut rows);
        let began = Instant::now();
        let refused = tokio::select! {
            _ = fetching => panic!("it ended"),
            refused = outcome(&remote, "SELECT 1") => refused.unwrap_err(),
        };
        assert!(refused.starts_with("53300"), "{refused}");
        assert!(began.elapsed() > Duration::from_secs(9));
        drop(rows);
        assert_eq!(column(&remote, "SELECT 1").await, ["1"]);
    });
}

async fn cancel(client: &mut FlightServiceClient<Channel>, info: FlightInfo) -> CancelStatus {
    let request = CancelFlightInfoRequest::new(info);
    let action = Action::new("CancelFlightInfo", request.encode_to_vec());
    let mut results = client.do_action(action).await.unwrap().into_inner();
    let body = results.message().await.unwrap().unwrap().body;
    CancelFlightInfoResult::decode(body).unwrap().status()
}

#[test]
fn a_dropped_result_stops_its_statement() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let mut client = server.client().await;
        let info = client
            .get_flight_info(query(ENDLESS))
            .await
            .unwrap()
            .into_inner();
        let stream = client.do_get(ticket(&info)).await.unwrap().into_inner();
        let before = server.cpu_seconds();
        while server.cpu_seconds() - before < 0.5 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        drop(stream);
        assert!(server.is_idle_within(Duration::from_secs(2)).await);
        // The ticket ends with the statement.
        assert_eq!(
            client.do_get(ticket(&info)).await.unwrap_err().code(),
            Code::NotFound
        );
    });
}

#[test]
fn a_statement_is_cancelled_by_another_call() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let mut client = server.client().await;
        let info = client
            .get_flight_info(query(ENDLESS))
            .await
            .unwrap()
            .into_inner();
        let mut stream = client.do_get(ticket(&info)).await.unwrap().into_inner();
        // The first message is the schema.
        stream.message().await.unwrap();
        let status = cancel(&mut client, info.clone()).await;
        assert_eq!(status, CancelStatus::Cancelled);
        assert_eq!(stream.message().await.unwrap_err().code(), Code::Cancelled);
        assert!(server.is_idle_within(Duration::from_secs(2)).await);
        let status = cancel(&mut client, info).await;
        assert_eq!(status, CancelStatus::NotCancellable);
    });
}

/// Fetches a result to its end, and returns the number of its messages.
async fn fetch(
    client: &FlightServiceClient<Channel>,
    info: &FlightInfo,
) -> Result<usize, tonic::Status> {
    let mut stream = client.clone().do_get(ticket(info)).await?.into_inner();
    let mut messages = 0;
    while stream.message().await?.is_some() {
        messages += 1;
    }
    Ok(messages)
}

/// Statements whose planning does not end block no others.
#[test]
fn plans_that_do_not_end_leave_room_for_others() {
    let stalls = tempfile::tempdir().unwrap();
    let server = Server::start_with_stalls("planning", stalls.path());
    runtime().block_on(async {
        let remotes = [server.connect().await, server.connect().await];
        for stall in 0..8 {
            std::fs::write(stalls.path().join(stall.to_string()), "").unwrap();
        }
        // One client alone may not plan that many statements at once.
        let stuck = (0..8).map(|stall| error(&remotes[stall % 2], "SELECT 1"));
        for error in futures::future::join_all(stuck).await {
            assert!(error.starts_with("54001"), "{error}");
        }
        assert_eq!(column(&remotes[0], "SELECT 1 + 1").await, ["2"]);
        drop(stalls);
        server.assert_alive().await;
    });
}

/// A client that cancels and a client that fetches are told the same.
#[test]
fn a_query_is_either_cancelled_or_read_to_its_end() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let mut client = server.client().await;
        let sql = "SELECT value FROM generate_series(1, 20000)";
        let info = client
            .get_flight_info(query(sql))
            .await
            .unwrap()
            .into_inner();
        let began = Instant::now();
        fetch(&client, &info).await.unwrap();
        let time = began.elapsed();
        let (mut cancelled, mut finished) = (0, 0);
        for round in 0..200 {
            let info = client
                .get_flight_info(query(sql))
                .await
                .unwrap()
                .into_inner();
            let fetcher = client.clone();
            let cancelling = async {
                // From the start of the fetch to some time after its end.
                tokio::time::sleep(time * (round % 20) / 10).await;
                cancel(&mut client, info.clone()).await
            };
            let (fetched, status) = tokio::join!(fetch(&fetcher, &info), cancelling);
            match status {
                CancelStatus::Cancelled => {
                    cancelled += 1;
                    let code = fetched.unwrap_err().code();
                    assert!([Code::Cancelled, Code::NotFound].contains(&code), "{code}");
                }
                CancelStatus::NotCancellable => {
                    finished += 1;
                    fetched.unwrap();
                }
                status => panic!("{status:?}"),
            }
        }
        assert!(
            cancelled > 0 && finished > 0,
            "{cancelled} cancelled, {finished} finished"
        );
    });
}

#[test]
fn a_training_is_either_cancelled_or_published() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, HOUSES).await;
        let mut client = server.java_client().await;
        let replace = TRAIN.replace("TRAIN MODEL", "TRAIN OR REPLACE MODEL");
        let versions = async || {
            let count = "SELECT count(*) FROM information_schema.model_versions";
            column(&remote, count).await[0].parse::<usize>().unwrap()
        };
        let mut train = async || {
            let info = client.get_flight_info(query(&replace)).await;
            info.unwrap().into_inner()
        };
        let info = train().await;
        let fetcher = server.java_client().await;
        let began = Instant::now();
        fetch(&fetcher, &info).await.unwrap();
        let time = began.elapsed();
        let (mut cancelled, mut finished) = (0, 0);
        for round in 0..60 {
            let before = versions().await;
            let info = train().await;
            let mut canceller = fetcher.clone();
            let cancelling = async {
                // From the start of a training to some time after its end.
                tokio::time::sleep(time * (round % 20) / 14).await;
                cancel(&mut canceller, info.clone()).await
            };
            let (fetched, status) = tokio::join!(fetch(&fetcher, &info), cancelling);
            let after = versions().await;
            match status {
                CancelStatus::Cancelled => {
                    cancelled += 1;
                    let code = fetched.unwrap_err().code();
                    assert!([Code::Cancelled, Code::NotFound].contains(&code), "{code}");
                    assert_eq!(after, before, "a cancelled training was published");
                }
                CancelStatus::NotCancellable => {
                    finished += 1;
                    assert_eq!(fetched.unwrap(), 2, "a schema and a row");
                    assert_eq!(after, before + 1);
                }
                status => panic!("{status:?}"),
            }
        }
        assert!(
            cancelled > 0 && finished > 0,
            "{cancelled} cancelled, {finished} finished"
        );
    });
}

/// The cancel comes between the publication of the model and the answer.
#[test]
fn a_training_that_was_published_is_not_cancelled() {
    let stalls = tempfile::tempdir().unwrap();
    let server = Server::start_with_stalls("commit", stalls.path());
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, HOUSES).await;
        let mut client = server.java_client().await;
        let info = client
            .get_flight_info(query(TRAIN))
            .await
            .unwrap()
            .into_inner();
        let stall = stalls.path().join("one");
        std::fs::write(&stall, "").unwrap();
        let fetcher = client.clone();
        let cancelling = async {
            while stall.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let release = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                std::fs::remove_dir_all(stalls.path()).unwrap();
            };
            let (status, ()) = tokio::join!(cancel(&mut client, info.clone()), release);
            status
        };
        let (fetched, status) = tokio::join!(fetch(&fetcher, &info), cancelling);
        assert_eq!(status, CancelStatus::NotCancellable);
        assert_eq!(fetched.unwrap(), 2, "a schema and a row");
        // Its row can be fetched again.
        assert_eq!(fetch(&fetcher, &info).await.unwrap(), 2);
        let status = "SELECT status FROM ml.training_runs";
        assert_eq!(column(&remote, status).await, ["SUCCEEDED"]);
    });
}

/// The time of an INSERT ends between the publication of its rows and the answer.
#[test]
fn an_insert_that_was_published_is_not_out_of_time() {
    let stalls = tempfile::tempdir().unwrap();
    let data = tempfile::tempdir().unwrap();
    let mut command = super::vatic_server(data.path(), &["--statement-timeout", "1"]);
    command.env("VATIC_STALL", format!("commit:{}", stalls.path().display()));
    let server = Server::run(data, command);
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, "CREATE TABLE t (a BIGINT)").await;
        let stall = stalls.path().join("one");
        std::fs::write(&stall, "").unwrap();
        let release = async {
            while stall.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            std::fs::remove_dir_all(stalls.path()).unwrap();
        };
        let insert = "INSERT INTO t VALUES (1)";
        let (inserted, ()) = tokio::join!(outcome(&remote, insert), release);
        assert_eq!(inserted.unwrap(), ["1"]);
        assert_eq!(column(&remote, "SELECT count(*) FROM t").await, ["1"]);
    });
}

const HOUSES: &str = "CREATE TABLE houses AS SELECT value * 1.0 AS size, value * 2.0 AS price \
                      FROM generate_series(1, 100)";
const TRAIN: &str =
    "TRAIN MODEL price TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses";

#[test]
fn a_training_happens_once_and_its_row_may_be_fetched_again() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, HOUSES).await;
        let mut client = server.client().await;
        let info = client
            .get_flight_info(query(TRAIN))
            .await
            .unwrap()
            .into_inner();
        let models = "SELECT count(*) FROM information_schema.model_versions";
        assert_eq!(column(&remote, models).await, ["1"], "asking is enough");
        for _ in 0..2 {
            let mut stream = client.do_get(ticket(&info)).await.unwrap().into_inner();
            let mut messages = 0;
            while stream.message().await.unwrap().is_some() {
                messages += 1;
            }
            assert_eq!(messages, 2, "a schema and a row");
        }
        assert_eq!(column(&remote, models).await, ["1"]);
    });
}

#[test]
fn a_training_that_is_polled_tells_how_far_it_is() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, "CREATE TABLE xs AS SELECT value * 1.0 AS x, value % 3 AS y FROM generate_series(1, 2000)").await;
        let train = "TRAIN MODEL m TARGET y OPTIONS (model_type = 'dnn_classifier', hidden_units = [64], epochs = 600, \
                     early_stop = false) AS SELECT * FROM xs";
        let mut client = server.client().await;
        let mut poll = client.poll_flight_info(query(train)).await.unwrap().into_inner();
        let mut seen = vec![];
        while let Some(descriptor) = poll.flight_descriptor.clone() {
            seen.extend(poll.progress);
            poll = client.poll_flight_info(descriptor).await.unwrap().into_inner();
        }
        assert!(seen.is_sorted(), "{seen:?}");
        assert!(seen.iter().any(|part| *part > 0.0), "{seen:?}");
        let info = poll.info.unwrap();
        let mut stream = client.do_get(ticket(&info)).await.unwrap().into_inner();
        assert!(stream.message().await.unwrap().is_some());
        let status = "SELECT status FROM ml.training_runs";
        assert_eq!(column(&remote, status).await, ["SUCCEEDED"]);
        // A client that cancels a running training gets no model.
        let long = train.replace("MODEL m", "MODEL n").replace("epochs = 600", "epochs = 100000");
        let poll = client.poll_flight_info(query(&long)).await.unwrap().into_inner();
        assert!(poll.flight_descriptor.is_some());
        let status = cancel(&mut client, poll.info.unwrap()).await;
        assert_eq!(status, CancelStatus::Cancelled);
        assert!(server.is_idle_within(Duration::from_secs(3)).await);
        let status = "SELECT status FROM ml.training_runs WHERE model_name = 'n'";
        assert_eq!(column(&remote, status).await, ["CANCELLED"]);
    });
}

#[test]
fn a_statement_in_preparation_does_nothing() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let remote = server.connect().await;
        column(&remote, HOUSES).await;
        let mut client = server.client().await;
        for (sql, is_query) in [
            (TRAIN, true),
            ("DROP TABLE houses", false),
            ("CREATE VIEW v AS SELECT 1", false),
            ("INSERT INTO houses VALUES (?, ?)", false),
            ("SET vatic.batch_size = 7", false),
            ("EXPLAIN SELECT 1", true),
            ("SHOW MODELS", true),
            ("SELECT * FROM predict(?, (SELECT * FROM houses))", true),
        ] {
            let request = ActionCreatePreparedStatementRequest {
                query: sql.into(),
                transaction_id: None,
            };
            let action = Action::new("CreatePreparedStatement", any(&request));
            let mut results = client.do_action(action).await.unwrap().into_inner();
            let body = results.message().await.unwrap().unwrap().body;
            let result: ActionCreatePreparedStatementResult =
                Any::decode(body).unwrap().unpack().unwrap().unwrap();
            // JDBC tells queries from updates by the schema.
            assert_eq!(!result.dataset_schema.is_empty(), is_query, "{sql}");
        }
        assert_eq!(
            column(&remote, "SELECT count(*) FROM houses").await,
            ["100"]
        );
        assert_eq!(
            column(&remote, "SELECT count(*) FROM information_schema.models").await,
            ["0"]
        );
        assert!(error(&remote, "SELECT * FROM v").await.starts_with("42P01"));
    });
}
