//! The programs of `benchmarks/serve.py`: a server that only sends batches, and load on a vatic server.
//!
//! ```text
//! bare FILE               answers any statement with the batches of an Arrow IPC file
//! small URL               64 clients, 200 small statements each
//! probe URL               one client beside 1,000 that connect at once and stay, and 1,000 silent or half-open ones
//! readers URL PID         50 clients that take a batch a second of ten million rows
//! ```

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::fs::File;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::datatypes::SchemaRef;
use arrow::ipc::reader::FileReader;
use arrow::record_batch::RecordBatch;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::server::FlightSqlService;
use arrow_flight::sql::{CommandStatementQuery, ProstMessageExt, SqlInfo, TicketStatementQuery};
use arrow_flight::{FlightDescriptor, FlightEndpoint, FlightInfo, Ticket};
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::task::JoinSet;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

const CLIENTS: usize = 64;
const STATEMENTS: usize = 200;
const MANY: usize = 1_000;
const PROBING: Duration = Duration::from_secs(8);
const READERS: usize = 50;
const READING: Duration = Duration::from_secs(20);
const LARGE: &str = "SELECT value AS i, value * 0.5 AS f, concat('row ', value) AS s FROM generate_series(1, 10000000)";

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["bare", file] => bare(file).await,
        ["small", url] => small(url).await,
        ["probe", url] => probe(url).await,
        ["readers", url, pid] => readers(url, pid).await,
        _ => println!("started by benchmarks/serve.py"),
    }
}

/// A server that answers every statement with the same batches.
struct Bare {
    schema: SchemaRef,
    batches: Arc<Vec<RecordBatch>>,
}

#[tonic::async_trait]
impl FlightSqlService for Bare {
    type FlightService = Self;

    async fn get_flight_info_statement(
        &self,
        _query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = TicketStatementQuery::default().as_any().encode_to_vec();
        let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
        let info = FlightInfo::new()
            .try_with_schema(&self.schema)
            .map_err(|error| Status::internal(error.to_string()))?
            .with_endpoint(endpoint)
            .with_descriptor(request.into_inner());
        Ok(Response::new(info))
    }

