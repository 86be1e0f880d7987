//! Durability of a data directory: restarts, several processes, kills, damaged files, full disks and read-only disks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use futures::StreamExt;
use vatic::Engine;

use crate::{GUESS, HOUSES, LONG, TRAIN, fails, rows, run, text, vatic};

fn trained() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    let output = run(data.path(), &[HOUSES, TRAIN]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    data
}

fn find(directory: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(find(&path, name));
        } else if path.file_name().is_some_and(|found| found == name) {
            found.push(path);
        }
    }
    found
}

#[test]
fn tables_views_and_models_are_there_tomorrow() {
    let data = trained();
    let directory = tempfile::tempdir().unwrap();
    let csv = directory.path().join("t.csv");
    fs::write(&csv, "a\n1\n2\n").unwrap();
    let external = format!(
        "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION '{}' OPTIONS ('format.has_header' 'true')",
        csv.display()
    );
    let output = run(
        data.path(),
        &[
            &external,
            "CREATE VIEW v AS SELECT sum(a) AS s FROM e",
            "INSERT INTO houses VALUES (500, 7)",
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(rows(data.path(), GUESS), ["30.0"]);
    assert_eq!(rows(data.path(), "SELECT s FROM v"), ["3"]);
    assert_eq!(rows(data.path(), "SELECT count(*) FROM houses"), ["101"]);
}

#[test]
fn the_files_of_a_model_are_a_model_elsewhere() {
    let data = trained();
    let files = find(data.path(), "model.safetensors");
    let directory = files[0].parent().unwrap().display();
    let other = tempfile::tempdir().unwrap();
    let output = run(
        other.path(),
        &[&format!("CREATE MODEL price FROM '{directory}'")],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(rows(other.path(), GUESS), ["30.0"]);
}

/// Two models may name the same files, as after a crash amid a rename: they stay until no model names them.
#[test]
fn two_models_of_the_same_files_work_until_the_files_are_gone() {
    let data = trained();
    let models = data.path().join("catalog/public/models");
    fs::create_dir(models.join("twin")).unwrap();
    for entry in fs::read_dir(models.join("price")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), models.join("twin").join(entry.file_name())).unwrap();
    }
    let guess = GUESS.replace("predict(price,", "predict(twin,");
    assert_eq!(rows(data.path(), GUESS), ["30.0"]);
    assert_eq!(rows(data.path(), &guess), ["30.0"]);
    assert!(run(data.path(), &["DROP MODEL price"]).status.success());
    assert!(fails(data.path(), &[GUESS], 1).contains("42704"));
    assert_eq!(rows(data.path(), &guess), ["30.0"]);
    let files = find(data.path(), "model.safetensors");
    fs::remove_dir_all(files[0].parent().unwrap()).unwrap();
    let error = fails(data.path(), &[&guess], 1);
    assert!(
        error.contains("58030") && error.contains("twin@1"),
        "{error}"
    );
}

#[test]
fn memory_keeps_nothing() {
    let memory = Path::new(":memory:");
    assert_eq!(rows(memory, "SELECT 1"), ["1"]);
    assert!(run(memory, &[HOUSES, TRAIN, GUESS]).status.success());
    assert!(fails(memory, &["SELECT * FROM houses"], 1).contains("42P01"));
    assert!(!Path::new(":memory:").exists());
}

#[test]
fn two_processes_share_a_directory() {
    let data = trained();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let path = data.path().to_owned();
            thread::spawn(move || {
                run(
                    &path,
                    &[&format!("INSERT INTO houses VALUES ({writer}, 0)"), GUESS],
                )
            })
        })
        .collect();
    for writer in writers {
        let output = writer.join().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    assert_eq!(rows(data.path(), "SELECT count(*) FROM houses"), ["104"]);
}

#[test]
fn of_two_trainings_of_one_new_name_one_wins() {
    let data = tempfile::tempdir().unwrap();
    assert!(run(data.path(), &[HOUSES]).status.success());
    let trainers: Vec<_> = (0..4)
        .map(|_| {
            let path = data.path().to_owned();
            thread::spawn(move || run(&path, &[TRAIN]))
        })
        .collect();
    let outputs: Vec<_> = trainers
        .into_iter()
        .map(|trainer| trainer.join().unwrap())
        .collect();
    assert_eq!(
        outputs
            .iter()
            .filter(|output| output.status.success())
            .count(),
        1
    );
    for output in outputs.iter().filter(|output| !output.status.success()) {
        assert!(
            text(&output.stderr).contains("42710"),
            "{}",
            text(&output.stderr)
        );
    }
    assert_eq!(
        rows(
            data.path(),
            "SELECT version_count FROM information_schema.models"
        ),
        ["1"]
    );
    assert_eq!(
        find(data.path(), "manifest.json").len(),
        1,
        "the losers leave no files"
    );
}

