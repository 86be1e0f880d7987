//! A server in its own process, as its clients see it.

mod bad_bytes;
mod grants;
mod ingest;
mod logins;
mod memory;
mod page;
mod protection;
mod sessions;
mod shell;
mod statements;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::sql::{Any, CommandStatementQuery, ProstMessageExt};
use arrow_flight::{FlightDescriptor, FlightInfo, Ticket};
use prost::Message;
use tonic::transport::Channel;
use vatic::client::{Remote, RemoteOptions};

use crate::{first_line, text, vatic};

/// A server that ends with the test.
struct Server {
    child: Child,
    url: String,
    data: tempfile::TempDir,
}

impl Server {
    fn start(arguments: &[&str]) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), arguments)
    }

    fn start_in(data: tempfile::TempDir, arguments: &[&str]) -> Self {
        let command = vatic_server(data.path(), arguments);
        Self::run(data, command)
    }

    /// Starts a server whose threads stall at this point, as `vatic::testing::stall` describes.
    fn start_with_stalls(point: &str, stalls: &Path) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut command = vatic_server(data.path(), &[]);
        command.env("VATIC_STALL", format!("{point}:{}", stalls.display()));
        Self::run(data, command)
    }

    fn run(data: tempfile::TempDir, mut command: Command) -> Self {
        crate::take_turn();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let line = first_line(&mut child);
        let url = line.rsplit(' ').next().unwrap().to_owned();
        assert!(url.starts_with("grpc"), "{line:?}");
        Self { child, url, data }
    }

    /// `host:port`
    fn address(&self) -> &str {
        self.url.split_once("://").unwrap().1
    }

    async fn connect(&self) -> Remote {
        let options = RemoteOptions {
            url: self.url.clone(),
            ..RemoteOptions::default()
        };
        Remote::connect(options).await.unwrap()
    }

    async fn client(&self) -> FlightServiceClient<Channel> {
        self.client_of("a test").await
    }

    /// A client whose trainings run when their rows are fetched.
    async fn java_client(&self) -> FlightServiceClient<Channel> {
        self.client_of("grpc-java-netty/1.0").await
    }

    async fn client_of(&self, agent: &'static str) -> FlightServiceClient<Channel> {
        let url = format!("http://{}", self.address());
        let endpoint = Channel::from_shared(url).unwrap();
        let endpoint = endpoint.user_agent(agent).unwrap();
        FlightServiceClient::new(endpoint.connect().await.unwrap())
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(status.unwrap().success());
    }

    /// The processor time that the server has used.
    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        ticks as f64 / 100.0
    }

    /// The largest memory that the server has used.
    fn peak_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes: u64 = peak.unwrap().trim_end_matches("kB").trim().parse().unwrap();
        kilobytes << 10
    }

    /// Waits until the server computes nothing.
    async fn is_idle_within(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            let before = self.cpu_seconds();
            tokio::time::sleep(Duration::from_millis(300)).await;
            if self.cpu_seconds() - before < 0.1 {
                return true;
            }
        }
        false
    }

    /// Waits for the end and returns the exit code.
    fn code_within(&mut self, time: Duration) -> Option<i32> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the server did not end within {time:?}");
    }

    /// Checks that the server still answers.
    async fn assert_alive(&self) {
        assert_eq!(column(&self.connect().await, "SELECT 1 + 1").await, ["2"]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn vatic_server(data: &Path, arguments: &[&str]) -> Command {
    let mut command = vatic(data);
    // A server does not take the flags of the shell.
    let program = command.get_program().to_owned();
    command = Command::new(program);
    command
        .args(["serve", "--data-dir"])
        .arg(data)
        .args(arguments);
    if !arguments.contains(&"--listen") {
        command.args(["--listen", "127.0.0.1:0"]);
    }
    command
}

/// Runs `vatic user …` with this on standard input, and returns what it prints.
fn user(arguments: &[&str], input: &str) -> (bool, String) {
    let program = vatic(Path::new(":memory:"));
    let mut command = assert_cmd::Command::new(program.get_program());
    let command = command.arg("user").args(arguments).write_stdin(input);
    let output = command.output().unwrap();
    let all = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.success(), all.trim().to_owned())
}

const PASSWORD: &str = "p:w d";

/// A file with the users ada, bob and an administrator.
fn users() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory
        .path()
        .join("users.toml")
        .to_string_lossy()
        .into_owned();
    for (name, more) in [("ada", &[][..]), ("bob", &[]), ("root", &["--admin"])] {
        let arguments = [&["add", "--users", &file, name], more].concat();
        let (worked, output) = user(&arguments, &format!("{PASSWORD}\n"));
        assert!(worked, "{output}");
    }
    (directory, file)
}

async fn connect(server: &Server, user: &str, password: &str) -> Result<Remote, String> {
    let options = RemoteOptions {
        url: server.url.clone(),
        user: Some((user.into(), password.into())),
        ..RemoteOptions::default()
    };
    Remote::connect(options)
        .await
        .map_err(|error| vatic::report(&error).message)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The rows of a statement as text, or its error as the shell shows it.
async fn outcome(remote: &Remote, sql: &str) -> Result<Vec<String>, String> {
    let shown = |error| {
        let error = vatic::report(&error);
        format!("{}: {}", error.state.code(), error.message)
    };
    let rows = remote.sql(sql).await.map_err(shown)?;
    let batches: Vec<_> = futures::TryStreamExt::try_collect(rows)
        .await
        .map_err(shown)?;
    let mut found = Vec::new();
    for batch in &batches {
        let options = arrow::util::display::FormatOptions::default();
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &options).unwrap())
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns
                .iter()
                .map(|column| column.value(row).to_string())
                .collect();
            found.push(cells.join(","));
        }
    }
    Ok(found)
}

async fn column(remote: &Remote, sql: &str) -> Vec<String> {
    outcome(remote, sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"))
}

async fn error(remote: &Remote, sql: &str) -> String {
    outcome(remote, sql).await.unwrap_err()
}

fn any(message: &impl ProstMessageExt) -> Vec<u8> {
    let any: Any = message.as_any();
    any.encode_to_vec()
}

fn query(sql: &str) -> FlightDescriptor {
    FlightDescriptor::new_cmd(any(&CommandStatementQuery {
        query: sql.to_owned(),
        transaction_id: None,
    }))
}

fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}
