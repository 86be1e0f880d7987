//! Sessions of clients: no two clients share one, whether they log in, keep cookies, or send nothing.

use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{
    ActionCreatePreparedStatementRequest, ActionCreatePreparedStatementResult, Any,
    CommandPreparedStatementQuery,
};
use arrow_flight::{Action, FlightDescriptor};
use futures::TryStreamExt;
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::{Server, any, column, query, runtime, ticket, user, users};

/// A client with its own connection that sends these headers.
struct Client {
    flight: FlightServiceClient<Channel>,
    headers: MetadataMap,
    /// The cookie that the last answer set.
    cookie: Option<String>,
}

impl Client {
    async fn new(server: &Server) -> Self {
        Self {
            flight: server.client().await,
            headers: MetadataMap::new(),
            cookie: None,
        }
    }

    fn with(mut self, header: &'static str, value: &str) -> Self {
        self.headers.insert(header, value.parse().unwrap());
        self
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        *request.metadata_mut() = self.headers.clone();
        request
    }

    /// The rows of a statement, or the code of its error.
    async fn sql(&mut self, sql: &str) -> Result<usize, Code> {
        self.fetch(query(sql)).await
    }

    async fn fetch(&mut self, descriptor: FlightDescriptor) -> Result<usize, Code> {
        let request = self.request(descriptor);
        let info = self.flight.get_flight_info(request).await;
        let info = info.map_err(|status| status.code())?;
        let cookie = info.metadata().get("set-cookie");
        self.cookie = cookie.map(|cookie| cookie.to_str().unwrap().to_owned());
        let request = self.request(ticket(info.get_ref()));
        let rows = self.flight.do_get(request).await;
        let rows = rows.map_err(|status| status.code())?.into_inner();
        let messages: Vec<_> = rows.try_collect().await.map_err(|status| status.code())?;
        let batches = messages.iter().skip(1);
        let lengths = batches.map(|message| {
            let header = arrow::ipc::root_as_message(&message.data_header).unwrap();
            let batch = header.header_as_record_batch().unwrap();
            batch.length() as usize
        });
        Ok(lengths.sum())
    }

    async fn act(&mut self, kind: &str, body: Vec<u8>) -> Vec<u8> {
        let request = self.request(Action::new(kind, body));
        let answers = self.flight.do_action(request).await.unwrap().into_inner();
        let answers: Vec<_> = answers.try_collect().await.unwrap();
        answers
            .first()
            .map(|answer| answer.body.to_vec())
            .unwrap_or_default()
    }

    /// Asks the server to close the session, and returns the status.
    async fn close(&mut self) -> Vec<u8> {
        self.act("CloseSession", vec![]).await
    }
}

const CLOSED: &[u8] = &[8, 1];
const CLOSING: &[u8] = &[8, 2];

#[test]
fn a_client_that_closes_its_connection_ends_nothing_of_others() {
    let server = Server::start(&[]);
    runtime().block_on(async {
        let server = &server;
        let mut stays = Client::new(server).await;
        stays
            .sql("CREATE TEMPORARY TABLE mine AS SELECT 1 AS a")
            .await
            .unwrap();
        stays.sql("CREATE TABLE t (a BIGINT)").await.unwrap();
        let mut prepared = vec![];
        for query in ["SELECT * FROM mine", "SELECT 1"] {
            let prepare = ActionCreatePreparedStatementRequest {
                query: query.into(),
                transaction_id: None,
            };
            let answer = stays.act("CreatePreparedStatement", any(&prepare)).await;
            let answer = Any::decode(answer.as_slice()).unwrap();
            let answer: ActionCreatePreparedStatementResult = answer.unpack().unwrap().unwrap();
            let execute = CommandPreparedStatementQuery {
                prepared_statement_handle: answer.prepared_statement_handle,
            };
            prepared.push(FlightDescriptor::new_cmd(any(&execute)));
        }
        let insert = |number: usize| async move {
            let mut client = Client::new(server).await;
            for row in 0..10 {
                let sql = format!("INSERT INTO t VALUES ({})", number * 100 + row);
                client.sql(&sql).await.unwrap();
            }
            assert_eq!(client.close().await, CLOSING);
        };
        futures::future::join_all((0..8).map(insert)).await;
        assert_eq!(stays.sql("SELECT * FROM t").await, Ok(80));
        assert_eq!(stays.sql("SELECT * FROM mine").await, Ok(1));
        for statement in &prepared {
            assert_eq!(stays.fetch(statement.clone()).await, Ok(1));
        }
        // A handle works on another connection, but without the temporary tables of the session that prepared it.
        let mut other = Client::new(server).await;
        assert_eq!(other.sql("SELECT * FROM mine").await, Err(Code::NotFound));
        assert_eq!(other.fetch(prepared[0].clone()).await, Err(Code::NotFound));
        assert_eq!(other.fetch(prepared[1].clone()).await, Ok(1));
    });
}