#[test]
fn concurrent_replacements_all_get_a_version() {
    let data = trained();
    let replace = TRAIN.replace("TRAIN MODEL", "TRAIN OR REPLACE MODEL");
    let trainers: Vec<_> = (0..4)
        .map(|_| {
            let (path, replace) = (data.path().to_owned(), replace.clone());
            thread::spawn(move || run(&path, &[&replace]).status.success())
        })
        .collect();
    assert!(trainers.into_iter().all(|trainer| trainer.join().unwrap()));
    let versions = rows(
        data.path(),
        "SELECT version FROM information_schema.model_versions ORDER BY 1",
    );
    assert_eq!(versions, ["1", "2", "3", "4", "5"]);
}

/// A kill at any point leaves a directory that opens, with all earlier models intact.
#[test]
fn a_killed_training_leaves_what_was_there() {
    let data = trained();
    let short = "TRAIN OR REPLACE MODEL price TARGET price OPTIONS (model_type = 'linear_reg') AS SELECT * FROM houses";
    let start = || {
        let mut command = vatic(data.path());
        let command = command.args(["-c", short]).stdout(Stdio::null());
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    // How long a training takes depends on what else the machine does.
    let time_of_one = || {
        let began = Instant::now();
        assert!(start().wait().unwrap().success());
        began.elapsed()
    };
    let mut time = time_of_one();
    let (mut killed, mut finished) = (0, 0);
    // From the start of a training to some time after its end.
    for step in 0.. {
        let delay = time * step / 20;
        let mut child = start();
        thread::sleep(delay);
        child.kill().unwrap();
        if child.wait().unwrap().success() {
            finished += 1
        } else {
            killed += 1
        }
        if step % 5 == 0 {
            assert_eq!(
                rows(data.path(), GUESS),
                ["30.0"],
                "after a kill at {delay:?}"
            );
            time = time_of_one();
        }
        if step >= 30 && finished > 3 {
            break;
        }
        assert!(
            step < 200,
            "{killed} were killed, {finished} finished first"
        );
    }
    assert!(
        killed > 3 && finished > 3,
        "{killed} were killed, {finished} finished first"
    );
    for version in rows(
        data.path(),
        "SELECT version FROM information_schema.model_versions",
    ) {
        let guess = format!(
            "SELECT round(predicted_price) FROM predict('price@{version}', (SELECT 10 AS area))"
        );
        assert_eq!(rows(data.path(), &guess), ["30.0"]);
    }
    assert!(
        rows(
            data.path(),
            "SELECT status FROM ml.training_runs WHERE status = 'RUNNING'"
        )
        .is_empty()
    );
}

/// A kill at any point of an UPDATE or DELETE leaves all rows as they were before or after it.
#[test]
fn a_killed_change_leaves_the_rows_before_or_after() {
    let data = tempfile::tempdir().unwrap();
    let create = "CREATE TABLE t AS SELECT value AS a, 0 AS b FROM generate_series(1, 50000)";
    let output = run(
        data.path(),
        &[create, "INSERT INTO t VALUES (50001, 0), (50002, 0)"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let state = "SELECT count(*), min(b), max(b) FROM t";
    let (mut level, mut count) = (0, 50_002);
    for delay_ms in (0..240).step_by(16) {
        let deletes = delay_ms % 32 == 16;
        let change = match deletes {
            true => format!("DELETE FROM t WHERE a <= {}", 50_002 - count + 100),
            false => "UPDATE t SET b = b + 1".to_owned(),
        };
        let mut child = vatic(data.path())
            .args(["-c", &change])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(delay_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let before = format!("{count},{level},{level}");
        let (new_count, new_level) = match deletes {
            true => (count - 100, level),
            false => (count, level + 1),
        };
        let after = format!("{new_count},{new_level},{new_level}");
        let found = rows(data.path(), state);
        assert!(found == [before] || found == [after.clone()], "{found:?}");
        if found == [after] {
            (level, count) = (new_level, new_count);
        }
    }
    let output = run(
        data.path(),
        &["UPDATE t SET b = 7", "DELETE FROM t WHERE a > 50000"],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(rows(data.path(), state), [format!("{},7,7", count - 2)]);
}

/// Of two changes at once, the second sees the first or fails; none is lost.
#[test]
fn changes_of_several_processes_are_not_lost() {
    let data = tempfile::tempdir().unwrap();
    let create = "CREATE TABLE t AS SELECT value AS a, 0 AS b FROM generate_series(1, 1000)";
    let output = run(data.path(), &[create]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let path = data.path().to_owned();
            thread::spawn(move || {
                let mut done = 0;
                for _ in 0..5 {
                    let output = run(&path, &["UPDATE t SET b = b + 1"]);
                    match output.status.success() {
                        true => done += 1,
                        false => {
                            let error = text(&output.stderr);
                            assert!(error.contains("40001"), "{error}");
                        }
                    }
                }
                done
            })
        })
        .collect();
    let done: usize = workers
        .into_iter()
        .map(|worker| worker.join().unwrap())
        .sum();
    assert!(done > 0);
    let found = rows(data.path(), "SELECT min(b), max(b), count(*) FROM t");
    assert_eq!(found, [format!("{done},{done},1000")]);
}

#[test]
fn a_killed_long_training_is_a_failed_run() {
    let data = trained();
    let mut child = vatic(data.path())
        .args(["-c", LONG])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    wait_for(
        data.path(),
        "SELECT status FROM ml.training_runs WHERE model_name = 'long'",
        "RUNNING",
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let run = rows(
        data.path(),
        "SELECT status, error FROM ml.training_runs WHERE model_name = 'long'",
    );
    assert_eq!(run, ["FAILED,the process ended before the training did"]);
    assert!(fails(data.path(), &["DESCRIBE MODEL long"], 1).contains("42704"));
}

/// Ctrl-C stops a training within a second and leaves nothing but its record.
#[cfg(unix)]
#[test]
fn a_cancelled_training_leaves_nothing() {
    let data = trained();
    // Marks of orphans do not count: a process that starts during the training may leave one.
    let blobs = || {
        let entries = fs::read_dir(data.path().join("blobs")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.is_dir()).count()
    };
    let before = blobs();
    let child = vatic(data.path())
        .args(["-c", LONG])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for(
        data.path(),
        "SELECT status FROM ml.training_runs WHERE model_name = 'long'",
        "RUNNING",
    );
    thread::sleep(Duration::from_millis(300));
    let cancelled = Instant::now();
    assert!(
        Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    let output = child.wait_with_output().unwrap();
    assert!(
        cancelled.elapsed() < Duration::from_secs(1),
        "{:?}",
        cancelled.elapsed()
    );
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("57014"));
    assert_eq!(
        rows(
            data.path(),
            "SELECT status FROM ml.training_runs WHERE model_name = 'long'"
        ),
        ["CANCELLED"]
    );
    assert_eq!(blobs(), before);
    assert!(fails(data.path(), &["DESCRIBE MODEL long"], 1).contains("42704"));
}

fn wait_for(data: &Path, query: &str, expected: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while rows(data, query) != [expected] {
        assert!(Instant::now() < deadline, "{query} never gave {expected}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_damaged_model_is_an_error_and_the_others_work() {
    let data = trained();
    let other = TRAIN.replace("MODEL price", "MODEL other");
    assert!(run(data.path(), &[&other]).status.success());
    let label = rows(
        data.path(),
        "SELECT sha256 FROM information_schema.model_versions WHERE model_name = 'price'",
    );
    assert_eq!(label.len(), 1);
    let first = find(data.path(), "model.safetensors")
        .into_iter()
        .min_by_key(|path| fs::metadata(path).unwrap().modified().unwrap())
        .unwrap();
    let whole = fs::read(&first).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    fs::write(&first, &flipped).unwrap();
    let error = fails(data.path(), &[GUESS], 1);
    assert!(
        error.contains("58030") && error.contains("price@1") && error.contains("SHA-256"),
        "{error}"
    );
    fs::write(&first, &whole[..whole.len() / 2]).unwrap();
    assert!(fails(data.path(), &[GUESS], 1).contains("bytes, the manifest says"));
    fs::remove_file(&first).unwrap();
    assert!(fails(data.path(), &[GUESS], 1).contains("missing"));
    assert_eq!(
        rows(
            data.path(),
            &GUESS.replace("predict(price,", "predict(other,")
        ),
        ["30.0"]
    );
    fs::write(&first, &whole).unwrap();
    let manifest = first.with_file_name("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("linear_reg", "linear_rog")).unwrap();
    assert!(fails(data.path(), &[GUESS], 1).contains("manifest of model price@1"));
    assert_eq!(
        rows(
            data.path(),
            "SELECT model_name FROM information_schema.models ORDER BY 1"
        ),
        ["other", "price"]
    );
}

#[test]
fn a_directory_that_cannot_be_used_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(fails(&file, &["SELECT 1"], 2).contains("it is a file"));
    assert!(fails(&file.join("below"), &["SELECT 1"], 2).contains("data directory"));
    let newer = directory.path().join("newer");
    fs::create_dir(&newer).unwrap();
    fs::write(newer.join("format.json"), "{\"format_version\": 99}").unwrap();
    assert!(fails(&newer, &["SELECT 1"], 2).contains("upgrade vatic"));
    let missing = directory.path().join("a/b/c");
    assert_eq!(rows(&missing, "SELECT 1"), ["1"]);
}

/// A small disk for one test; `None`, with a message, if this user may not mount.
#[cfg(target_os = "linux")]
struct Disk(tempfile::TempDir);

#[cfg(target_os = "linux")]
impl Disk {
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(directory.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self(directory));
        }
        eprintln!("skipped: this user may not mount a tmpfs");
        None
    }
}

#[cfg(target_os = "linux")]
impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_fails_the_write_and_reads_go_on() {
    let Some(disk) = Disk::mount() else { return };
    let data = disk.0.path().join("data");
    assert!(run(&data, &[HOUSES, TRAIN]).status.success());
    let error = fails(
        &data,
        &["CREATE TABLE big AS SELECT value, random() AS r FROM generate_series(1, 500000)"],
        1,
    );
    assert!(
        error.contains("No space left") || error.contains("storage"),
        "{error}"
    );
    assert_eq!(rows(&data, GUESS), ["30.0"]);
    assert!(fails(&data, &["SELECT * FROM big"], 1).contains("42P01"));
    fs::write(disk.0.path().join("filler"), vec![0u8; 2 << 20]).unwrap_err();
    fails(&data, &[&TRAIN.replace("MODEL price", "MODEL second")], 1);
    assert_eq!(rows(&data, GUESS), ["30.0"]);
    assert!(fails(&data, &["DESCRIBE MODEL second"], 1).contains("42704"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_disk_fails_the_write_and_reads_go_on() {
    let Some(disk) = Disk::mount() else { return };
    let data = disk.0.path().join("data");
    assert!(run(&data, &[HOUSES, TRAIN]).status.success());
    let remounted = Command::new("mount")
        .args(["-o", "remount,ro"])
        .arg(disk.0.path())
        .status();
    assert!(remounted.unwrap().success());
    assert_eq!(rows(&data, GUESS), ["30.0"]);
    let error = fails(&data, &[&TRAIN.replace("MODEL price", "MODEL second")], 1);
    assert!(
        error.contains("58030") && error.contains("Read-only"),
        "{error}"
    );
}

#[tokio::test]
async fn files_of_a_temporary_table_stay_until_nobody_reads_them() {
    let directory = tempfile::tempdir().unwrap();
    let engine = Engine::builder()
        .data_dir(directory.path())
        .build()
        .unwrap();
    let session = engine.session().unwrap();
    let count = async |sql: &str| {
        let mut rows = session.sql(sql).await.unwrap();
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            count += batch.unwrap().num_rows();
        }
        count
    };
    let blobs = || {
        let entries = fs::read_dir(directory.path().join("blobs")).unwrap();
        entries
            .filter(|entry| entry.as_ref().unwrap().path().is_dir())
            .count()
    };
    count("CREATE TEMP TABLE t AS SELECT value AS a FROM generate_series(1, 2000000)").await;
    count("CREATE TEMP TABLE u AS SELECT 1 AS a").await;
    count("INSERT INTO u VALUES (2)").await;
    assert_eq!(blobs(), 3);
    let mut rows = session.sql("SELECT a FROM t").await.unwrap();
    let first = rows.next().await.unwrap().unwrap().num_rows();
    count("CREATE OR REPLACE TEMP TABLE t AS SELECT 1 AS a").await;
    count("DROP TABLE t").await;
    assert_eq!(
        blobs(),
        3,
        "those of the first t, which are being read, and of u"
    );
    let mut seen = first;
    while let Some(batch) = rows.next().await {
        seen += batch.unwrap().num_rows();
    }
    assert_eq!(seen, 2_000_000);
    drop(rows);
    assert_eq!(blobs(), 2);
    // A training reads the rows that the table had when the training was planned.
    count("CREATE TEMP TABLE t AS SELECT value * 1.0 AS a, value * 2.0 AS b FROM generate_series(1, 300)").await;
    let train = "TRAIN MODEL m TARGET b OPTIONS (model_type = 'linear_reg') AS SELECT * FROM t";
    assert_eq!(count(train).await, 1);
    drop(session);
    assert_eq!(blobs(), 1, "the model");
}
