//! Clusters of real processes, and what happens when one of them is killed, stopped or cancelled.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vatic::ml::fit::Progress;
use vatic::{Engine, ProgressEvent, Session, SqlError, SqlState, report};

const WAIT: Duration = Duration::from_secs(60);

/// A directory, an engine with a scheduler, and executors that are processes.
struct Cluster {
    directory: tempfile::TempDir,
    session: Session,
    engine: Engine,
    executors: Vec<Child>,
    fault: Option<String>,
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

impl Cluster {
    async fn start(executors: usize, slots: usize) -> Self {
        Self::start_with(executors, slots, None).await
    }

    /// The executors end themselves at this point, of all of them one.
    async fn start_with(executors: usize, slots: usize, fault: Option<(&str, usize)>) -> Self {
        let alone = crate::ALONE.lock().await;
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::builder()
            .data_dir(directory.path().join("data"))
            .cluster("127.0.0.1:0")
            .build()
            .unwrap();
        let file = directory.path().join("fault");
        let fault = fault.map(|(point, count)| format!("{point}:{count}:{}", file.display()));
        let mut cluster = Self {
            session: engine.session().unwrap(),
            directory,
            engine,
            executors: Vec::new(),
            fault,
            _alone: alone,
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

    /// Whether the executor that was to end has ended.
    fn fault_happened(&self) -> bool {
        self.directory.path().join("fault").exists()
    }

    fn signal(&self, executor: usize, signal: Signal) {
        let pid = Pid::from_raw(self.executors[executor].id() as i32);
        kill(pid, signal).unwrap();
    }

    /// What Prometheus is answered.
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
            // It may have ended.
            let _ = executor.kill();
            executor.wait().unwrap();
        }
    }
}

fn executor(scheduler: &str, slots: usize) -> Command {
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

/// What all trainings here train: long enough that a fault falls into it.
const TRAIN: &str = "TRAIN MODEL m TARGET species OPTIONS (model_type = 'dnn_classifier', epochs = 30, early_stop = \
                     false, batch_size = 32, dropout = 0.1, hidden_units = [64]) \
                     AS SELECT * EXCEPT (id) FROM iris";

const IRIS: &str = "CREATE EXTERNAL TABLE iris STORED AS CSV LOCATION 'sql-tests/data/iris.csv' \
                    OPTIONS ('format.has_header' 'true')";

/// The weights that one process finds.
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

/// An executor ends itself at one point of a training; the weights are those of an undisturbed run.
async fn survives(point: &str, count: usize) {
    let cluster = Cluster::start_with(3, 2, Some((point, count))).await;
    cluster.sql(IRIS).await.unwrap();
    let began = Instant::now();
    let with_three = TRAIN.replace("epochs", "workers = 3, epochs");
    cluster.sql(&with_three).await.unwrap();
    assert!(cluster.fault_happened(), "no executor reached {point}");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{point}: {:?}",
        began.elapsed()
    );
    let weights = cluster.weights();
    assert_eq!(weights.len(), 1, "{point}: one version");
    assert!(weights[0] == undisturbed().await, "{point}: other weights");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_before_it_joins() {
    survives("before-join", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_after_it_joined() {
    survives("after-join", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_while_ranks_exchange() {
    survives("reduce", 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_between_steps() {
    survives("between-steps", 8).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_before_it_says_that_it_is_done() {
    survives("before-vote", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_after_it_said_that_it_is_done() {
    survives("after-vote", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_after_it_wrote_the_files() {
    survives("files-written", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_before_its_result_is_known() {
    // Tasks of the query come before those of the ranks.
    survives("task-done", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_attempt_goes_on_from_the_last_checkpoint() {
    // Rank 0 keeps checkpoints after epochs 5, 10 and 15, and ends with the third.
    let cluster = Cluster::start_with(3, 2, Some(("checkpoint-kept", 3))).await;
    let epochs: Arc<Mutex<Vec<usize>>> = Arc::default();
    let seen = Arc::clone(&epochs);
    let session = cluster
        .session
        .clone()
        .with_progress(Arc::new(move |event| {
            if let ProgressEvent::Training {
                progress: Progress::Epoch(record),
                ..
            } = event
            {
                seen.lock().unwrap().push(record.epoch);
            }
        }));
    cluster.sql(IRIS).await.unwrap();
    let train = TRAIN.replace("epochs", "workers = 3, checkpoint_every = 5, epochs");
    run(&session, &train).await.unwrap();
    assert!(cluster.fault_happened());
    let epochs = epochs.lock().unwrap().clone();
    let expected: Vec<usize> = (1..=15).chain(16..=30).collect();
    assert_eq!(epochs, expected, "no epoch is trained twice");
    assert!(cluster.weights() == [undisturbed().await]);
    let runs = cluster.directory.path().join("data/runs");
    let left = std::fs::read_dir(runs)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let left: Vec<PathBuf> = left
        .filter(|path| path.extension().is_some_and(|end| end == "checkpoint"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

fn many_files(directory: &Path, files: usize) -> PathBuf {
    let path = directory.join("many");
    std::fs::create_dir(&path).unwrap();
    let iris = std::fs::read_to_string("sql-tests/data/iris.csv").unwrap();
    let (header, rows) = iris.split_once('\n').unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    for file in 0..files {
        let row = rows[file % rows.len()].split_once(',').unwrap().1;
        let content = format!("{header}\n{file},{row}\n");
        std::fs::write(path.join(format!("{file:04}.csv")), content).unwrap();
    }
    path
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_during_a_predict() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    cluster.sql(TRAIN).await.unwrap();
    let path = many_files(cluster.directory.path(), 1_000);
    let create = format!(
        "CREATE EXTERNAL TABLE many STORED AS CSV LOCATION '{}/' OPTIONS ('format.has_header' 'true')",
        path.display()
    );
    cluster.sql(&create).await.unwrap();
    cluster
        .sql("SET datafusion.execution.target_partitions = 40")
        .await
        .unwrap();
    let query =
        "SELECT count(*), count(DISTINCT id), count(predicted_species) FROM predict(m, many)";
    let (rows, ()) = tokio::join!(cluster.sql(query), async {
        // Both executors have a task of it.
        let other = cluster.engine.session().unwrap();
        let busy = "SELECT count(*) FROM ml.jobs WHERE tasks_running = 2";
        let began = Instant::now();
        while count(&run(&other, busy).await.unwrap()) == 0 {
            assert!(began.elapsed() < WAIT, "the predict was never seen to run");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        cluster.signal(0, Signal::SIGKILL);
    });
    let rows = rows.unwrap();
    for column in 0..3 {
        assert_eq!(
            rows[0].column(column).as_primitive::<Int64Type>().value(0),
            1_000
        );
    }
    assert_eq!(
        cluster.count("SELECT count(*) FROM predict(m, many)").await,
        1_000
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_needs_more_slots_than_there_are_says_so_at_once() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    let error = cluster
        .sql(&TRAIN.replace("epochs", "workers = 5, epochs"))
        .await
        .unwrap_err();
    assert_eq!(error.state, SqlState::NoResources);
    assert!(
        error.message.contains("needs 5 slots") && error.message.contains("has 2"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_executors_a_statement_waits_and_says_what_to_do() {
    let cluster = Cluster::start(0, 1).await;
    cluster.sql(IRIS).await.unwrap();
    cluster.sql("SET vatic.executor_wait_s = 1").await.unwrap();
    let error = cluster
        .sql("SELECT count(*) + 1 FROM iris WHERE id > 5")
        .await
        .unwrap_err();
    assert_eq!(error.state, SqlState::NoResources);
    assert!(
        error.message.contains("vatic executor --scheduler"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_rank_is_given_up_and_sent_away_when_it_comes_back() {
    let cluster = Cluster::start(3, 2).await;
    cluster.sql(IRIS).await.unwrap();
    let long = TRAIN.replace("epochs = 30", "workers = 3, epochs = 5000");
    let (trained, ()) = tokio::join!(cluster.sql(&long), async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        cluster.signal(0, Signal::SIGSTOP);
        tokio::time::sleep(Duration::from_secs(30)).await;
        cluster.signal(0, Signal::SIGCONT);
    });
    trained.unwrap();
    let metrics = cluster.metrics().await;
    let lost = "vatic_training_attempts_lost_total 1";
    assert!(metrics.lines().any(|line| line == lost), "{metrics}");
    assert_eq!(cluster.weights().len(), 1, "one version");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        cluster.count("SELECT count(*) FROM predict(m, iris)").await,
        150
    );
    let versions = cluster
        .count("SELECT count(*) FROM information_schema.model_versions")
        .await;
    assert_eq!(versions, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_trainings_that_need_all_slots_both_finish() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    let other = cluster.engine.session().unwrap();
    for round in 0..50 {
        let train = |name: &str| {
            TRAIN
                .replace("MODEL m ", &format!("OR REPLACE MODEL {name} "))
                .replace("epochs = 30", "workers = 2, epochs = 2")
        };
        let (one, two) = (train("one"), train("two"));
        let both = async { tokio::join!(run(&cluster.session, &one), run(&other, &two)) };
        let (first, second) = tokio::time::timeout(WAIT, both)
            .await
            .unwrap_or_else(|_| panic!("round {round} hangs"));
        first.unwrap();
        second.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_data_of_one_rank_ends_all_without_another_attempt() {
    let cluster = Cluster::start(3, 1).await;
    cluster.sql(IRIS).await.unwrap();
    let query = "SELECT CASE WHEN id = 77 THEN CAST('NaN' AS DOUBLE) ELSE petal_length END AS x, species FROM iris";
    let train = format!(
        "TRAIN MODEL m TARGET species OPTIONS (model_type = 'dnn_classifier', workers = 3) AS {query}"
    );
    let error = cluster.sql(&train).await.unwrap_err();
    assert!(
        error.message.contains("NaN or infinity") && error.message.contains("\"x\""),
        "{error}"
    );
    assert_eq!(cluster.weights().len(), 0, "no version");
    cluster
        .sql(&TRAIN.replace("epochs", "workers = 3, epochs"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_of_one_rank_ends_all_without_another_attempt() {
    let cluster = Cluster::start_with(3, 1, Some(("panic-between-steps", 20))).await;
    cluster.sql(IRIS).await.unwrap();
    let train = TRAIN.replace("epochs", "workers = 3, epochs");
    let began = Instant::now();
    let error = cluster.sql(&train).await.unwrap_err();
    assert!(cluster.fault_happened());
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let says = |text: &str| assert!(error.message.contains(text), "{error}");
    says("worker ");
    says("on purpose");
    assert_eq!(cluster.weights().len(), 0, "no version");
    // The executor lives on.
    cluster.sql(&train).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn ranks_without_rows_and_with_one_train_with_the_others() {
    let cluster = Cluster::start(3, 1).await;
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder()
        .data_dir(directory.path())
        .build()
        .unwrap();
    let alone = engine.session().unwrap();
    for (index, rows) in [1, 2, 40, 100_000].into_iter().enumerate() {
        let table = format!(
            "CREATE TABLE t{index} AS SELECT value AS x, value % 7 AS y FROM generate_series(1, {rows})"
        );
        let train = format!(
            "TRAIN MODEL m{index} TARGET y OPTIONS (model_type = 'dnn_regressor', epochs = 2, hidden_units = [8], \
             data_split_method = 'none', workers = 3) AS SELECT x, y FROM t{index}"
        );
        for session in [&cluster.session, &alone] {
            run(session, &table).await.unwrap();
            run(session, &train).await.unwrap();
        }
    }
    let (mut ours, mut theirs) = (cluster.weights(), weights(directory.path()));
    ours.sort();
    theirs.sort();
    assert!(ours == theirs && ours.len() == 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_that_is_told_to_end_leaves_at_once() {
    let mut cluster = Cluster::start(2, 1).await;
    cluster.signal(0, Signal::SIGTERM);
    // Sooner than the scheduler would miss it.
    cluster.wait_for_slots(1).await;
    let status = cluster.executors[0].wait().unwrap();
    assert!(status.success(), "{status}");
    cluster.sql(IRIS).await.unwrap();
    assert_eq!(cluster.count("SELECT count(id) FROM iris").await, 150);
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_is_answered() {
    let cluster = Cluster::start(2, 3).await;
    cluster.sql(IRIS).await.unwrap();
    cluster
        .sql("SELECT sum(id) FROM iris WHERE id > 7")
        .await
        .unwrap();
    let answer = cluster.metrics().await;
    for line in [
        "vatic_executors 2",
        "vatic_slots 6",
        "vatic_free_slots 6",
        "vatic_jobs_total{outcome=\"succeeded\"} 1",
    ] {
        assert!(
            answer.lines().any(|found| found == line),
            "{line} in {answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_analyze_counts_on_the_executors() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    cluster.sql(TRAIN).await.unwrap();
    let query =
        "EXPLAIN ANALYZE SELECT predicted_species, count(*) FROM predict(m, iris) GROUP BY 1";
    let rows = cluster.sql(query).await.unwrap();
    let text: Vec<&str> = rows[0]
        .column(1)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    let predict = text[1]
        .lines()
        .find(|line| line.contains("PredictExec"))
        .unwrap();
    assert!(predict.contains("input_rows=150"), "{predict}");
    let scan = text[1]
        .lines()
        .find(|line| line.contains("DataSourceExec"))
        .unwrap();
    assert!(scan.contains("output_rows=150"), "{scan}");
    let kinds: Vec<&str> = rows[0]
        .column(0)
        .as_string::<i32>()
        .iter()
        .flatten()
        .collect();
    assert!(
        kinds[1].contains("Stage 1: 1 tasks on 1 executors"),
        "{kinds:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_statement_frees_its_slots() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    let endless = TRAIN.replace("epochs = 30", "workers = 2, epochs = 1000000");
    let cancelled = tokio::time::timeout(Duration::from_secs(2), cluster.sql(&endless)).await;
    assert!(cancelled.is_err(), "it was still running");
    let began = Instant::now();
    let next = TRAIN.replace("epochs = 30", "workers = 2, epochs = 1");
    cluster.sql(&next).await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_idle(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_join_without_keys_frees_its_executors() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    for join in [
        "SELECT count(*) FROM iris a, iris b, iris c, iris d, iris e",
        "SELECT count(*) FROM iris a JOIN (SELECT b.id FROM iris b, iris c, iris d, iris e) b ON a.id < b.id",
    ] {
        let cancelled = tokio::time::timeout(Duration::from_secs(2), cluster.sql(join)).await;
        assert!(cancelled.is_err(), "it was still running");
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_idle(&cluster).await;
    }
}

/// The executors do nothing for a second.
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

#[tokio::test(flavor = "multi_thread")]
async fn when_every_executor_is_lost_a_training_fails() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    let endless = TRAIN.replace("epochs = 30", "workers = 2, epochs = 1000000");
    let began = Instant::now();
    let (result, ()) = tokio::join!(cluster.sql(&endless), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.signal(0, Signal::SIGKILL);
        cluster.signal(1, Signal::SIGKILL);
    });
    let error = result.unwrap_err();
    assert_eq!(error.state, SqlState::NoResources, "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(cluster.weights().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_executor_is_lost_a_query_fails() {
    let cluster = Cluster::start(1, 1).await;
    cluster.sql(IRIS).await.unwrap();
    // A nested loop join of some minutes.
    let slow = "SELECT count(*) FROM iris a, iris b, iris c, iris d WHERE a.petal_length + b.petal_length > \
                c.petal_length * d.petal_width + a.id";
    let began = Instant::now();
    let (result, ()) = tokio::join!(cluster.sql(slow), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.signal(0, Signal::SIGKILL);
    });
    let error = result.unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(error.state, SqlState::NoResources, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_frees_its_executors_and_leaves_no_version() {
    let _alone = crate::ALONE.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let address = format!("127.0.0.1:{port}");
    let endless = TRAIN.replace("epochs = 30", "epochs = 1000000");
    let shell = |script: String| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
        command.args(["--cluster", &address, "--no-rc", "-c", &script]);
        command.arg("--data-dir").arg(&data);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    // The executor is there before its engine.
    let mut worker = executor(&address, 2).spawn().unwrap();
    let mut engine = shell(format!("{IRIS}; {endless}")).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let busy = cpu_ticks(worker.id());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        cpu_ticks(worker.id()) - busy > 50,
        "the training does not run"
    );
    engine.kill().unwrap();
    engine.wait().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = cpu_ticks(worker.id());
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ticks = cpu_ticks(worker.id()) - before;
    assert!(ticks < 20, "the executor goes on: {ticks} ticks of 100");
    assert_eq!(weights(&data).len(), 0);
    // The executor finds the engine of the next statement.
    let again = shell(TRAIN.to_owned()).status().unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(again.success());
    assert_eq!(weights(&data).len(), 1);
}
