//! Faults on a cluster: processes that are killed, stopped or lost, and ranks that fail. Results must stay correct.

use super::*;

/// An executor has a fault at one point of a training; the weights must be those of an undisturbed run.
async fn survives(point: &str, count: usize) -> Cluster {
    let cluster = Cluster::start_with(3, 2, Some((point, count))).await;
    cluster.sql(IRIS).await.unwrap();
    let began = Instant::now();
    let with_three = TRAIN.replace("epochs", "workers = 3, epochs");
    let trained = tokio::time::timeout(WAIT, cluster.sql(&with_three)).await;
    trained.expect("the training hangs").unwrap();
    assert!(cluster.fault_happened(), "no executor reached {point}");
    assert!(
        began.elapsed() < Duration::from_secs(30),
        "{point}: {:?}",
        began.elapsed()
    );
    let weights = cluster.weights();
    assert_eq!(weights.len(), 1, "{point}: one version");
    assert!(weights[0] == undisturbed().await, "{point}: other weights");
    cluster
}

async fn assert_one_attempt_was_lost(cluster: &Cluster) {
    let metrics = cluster.metrics().await;
    let lost = "vatic_training_attempts_lost_total 1";
    assert!(metrics.lines().any(|line| line == lost), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rank_that_exchanges_nothing_but_beats_is_found_by_the_lack_of_movement() {
    let cluster = survives("hang-reduce", 100).await;
    assert_one_attempt_was_lost(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rank_that_never_finishes_to_write_its_files_is_given_up() {
    let cluster = survives("hang-before-files", 1).await;
    assert_one_attempt_was_lost(&cluster).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_tells_the_rows_that_all_ranks_have_read() {
    let cluster = Cluster::start(3, 1).await;
    let rows: Arc<Mutex<Vec<u64>>> = Arc::default();
    let seen = Arc::clone(&rows);
    let session = cluster
        .session
        .clone()
        .with_progress(Arc::new(move |event| {
            if let ProgressEvent::Reading { rows, .. } = event {
                seen.lock().unwrap().push(rows);
            }
        }));
    cluster.sql(IRIS).await.unwrap();
    let train = TRAIN.replace("epochs", "workers = 3, epochs");
    run(&session, &train).await.unwrap();
    assert_eq!(rows.lock().unwrap().iter().max(), Some(&150));
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

/// Rows that some ranks have read are not mixed with those of another run of a random query.
#[tokio::test(flavor = "multi_thread")]
async fn a_random_query_is_read_once_by_all_ranks() {
    let cluster = Cluster::start_with(3, 2, Some(("before-join", 1))).await;
    cluster.sql(IRIS).await.unwrap();
    let train = TRAIN
        .replace("epochs", "workers = 3, epochs")
        .replace("SELECT *", "SELECT random() AS noise, *");
    let trained = cluster.sql(&train).await.unwrap();
    assert!(cluster.fault_happened());
    let rows = |name: &str| {
        let column = trained[0].column_by_name(name).unwrap();
        column.as_primitive::<Int64Type>().value(0)
    };
    assert_eq!(rows("train_rows") + rows("eval_rows"), 150);
    let metrics = cluster.metrics().await;
    let lost = "vatic_training_attempts_lost_total ";
    let lost = metrics.lines().find_map(|line| line.strip_prefix(lost));
    assert_ne!(lost, Some("0"), "the rank read its rows again");
    assert!(lost.is_some(), "{metrics}");
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

#[tokio::test(flavor = "multi_thread")]
async fn an_executor_killed_while_it_loads_a_model_is_left_out() {
    let cluster = Cluster::start_with(2, 1, Some(("load-model", 1))).await;
    cluster.sql(IRIS).await.unwrap();
    cluster.sql(TRAIN).await.unwrap();
    let rows = cluster.sql("LOAD MODEL m").await.unwrap();
    assert!(cluster.fault_happened());
    assert_eq!(rows[0].num_rows(), 1);
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
        // Wait until both executors run a task of the query.
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
async fn an_executor_killed_while_its_rows_are_read() {
    let cluster = Cluster::start(2, 3).await;
    let rows = 1_200_000;
    // Text that does not compress well.
    let texts: Vec<String> = (0..5)
        .map(|text| format!("md5(CAST(value * 5 + {text} AS VARCHAR))"))
        .collect();
    let create = format!(
        "CREATE TABLE wide AS SELECT value AS id, concat({}) AS text FROM generate_series(1, {rows})",
        texts.join(", ")
    );
    cluster.sql(&create).await.unwrap();
    let jobs = async || {
        let metrics = cluster.metrics().await;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("vatic_jobs_total{outcome=\"succeeded\"} "));
        line.unwrap().parse::<u64>().unwrap()
    };
    let before = jobs().await;
    let mut stream = cluster
        .session
        .sql("SELECT * FROM wide WHERE id > 0")
        .await
        .unwrap();
    let mut ids = vec![0; rows + 1];
    let mut seen = 0;
    while let Some(batch) = stream.next().await {
        let batch = batch.unwrap();
        for id in batch.column(0).as_primitive::<Int64Type>().values() {
            ids[usize::try_from(*id).unwrap()] += 1;
        }
        if seen == 0 {
            // Both executors have sent rows, from several partitions each, and both have rows left to send.
            cluster.signal(0, Signal::SIGKILL);
        }
        seen += batch.num_rows();
    }
    assert_eq!(seen, rows);
    assert!(ids[1..].iter().all(|count| *count == 1), "each row once");
    assert_eq!(jobs().await - before, 2, "the query was computed again");
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
    assert_one_attempt_was_lost(&cluster).await;
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
    // The executor still runs.
    cluster.sql(&train).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn when_every_executor_is_lost_a_training_fails() {
    let mut cluster = Cluster::start(2, 1).await;
    let turn = cluster.turn.take();
    cluster.sql(IRIS).await.unwrap();
    let endless = TRAIN.replace("epochs = 30", "workers = 2, epochs = 1000000");
    let began = Instant::now();
    let (result, ()) = tokio::join!(cluster.sql(&endless), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.signal(0, Signal::SIGKILL);
        cluster.signal(1, Signal::SIGKILL);
        // Nothing computes any more; the engine waits for other executors.
        drop(turn);
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
    let mut cluster = Cluster::start(1, 1).await;
    let turn = cluster.turn.take();
    cluster.sql(IRIS).await.unwrap();
    // A nested loop join of some minutes.
    let slow = "SELECT count(*) FROM iris a, iris b, iris c, iris d WHERE a.petal_length + b.petal_length > \
                c.petal_length * d.petal_width + a.id";
    let began = Instant::now();
    let (result, ()) = tokio::join!(cluster.sql(slow), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        cluster.signal(0, Signal::SIGKILL);
        drop(turn);
    });
    let error = result.unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(error.state, SqlState::NoResources, "{error}");
}

/// An address that is free now.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// An engine in its own process that runs a script.
fn engine(address: &str, data: &Path, script: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vatic"));
    command.args(["--cluster", address, "--no-rc", "-c", script]);
    command.arg("--data-dir").arg(data);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

async fn ticks_in_a_second(pid: u32) -> u64 {
    let before = cpu_ticks(pid);
    tokio::time::sleep(Duration::from_secs(1)).await;
    cpu_ticks(pid) - before
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queries_of_a_killed_engine_end_on_its_executors_and_those_of_a_paused_one_do_not() {
    let _alone = crate::ALONE.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let address = free_address();
    let mut worker = executor(&address, 2).spawn().unwrap();
    let endless = "SELECT count(*) FROM iris a, iris b, iris c, iris d, iris e, iris f";
    let script = format!("{IRIS}; {endless}");
    let mut engine = engine(&address, directory.path(), &script).spawn().unwrap();
    let ticks = async || ticks_in_a_second(worker.id()).await;
    let began = Instant::now();
    while ticks().await < 50 {
        assert!(began.elapsed() < WAIT, "the query does not run");
    }
    // The executor has received messages from its engine by now.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ticks().await > 50, "the query is over");
    let pid = Pid::from_raw(engine.id() as i32);
    kill(pid, Signal::SIGSTOP).unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(ticks().await > 50, "the tasks of a paused engine end");
    kill(pid, Signal::SIGCONT).unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(ticks().await > 50, "they end when it goes on");
    engine.kill().unwrap();
    engine.wait().unwrap();
    let began = Instant::now();
    while ticks().await > 20 {
        assert!(
            began.elapsed() < Duration::from_secs(15),
            "the executor goes on"
        );
    }
    worker.kill().unwrap();
    worker.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_frees_its_executors_and_leaves_no_version() {
    let _alone = crate::ALONE.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let address = free_address();
    let endless = TRAIN.replace("epochs = 30", "epochs = 1000000");
    // The executor starts before its engine.
    let mut worker = executor(&address, 2).spawn().unwrap();
    let script = format!("{IRIS}; {endless}");
    let mut first = engine(&address, &data, &script).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let ticks = ticks_in_a_second(worker.id()).await;
    assert!(ticks > 50, "the training does not run");
    first.kill().unwrap();
    first.wait().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ticks = ticks_in_a_second(worker.id()).await;
    assert!(ticks < 20, "the executor goes on: {ticks} ticks of 100");
    assert_eq!(weights(&data).len(), 0);
    // The executor finds the engine of the next statement.
    let again = engine(&address, &data, TRAIN).status().unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(again.success());
    assert_eq!(weights(&data).len(), 1);
}