#[test]
fn clients_that_send_the_same_or_nothing_have_sessions_of_their_own() {
    let (_directory, file) = users();
    let (_, token) = user(&["token", "--users", &file, "ada"], "");
    let bearer = format!("Bearer {token}");
    let open = Server::start(&[]);
    let closed = Server::start(&["--users", &file]);
    runtime().block_on(async {
        for server in [&open, &closed] {
            let new = async || Client::new(server).await.with("authorization", &bearer);
            let (mut one, mut two) = (new().await, new().await);
            one.sql("SET datafusion.execution.batch_size = 77")
                .await
                .unwrap();
            one.sql("CREATE TEMP TABLE t AS SELECT 1 AS a")
                .await
                .unwrap();
            two.sql("CREATE TEMP TABLE t AS SELECT 1 AS a UNION ALL SELECT 2")
                .await
                .unwrap();
            assert_eq!(one.sql("SELECT * FROM t").await, Ok(1));
            assert_eq!(two.sql("SELECT * FROM t").await, Ok(2));
            let batches = "SELECT 1 FROM information_schema.df_settings \
                           WHERE name = 'datafusion.execution.batch_size' AND value = '77'";
            assert_eq!(one.sql(batches).await, Ok(1));
            assert_eq!(two.sql(batches).await, Ok(0));
            // A client that keeps the cookie of the first answer stays in the session, even on another connection.
            let cookie = one.cookie.clone().unwrap();
            let mut again = new().await.with("cookie", &cookie);
            assert_eq!(again.sql("SELECT * FROM t").await, Ok(1));
            assert_eq!(again.cookie, None);
            // While the first connection is open, others may use its session, so no client with its cookie can close it.
            assert_eq!(again.close().await, CLOSING);
            let mut beside = new().await.with("cookie", &cookie);
            beside.flight = one.flight.clone();
            assert_eq!(beside.close().await, CLOSING);
            assert_eq!(one.sql("SELECT * FROM t").await, Ok(1));
            drop((one, beside));
            assert_eq!(again.sql("SELECT * FROM t").await, Ok(1));
            let until = Instant::now() + Duration::from_secs(10);
            while again.close().await != CLOSED {
                assert!(Instant::now() < until, "the connection is still there");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert_eq!(again.sql("SELECT * FROM t").await, Err(Code::NotFound));
            assert_eq!(two.sql("SELECT * FROM t").await, Ok(2));
        }
    });
}

/// The temporary tables of a client without a cookie are removed after its connection ends, here at once.
#[test]
fn sessions_end_with_their_connections() {
    let server = Server::start(&["--token-idle", "1"]);
    runtime().block_on(async {
        let mut client = Client::new(&server).await;
        client
            .sql("CREATE TEMP TABLE t AS SELECT 1 AS a")
            .await
            .unwrap();
        drop(client);
        let blobs = || {
            let entries = std::fs::read_dir(server.data.path().join("blobs")).unwrap();
            entries
                .filter(|entry| entry.as_ref().unwrap().path().is_dir())
                .count()
        };
        assert_eq!(blobs(), 1);
        let until = Instant::now() + Duration::from_secs(10);
        while blobs() > 0 {
            assert!(Instant::now() < until, "the files are still there");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(column(&server.connect().await, "SELECT 1").await, ["1"]);
    });
}
