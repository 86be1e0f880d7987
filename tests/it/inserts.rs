//! Many small INSERTs: logs and files stay few, and no row is lost.

use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinSet;
use vatic::{Engine, Session};

/// A directory in memory if there is one, since these tests wait for thousands of writes to be durable.
fn quick_directory() -> tempfile::TempDir {
    match Path::new("/dev/shm") {
        memory if memory.is_dir() => tempfile::tempdir_in(memory).unwrap(),
        _ => tempfile::tempdir().unwrap(),
    }
}

fn session(data: &Path) -> Session {
    let engine = Engine::builder().data_dir(data).build().unwrap();
    engine.session().unwrap()
}

/// The rows of a query whose columns are BIGINT.
async fn numbers(session: &Session, sql: &str) -> Vec<Vec<i64>> {
    let rows = session.sql(sql).await.unwrap();
    let batches: Vec<_> = rows.try_collect().await.unwrap();
    let mut found = Vec::new();
    for batch in &batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| column.as_primitive::<Int64Type>())
            .collect();
        for row in 0..batch.num_rows() {
            found.push(columns.iter().map(|column| column.value(row)).collect());
        }
    }
    found
}

async fn execute(session: &Session, sql: &str) {
    let rows = session.sql(sql).await.unwrap();
    let _: Vec<_> = rows.try_collect().await.unwrap();
}

/// The files of the states of a table `t`, the oldest first.
fn states(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("catalog/public/tables/t")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The Parquet files that the last state of a table `t` names, in order.
fn files(data: &Path) -> Vec<PathBuf> {
    let state = fs::read(states(data).last().unwrap()).unwrap();
    let envelope: serde_json::Value = serde_json::from_slice(&state).unwrap();
    let payload = envelope["payload"].as_str().unwrap();
    let stored: serde_json::Value = serde_json::from_str(payload).unwrap();
    let files = stored["state"]["managed"]["files"].as_array().unwrap();
    let directories = files.iter().map(|file| file["directory"].as_str().unwrap());
    directories
        .map(|directory| data.join("blobs").join(directory).join("data.parquet"))
        .collect()
}

/// The first column of these files, one after the other.
fn column_of(files: &[PathBuf]) -> Vec<i64> {
    let mut found = Vec::new();
    for file in files {
        let file = fs::File::open(file).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let column = batch.column(0).as_primitive::<Int64Type>();
            assert_eq!(column.null_count(), 0);
            found.extend(column.values().iter().copied());
        }
    }
    found
}

fn bytes_below(directory: &Path) -> u64 {
    let mut bytes = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        bytes += match path.is_dir() {
            true => bytes_below(&path),
            // A temporary file may be gone by now.
            false => fs::metadata(path).map_or(0, |found| found.len()),
        };
    }
    bytes
}

/// The work of an INSERT does not grow with the INSERTs before it.
#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_inserts_leave_few_files_and_small_logs() {
    crate::take_turn();
    const INSERTS: i64 = 2_000;
    let directory = quick_directory();
    let data = directory.path();
    let mut open = session(data);
    execute(&open, "CREATE TABLE t (a BIGINT, b VARCHAR)").await;
    let mut bytes_of_one = 0;
    for row in 0..INSERTS {
        if row % 700 == 699 {
            open = session(data);
            let found = numbers(&open, "SELECT a FROM t ORDER BY a").await;
            let expected: Vec<_> = (0..row).map(|row| vec![row]).collect();
            assert_eq!(found, expected);
            assert_eq!(column_of(&files(data)), (0..row).collect::<Vec<_>>());
        }
        let insert = format!("INSERT INTO t VALUES ({row}, 'row {row}')");
        execute(&open, &insert).await;
        if row == 0 {
            bytes_of_one = fs::metadata(files(data).last().unwrap()).unwrap().len();
        }
        if row % 100 == 0 {
            let (states, files) = (states(data), files(data));
            assert!(states.len() <= 64, "{} states", states.len());
            assert!(files.len() <= 64, "{} files", files.len());
            let bytes = fs::metadata(states.last().unwrap()).unwrap().len();
            assert!(bytes <= 32 << 10, "a state of {bytes} bytes");
        }
    }
    let open = session(data);
    let sums = "SELECT count(*), count(DISTINCT a), sum(a), count(DISTINCT b) FROM t";
    let sum = INSERTS * (INSERTS - 1) / 2;
    assert_eq!(
        numbers(&open, sums).await,
        [[INSERTS, INSERTS, sum, INSERTS]]
    );
    assert_eq!(
        column_of(&files(data)),
        (0..INSERTS).collect::<Vec<_>>(),
        "rows keep their order"
    );
    // Everything that was ever written, with the files that were merged.
    let written = bytes_below(&data.join("blobs"));
    let plain = bytes_of_one * INSERTS as u64;
    assert!(
        written <= 2 * plain,
        "{written} bytes, {plain} without merges"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_engines_that_insert_at_once_lose_no_rows() {
    crate::take_turn();
    const WRITERS: i64 = 4;
    const INSERTS: i64 = 100;
    let directory = quick_directory();
    let sessions = [session(directory.path()), session(directory.path())];
    execute(&sessions[0], "CREATE TABLE t (a BIGINT)").await;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let session = sessions[(writer % 2) as usize].clone();
        writers.spawn(async move {
            for row in 0..INSERTS {
                let row = writer * INSERTS + row;
                execute(&session, &format!("INSERT INTO t VALUES ({row})")).await;
            }
        });
    }
    // Each row is read once, while files are merged.
    let count = "SELECT count(*), count(DISTINCT a) FROM t";
    let reader = session(directory.path());
    let mut before = 0;
    while !writers.is_empty() {
        let found = numbers(&reader, count).await;
        let [all, distinct] = found[0][..] else {
            panic!("{found:?}")
        };
        assert_eq!(all, distinct);
        assert!(all >= before, "{all} rows after {before}");
        before = all;
        while let Some(ended) = writers.try_join_next() {
            ended.unwrap();
        }
    }
    let all = WRITERS * INSERTS;
    assert_eq!(numbers(&reader, count).await, [[all, all]]);
    let files = files(directory.path());
    assert!(files.len() <= 64, "{} files", files.len());
    // The rows of each writer are in the order of its INSERTs.
    let rows = column_of(&files);
    for writer in 0..WRITERS {
        let of = rows.iter().filter(|row| **row / INSERTS == writer);
        assert!(of.is_sorted(), "writer {writer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_reads_the_table_of_its_start_while_files_are_merged() {
    const ROWS: i64 = 300_000;
    let directory = quick_directory();
    let open = session(directory.path());
    let create = format!("CREATE TABLE t AS SELECT value AS a FROM generate_series(1, {ROWS})");
    execute(&open, &create).await;
    for _ in 0..10 {
        execute(&open, "INSERT INTO t VALUES (0)").await;
    }
    let mut rows = open.sql("SELECT a FROM t").await.unwrap();
    let mut seen = rows.next().await.unwrap().unwrap().num_rows();
    let before = files(directory.path()).len();
    for _ in 0..40 {
        execute(&open, "INSERT INTO t VALUES (0)").await;
    }
    let after = files(directory.path()).len();
    assert!(
        after < before + 40,
        "no files were merged: {before}, {after}"
    );
    while let Some(batch) = rows.next().await {
        seen += batch.unwrap().num_rows();
    }
    assert_eq!(seen as i64, ROWS + 10);
    let count = numbers(&open, "SELECT count(*) FROM t").await;
    assert_eq!(count, [[ROWS + 50]]);
}
