//! A data directory on a file system that loses replies, as NFS does: a library before the C library makes each link and each
//! rename succeed and answer with the error that a second try of them gets.

#![cfg(target_os = "linux")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::{GUESS, HOUSES, TRAIN, rows, text, vatic};

/// Compiles the library.
fn library(directory: &Path) -> PathBuf {
    let library = directory.join("lost_replies.so");
    let output = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args(["tests/it/lost_replies.c", "-ldl"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    library
}

/// Runs statements while each reply is lost; returns what happened to names below the directory.
fn run(directory: &Path, data: &Path, statements: &[&str]) -> (Output, Vec<(String, PathBuf)>) {
    let log = directory.join("log");
    let mut command = vatic(data);
    command
        .args(["--format", "csv"])
        .env("LD_PRELOAD", library(directory))
        .env("LOST_REPLIES_LOG", &log);
    for statement in statements {
        command.args(["-c", statement]);
    }
    let output = command.output().unwrap();
    let log = fs::read_to_string(log).unwrap_or_default();
    let events = log.lines().filter_map(|line| line.split_once(' '));
    let events = events.map(|(what, path)| (what.to_owned(), PathBuf::from(path)));
    let events = events.filter(|(_, path)| path.starts_with(directory));
    (output, events.collect())
}

#[test]
fn lost_replies_fail_no_statement_and_no_name_is_known_before_it_is_on_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().canonicalize().unwrap();
    let data = root.join("data");
    let again = TRAIN.replace("TRAIN MODEL", "TRAIN OR REPLACE MODEL");
    // A file and a directory for other programs, once where nothing is, and once in place of these.
    let out = root.join("new/out");
    let [file, folder] = ["price.onnx", "price/"].map(|name| format!("{}/{name}", out.display()));
    let export = |location: &str| format!("EXPORT MODEL price TO '{location}'");
    let replace = |location: &str| format!("EXPORT OR REPLACE MODEL price TO '{location}'");
    let exports = [
        export(&file),
        export(&folder),
        replace(&file),
        replace(&folder),
    ];
    let mut statements = vec![
        HOUSES,
        TRAIN,
        "INSERT INTO houses VALUES (500, 1500)",
        "CREATE VIEW v AS SELECT count(*) AS houses FROM houses",
        again.as_str(),
        // Its files are in folders.
        "CREATE MODEL encoder FROM 'sql-tests/data/text_encoder'",
    ];
    statements.extend(exports.iter().map(String::as_str));
    let (output, events) = run(&root, &data, &statements);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answer = text(&output.stdout);
    for status in ["price,1,CREATED,", "price,2,REPLACED,"] {
        assert!(answer.contains(status), "{answer}");
    }
    let count = |wanted: &str| events.iter().filter(|(what, _)| what == wanted).count();
    // A manifest and a state for each version, three states of tables and views, the file of the format, an exported file.
    assert!(count("link") >= 11, "{events:?}");
    // The record of each training, at its begin and at its end; a directory, a file in place of another, and a directory
    // in place of another, which is renamed too.
    assert!(count("rename") >= 8, "{events:?}");
    assert!(count("mkdir") >= 8, "{events:?}");
    // Another process sees everything.
    assert_eq!(rows(&data, GUESS), ["30.0"]);
    assert_eq!(
        rows(&data, &GUESS.replace("price,", "'price@1',")),
        ["30.0"]
    );
    assert_eq!(rows(&data, "SELECT houses FROM v"), ["101"]);
    let import = format!("CREATE MODEL imported FROM '{folder}'");
    assert_eq!(rows(&data, &import).len(), 1);
    assert_eq!(rows(&data, &GUESS.replace("price,", "imported,")), ["30.0"]);
    let mut exported: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    exported.sort();
    assert_eq!(exported, ["price", "price.onnx"], "nothing else is left");
    let runs = "SELECT status FROM ml.training_runs";
    assert_eq!(rows(&data, runs), ["SUCCEEDED", "SUCCEEDED"]);
    // The entry of a name is in its directory.
    for (at, (what, path)) in events.iter().enumerate() {
        let is_synced = |(what, synced): &(String, PathBuf)| {
            what == "fsync" && Some(synced.as_path()) == path.parent()
        };
        assert!(
            what == "fsync" || events[at + 1..].iter().any(is_synced),
            "{what} {}: its directory is not synced",
            path.display()
        );
    }
}