    async fn do_get_statement(
        &self,
        _ticket: TicketStatementQuery,
        _request: Request<Ticket>,
    ) -> Result<Response<<Self as FlightService>::DoGetStream>, Status> {
        let batches = Arc::clone(&self.batches);
        let batches = (0..batches.len()).map(move |at| Ok(batches[at].clone()));
        let stream = FlightDataEncoderBuilder::new()
            .with_schema(Arc::clone(&self.schema))
            .build(futures::stream::iter(batches))
            .map_err(Status::from);
        Ok(Response::new(Box::pin(stream)))
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

async fn bare(file: &str) {
    let reader = FileReader::try_new(File::open(file).unwrap(), None).unwrap();
    let schema = reader.schema();
    let batches = Arc::new(reader.map(Result::unwrap).collect());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("grpc://{}", listener.local_addr().unwrap());
    let service = FlightServiceServer::new(Bare { schema, batches });
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder().add_service(service);
    serving.serve_with_incoming(incoming).await.unwrap();
}

type Client = FlightSqlServiceClient<Channel>;

async fn connect(url: &str) -> Result<Client, String> {
    let channel = Channel::from_shared(url.replace("grpc://", "http://")).unwrap();
    let channel = channel.connect().await.map_err(|error| error.to_string())?;
    let mut client = FlightSqlServiceClient::new(channel);
    let token = client.handshake("bench", "none").await;
    let token = token.map_err(|error| error.to_string())?;
    client.set_token(String::from_utf8(token.to_vec()).unwrap());
    Ok(client)
}

type Rows = Pin<Box<dyn futures::Stream<Item = Result<RecordBatch, String>> + Send>>;

async fn query(client: &mut Client, sql: &str) -> Result<Rows, String> {
    let info = client.execute(sql.to_owned(), None).await;
    let info = info.map_err(|error| error.to_string())?;
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let stream = client.do_get(ticket).await;
    let stream = stream.map_err(|error| error.to_string())?;
    Ok(Box::pin(stream.map_err(|error| error.to_string())))
}

/// Runs one statement, fetches its rows, and measures the time.
async fn timed(client: &mut Client, number: usize) -> Result<Duration, String> {
    let began = Instant::now();
    let rows = query(client, &format!("SELECT {number} + 1 AS a")).await?;
    let rows: Vec<RecordBatch> = rows.try_collect().await?;
    match rows.iter().map(RecordBatch::num_rows).sum() {
        1 => Ok(began.elapsed()),
        rows => Err(format!("{rows} rows")),
    }
}

async fn small(url: &str) {
    let began = Instant::now();
    let (times, errors, _) = clients(url, CLIENTS, STATEMENTS).await;
    println!(
        "{CLIENTS} clients, {STATEMENTS} statements each: {}, {:.0} statements/s, {} errors {:?}",
        percentiles(times.clone()),
        times.len() as f64 / began.elapsed().as_secs_f64(),
        errors.len(),
        errors.first()
    );
}

/// The times of statements, the errors, and the clients, which stay connected.
async fn clients(
    url: &str,
    clients: usize,
    statements: usize,
) -> (Vec<Duration>, Vec<String>, Vec<Client>) {
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let url = url.to_owned();
        tasks.spawn(async move {
            let mut client = connect(&url).await?;
            let mut times = Vec::new();
            for number in 0..statements {
                times.push(timed(&mut client, number).await?);
            }
            Ok::<_, String>((times, client))
        });
    }
    let (mut times, mut errors, mut clients) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(ended) = tasks.join_next().await {
        match ended.unwrap() {
            Ok((more, client)) => {
                times.extend(more);
                clients.push(client);
            }
            Err(error) => errors.push(error),
        }
    }
    (times, errors, clients)
}

/// A client that sends statements all the time, while many others connect at once and many send nothing.
async fn probe(url: &str) {
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let mut client = connect(url).await.unwrap();
    let mut probing = JoinSet::new();
    probing.spawn(async move {
        let mut times = Vec::new();
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            let began = Instant::now();
            times.push((began, timed(&mut client, times.len()).await.unwrap()));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        times
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let storm = Instant::now();
    let (many, errors, connected) = clients(url, MANY, 1).await;
    let storm = storm..Instant::now();
    let address = url.rsplit('/').next().unwrap();
    let mut silent = Vec::new();
    for number in 0..MANY {
        let mut stream = TcpStream::connect(address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
        }
        silent.push(stream);
    }
    tokio::time::sleep(PROBING).await;
    stop.send(()).unwrap();
    let probes = probing.join_next().await.unwrap().unwrap();
    let all: Vec<Duration> = probes.iter().map(|(_, time)| *time).collect();
    let during = probes.iter().filter(|(at, _)| storm.contains(at));
    let during: Vec<Duration> = during.map(|(_, time)| *time).collect();
    println!(
        "{MANY} clients at once, a statement each: {}, {} errors {:?}",
        percentiles(many),
        errors.len(),
        errors.first()
    );
    println!(
        "beside them, {} of them staying and {} silent and half-open connections, one client: {}; while they came {} statements, {}",
        connected.len(),
        silent.len(),
        percentiles(all),
        during.len(),
        percentiles(during.clone())
    );
}

async fn readers(url: &str, pid: &str) {
    let before = resident(pid);
    let mut clients = Vec::new();
    for _ in 0..READERS {
        let mut client = connect(url).await.unwrap();
        let rows = query(&mut client, LARGE).await.unwrap();
        clients.push((client, rows));
    }
    let (mut most, mut batches, until) = (before, 0, Instant::now() + READING);
    while Instant::now() < until {
        let round = Instant::now();
        for (_, rows) in &mut clients {
            rows.next().await.unwrap().unwrap();
            batches += 1;
        }
        most = most.max(resident(pid));
        tokio::time::sleep(Duration::from_secs(1).saturating_sub(round.elapsed())).await;
    }
    println!(
        "{READERS} readers of a batch a second, {batches} batches: the server grew by {:.0} MB, {:.1} a reader",
        most - before,
        (most - before) / READERS as f64
    );
}

/// The memory of a process in MB.
fn resident(pid: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: f64 = line
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    kilobytes / 1024.0
}

fn percentiles(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |share: f64| {
        let index = (times.len() as f64 * share) as usize;
        let time = times.get(index.min(times.len().saturating_sub(1)));
        time.map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
    };
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}
