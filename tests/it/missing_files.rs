//! Missing or changed files of tables: an error with the name of the file, and never fewer rows.

use std::fs;
use std::path::{Path, PathBuf};

use futures::TryStreamExt;
use vatic::{Engine, Session, report};

use crate::{HOUSES, TRAIN, fails, rows, run};

/// The files of managed tables, the largest first.
fn data_files(data: &Path) -> Vec<PathBuf> {
    let blobs = fs::read_dir(data.join("blobs")).unwrap();
    let files = blobs.map(|entry| entry.unwrap().path().join("data.parquet"));
    let mut files: Vec<PathBuf> = files.filter(|path| path.is_file()).collect();
    files.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    files
}

/// A table of two files, the larger of which has 100 rows.
fn houses() -> (tempfile::TempDir, PathBuf) {
    let data = tempfile::tempdir().unwrap();
    let insert = "INSERT INTO houses VALUES (500, 7)";
    assert!(run(data.path(), &[HOUSES, TRAIN, insert]).status.success());
    let file = data_files(data.path()).remove(0);
    (data, file)
}

const READS: [&str; 9] = [
    "SELECT * FROM houses",
    "SELECT count(*) FROM houses",
    "SELECT max(area) FROM houses",
    "SELECT * FROM houses WHERE area = 500",
    "SELECT * FROM houses LIMIT 50",
    "CREATE TABLE copy AS SELECT * FROM houses",
    "SELECT * FROM predict(price, houses)",
    "TRAIN OR REPLACE MODEL price TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses",
    "SELECT 1 WHERE EXISTS (SELECT * FROM houses WHERE area = 3)",
];

fn check_reads(data: &Path, file: &Path, what: &str) {
    let name = file.parent().unwrap().file_name().unwrap();
    for read in READS {
        let error = fails(data, &[read], 1);
        let names_it = error.contains(name.to_str().unwrap()) && error.contains("data.parquet");
        assert!(error.contains("58030") && names_it, "{read}: {error}");
        assert!(error.contains(what), "{read}: {error}");
    }
}

#[test]
fn a_missing_file_of_a_table_is_no_table_without_rows() {
    let (data, file) = houses();
    fs::remove_file(&file).unwrap();
    check_reads(data.path(), &file, "is missing");
    // The other file may hold all rows that the query needs.
    assert_eq!(
        rows(data.path(), "SELECT area FROM houses LIMIT 1"),
        ["500"]
    );
    assert_eq!(rows(data.path(), "SELECT * FROM houses LIMIT 0"), [""; 0]);
    // Statements that do not read the rows still work.
    assert!(
        run(data.path(), &["INSERT OVERWRITE houses VALUES (1, 3)"])
            .status
            .success()
    );
    assert_eq!(rows(data.path(), "SELECT count(*) FROM houses"), ["1"]);
    fs::remove_file(data_files(data.path()).pop().unwrap()).unwrap();
    assert!(run(data.path(), &["DROP TABLE houses"]).status.success());
}

#[test]
fn a_file_that_was_cut_or_grew_is_an_error() {
    let changes: [fn(&mut Vec<u8>); 2] = [
        |bytes| bytes.truncate(bytes.len() / 2),
        |bytes| bytes.push(0),
    ];
    for change in changes {
        let (data, file) = houses();
        let mut bytes = fs::read(&file).unwrap();
        change(&mut bytes);
        fs::write(&file, bytes).unwrap();
        check_reads(data.path(), &file, "is not what the table wrote");
    }
}

#[test]
fn a_file_of_other_rows_is_an_error() {
    let (data, file) = houses();
    let other = data_files(data.path()).remove(1);
    fs::copy(other, &file).unwrap();
    check_reads(data.path(), &file, "is not what the table wrote");
    // Older states do not record the sizes of files; then the number of rows in the file is checked.
    let directory = data.path().join("catalog/public/tables/houses");
    let states = fs::read_dir(directory).unwrap();
    let last = states.map(|entry| entry.unwrap().path()).max().unwrap();
    let envelope: serde_json::Value = serde_json::from_slice(&fs::read(&last).unwrap()).unwrap();
    let mut state: serde_json::Value =
        serde_json::from_str(envelope["payload"].as_str().unwrap()).unwrap();
    for file in state["state"]["managed"]["files"].as_array_mut().unwrap() {
        file.as_object_mut().unwrap().remove("bytes").unwrap();
    }
    let payload = state.to_string();
    let sha256 = vatic::ml::artifact::sha256(payload.as_bytes());
    let envelope = serde_json::json!({"payload": payload, "sha256": sha256});
    fs::write(&last, envelope.to_string()).unwrap();
    check_reads(data.path(), &file, "100 were written");
}

