//! Clusters of real processes, and faults: processes that are killed or stopped, statements that are cancelled.

mod faults;
mod generated;
mod secret;
mod statements;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::{StreamExt, TryStreamExt};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vatic::ml::train::control::Progress;
use vatic::{Engine, ProgressEvent, Session, SqlError, SqlState, report};

const WAIT: Duration = Duration::from_secs(60);

/// A directory, an engine with a scheduler, and executors that are processes.
struct Cluster {
    directory: tempfile::TempDir,
    session: Session,
    engine: Engine,
    executors: Vec<Child>,
    fault: Option<String>,
    secret_file: Option<PathBuf>,
    /// The turn of the test, which may end it early.
    turn: Option<tokio::sync::MutexGuard<'static, ()>>,
}

impl Cluster {
    async fn start(executors: usize, slots: usize) -> Self {
        Self::start_with(executors, slots, None).await
    }

    /// Starts a cluster in which one of the executors has a fault at this point.
    async fn start_with(executors: usize, slots: usize, fault: Option<(&str, usize)>) -> Self {
        Self::start_in(executors, slots, fault, None).await
    }

    /// Starts a cluster with the secret of this text.
    async fn start_with_secret(executors: usize, slots: usize, secret: &str) -> Self {
        Self::start_in(executors, slots, None, Some(secret)).await
    }

    async fn start_in(
        executors: usize,
        slots: usize,
        fault: Option<(&str, usize)>,
        secret: Option<&str>,
    ) -> Self {
        let turn = crate::ALONE.lock().await;
        let directory = tempfile::tempdir().unwrap();
        let secret_file = secret.map(|secret| secret_file(directory.path(), secret));
        let mut builder = Engine::builder()
            .data_dir(directory.path().join("data"))
            .cluster("127.0.0.1:0");
        if fault.is_some_and(|(point, _)| point.starts_with("hang-")) {
            builder = builder.link_timeout(Duration::from_secs(3));
        }
        if let Some(path) = &secret_file {
            builder = builder.cluster_secret_file(path);
        }
        let engine = builder.build().unwrap();
        let file = directory.path().join("fault");
        let fault = fault.map(|(point, count)| format!("{point}:{count}:{}", file.display()));
        let mut cluster = Self {
            session: engine.session().unwrap(),
            directory,
            engine,
            executors: Vec::new(),
            fault,
            secret_file,
            turn: Some(turn),
        };
        for _ in 0..executors {
            cluster.add(slots);
        }
        cluster.wait_for_slots(executors * slots).await;
        cluster
    }

    fn add(&mut self, slots: usize) {
        let mut command = executor(&self.engine.cluster_address().unwrap().to_string(), slots);
        if let Some(fault) = &self.fault {
            command.env("VATIC_FAULT", fault);
        }
        if let Some(path) = &self.secret_file {
            command.arg("--cluster-secret-file").arg(path);
        }
        self.executors.push(command.spawn().unwrap());
    }

    async fn wait_for_slots(&self, slots: usize) {
        let began = Instant::now();
        while self.engine.cluster_slots().await != slots {
            assert!(began.elapsed() < WAIT, "executors did not join");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn sql(&self, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
        run(&self.session, sql).await
    }

    async fn count(&self, sql: &str) -> i64 {
        count(&self.sql(sql).await.unwrap())
    }

    /// Whether an executor has had its fault.
    fn fault_happened(&self) -> bool {
        self.directory.path().join("fault").exists()
    }

    fn signal(&self, executor: usize, signal: Signal) {
        let pid = Pid::from_raw(self.executors[executor].id() as i32);
        kill(pid, signal).unwrap();
    }

    /// The answer of the metrics endpoint for Prometheus.
    async fn metrics(&self) -> String {
        let address = self.engine.serve_metrics("127.0.0.1:0").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The weights of every version in the data directory.
    fn weights(&self) -> Vec<Vec<u8>> {
        weights(&self.directory.path().join("data"))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for executor in &mut self.executors {
            // The executor may have ended already.
            let _ = executor.kill();
            executor.wait().unwrap();
        }
    }
}

/// A file with a secret.
fn secret_file(directory: &Path, secret: &str) -> PathBuf {
    let path = directory.join(format!("{secret}.secret"));
    std::fs::write(&path, secret.repeat(32)).unwrap();
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(&path, private).unwrap();
    path
}

/// An executor that is not started yet.
pub(crate) fn executor(scheduler: &str, slots: usize) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
    let slots = slots.to_string();
    command.args(["executor", "--scheduler", scheduler, "--slots", &slots]);
    let log = std::env::var_os("VATIC_TEST_LOG").is_some();
    let errors = if log { Stdio::inherit() } else { Stdio::null() };
    command.stdout(Stdio::null()).stderr(errors);
    command
}

async fn run(session: &Session, sql: &str) -> Result<Vec<RecordBatch>, SqlError> {
    let stream = session.sql(sql).await.map_err(|error| report(&error))?;
    stream.try_collect().await.map_err(|error| report(&error))
}

fn count(rows: &[RecordBatch]) -> i64 {
    rows[0].column(0).as_primitive::<Int64Type>().value(0)
}

fn weights(data: &Path) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data.join("blobs")).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.join("manifest.json").exists() {
            found.push(std::fs::read(path.join("model.safetensors")).unwrap());
        }
    }
    found
}

/// The training of all tests here, long enough that a fault happens during it.
const TRAIN: &str = "TRAIN MODEL m TARGET species OPTIONS (model_type = 'dnn_classifier', epochs = 30, early_stop = \
                     false, batch_size = 32, dropout = 0.1, hidden_units = [64]) \
                     AS SELECT * EXCEPT (id) FROM iris";

const IRIS: &str = "CREATE EXTERNAL TABLE iris STORED AS CSV LOCATION 'sql-tests/data/iris.csv' \
                    OPTIONS ('format.has_header' 'true')";

/// The weights of an undisturbed training in one process.
async fn undisturbed() -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder()
        .data_dir(directory.path())
        .build()
        .unwrap();
    let session = engine.session().unwrap();
    run(&session, IRIS).await.unwrap();
    run(&session, TRAIN).await.unwrap();
    weights(directory.path()).remove(0)
}

/// Checks that the executors compute nothing for a second.
async fn assert_idle(cluster: &Cluster) {
    let before: Vec<u64> = cluster
        .executors
        .iter()
        .map(|child| cpu_ticks(child.id()))
        .collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for (child, before) in cluster.executors.iter().zip(before) {
        let ticks = cpu_ticks(child.id()) - before;
        assert!(
            ticks < 20,
            "an executor that has nothing to do used {ticks} ticks of 100"
        );
    }
}

/// The processor time of a process, in hundredths of a second.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}
