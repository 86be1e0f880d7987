//! Statements on a cluster without faults: waiting for slots, cancelling, metrics, EXPLAIN ANALYZE.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn executors_say_which_models_they_have_loaded() {
    let cluster = Cluster::start(2, 1).await;
    let wait_for = async |sql: &str, expected: i64| {
        let began = Instant::now();
        while cluster.count(sql).await != expected {
            assert!(began.elapsed() < WAIT, "{sql}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    // The column is NULL until an executor reports its models.
    wait_for("SELECT count(models) FROM ml.executors", 2).await;
    cluster.sql(IRIS).await.unwrap();
    cluster.sql(TRAIN).await.unwrap();
    let loaded = "SELECT count(*) FROM ml.executors WHERE array_has(models, 'm@1')";
    assert_eq!(cluster.count(loaded).await, 0);
    let rows = "SELECT count(predicted_species) FROM predict(m, iris)";
    assert_eq!(cluster.count(rows).await, 150);
    wait_for(loaded, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_loaded_on_all_executors_and_unloaded_from_all() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    cluster.sql(TRAIN).await.unwrap();
    let executors = cluster
        .sql("SELECT executor_id FROM ml.executors ORDER BY 1")
        .await
        .unwrap();
    let executors = texts(&executors, 0);
    let loaded = "SELECT count(*) FROM ml.executors WHERE array_has(models, 'm@1')";
    let load = "LOAD MODEL m OPTIONS (device = 'cpu')";
    for was_loaded in [false, true] {
        let rows = cluster.sql(load).await.unwrap();
        assert_eq!(texts(&rows, 1), executors);
        let known = rows[0].column_by_name("was_loaded").unwrap();
        assert_eq!(known.as_boolean().true_count(), 2 * usize::from(was_loaded));
        assert_eq!(cluster.count(loaded).await, 2);
    }
    // Other models do not displace it.
    cluster.sql("SET vatic.cache_bytes = 0").await.unwrap();
    let other = TRAIN.replace("MODEL m ", "MODEL other ");
    cluster.sql(&other).await.unwrap();
    let rows = "SELECT count(predicted_species) FROM predict(other, iris)";
    assert_eq!(cluster.count(rows).await, 150);
    assert_eq!(cluster.count(loaded).await, 2);
    let unloaded = cluster.sql("UNLOAD MODEL m").await.unwrap();
    let mut places = vec!["engine".to_owned()];
    places.extend(executors);
    assert_eq!(texts(&unloaded, 0), places);
    let copies = unloaded[0].column(1).as_primitive::<Int64Type>();
    assert_eq!(copies.values().to_vec(), [0, 1, 1]);
    assert_eq!(cluster.count(loaded).await, 0);
}

/// The values of a column of texts.
fn texts(rows: &[RecordBatch], column: usize) -> Vec<String> {
    let texts = rows[0].column(column).as_string::<i32>();
    texts.iter().flatten().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_that_needs_more_slots_than_there_are_waits_and_says_so() {
    let cluster = Cluster::start(2, 1).await;
    cluster.sql(IRIS).await.unwrap();
    cluster.sql("SET vatic.executor_wait_s = 1").await.unwrap();
    let error = cluster
        .sql(&TRAIN.replace("epochs", "workers = 5, epochs"))
        .await
        .unwrap_err();
    assert_eq!(error.state, SqlState::TooMany);
    assert!(
        error.message.contains("needs 5 slots") && error.message.contains("has 2"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_waits_for_executors_that_are_joining() {
    let mut cluster = Cluster::start(0, 1).await;
    cluster.sql(IRIS).await.unwrap();
    (0..3).for_each(|_| cluster.add(1));
    let three = TRAIN.replace("epochs", "workers = 3, epochs");
    assert_eq!(workers(&cluster.sql(&three).await.unwrap()), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_training_without_workers_takes_all_executors_that_are_joining() {
    let mut cluster = Cluster::start(0, 1).await;
    cluster.sql(IRIS).await.unwrap();
    (0..2).for_each(|_| cluster.add(1));
    assert_eq!(workers(&cluster.sql(TRAIN).await.unwrap()), 2);
}

/// The number of workers in the result of a training.
fn workers(trained: &[RecordBatch]) -> i64 {
    let workers = trained[0].column_by_name("workers").unwrap();
    workers.as_primitive::<Int64Type>().value(0)
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
async fn the_wait_for_executors_counts_towards_the_time_of_a_training() {
    let mut cluster = Cluster::start(0, 1).await;
    cluster.sql(IRIS).await.unwrap();
    let session = cluster.engine.session().unwrap();
    let train = TRAIN.replace(
        "epochs = 30",
        "workers = 1, max_runtime_s = 2, epochs = 1000000",
    );
    let late = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        cluster.add(1);
    };
    let (trained, ()) = tokio::join!(run(&session, &train), late);
    let trained = trained.unwrap();
    let epochs = trained[0].column_by_name("epochs").unwrap();
    // The epoch after which the training finds that its time has passed.
    assert_eq!(epochs.as_primitive::<Int64Type>().value(0), 1);
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
async fn queries_answer_while_one_training_runs_and_another_one_waits() {
    let cluster = Cluster::start(2, 2).await;
    cluster.sql(IRIS).await.unwrap();
    let session = || cluster.engine.session().unwrap();
    let (one, other) = (session(), session());
    let endless = TRAIN.replace("epochs = 30", "epochs = 1000000");
    // Without workers, the training leaves a slot free.
    let running = run(&one, &endless);
    let rest = async {
        wait_for_free_slots(&cluster, 1).await;
        let all_slots = TRAIN
            .replace("MODEL m ", "MODEL waits ")
            .replace("epochs", "workers = 4, epochs");
        let waiting = run(&other, &all_slots);
        let queries = async {
            for _ in 0..20 {
                assert_eq!(cluster.count("SELECT count(id) FROM iris").await, 150);
            }
        };
        tokio::select! {
            ended = waiting => panic!("the second training did not wait: {ended:?}"),
            () = queries => {}
        }
    };
    tokio::select! {
        ended = running => panic!("the first training ended before the queries: {ended:?}"),
        () = rest => {}
    }
}

async fn wait_for_free_slots(cluster: &Cluster, slots: i64) {
    let free = "SELECT CAST(sum(free_slots) AS BIGINT) FROM ml.executors";
    let began = Instant::now();
    while cluster.count(free).await != slots {
        assert!(began.elapsed() < WAIT, "{slots} slots are never free");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_queries_does_not_starve_a_training_that_needs_all_slots() {
    let cluster = Cluster::start(2, 2).await;
    cluster.sql(IRIS).await.unwrap();
    let sessions: Vec<Session> = (0..6).map(|_| cluster.engine.session().unwrap()).collect();
    // More queries than slots, long enough that all slots are never free at once.
    let query =
        "SELECT count(*) FROM iris a, iris b, iris c WHERE a.id + b.id > c.id AND c.id <= 50";
    let queries = sessions.iter().map(|session| async move {
        for _ in 0..10_000 {
            run(session, query).await.unwrap();
        }
    });
    let queries = futures::future::join_all(queries);
    let training = async {
        wait_for_free_slots(&cluster, 0).await;
        let train = TRAIN.replace("epochs = 30", "workers = 4, epochs = 1");
        tokio::time::timeout(WAIT, cluster.sql(&train)).await
    };
    tokio::select! {
        trained = training => {
            let trained = trained.expect("the training starves");
            assert_eq!(workers(&trained.unwrap()), 4);
        }
        _ = queries => panic!("the queries ended before the training"),
    }
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
    // The slot is gone sooner than the scheduler would miss the executor.
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

/// An executor must not treat a missing file as a file without rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_of_a_table_is_an_error() {
    let cluster = Cluster::start(2, 1).await;
    let create = "CREATE TABLE t AS SELECT value AS a FROM generate_series(1, 1000)";
    cluster.sql(create).await.unwrap();
    cluster.sql("INSERT INTO t VALUES (0)").await.unwrap();
    assert_eq!(
        cluster.count("SELECT count(*) FROM t WHERE a >= 0").await,
        1001
    );
    let planned = cluster.session.sql("SELECT a + 1 FROM t").await.unwrap();
    let blobs = std::fs::read_dir(cluster.directory.path().join("data/blobs")).unwrap();
    let files = blobs.map(|entry| entry.unwrap().path().join("data.parquet"));
    let file = files.max_by_key(|path| std::fs::metadata(path).map_or(0, |found| found.len()));
    std::fs::remove_file(file.unwrap()).unwrap();
    // This query was planned before the file was removed, and may have read it already.
    match planned.try_collect::<Vec<RecordBatch>>().await {
        Ok(batches) => assert_eq!(
            batches.iter().map(RecordBatch::num_rows).sum::<usize>(),
            1001
        ),
        Err(error) => assert!(report(&error).message.contains("data.parquet"), "{error}"),
    }
    for sql in [
        "SELECT * FROM t",
        "SELECT count(*) FROM t",
        "SELECT count(*) FROM t x JOIN t y ON x.a = y.a",
        "SELECT max(a) FROM t WHERE a < 10",
    ] {
        let error = cluster.sql(sql).await.unwrap_err();
        assert_eq!(error.state, SqlState::Io, "{sql}: {error}");
        assert!(error.message.contains("data.parquet"), "{sql}: {error}");
    }
}