async fn read(session: &Session, sql: &str) -> Result<usize, String> {
    let shown = |error| {
        let error = report(&error);
        format!("{}: {}", error.state.code(), error.message)
    };
    let stream = session.sql(sql).await.map_err(shown)?;
    let batches: Vec<_> = stream.try_collect().await.map_err(shown)?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

/// A file that vanishes after planning, and a missing file of a temporary table.
#[tokio::test]
async fn a_file_that_vanishes_under_a_plan_is_an_error() {
    let data = tempfile::tempdir().unwrap();
    let engine = Engine::builder().data_dir(data.path()).build().unwrap();
    let session = engine.session().unwrap();
    read(&session, HOUSES).await.unwrap();
    let planned = session.sql("SELECT * FROM houses").await.unwrap();
    fs::remove_file(data_files(data.path()).remove(0)).unwrap();
    let rows: Result<Vec<_>, _> = planned.try_collect().await;
    let error = report(&rows.unwrap_err());
    assert_eq!(error.state.code(), "58030", "{error}");
    assert!(error.message.contains("data.parquet"), "{error}");
    let temporary = HOUSES.replace("CREATE TABLE houses", "CREATE TEMP TABLE t");
    read(&session, &temporary).await.unwrap();
    assert_eq!(read(&session, "SELECT * FROM t").await.unwrap(), 100);
    fs::remove_file(data_files(data.path()).remove(0)).unwrap();
    for sql in ["SELECT * FROM t", "SELECT count(*) FROM t"] {
        let error = read(&session, sql).await.unwrap_err();
        assert!(
            error.contains("58030") && error.contains("is missing"),
            "{error}"
        );
    }
}

/// The error also comes in a process that has read the files before.
#[tokio::test]
async fn what_an_external_table_was_declared_for_must_be_there() {
    let data = tempfile::tempdir().unwrap();
    let files = tempfile::tempdir().unwrap();
    let (one, folder) = (files.path().join("one.csv"), files.path().join("folder"));
    fs::create_dir(&folder).unwrap();
    fs::write(&one, "a\n1\n2\n").unwrap();
    fs::write(folder.join("1.csv"), "a\n1\n").unwrap();
    fs::write(folder.join("2.csv"), "a\n2\n").unwrap();
    let engine = Engine::builder().data_dir(data.path()).build().unwrap();
    let session = engine.session().unwrap();
    for (name, location) in [("f", &one), ("d", &folder)] {
        let create = format!(
            "CREATE EXTERNAL TABLE {name} STORED AS CSV LOCATION '{}' OPTIONS ('format.has_header' 'true')",
            location.display()
        );
        read(&session, &create).await.unwrap();
        assert_eq!(
            read(&session, &format!("SELECT * FROM {name}")).await,
            Ok(2)
        );
    }
    // The table of a folder has the files that are in the folder now.
    fs::remove_file(folder.join("1.csv")).unwrap();
    assert_eq!(read(&session, "SELECT * FROM d").await, Ok(1));
    fs::remove_file(&one).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    for (name, location) in [("f", &one), ("d", &folder)] {
        let check = |error: String| {
            let is_told = error.contains("58030") && error.contains(location.to_str().unwrap());
            assert!(is_told, "{error}");
        };
        for sql in [
            format!("SELECT * FROM {name}"),
            format!("SELECT count(*) FROM {name}"),
        ] {
            check(read(&session, &sql).await.unwrap_err());
            check(fails(data.path(), &[sql.as_str()], 1));
        }
        read(&session, &format!("DROP TABLE {name}")).await.unwrap();
    }
}
